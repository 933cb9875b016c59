"""Tails and quantiles of the normal distribution and of Student's t, without all of scipy.stats.

The numbers are those of `scipy.stats`, whose import takes as long as that of pandas.
"""

from __future__ import annotations

from typing import Any

from scipy.special import ndtr, ndtri, stdtr, stdtrit


def normal_quantile(share: float) -> float:
    """The number below which a standard normal variable lies with a probability of `share`."""
    return float(ndtri(share))


def normal_tail(value: Any) -> Any:
    """The probability that a standard normal variable exceeds a value, a number or an array."""
    return ndtr(-value)


def t_quantile(share: Any, freedom: Any) -> Any:
    """The number below which Student's t lies with `share`, above 0 and below 1.

    Older versions of scipy.special have no infinity at the ends.
    """
    return stdtrit(freedom, share)


def t_tail(value: Any, freedom: Any) -> Any:
    """The probability that Student's t of so many degrees of freedom exceeds a value."""
    return stdtr(freedom, -value)
