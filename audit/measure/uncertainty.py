"""Intervals, noise floors and p-values: how far a number can be trusted.

A mean over samples has a studentised bootstrap interval, because the percentile bootstrap is too
short for small groups and skewed losses. A share has Wilson's interval, a drop in accuracy that of
Bonett and Price, since neither collapses where a small group has no event. The largest of several
numbers has an interval of its own: the bootstrap of a maximum is biased upwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, ttest_ind_from_stats

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
CELLS_AT_ONCE = 2**20
EXACT_UP_TO = 2000
DRAWS = 4000


@dataclass(frozen=True)
class Interval:
    """A 95 % interval; NaN bounds where nothing can be said, as for a group of one sample."""

    low: float
    high: float


UNKNOWN = Interval(float("nan"), float("nan"))


# --- means over samples -------------------------------------------------------------------------


def resample_means(values: Array, resamples: int, generator: np.random.Generator) -> Array:
    """Means [B, M] of B bootstrap resamples of the rows of values [n, M].

    All columns share the resample: that is what pairs two models, and a gap with its parts. Up to
    2,000 rows a resample counts rows drawn with replacement; beyond, each row's count is Poisson
    with mean 1 (Chamandy et al. 2012), whose resample has n rows on average and is divided by the
    rows it has, and which takes a fifth of the time.
    """
    count = len(values)
    draw = _multinomial_counts if count <= EXACT_UP_TO else _poisson_counts
    at_once = max(1, CELLS_AT_ONCE // count)
    summed = np.hstack([values, np.ones((count, 1))])
    blocks = []
    for start in range(0, resamples, at_once):
        counts = draw(min(at_once, resamples - start), count, generator)
        sums = (counts @ summed.astype(counts.dtype, copy=False)).astype(np.float64)
        blocks.append(sums[:, :-1] / sums[:, -1:])
    return np.concatenate(blocks)


def _multinomial_counts(size: int, count: int, generator: np.random.Generator) -> Array:
    rows = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
    counts = np.bincount(rows.ravel(), minlength=size * count).reshape(size, count)
    return counts.astype(np.float64)


def _poisson_counts(size: int, count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """By a table of the Poisson distribution in 65,536 steps, one for each two random bytes."""
    words = np.frombuffer(generator.bytes(2 * size * count), dtype=np.uint16)
    return POISSON.take(words, mode="clip").reshape(size, count)


def _poisson_table() -> NDArray[np.float32]:
    weights = np.cumprod(np.concatenate([[1.0], 1.0 / np.arange(1, 9)])) * np.exp(-1.0)
    steps = np.round(np.cumsum(weights) * 65536).astype(int)
    return np.searchsorted(steps, np.arange(65536), side="right").astype(np.float32)


POISSON = _poisson_table()


def mean_intervals(values: Array, resamples: int, generator: np.random.Generator) -> list[Interval]:
    """The studentised bootstrap interval of each column's mean, of values [n, M].

    mean − t*·s/√n for the 97.5 % and 2.5 % points t* of (mean* − mean)·√n/s* over resamples
    (Efron and Tibshirani 1993, ch. 12). All columns share the resamples. Unknown for fewer than
    two samples, and for a column with values that are not finite.
    """
    count = len(values)
    if count < 2:
        return [UNKNOWN] * values.shape[1]
    mean, deviation = values.mean(0), values.std(0, ddof=1)
    scaled = (values - mean) / np.where(deviation > 0, deviation, 1.0)
    draws = resample_means(np.hstack([scaled, scaled**2]), resamples, generator)
    first, second = np.split(draws, 2, axis=1)
    spread = np.sqrt(np.maximum(second - first**2, 0.0) * count / (count - 1))
    # A resample of one value over and over says nothing of the spread.
    ratios = np.where(spread > 1e-6, first / np.maximum(spread, 1e-6), 0.0)
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(ratios, [100 * (1 - TAIL), 100 * TAIL], axis=0)
        bounds = mean - np.stack([low, high]) * deviation
    return [Interval(float(a), float(b)) for a, b in bounds.T]


def group_intervals(
    values: Array, groups: Codes, number: int, resamples: int, seed: int
) -> list[list[Interval]]:
    """`mean_intervals` of every group of values [n, M]: one list of M intervals a group.

    Groups are resampled in threads, each from its own stream of the seed.
    """
    streams = np.random.default_rng(seed).spawn(number)

    def intervals(group: int) -> list[Interval]:
        return mean_intervals(values[groups == group], resamples, streams[group])

    with ThreadPoolExecutor() as pool:
        return list(pool.map(intervals, range(number)))


def mean_interval(samples: Array, resamples: int, seed: int) -> Interval:
    """The studentised bootstrap interval of the mean of samples [n]; unknown for fewer than two."""
    (found,) = mean_intervals(samples[:, None], resamples, np.random.default_rng(seed))
    return found


# --- shares and drops ---------------------------------------------------------------------------


def wilson_interval(successes: int, n: int) -> Interval:
    """Wilson's interval of a share: unlike the bootstrap it does not collapse at 0 or 100 %."""
    if n < 1:
        return UNKNOWN
    found = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def drop_interval(drops: Array) -> Interval:
    """The interval of a mean drop in accuracy, of drops [n] in {−1, 0, 1} (M3).

    Bonett and Price (2012): one event of each kind is added to those that were seen, so that a
    small group without any does not look certain.
    """
    if len(drops) < 1:
        return UNKNOWN
    count = len(drops) + 2
    lost, gained = (np.sum(drops == sign) + 1.0 for sign in (1, -1))
    value = (lost - gained) / count
    error = np.sqrt((lost + gained - (lost - gained) ** 2 / count) / count**2)
    reach = norm.ppf(1 - TAIL) * error
    return Interval(float(max(-1.0, value - reach)), float(min(1.0, value + reach)))


