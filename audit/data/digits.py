"""The embedded data: scikit-learn's handwritten digits, with a long tail made on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings, split_samples
from audit.errors import AuditError

DIGITS_TAIL = {"8": 15, "9": 25, "3": 40}


def load_digits(
    tail: Mapping[str, int] | None = None, split: SplitSettings | None = None
) -> GroupedData:
    """1,797 real 8×8 images of digits, whose groups are the ten classes (as in Tran et al. 2022).

    The classes of `tail` keep only so many images outside the test split; the others are left out
    of the data. Inputs are float32 [n, 1, 8, 8] in [-1, 1]. Raises AuditError where `tail` names
    no class, or fewer than one image.
    """
    from sklearn.datasets import load_digits as bundled

    split = split or SplitSettings(test=0.5)
    tail = DIGITS_TAIL if tail is None else tail
    _check_tail(tail)
    images, labels = bundled(return_X_y=True)
    test = split_samples(labels, replace(split, select=0.0))["test"].numpy()
    kept = _kept(labels, test, tail, split.seed)
    removed = len(labels) - len(kept)
    images, labels = images[kept], labels[kept]
    codes = torch.from_numpy(labels.astype(np.int64))
    names = tuple(str(digit) for digit in range(10))
    return GroupedData(
        name="digits",
        inputs=torch.from_numpy(images.astype(np.float32)).div(8.0).sub(1.0).view(-1, 1, 8, 8),
        labels=codes,
        groups=codes.clone(),
        classes=names,
        group_names=names,
        attribute="class",
        samples=np.array([f"digits-{row:04d}" for row in kept]),
        splits=split_samples(labels, split, test=np.isin(kept, test)),
        drawn=True,
        notes=(
            "Real handwritten digits, 8×8 pixels, from the UCI collection that scikit-learn "
            "bundles. The groups are the ten classes, not people: a stand-in that shows the "
            "effect and downloads nothing.",
            *_tail_notes(tail, removed),
        ),
    )


def _check_tail(tail: Mapping[str, int]) -> None:
    for name, count in tail.items():
        if name not in {str(digit) for digit in range(10)}:
            raise AuditError(f"found class '{name}' in the tail; expected a digit, '0' to '9'")
        if count < 1:
            raise AuditError(
                f"found {count} images for class {name} of the tail; expected 1 or more"
            )


def _tail_notes(tail: Mapping[str, int], removed: int) -> tuple[str, ...]:
    if not tail:
        return ()
    kept = ", ".join(f"class {name} keeps {count} images" for name, count in tail.items())
    return (
        f"A long tail was made on purpose: outside the test split, {kept}; {removed} images were "
        "left out for it.",
    )


def _kept(labels: np.ndarray, test: np.ndarray, tail: Mapping[str, int], seed: int) -> np.ndarray:
    """Positions of the images that stay: all of test, and of the tail's classes so many others."""
    generator = np.random.default_rng(seed)
    chosen = np.ones(len(labels), dtype=bool)
    for name, count in tail.items():
        others = np.setdiff1d(np.flatnonzero(labels == int(name)), test)
        generator.shuffle(others)
        chosen[others[count:]] = False
    return np.flatnonzero(chosen)
