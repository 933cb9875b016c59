"""Images beside tables of their labels: any folder with a CSV file, and FairFace as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.data.asked import Asked, attributes_of, classes_of, listed, units_of
from audit.data.attributes import Attribute, Groups, choose, make_groups, strata
from audit.data.columns import typed
from audit.data.grouped import GroupedData
from audit.data.images import image_rules
from audit.data.notes import undeclared_units, unused_split
from audit.data.opening import open_images
from audit.data.reading import Table, read_table
from audit.data.splits import SplitSettings, firsts, given_splits, split_samples
from audit.errors import AuditError

FAIRFACE: Mapping[str, tuple[str, ...]] = {
    "race": (
        "White",
        "Black",
        "Latino_Hispanic",
        "East Asian",
        "Southeast Asian",
        "Indian",
        "Middle Eastern",
    ),
    "gender": ("Male", "Female"),
    "age": ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"),
}


def load_images(
    folder: str | Path,
    target: str,
    group: str,
    labels: str = "labels.csv",
    files: str = "file",
    missing: str = "",
    positive: str = "",
    classes: str = "",
    names: Mapping[str, str] | None = None,
    bins: Mapping[str, str] | None = None,
    unit: str = "",
    split: SplitSettings | None = None,
    **settings: Any,
) -> GroupedData:
    """A folder of images with a table of their labels, as uint8 [n, 3, size, size].

    labels   the table in the folder, with a column (`files`) of paths under the folder, and a
             column for every attribute: CSV of any separator and encoding, Parquet or Arrow
    target   the column to predict; an empty value is refused
    group    the column of the protected attribute, or several crossed: "sex,region"; an empty
             value is the group (missing)
    missing, positive, classes, names, bins, unit   as for tables (load_table)

    Other settings are those of ImageSettings and Scaling (size, fit, background, white, unreadable,
    mean, std), and `cache`, a folder that keeps the pixels; images of more than a gibibyte of
    pixels are decoded when they are needed. A column `split` of train, select and test is used as
    it stands; without it the split is seeded. Raises AuditError where a file, column or image is
    missing or cannot be read.
    """
    folder, split = Path(folder), split or SplitSettings()
    if folder.is_file():
        raise AuditError(
            f"'{folder}' is a file; expected the folder of the images, and the table of their "
            f"labels by name: images:{folder.parent}?labels={folder.name}&target=…"
        )
    read = _read_table(folder / labels, files)
    table = typed(read.rows, listed(missing))
    asked = Asked.of(table, target, group, unit=unit, drop=files, names=names, bins=bins)
    attributes = attributes_of(table, asked, listed(missing))
    return load_labelled(
        Labelled(
            folder.name,
            [_path(folder, str(file)) for file in read.rows[asked.drop[0]]],
            read.rows[asked.drop[0]].to_numpy(dtype=str),
            classes_of(attributes[asked.target], asked.target, classes, positive),
            make_groups(attributes, asked.group),
            notes=(
                *read.notes,
                *unused_split(table, (asked.target, *asked.group)),
                *undeclared_units(table, (asked.target, *asked.group, *asked.unit)),
                f"Labels as '{labels}' has them.",
            ),
            units=units_of(table, asked),
            splits=given_splits(table["split"]) if asked.split else None,
            further=table,
        ),
        split,
        settings,
    )


def load_fairface(
    folder: str | Path,
    target: str = "gender",
    group: str = "race",
    most: int | None = None,
    split: SplitSettings | None = None,
    **settings: Any,
) -> GroupedData:
    """FairFace with its label files as published, as uint8 [n, 3, size, size].

    target, group   race (7 values), gender (2) or age (9 bands); groups may be crossed
    most            a seeded choice of that many training images

    Other settings are those of ImageSettings and Scaling. The published validation part is the
    test split. Raises AuditError where a file is missing or an image cannot be read.
    """
    folder, split = Path(folder), split or SplitSettings()
    parts = [_read_table(folder / f"fairface_label_{part}.csv").rows for part in ("train", "val")]
    if most is not None and most < len(parts[0]):
        parts[0] = parts[0].sample(most, random_state=split.seed).sort_index()
    table = pd.concat(parts, ignore_index=True)
    attributes = {name: _declared(table, name, names) for name, names in FAIRFACE.items()}
    return load_labelled(
        Labelled(
            "FairFace",
            [folder / file for file in table["file"]],
            table["file"].to_numpy(dtype=str),
            choose(attributes, target, "target"),
            make_groups(attributes, group),
            notes=(
                "FairFace: gender, race and age are estimates by annotators, not what the people "
                "said of themselves. Its published validation part is the test split.",
            ),
            test=np.arange(len(table)) >= len(parts[0]),
            further=table.drop(columns="file"),
        ),
        split,
        settings,
    )


@dataclass(frozen=True)
class Labelled:
    """Image files with all that is known of them before they are read.

    test    bool [n], where the owner of the images has published the test part
    splits  where all three are fixed, as positions
    further columns that groups nobody named are sought in
    """

    name: str
    files: Sequence[Path]
    samples: np.ndarray
    labels: Attribute
    groups: Groups
    notes: tuple[str, ...] = ()
    units: np.ndarray | None = None
    test: np.ndarray | None = None
    splits: Mapping[str, Tensor] | None = None
    further: pd.DataFrame | None = None


def load_labelled(own: Labelled, split: SplitSettings, settings: dict[str, Any]) -> GroupedData:
    """The images with their labels; those that repeat another's bytes stay in its split."""
    cache = str(settings.pop("cache", ""))
    scaling, image_settings = image_rules(settings)
    images = open_images(own.files, image_settings, cache)
    rows = images.read
    codes = torch.from_numpy(own.labels.codes.astype(np.int64))[rows]
    groups = own.groups.codes[rows]
    test = None if own.test is None else own.test[rows]
    repeats = images.repeats
    if test is not None:
        repeats = np.where(test[repeats] == test, repeats, np.arange(len(repeats)))
    units = None if own.units is None else own.units[rows]
    if own.splits is None:
        together = repeats if units is None else firsts(units)
        splits = split_samples(strata(codes, groups), split, together, test)
    else:
        splits = {
            name: torch.from_numpy(np.flatnonzero(np.isin(rows, given.numpy())))
            for name, given in own.splits.items()
        }
    return GroupedData(
        name=own.name,
        inputs=images.inputs,
        labels=codes,
        groups=groups,
        classes=own.labels.names,
        group_names=own.groups.names,
        attribute=own.groups.attribute,
        samples=own.samples[rows],
        splits=splits,
        drawn=own.splits is None and test is None,
        notes=(*own.groups.notes, *own.notes, *images.notes),
        scaling=scaling,
        units=None if units is None else torch.from_numpy(units),
        contents=images.contents,
        further=None if own.further is None else own.further.iloc[rows].reset_index(drop=True),
    )


