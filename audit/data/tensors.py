"""Numbers in any container as a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.errors import AuditError


def as_tensor(values: Any, what: str = "inputs") -> Tensor:
    """Real numbers in the type they have, on the CPU and cut off from any graph.

    What is masked or missing in them is NaN. Raises AuditError where they are no numbers.

    >>> as_tensor(np.array([1, 2], dtype=">i2")).tolist()
    [1, 2]
    """
    if isinstance(values, Tensor) and values.is_meta:
        raise AuditError(f"found {what} on the device 'meta', which holds no numbers")
    try:
        tensor = (
            values.detach().cpu() if isinstance(values, Tensor) else torch.as_tensor(_array(values))
        )
        tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    except (TypeError, ValueError, RuntimeError) as error:
        raise AuditError(f"found {what} that are not an array of numbers: {error}") from error
    if tensor.is_complex():
        raise AuditError(f"found {what} that are complex numbers; expected real ones")
    return tensor


def _array(values: Any) -> np.ndarray:
    """Any container of numbers as an array that torch takes; what is masked or missing is NaN."""
    if isinstance(values, pd.DataFrame | pd.Series):
        _check_no_times(values)
        found = values.to_numpy()
        # Columns of several types, and those that can lack a value, have no type in common.
        found = values.to_numpy(float, na_value=np.nan) if found.dtype == object else found
    elif isinstance(values, list | tuple) and len(values) and isinstance(values[0], Tensor):
        found = torch.stack(list(values)).numpy(force=True)
    elif hasattr(values, "toarray"):  # a sparse matrix of scipy
        found = values.toarray()
    else:
        found = np.asarray(values)
    if isinstance(values, np.ma.MaskedArray):
        found = np.ma.filled(values.astype(float), np.nan)
    if found.dtype == object:
        found = np.array(found.tolist())
    if found.dtype.kind == "f" and found.dtype.itemsize > 8:
        found = found.astype(float)
    # torch has one order of bytes and steps forward alone, and warns of what cannot be written on.
    return np.require(found, found.dtype.newbyteorder("="), ["C", "W"])


def _check_no_times(values: pd.DataFrame | pd.Series) -> None:
    """Raise TypeError where a column holds times, which pandas would count in nanoseconds."""
    for name, column in pd.DataFrame(values).items():
        if column.dtype.kind in "mM":
            raise TypeError(f"the column '{name}' holds times ({column.dtype})")
