"""CelebA, read from its files as published: list_attr_celeba.txt and img_align_celeba/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from audit.data.attributes import Attribute, choose, make_groups
from audit.data.folder import Labelled, load_labelled
from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings
from audit.errors import AuditError

PARTITION = {0: "train", 1: "select", 2: "test"}
OPPOSITES = {"Male": "Female", "Young": "Old"}
"""What the annotators' other answer is called, where that has a name."""


def load_celeba(
    folder: str | Path,
    target: str = "Blond_Hair",
    group: str = "Male",
    most: int | None = None,
    split: SplitSettings | None = None,
    **settings: Any,
) -> GroupedData:
    """CelebA as uint8 [n, 3, size, size], with its 40 attributes and its published partition.

    target, group   attributes by their published names: Blond_Hair, Male, Young, …; groups may be
                    crossed: "Male,Young"
    most            a seeded choice of that many images of each part

    The published training, validation and test parts are the train, select and test splits; where
    list_eval_partition.txt is missing, the splits are seeded. Other settings are those of
    ImageSettings and Scaling. Raises AuditError where a file, an attribute or an image is missing.
    """
    folder, split = Path(folder), split or SplitSettings()
    table = _read(folder / "list_attr_celeba.txt", header=1)
    partition = folder / "list_eval_partition.txt"
    parts = _parts(partition, table.index) if partition.is_file() else None
    if most is not None:
        kept = _some(parts, len(table), most, split.seed)
        table = table.iloc[kept]
        parts = None if parts is None else parts[kept]
    attributes = {str(name): _attribute(table[name]) for name in table}
    return load_labelled(
        Labelled(
            "CelebA",
            [folder / "img_align_celeba" / name for name in table.index],
            table.index.to_numpy(dtype=str),
            choose(attributes, target, "target"),
            make_groups(attributes, group),
            notes=(
                "CelebA: the attributes are annotators' answers about celebrities' pictures, not "
                "what the people said of themselves; one person has many pictures.",
            ),
            splits=None
            if parts is None
            else {
                name: torch.from_numpy(np.flatnonzero(parts == number))
                for number, name in PARTITION.items()
            },
        ),
        split,
        settings,
    )


def _read(path: Path, header: int | None) -> pd.DataFrame:
    """A published list: a file's name and numbers a row, whose first column has no name."""
    if not path.is_file():
        raise AuditError(f"there is no file '{path}'; expected CelebA's files as published")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        start = 0 if header is None else header + 1
        rows = [line.split() for line in lines[start:] if line.strip()]
        names = None if header is None else lines[header].split()
        table = pd.DataFrame([row[1:] for row in rows], [row[0] for row in rows], names).astype(int)
    except (OSError, ValueError, IndexError) as error:
        cause = " ".join(str(error).split())[:120]
        raise AuditError(f"'{path}' is not in CelebA's published format: {cause}") from error
    if table.empty:
        raise AuditError(f"'{path}' has no rows; expected CelebA's files as published")
    return table


def _attribute(column: pd.Series) -> Attribute:
    name = str(column.name)
    if not column.isin((-1, 1)).all():
        found = column[~column.isin((-1, 1))].iloc[0]
        raise AuditError(f"found {found} for {name} in CelebA; expected 1 or -1")
    return Attribute(
        (OPPOSITES.get(name, f"not {name}"), name), (column.to_numpy() > 0).astype(np.int64)
    )


def _parts(path: Path, names: pd.Index) -> np.ndarray:
    """The part of each image: 0 train, 1 validation, 2 test."""
    parts = _read(path, header=None)[0].reindex(names)
    if not parts.isin(PARTITION).all():
        missing = parts[~parts.isin(PARTITION)].index[0]
        raise AuditError(f"'{path}' has no part 0, 1 or 2 for '{missing}'")
    return parts.to_numpy(dtype=np.int64)


def _some(parts: np.ndarray | None, number: int, most: int, seed: int) -> np.ndarray:
    """A seeded choice of at most so many of each part, in order."""
    if most < 1:
        raise AuditError(f"found most={most}; expected 1 or more")
    generator = np.random.default_rng(seed)
    own = np.zeros(number, dtype=np.int64) if parts is None else parts
    chosen = [generator.permutation(np.flatnonzero(own == part))[:most] for part in np.unique(own)]
    return np.sort(np.concatenate(chosen))
