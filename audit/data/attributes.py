"""Protected attributes, alone and crossed, as declared and ordered groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.errors import AuditError

MISSING = "(missing)"
WHOLE = 2.0**53
"""From here on not every whole number is a float."""


@dataclass(frozen=True)
class Attribute:
    """One attribute of every sample: its values in declared order, and int [n] positions there."""

    names: tuple[str, ...]
    codes: np.ndarray


@dataclass(frozen=True)
class Groups:
    """Protected groups: what they are called together, their names in order, int64 [n] positions.

    `notes` names the combinations of crossed attributes that no sample has.
    """

    attribute: str
    names: tuple[str, ...]
    codes: Tensor
    notes: tuple[str, ...] = ()


def from_column(column: pd.Series) -> Attribute:
    """The values of a column, ordered as text; an empty one is (missing), a number 2.0 is 2."""
    known = column.dropna()
    whole = pd.api.types.is_float_dtype(column) and bool(
        ((known % 1 == 0) & (known.abs() < WHOLE)).all()
    )
    values = column.astype("Int64") if whole else column
    text = values.astype("string").fillna("").replace("", MISSING)
    names, codes = np.unique(text.to_numpy(dtype=str), return_inverse=True)
    return Attribute(tuple(names.tolist()), codes)


def choose(attributes: Mapping[str, Attribute], name: str, what: str) -> Attribute:
    """The attribute of that name; AuditError lists those there are."""
    if name not in attributes:
        raise AuditError(f"found {what} '{name}'; expected one of {', '.join(attributes)}")
    return attributes[name]


def make_groups(attributes: Mapping[str, Attribute], names: str) -> Groups:
    """The groups of one attribute, or of several separated by commas and crossed.

    Crossed groups are those combinations that occur, in declared order. Raises AuditError where a
    name is unknown or stands twice.
    """
    wanted = [name.strip() for name in names.split(",")]
    chosen = [choose(attributes, name, "group attribute") for name in wanted]
    if len(set(wanted)) != len(wanted):
        raise AuditError(f"found group '{names}'; each attribute may be crossed in once")
    if len(chosen) == 1:
        return Groups(wanted[0], chosen[0].names, _tensor(chosen[0].codes))
    sizes = [len(attribute.names) for attribute in chosen]
    codes = np.ravel_multi_index([attribute.codes for attribute in chosen], sizes)
    labels = [" × ".join(parts) for parts in product(*(a.names for a in chosen))]
    present = np.unique(codes)
    absent = [label for code, label in enumerate(labels) if code not in set(present.tolist())]
    note = f"These crossed groups are absent, no sample is in them: {', '.join(absent)}."
    return Groups(
        " × ".join(wanted),
        tuple(labels[code] for code in present),
        _tensor(np.searchsorted(present, codes)),
        (note,) if absent else (),
    )


def strata(labels: Tensor, groups: Tensor) -> np.ndarray:
    """One number per group × label, int [n], for stratified splits."""
    return (groups * (int(labels.max()) + 1) + labels).numpy()


def _tensor(codes: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(codes, dtype=np.int64))