# --- combinations, the largest of several, and the range ----------------------------------------


def gap_contrasts(counts: Array) -> Array:
    """[G, G]: what makes ψ_a = Δ_a − Σ π_b Δ_b of the drops Δ, from group sizes [G] (M3)."""
    return np.asarray(np.eye(len(counts)) - counts / counts.sum())


def pair_contrasts(number: int) -> Array:
    """[G(G − 1), G]: the differences of all ordered pairs of G numbers."""
    first, second = np.nonzero(~np.eye(number, dtype=bool))
    found = np.zeros((len(first), number))
    found[np.arange(len(first)), first] = 1.0
    found[np.arange(len(first)), second] = -1.0
    return found


def combined_interval(contrast: Array, estimates: Array, intervals: Sequence[Interval]) -> Interval:
    """The interval of Σ c_a x_a for independent estimates [G] with intervals of their own.

    Each bound takes the side of each part that it depends on (MOVER: Zou and Donner 2008), so that
    skewed intervals stay skewed. Unknown where a part is.
    """
    low, high = _reaches(contrast[None], estimates, intervals)
    value = float(contrast @ estimates)
    return Interval(value - float(low[0]), value + float(high[0]))


def maximum_interval(
    contrasts: Array,
    estimates: Array,
    intervals: Sequence[Interval],
    shared_tail: float = 2 * TAIL,
    seed: int = 0,
) -> Interval:
    """The interval of the largest of K combinations [K, G] of G independent numbers.

    Upper bound: the largest of the single upper bounds, which the largest number alone can break.
    Lower bound: the largest of simultaneous lower bounds over the combinations that may be the
    largest (moment selection: Chernozhukov, Lee and Rosen 2013). Where several may be, the upper
    bound is hardly ever broken, and the lower one is given `shared_tail`, the whole 5 %.
    Unknown where a part is.
    """
    low, high = _reaches(contrasts, estimates, intervals)
    values = contrasts @ estimates
    if not np.isfinite(low + high).all():
        return UNKNOWN
    near = values + 2 * high >= (values - low).max()
    tail = TAIL if near.sum() == 1 else shared_tail
    errors = np.array([interval.high - interval.low for interval in intervals])
    factor = _simultaneous(contrasts[near] * errors, tail, seed) / norm.ppf(1 - TAIL)
    return Interval(float((values - factor * low)[near].max()), float((values + high).max()))


def range_interval(estimates: Array, intervals: Sequence[Interval], seed: int = 0) -> Interval:
    """The interval of max − min of G independent numbers: the largest of all their differences.

    Never below zero. The lower bound keeps 2.5 % for its misses: it stands on as many differences
    as there are pairs, far in their tails. Unknown for fewer than two numbers, or where one is.
    """
    if len(estimates) < 2:
        return UNKNOWN
    pairs = pair_contrasts(len(estimates))
    found = maximum_interval(pairs, estimates, intervals, TAIL, seed)
    return Interval(float(np.maximum(0.0, found.low)), found.high)