def _path(folder: Path, name: str) -> Path:
    """Where an image lies; a path that Windows wrote is read as one."""
    found = folder / name
    return found if "\\" not in name or found.exists() else folder / name.replace("\\", "/")


def _read_table(path: Path, files: str = "file") -> Table:
    if not path.is_file():
        raise AuditError(f"there is no file '{path}'; expected a CSV file of the images' labels")
    found = read_table(path)
    table = found.rows
    if files not in table:
        raise AuditError(
            f"'{path}' has {len(table)} rows with the columns {', '.join(table.columns)}; expected "
            f"rows with a column '{files}' and one for every attribute (files= names another)"
        )
    blank = table[files].isna() | (table[files].astype(str).str.strip() == "")
    if blank.any():
        raise AuditError(
            f"'{path}' names no file in {int(blank.sum()):,} rows; expected one in each"
        )
    twice = table[files][table[files].duplicated()]
    if len(twice):
        raise AuditError(
            f"'{path}' has the file '{twice.iloc[0]}' in two rows; expected one a file"
        )
    return found


def _declared(table: pd.DataFrame, name: str, names: tuple[str, ...]) -> Attribute:
    codes = pd.Index(names).get_indexer(pd.Index(table[name])).astype(np.int64)
    if (codes < 0).any():
        unknown = table[name][codes < 0].iloc[0]
        raise AuditError(f"found {name} '{unknown}' in FairFace; expected {', '.join(names)}")
    return Attribute(names, codes)
