"""Labeled Faces in the Wild with its attributes as published: lfw_attributes.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.data.attributes import Attribute, choose, from_column, make_groups
from audit.data.celeba import OPPOSITES
from audit.data.folder import Labelled, load_labelled
from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings
from audit.errors import AuditError


def load_lfw(
    folder: str | Path,
    target: str = "Wavy Hair",
    group: str = "Male",
    split: SplitSettings | None = None,
    **settings: Any,
) -> GroupedData:
    """LFW as uint8 [n, 3, size, size] with the attributes of Kumar et al. (2009).

    folder          holds lfw_attributes.txt, and a folder of images for every person, in it or in
                    lfw, lfw_funneled or lfw-deepfunneled: Name/Name_0001.jpg
    target, group   attributes by their published names: Wavy Hair, Big Nose, Male, …; a score
                    above zero means that a picture has it; groups may be crossed

    The pictures of one person stay in one split. Other settings are those of ImageSettings and
    Scaling. Raises AuditError where a file, an attribute or an image is missing.
    """
    folder, split = Path(folder), split or SplitSettings()
    table = _read(folder / "lfw_attributes.txt")
    people, numbers = table["person"].astype(str), table["imagenum"].astype(int)
    names = [
        f"{person.replace(' ', '_')}/{person.replace(' ', '_')}_{number:04d}.jpg"
        for person, number in zip(people, numbers, strict=True)
    ]
    images = _images(folder, names[0])
    attributes = {
        str(name): _attribute(table[name])
        for name in table.columns.difference(["person", "imagenum"], sort=False)
    }
    return load_labelled(
        Labelled(
            "LFW",
            [images / name for name in names],
            np.array(names),
            choose(attributes, target, "target"),
            make_groups(attributes, group),
            notes=(
                "LFW: the attributes are a classifier's scores of celebrities' pictures (above "
                "zero: has it), not what the people said of themselves.",
            ),
            units=from_column(people).codes.astype(np.int64),
        ),
        split,
        settings,
    )


def _images(folder: Path, name: str) -> Path:
    """The folder of the persons' folders."""
    tried = [folder / part for part in ("", "lfw", "lfw_funneled", "lfw-deepfunneled")]
    for found in tried:
        if (found / name).is_file():
            return found
    raise AuditError(f"there is no image '{name}' under '{folder}', nor in its folder lfw")


def _read(path: Path) -> pd.DataFrame:
    """The published table: remarks open with '#', and the last of them names the columns."""
    if not path.is_file():
        raise AuditError(f"there is no file '{path}'; expected LFW's attributes as published")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        remarks = [line for line in lines if line.startswith("#")]
        rows = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
        columns = remarks[-1].lstrip("#").strip().split("\t")
        table = pd.DataFrame(rows, columns=columns)
        scores = table.columns.difference(["person", "imagenum"])
        table = table.astype(dict.fromkeys(scores, float)).astype({"imagenum": int})
    except (OSError, ValueError, IndexError, KeyError) as error:
        cause = " ".join(str(error).split())[:120]
        raise AuditError(f"'{path}' is not in LFW's published format: {cause}") from error
    if table.empty or "person" not in table:
        raise AuditError(f"'{path}' has no rows of a person; expected LFW's attributes")
    return table


def _attribute(scores: pd.Series) -> Attribute:
    name = str(scores.name)
    return Attribute(
        (OPPOSITES.get(name, f"not {name}"), name), (scores.to_numpy() > 0).astype(np.int64)
    )
