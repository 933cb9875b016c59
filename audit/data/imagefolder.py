"""A folder of images for every class, as torchvision's ImageFolder has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.data.attributes import Attribute, from_column, make_groups
from audit.data.columns import typed
from audit.data.folder import Labelled, load_labelled
from audit.data.grouped import GroupedData
from audit.data.reading import read_table
from audit.data.splits import SplitSettings
from audit.errors import AuditError

ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"))
PARTS = {
    "train": "train",
    "val": "select",
    "valid": "select",
    "validation": "select",
    "select": "select",
    "test": "test",
}
CLASS = "class"


def load_imagefolder(
    folder: str | Path,
    group: str = CLASS,
    labels: str = "",
    split: SplitSettings | None = None,
    **settings: Any,
) -> GroupedData:
    """Images as CLASS/….jpg, or train/CLASS/…, val/CLASS/…, test/CLASS/…, as uint8 [n, 3, s, s].

    group    class, as in Tran et al. 2022, or columns of `labels`, which may be crossed
    labels   a table in the folder: a column `file` with paths under the folder, and one for every
             attribute; every image must be in it

    Classes are ordered as text, as torchvision orders them. Folders train, val and test are the
    splits (val is the test split where there is no test); without them the split is seeded. Other
    settings are those of ImageSettings and Scaling. Raises AuditError where there are no images, or
    one is not in the table.
    """
    folder, split = Path(folder), split or SplitSettings()
    files = _files(folder)
    places = [file.relative_to(folder).parts for file in files]
    parted = all(place[0] in PARTS and len(place) > 2 for place in places)
    own = [place[1] if parted else place[0] for place in places]
    names = sorted(set(own))
    classes = Attribute(tuple(names), np.searchsorted(names, own).astype(np.int64))
    samples = ["/".join(place) for place in places]
    attributes = {CLASS: classes} | (_attributes(folder / labels, samples) if labels else {})
    return load_labelled(
        Labelled(
            folder.name,
            files,
            np.array(samples),
            classes,
            make_groups(attributes, group),
            notes=("The classes are the names of the folders.",),
            splits=_splits([place[0] for place in places]) if parted else None,
        ),
        split,
        settings,
    )


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise AuditError(f"there is no folder '{folder}'; expected one of a folder for every class")
    found = sorted(
        file
        for file in folder.glob("*/**/*")
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
    )
    if not found:
        raise AuditError(f"'{folder}' has no folders of images; expected CLASS/….jpg")
    return found


def _splits(tops: Sequence[str]) -> dict[str, Tensor]:
    """The splits by the folders' names; validation is the test split where there is no other."""
    parts = np.array([PARTS[top] for top in tops])
    if not (parts == "test").any():
        parts[parts == "select"] = "test"
    return {
        name: torch.from_numpy(np.flatnonzero(parts == name))
        for name in ("train", "select", "test")
    }


def _attributes(path: Path, samples: Sequence[str]) -> dict[str, Attribute]:
    """The columns of the table, in the order of the images."""
    rows = read_table(path).rows
    if "file" not in rows:
        raise AuditError(f"'{path}' has no column 'file'; it has {', '.join(rows.columns)}")
    table = typed(rows.drop(columns="file"), ()).set_axis(rows["file"].astype(str), axis=0)
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise AuditError(f"'{path}' has '{twice}' in two rows; expected a row a file")
    absent = [sample for sample in samples if sample not in table.index]
    if absent:
        raise AuditError(f"{len(absent):,} images are not in '{path}' (for instance '{absent[0]}')")
    own = table.reindex(list(samples))
    return {str(name): from_column(own[name]) for name in own}
