"""A user's own arrays as audited data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.data.attributes import (
    MISSING,
    Attribute,
    as_texts,
    declared,
    from_column,
    strata,
    unit_codes,
    words,
)
from audit.data.grouped import SPLITS, GroupedData
from audit.data.inputs import DictInputs, Inputs, MappedInputs
from audit.data.notes import noted
from audit.data.scaling import Scaling, make_scaling
from audit.data.splits import SplitSettings, firsts, given_splits, split_samples
from audit.data.tensors import as_tensor
from audit.errors import AuditError

LOOKED_AT = 16
"""So many inputs say whether they are the images that they were declared to be."""
MOST_BROKEN = 20
"""The most classes that numbers with decimals may be: more are what a regression predicts."""


def from_arrays(
    inputs: Any,
    labels: Any,
    groups: Any,
    *,
    name: str = "data",
    attribute: str = "group",
    classes: Sequence[str] | None = None,
    group_names: Sequence[str] | None = None,
    samples: Sequence[str] | pd.Series | None = None,
    units: Any = None,
    missing: Sequence[str] = (),
    scaling: Scaling | str | None = None,
    split: SplitSettings | None = None,
    splits: Mapping[str, Any] | Sequence[str] | None = None,
    contents: np.ndarray | None = None,
    notes: Sequence[str] = (),
    further: Any = None,
) -> GroupedData:
    """Data from arrays: inputs [n, ...], and labels and groups [n] as numbers or text.

    Names are the sorted values (numbers as numbers), unless `classes` or `group_names` declare
    them, which may name more than occur; numbers that are none of the declared names are positions
    among them. What is missing is alike in every container (see `from_column`; `missing` declares
    words for it): a missing label is refused, a missing group is the group (missing).

    inputs   an array or tensor; a memory map or other Inputs, of which only what is needed is
             read; or a dict of arrays, as of tokens and their mask, whose integers stay integers
    scaling  "image" where inputs are images of 0 to 255 that the network takes as [-1, 1], or a
             Scaling; without one, numbers are fed to the network as they are
    units    the person (or other unit) of each sample: those of one stay in one split; a sample
             without one is a unit of its own
    splits   the positions (or a mask) of train, select and test where they are fixed, those that
             are left out are empty; or the name of each sample's split. Otherwise `split` says how
             to divide.
    contents a digest of each input, uint8 [n, 16], where it is known already
    further  columns that groups nobody named are sought in (M16), by name: a data frame, or arrays

    Raises AuditError where a label is missing, a value is not among the declared names, or the
    arrays do not fit together.

    >>> data = from_arrays(np.eye(40), ["no", "yes"] * 20, ["a"] * 20 + ["b"] * 20)
    >>> data.group_names, data.classes
    (('a', 'b'), ('no', 'yes'))
    """
    _check_rows(
        inputs=inputs, labels=labels, groups=groups, units=units, further=further, splits=splits
    )
    tensor = _inputs(inputs)
    _check_split(split)
    missing = words(missing, "missing")
    _check_no_measurements(labels)
    own = _attribute(labels, "label", missing)
    if own.missing:
        raise AuditError(f"{own.missing:,} samples have no label; give them one, or drop them")
    found_labels = _coded(own, classes, "label")
    found_groups = _coded(_attribute(groups, "group", missing), group_names, "group")
    if not 0 < len(tensor) == len(found_labels.codes) == len(found_groups.codes):
        raise AuditError(
            f"found {len(tensor)} inputs, {len(found_labels.codes)} labels, "
            f"{len(found_groups.codes)} groups; expected one of each per sample, and at least one"
        )
    label_codes, group_codes = (
        torch.from_numpy(found.codes.astype(np.int64)) for found in (found_labels, found_groups)
    )
    numbers = None if units is None else unit_codes(units, missing)
    if splits is None:
        first = None if numbers is None else firsts(numbers)
        found = split_samples(strata(label_codes, group_codes), split or SplitSettings(), first)
    else:
        found = _given(splits, len(tensor))
    rule = make_scaling(scaling)
    if rule is not None:
        rule.check(tensor[torch.linspace(0, len(tensor) - 1, LOOKED_AT).round().long().unique()])
    return noted(
        GroupedData(
            name=name,
            inputs=tensor,
            labels=label_codes,
            groups=group_codes,
            classes=found_labels.names,
            group_names=found_groups.names,
            attribute=attribute,
            samples=_ids(samples, len(tensor)),
            splits=found,
            notes=(*notes, *_unscaled(tensor, rule)),
            contents=contents,
            scaling=rule,
            units=None if numbers is None else torch.from_numpy(numbers),
            further=_columns(further),
            drawn=splits is None,
        )
    )


def _check_split(split: Any) -> None:
    """Raise AuditError where what should say how to divide the samples divides them itself."""
    if split is not None and not isinstance(split, SplitSettings):
        raise AuditError(
            f"found split of type {type(split).__name__}; expected SplitSettings, which say how to "
            "draw one: those that are fixed are given by splits="
        )


def _check_no_measurements(labels: Any) -> None:
    """Raise AuditError where labels are measured and not classes: broken numbers of many values."""
    try:
        found = np.asarray(labels)
        broken = found.dtype.kind == "f" and bool((found[np.isfinite(found)] % 1 != 0).any())
    except (TypeError, ValueError, RuntimeError):
        return
    values = len(np.unique(found)) if broken else 0
    if values > MOST_BROKEN:
        raise AuditError(
            f"found labels of {values:,} different numbers with decimals, as a regression has; "
            "expected classes: divide them into bands, such as numpy.digitize(labels, edges)"
        )


def _given(splits: Any, number: int) -> dict[str, Tensor]:
    """Splits that are fixed, by their positions or masks, or as a column of their names."""
    if not isinstance(splits, Mapping):
        names = pd.Series(np.asarray(splits))
        if len(names) != number:
            raise AuditError(f"found splits of {len(names)} samples; there are {number}")
        return given_splits(names)
    empty = {part: torch.empty(0, dtype=torch.int64) for part in SPLITS}
    return empty | {part: _positions(rows, number) for part, rows in splits.items()}


def _inputs(values: Any) -> Tensor | Inputs:
    if isinstance(values, Inputs):
        return values
    if isinstance(values, Mapping):
        return DictInputs(values)
    if isinstance(values, np.memmap):
        return MappedInputs(values)
    tensor = as_tensor(values)
    if tensor.dtype in (torch.int16, torch.int32, torch.int64):
        # They may be codes that a network looks up: it is asked what it takes.
        return tensor.long()
    return tensor if tensor.dtype == torch.uint8 else tensor.float()


def _check_rows(**columns: Any) -> None:
    """Raise AuditError where pandas' own indexes say that rows are not of the same samples.

    One that counts from 0 may be a new one, and says so only of the very same labels.
    """
    indexes = {what: one.index for what, one in columns.items() if hasattr(one, "iloc")}
    for (what, one), (other_what, other) in combinations(indexes.items(), 2):
        if len(one) != len(other) or one.equals(other):
            continue
        plain = any(index.equals(pd.RangeIndex(len(index))) for index in (one, other))
        if not plain or len(one.difference(other, sort=False)) == 0:
            raise AuditError(
                f"the index of the {what} is not that of the {other_what}: rows stand in another "
                "order or are of other samples; expected one index for all, or arrays without "
                "(.to_numpy()) where the order is the same"
            )


def _unscaled(inputs: Tensor | Inputs, scaling: Scaling | None) -> tuple[str, ...]:
    """A note where inputs are of the form of images and nobody said how they are scaled."""
    if scaling is not None or len(inputs.shape) != 4:
        return ()
    if inputs[torch.zeros(1, dtype=torch.int64)].dtype != torch.uint8:
        return ()
    return (
        "The inputs look like images (whole numbers of one byte, four dimensions) and were not "
        "declared so: the network is fed their 0 to 255 as they are; scaling='image' makes them "
        "[-1, 1].",
    )


def _columns(further: Any) -> pd.DataFrame | None:
    if further is None:
        return None
    try:
        return pd.DataFrame(further).reset_index(drop=True).rename(columns=str)
    except (TypeError, ValueError) as error:
        raise AuditError(f"found further columns that are no table: {error}") from error


def _ids(samples: Sequence[str] | pd.Series | None, number: int) -> np.ndarray:
    if samples is None:
        return np.array([f"{row:06d}" for row in range(number)])
    found = as_texts(samples)
    missing = int((found == MISSING).sum())
    if missing:
        raise AuditError(f"{missing:,} samples have no id; expected one of its own for each")
    return found.astype(str)


def _positions(rows: Any, number: int) -> Tensor:
    found = np.asarray(rows)
    if found.dtype == bool and len(found) != number:
        raise AuditError(f"found a mask of {len(found)} samples as a split; there are {number}")
    if found.dtype.kind == "f" and (found % 1 != 0).any():
        raise AuditError("found split positions that are no whole numbers; expected 0, 1, 2 …")
    return torch.from_numpy(
        (np.flatnonzero(found) if found.dtype == bool else found).astype(np.int64)
    )


def _attribute(values: Any, what: str, missing: Sequence[str]) -> Attribute:
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping | Set):
        raise AuditError(
            f"found {values!r:.40} as {what}s; expected one per sample, in the order of the inputs"
        )
    shape = getattr(values, "shape", None)
    if shape is not None and len(shape) != 1:
        raise AuditError(f"found {what}s of shape {tuple(shape)}; expected one per sample")
    return from_column(values, missing)


def _coded(found: Attribute, names: Sequence[str] | None, what: str) -> Attribute:
    """The values by their declared names; whole numbers that are no names are positions there."""
    if names is None:
        return found
    wanted = tuple(str(name) for name in words(names, f"names of the {what}s"))
    known = [name for name in found.names if name != MISSING]
    positions = {str(place): name for place, name in enumerate(wanted)}
    positions |= {"False": wanted[0], "True": wanted[-1]} if len(wanted) == 2 else {}
    if any(name not in wanted for name in known) and all(name in positions for name in known):
        found = Attribute(tuple(positions.get(name, name) for name in found.names), found.codes)
    return declared(found, wanted, what)