def _reaches(
    contrasts: Array, estimates: Array, intervals: Sequence[Interval]
) -> tuple[Array, Array]:
    """How far each combination [K] reaches down and up at 95 %."""
    down = np.array([e - i.low for e, i in zip(estimates, intervals, strict=True)])
    up = np.array([i.high - e for e, i in zip(estimates, intervals, strict=True)])
    rising, falling = np.maximum(contrasts, 0.0) ** 2, np.minimum(contrasts, 0.0) ** 2
    with np.errstate(invalid="ignore"):
        low = np.sqrt(rising @ down**2 + falling @ up**2)
        high = np.sqrt(rising @ up**2 + falling @ down**2)
    return low, high


def _simultaneous(roots: Array, tail: float, seed: int) -> float:
    """The point that the largest of K standardised errors exceeds with that probability.

    The errors are roots [K, G] times independent standard normal numbers.
    """
    lengths = np.sqrt((roots**2).sum(1))
    known = lengths > 0
    if not known.any():
        return 0.0
    noise = np.random.default_rng(seed).standard_normal((DRAWS, roots.shape[1]))
    largest = (noise @ (roots[known] / lengths[known, None]).T).max(1)
    return float(np.quantile(largest, 1 - tail))


# --- the noise floor ----------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseFloor:
    """What a gap between groups would be if all groups were equal, at these group sizes.

    median, p95   of the gap over parametric resamples under equal rates
    """

    median: float
    p95: float

    def corrected(self, gap: float) -> float:
        """The gap less the median; below zero where the groups differ less than equal ones do."""
        return gap - self.median


Gap = Callable[[Array], Array]


def spread(values: Array) -> Array:
    """max − min over the last axis."""
    return np.asarray(values.max(-1) - values.min(-1))


def share_floor(successes: Array, counts: Array, seed: int = 0) -> NoiseFloor:
    """The floor of max − min of shares: every group at the pooled share, binomial, [G] each.

    >>> share_floor(np.array([90.0, 45.0]), np.array([100.0, 50.0])).median > 0
    True
    """
    generator = np.random.default_rng(seed)
    pooled = successes.sum() / counts.sum()
    draws = generator.binomial(counts.astype(np.int64), pooled, (DRAWS, len(counts))) / counts
    return _floor(spread(draws))


def mean_floor(deviation: float, counts: Array, seed: int = 0) -> NoiseFloor:
    """The floor of max − min of means: normal errors of one deviation over √n_a."""
    noise = np.random.default_rng(seed).standard_normal((DRAWS, len(counts)))
    return _floor(spread(noise * deviation / np.sqrt(counts)))


def drop_floor(drops: Array, counts: Array, gap: Gap, seed: int = 0) -> NoiseFloor:
    """The floor of a gap of ψ: every group loses and gains right answers at the pooled shares.

    drops [n] in {−1, 0, 1} over all groups, counts [G]; `gap` takes ψ [B, G] to [B].
    """
    generator = np.random.default_rng(seed)
    shares = [np.mean(drops == 1), np.mean(drops == -1), np.mean(drops == 0)]
    events = generator.multinomial(counts.astype(np.int64), shares, (DRAWS, len(counts)))
    change = (events[..., 0] - events[..., 1]) / counts
    overall = change @ (counts / counts.sum())
    return _floor(gap(change - overall[:, None]))


def _floor(gaps: Array) -> NoiseFloor:
    return NoiseFloor(float(np.median(gaps)), float(np.quantile(gaps, 0.95)))


# --- p-values -----------------------------------------------------------------------------------


def rest_p_values(values: Array, groups: Codes, number: int) -> Array:
    """p-values [G] that a group's mean differs from that of all other samples, of values [n].

    Welch's test, two-sided; NaN where a side has fewer than two samples, 1 where nothing varies.
    """
    found = np.full(number, np.nan)
    for group in range(number):
        own, rest = values[groups == group], values[groups != group]
        if min(len(own), len(rest)) < 2:
            continue
        moments = [(s.mean(), s.std(ddof=1), len(s)) for s in (own, rest)]
        if moments[0][1] == moments[1][1] == 0:
            found[group] = 1.0 if moments[0][0] == moments[1][0] else 0.0
        else:
            found[group] = ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False).pvalue
    return found


def holm(p_values: Array) -> Array:
    """Holm's adjustment over the p-values [G] that are known; NaN stays NaN.

    >>> holm(np.array([0.01, np.nan, 0.04, 0.03])).round(3).tolist()
    [0.03, nan, 0.06, 0.06]
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known])]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted
