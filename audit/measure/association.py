"""Which cause goes with the harm: rank correlation and explained shares over groups (M10, M12)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from audit.errors import AuditError
from audit.measure.distributions import normal_quantile

Array = NDArray[np.float64]
EXACT_UP_TO = 8
SURELY_ONE = 1 - 1e-12
"""Beyond this a correlation of ranks is 1, but for rounding."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ with its 95 % interval and two-sided p-value; NaN where they are unknown."""

    rho: float
    low: float
    high: float
    p_value: float
    n: int


def rank_correlation(one: Array, other: Array) -> RankCorrelation:
    """Spearman's rank correlation of two vectors [n] (M10, M12).

    The interval is Fisher's with the standard error of Bonett and Wright (2000),
    √((1 + ρ²/2)/(n − 3)); unknown for fewer than four points, and where all ranks agree, which
    says nothing of how far from it other samples would lie. For up to eight the p-value is exact,
    over all permutations. Pairs with a NaN are left out. Raises AuditError where lengths differ.
    """
    if one.shape != other.shape:
        raise AuditError(f"found vectors of {len(one)} and {len(other)} numbers to correlate")
    known = np.isfinite(one) & np.isfinite(other)
    one, other, n = one[known], other[known], int(known.sum())
    nan = float("nan")
    if n < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return RankCorrelation(nan, nan, nan, nan, n)
    from scipy.stats import rankdata, spearmanr  # takes as long to import as pandas

    if n <= EXACT_UP_TO:
        return _of_ranks(tuple(rankdata(one).tolist()), tuple(rankdata(other).tolist()))
    rho, p_value = (float(value) for value in spearmanr(one, other))
    return _with_interval(rho, p_value, n)


@lru_cache(10_000)
def _of_ranks(one: tuple[float, ...], other: tuple[float, ...]) -> RankCorrelation:
    """The correlation of ranks so few that many networks have the same."""
    ranks = np.array([one, other])
    rho = float(np.corrcoef(ranks.T, rowvar=False)[1, 0])
    return _with_interval(rho, _exact_p_value(*ranks), len(one))


def _with_interval(rho: float, p_value: float, n: int) -> RankCorrelation:
    if n < 4 or abs(rho) > SURELY_ONE:
        return RankCorrelation(rho, float("nan"), float("nan"), p_value, n)
    reach = normal_quantile(0.975) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-reach, reach]))
    return RankCorrelation(rho, float(low), float(high), p_value, n)


def _exact_p_value(one: Array, other: Array) -> float:
    """The share of all pairings of two rank vectors whose |ρ| is at least that observed."""
    centred = one - one.mean()
    sums = other[_pairings(len(other))] @ centred
    return float(np.mean(np.abs(sums) >= abs(other @ centred) - 1e-9))


@lru_cache
def _pairings(n: int) -> NDArray[np.intp]:
    return np.array(list(itertools.permutations(range(n))), dtype=np.intp)


def explained_shares(terms: Mapping[str, Array], total: Array) -> dict[str, float]:
    """How much of the differences of `total` [G] between groups each term [G] makes.

    Cov(term, total)/Var(total): the shares of terms that add up to the total add up to 1. A share
    below zero works against the differences. NaN where nothing differs.

    >>> terms = {"a": np.array([0.0, 3.0]), "b": np.array([0.0, 1.0])}
    >>> explained_shares(terms, np.array([0.0, 4.0]))
    {'a': 0.75, 'b': 0.25}
    """
    centred = total - total.mean()
    spread = float(centred @ centred)
    return {
        name: float((term - term.mean()) @ centred / spread) if spread > 0 else float("nan")
        for name, term in terms.items()
    }
