"""Rates: shares of the prunable weights that are asked to go."""

from __future__ import annotations

from numbers import Real

from audit.errors import AuditError
from audit.names import shown


def check_rate(rate: float) -> None:
    """Raise AuditError unless the rate is a share of weights that may be removed.

    >>> check_rate(0.95)
    """
    if not isinstance(rate, Real):
        raise AuditError(f"found rate {shown(rate)}; expected a share of weights, 0 ≤ rate < 1")
    if not 0.0 <= rate < 1.0:
        raise AuditError(f"found rate {rate:g}; expected a share of weights, 0 ≤ rate < 1")
