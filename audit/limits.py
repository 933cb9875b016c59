"""How much memory a file may ask for: read off before anything is allocated.

A few kilobytes can unpack to more than a machine has. The bound is 4 GiB for one file, and
`audit --largest-gib 16` or AUDIT_LARGEST_GIB=16 raises it.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from audit.errors import AuditError

LARGEST = "AUDIT_LARGEST_GIB"
GIB = 2**30


def largest_bytes() -> int:
    """The bound in bytes; AuditError where the environment names no positive number."""
    text = os.environ.get(LARGEST, "4")
    try:
        gib = float(text)
    except ValueError:
        gib = math.nan
    if not 0 < gib < 2**20:
        raise AuditError(f"found {LARGEST}={text!r}; expected a number of GiB, such as 16")
    return int(gib * GIB)


def check_size(path: Path | str, size: int) -> None:
    """Raise AuditError where what a file holds would take more bytes than the bound.

    >>> check_size("table.parquet", 2**20)
    """
    if size > largest_bytes():
        raise AuditError(
            f"'{path}' would take {size / GIB:,.1f} GiB of memory; expected at most "
            f"{largest_bytes() / GIB:g} GiB: if you trust it, say --largest-gib "
            f"{math.ceil(size / GIB)} or set {LARGEST}={math.ceil(size / GIB)}"
        )
