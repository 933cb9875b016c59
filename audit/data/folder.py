"""Images beside tables of their labels: any folder with a CSV file, and FairFace as published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from audit.data.attributes import Attribute, choose, from_column, make_groups, strata
from audit.data.grouped import GroupedData
from audit.data.images import read_images
from audit.data.splits import SplitSettings, given_splits, split_samples
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
    size: int = 32,
    split: SplitSettings | None = None,
) -> GroupedData:
    """A folder of images with a CSV file of their labels, as uint8 [n, 3, size, size].

    labels   the CSV file in the folder: a column `file` with paths under the folder, and a column
             for every attribute; values are ordered as text, an empty one is the value (missing)
    target   the column to predict
    group    the column of the protected attribute, or several crossed: "sex,region"

    A column `split` of train, select and test is used as it stands; without it the split is seeded.
    Raises AuditError where a file, column or image is missing or cannot be read.
    """
    folder, split = Path(folder), split or SplitSettings()
    table = _read_table(folder / labels)
    attributes = {
        str(name): from_column(table[name]) for name in table.columns.difference(["file", "split"])
    }
    notes = (f"Labels as '{labels}' has them.",)
    return _load(folder.name, folder, table, attributes, target, group, size, split, notes)


def load_fairface(
    folder: str | Path,
    target: str = "gender",
    group: str = "race",
    size: int = 32,
    most: int | None = None,
    split: SplitSettings | None = None,
) -> GroupedData:
    """FairFace with its label files as published, as uint8 [n, 3, size, size].

    target, group   race (7 values), gender (2) or age (9 bands); groups may be crossed
    most            a seeded choice of that many training images

    The published validation part is the test split. Raises AuditError where a file is missing or
    an image cannot be read.
    """
    folder, split = Path(folder), split or SplitSettings()
    parts = [_read_table(folder / f"fairface_label_{part}.csv") for part in ("train", "val")]
    if most is not None and most < len(parts[0]):
        parts[0] = parts[0].sample(most, random_state=split.seed).sort_index()
    table = pd.concat(parts, ignore_index=True)
    attributes = {name: _declared(table, name, names) for name, names in FAIRFACE.items()}
    notes = (
        "FairFace: gender, race and age are estimates by annotators, not what the people said of "
        "themselves. Its published validation part is the test split.",
    )
    test = np.arange(len(table)) >= len(parts[0])
    return _load("FairFace", folder, table, attributes, target, group, size, split, notes, test)


def _load(
    name: str,
    folder: Path,
    table: pd.DataFrame,
    attributes: Mapping[str, Attribute],
    target: str,
    group: str,
    size: int,
    split: SplitSettings,
    notes: tuple[str, ...],
    test: np.ndarray | None = None,
) -> GroupedData:
    if size < 1:
        raise AuditError(f"found size={size}; expected 1 or more")
    chosen = choose(attributes, target, "target")
    groups = make_groups(attributes, group)
    codes = torch.from_numpy(chosen.codes.astype(np.int64))
    images, repeats = read_images([folder / file for file in table["file"]], size)
    if test is not None:
        repeats = np.where(test[repeats] == test, repeats, np.arange(len(repeats)))
    splits = (
        given_splits(table["split"])
        if "split" in table
        else split_samples(strata(codes, groups.codes), split, repeats, test)
    )
    return GroupedData(
        name=name,
        inputs=torch.from_numpy(images),
        labels=codes,
        groups=groups.codes,
        classes=chosen.names,
        group_names=groups.names,
        attribute=groups.attribute,
        samples=table["file"].to_numpy(dtype=str),
        splits=splits,
        notes=(*groups.notes, *notes),
    )


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise AuditError(f"there is no file '{path}'; expected a CSV file of the images' labels")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise AuditError(f"'{path}' cannot be read as CSV: {cause}") from error
    if "file" not in table or table.empty:
        found = ", ".join(map(str, table.columns)) or "none"
        raise AuditError(
            f"'{path}' has {len(table)} rows with the columns {found}; expected rows with a column "
            "'file' and one for every attribute"
        )
    return table


def _declared(table: pd.DataFrame, name: str, names: tuple[str, ...]) -> Attribute:
    codes = pd.Index(names).get_indexer(pd.Index(table[name])).astype(np.int64)
    if (codes < 0).any():
        unknown = table[name][codes < 0].iloc[0]
        raise AuditError(f"found {name} '{unknown}' in FairFace; expected {', '.join(names)}")
    return Attribute(names, codes)
