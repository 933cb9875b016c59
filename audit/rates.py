"""Rates: shares of the prunable weights that are asked to go."""

from __future__ import annotations

from audit.errors import AuditError


def check_rate(rate: float) -> None:
    """Raise AuditError unless the rate is a share of weights that may be removed.

    >>> check_rate(0.95)
    """
    if not 0.0 <= rate < 1.0:
        raise AuditError(f"found rate {rate:g}; expected a share of weights, 0 ≤ rate < 1")
