"""UTKFace, read from its owners' layout: age_gender_race_date.jpg.chip.jpg."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audit.data.attributes import Attribute, choose, make_groups, strata
from audit.data.grouped import GroupedData
from audit.data.images import IMAGE_ENDINGS, image_rules
from audit.data.opening import open_images
from audit.data.splits import SplitSettings, split_samples
from audit.errors import AuditError

ETHNICITIES = ("White", "Black", "Asian", "Indian", "Others")
GENDERS = ("Male", "Female")
AGE_EDGES = (10, 15, 20, 25, 30, 40, 50, 60)
AGES = ("0-9", "10-14", "15-19", "20-24", "25-29", "30-39", "40-49", "50-59", "60+")
FILE_NAME = re.compile(r"(\d+)_([01])_([0-4])_")


def load_utkface(
    folder: str | Path,
    target: str = "ethnicity",
    group: str = "ethnicity",
    most: int | None = None,
    split: SplitSettings | None = None,
    **settings: Any,
) -> GroupedData:
    """UTKFace as uint8 images [n, 3, size, size] with ethnicity, gender and age.

    target   the attribute to predict: ethnicity (5 values), gender (2), age (9 classes, as in
             Tran et al. 2022; "10-14" is from 10 up to but not including 15)
    group    the protected attribute, or several crossed: "gender,age"
    most     a seeded choice of that many images

    Other settings are those of ImageSettings and Scaling. Images with the same bytes are kept in
    one split. Raises AuditError where the folder or its images are missing, no name carries labels,
    an image cannot be read, or a setting is unknown or out of its range.
    """
    folder, split = Path(folder), split or SplitSettings()
    if most is not None and most < 1:
        raise AuditError(f"found most={most}; expected 1 or more")
    cache = str(settings.pop("cache", ""))
    scaling, image_settings = image_rules(settings)
    files, unlabelled = _files(folder)
    if most is not None and most < len(files):
        chosen = np.random.default_rng(split.seed).permutation(len(files))[:most]
        files = [files[row] for row in np.sort(chosen)]
    attributes = _attributes(files)
    for name, wanted in {"target": [target], "group attribute": group.split(",")}.items():
        for one in wanted:
            choose(attributes, one.strip(), name)
    images = open_images(files, image_settings, cache)
    files, repeats = [files[row] for row in images.read], images.repeats
    attributes = _attributes(files)
    labels = choose(attributes, target, "target")
    groups = make_groups(attributes, group)
    codes = torch.from_numpy(labels.codes.astype(np.int64))
    notes = [*groups.notes, *_notes(unlabelled, repeats, attributes)]
    return GroupedData(
        name="UTKFace",
        inputs=images.inputs,
        labels=codes,
        groups=groups.codes,
        classes=labels.names,
        group_names=groups.names,
        attribute=groups.attribute,
        samples=np.array([file.name for file in files]),
        splits=split_samples(strata(codes, groups.codes), split, repeats),
        drawn=True,
        notes=(*notes, *images.notes),
        scaling=scaling,
        contents=images.contents,
    )


def _files(folder: Path) -> tuple[list[Path], list[str]]:
    """The labelled images of a folder by name, and the names that carry no labels."""
    if not folder.is_dir():
        raise AuditError(f"there is no folder '{folder}'; give the folder of UTKFace's images")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    if not images:
        raise AuditError(f"'{folder}' has no images; expected age_gender_race_date.jpg.chip.jpg")
    labelled = [path for path in images if FILE_NAME.match(path.name)]
    if not labelled:
        raise AuditError(
            f"no image in '{folder}' carries labels in its name (found '{images[0].name}'); "
            "expected age_gender_race_date.jpg.chip.jpg"
        )
    return labelled, [path.name for path in images if not FILE_NAME.match(path.name)]


def _attributes(files: list[Path]) -> dict[str, Attribute]:
    fields = np.array(
        [[int(part) for part in FILE_NAME.match(file.name).groups()] for file in files]  # type: ignore[union-attr]
    )
    return {
        "ethnicity": Attribute(ETHNICITIES, fields[:, 2]),
        "gender": Attribute(GENDERS, fields[:, 1]),
        "age": Attribute(AGES, np.digitize(fields[:, 0], AGE_EDGES)),
    }


def _notes(
    unlabelled: list[str], repeats: np.ndarray, attributes: dict[str, Attribute]
) -> list[str]:
    notes = [
        "UTKFace: gender, ethnicity and age are coarse estimates by annotators, not what the "
        "people said of themselves."
    ]
    copies = int((repeats != np.arange(len(repeats))).sum())
    if copies:
        differ = ", ".join(
            f"{int((attribute.codes != attribute.codes[repeats]).sum())} in {name}"
            for name, attribute in attributes.items()
        )
        notes.append(
            f"{copies} images are byte-identical repeats, each kept in its first's split. How many "
            f"are labelled otherwise than their first ({differ}) is a floor of the label noise."
        )
    if unlabelled:
        notes.append(
            f"{len(unlabelled)} images were left out, because their names carry no "
            f"age_gender_race labels (for instance '{unlabelled[0]}')."
        )
    return notes
