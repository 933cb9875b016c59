"""A user's own arrays as audited data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.data.attributes import strata
from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings, split_samples
from audit.errors import AuditError


def from_arrays(
    inputs: Any,
    labels: Sequence[Any] | np.ndarray | Tensor,
    groups: Sequence[Any] | np.ndarray | Tensor,
    *,
    name: str = "data",
    attribute: str = "group",
    classes: Sequence[str] | None = None,
    group_names: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    split: SplitSettings | None = None,
    splits: Mapping[str, Any] | None = None,
) -> GroupedData:
    """Data from arrays: inputs [n, ...], and labels and groups [n] as numbers or text.

    Names are the sorted values, unless `classes` or `group_names` declare them, which may name
    more than occur. `splits` gives the positions (or a mask) of train, select and test where they
    are fixed; otherwise `split` says how to divide. Raises AuditError where a value is missing or
    not among the declared names, or where the arrays do not fit together.

    >>> data = from_arrays(np.eye(40), ["no", "yes"] * 20, ["a"] * 20 + ["b"] * 20)
    >>> data.group_names, data.classes
    (('a', 'b'), ('no', 'yes'))
    """
    tensor = _inputs(inputs)
    label_codes, class_names = _codes(labels, classes, "label")
    group_codes, names = _codes(groups, group_names, "group")
    ids = (
        [f"{row:06d}" for row in range(len(tensor))]
        if samples is None
        else [str(i) for i in samples]
    )
    if not 0 < len(tensor) == len(label_codes) == len(group_codes):
        raise AuditError(
            f"found {len(tensor)} inputs, {len(label_codes)} labels, {len(group_codes)} groups; "
            "expected one of each per sample, and at least one"
        )
    if splits is None:
        found = split_samples(strata(label_codes, group_codes), split or SplitSettings())
    else:
        found = {key: _positions(rows) for key, rows in splits.items()}
    return GroupedData(
        name, tensor, label_codes, group_codes, class_names, names, attribute, np.array(ids), found
    )


def _inputs(values: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AuditError(f"found inputs that are not an array of numbers: {error}") from error
    return tensor if tensor.dtype == torch.uint8 else tensor.float()


def _positions(rows: Any) -> Tensor:
    found = np.asarray(rows)
    return torch.from_numpy(
        (np.flatnonzero(found) if found.dtype == bool else found).astype(np.int64)
    )


def _codes(
    values: Sequence[Any] | np.ndarray | Tensor, names: Sequence[str] | None, what: str
) -> tuple[Tensor, tuple[str, ...]]:
    """Positions of the values among their names, and the names."""
    found = np.asarray(values)
    if found.ndim != 1:
        raise AuditError(f"found {what}s of shape {found.shape}; expected one per sample")
    missing = int(pd.isna(found).sum())
    if missing:
        raise AuditError(f"{missing:,} samples have no {what}; name a value for it, or drop them")
    declared = [str(name) for name in (np.unique(found) if names is None else names)]
    if names is not None and np.issubdtype(found.dtype, np.integer):
        return torch.from_numpy(found.astype(np.int64)), tuple(declared)
    position = {name: code for code, name in enumerate(declared)}
    unknown = {str(value) for value in found} - set(position)
    if unknown:
        raise AuditError(f"found {what} '{min(unknown)}'; expected one of {', '.join(declared)}")
    codes = [position[str(value)] for value in found]
    return torch.tensor(codes, dtype=torch.int64), tuple(declared)
