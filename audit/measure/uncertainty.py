"""Intervals, noise floors and p-values: how far a number can be trusted.

A mean over samples has a studentised bootstrap interval, because the percentile bootstrap is too
short for small groups and skewed losses. A share has Wilson's interval, a drop in accuracy that of
Bonett and Price, since neither collapses where a small group has no event. The largest of several
numbers has an interval of its own: the bootstrap of a maximum is biased upwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.measure.distributions import normal_quantile

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
CELLS_AT_ONCE = 2**20
BLOCKS = 1000
RESHUFFLES = 2000
DRAWS = 4000
KEPT_CELLS, DRAWS_KEPT = 2**22, 16
"""How large a set of resamples may be to be kept, and how many sets are: 64 MiB at most."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval; NaN bounds where nothing can be said, as for a group of one sample."""

    low: float
    high: float


UNKNOWN = Interval(float("nan"), float("nan"))


# --- samples of one unit --------------------------------------------------------------------------


def design_effects(values: Array, codes: Codes, groups: int, units: Codes | None) -> Array:
    """How much larger the variance of each group's mean is than that of independent samples: [G].

    values [n]; units int [n], who a sample is of: several of one person are not independent (Rao
    and Scott 1992). Never below 1, and 1 without units. Where nothing varies, or one unit is all
    there is, as if all samples of a unit were alike.

    >>> design_effects(np.array([1.0, 1.0, 0.0, 0.0]), np.zeros(4, int), 1, np.array([0, 0, 1, 1]))
    array([4.])
    """
    found = np.ones(groups)
    for group in np.unique(codes) if units is not None else ():
        own = codes == group
        unit = _numbered(np.asarray(units)[own])
        number, count = int(unit.max()) + 1, int(own.sum())
        centred = values[own] - values[own].mean()
        spread = float((centred**2).sum())
        if number == 1 or spread == 0:
            found[group] = count / number
            continue
        between = float((np.bincount(unit, weights=centred) ** 2).sum())
        found[group] = max(1.0, between / spread * number / (number - 1))
    return found


def unit_rows(values: Array, units: Codes | None) -> Array:
    """Values [n, M] as one row a unit [U, M], of the same mean, whose spread is that of the units.

    mean + (U/n)·Σ (value − mean) over the unit's samples: the mean of units of unequal sizes, to
    first order. Without units the values themselves.

    >>> unit_rows(np.array([[1.0], [1.0], [4.0]]), np.array([7, 7, 9])).ravel().round(3).tolist()
    [0.667, 3.333]
    """
    if units is None or not values.size:
        return values
    unit = _numbered(units)
    number, mean = int(unit.max()) + 1, values.mean(0)
    sums = np.stack([np.bincount(unit, column, number) for column in (values - mean).T], 1)
    return np.asarray(mean + sums * (number / len(values)))


def _numbered(units: Codes) -> Codes:
    return np.asarray(np.unique(units, return_inverse=True)[1], dtype=np.int64)


# --- means over samples -------------------------------------------------------------------------


def resample_means(values: Array, resamples: int, generator: np.random.Generator) -> Array:
    """Means [B, M] of B bootstrap resamples of the rows of values [n, M].

    All columns share the resample: that is what pairs two models, and a gap with its parts. More
    than 1,000 rows are summed in 1,000 random blocks first, and the blocks are resampled: sums of
    independent samples, whose mean has the spread and the skewness that the samples' own mean has.
    The spread is then known from 1,000 values: to 1/√2,000, 2.2 %.
    """
    mean = values.mean(0)
    rows = _block_means(values - mean, BLOCKS, generator)
    size = np.float64(len(rows))
    parts = _resamples(len(rows), resamples, generator)
    return np.concatenate([mean + (part / size) @ rows for part in parts])


def _resamples(
    count: int, resamples: int, generator: np.random.Generator
) -> Iterable[NDArray[np.integer]]:
    """How often each of so many rows was drawn, a row a resample, some resamples at a time.

    Networks on the same samples start from equal generators: what was drawn for one is kept for the
    next, and the generator is left as it would have been.
    """
    if count * resamples > KEPT_CELLS:
        return _drawn(count, resamples, generator)
    parts, generator.bit_generator.state = _draws(
        json.dumps(generator.bit_generator.state), count, resamples
    )
    return parts


@lru_cache(DRAWS_KEPT)
def _draws(
    state: str, count: int, resamples: int
) -> tuple[list[NDArray[np.uint8]], Mapping[str, Any]]:
    """What a generator in this state draws, and the state that it is left in."""
    generator = np.random.default_rng()
    generator.bit_generator.state = json.loads(state)
    # No row of so few is drawn 256 times.
    parts = [part.astype(np.uint8) for part in _drawn(count, resamples, generator)]
    return parts, generator.bit_generator.state


def _drawn(
    count: int, resamples: int, generator: np.random.Generator
) -> Iterator[NDArray[np.integer]]:
    at_once = max(1, CELLS_AT_ONCE // count)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)


def _block_means(centred: Array, most: int, generator: np.random.Generator) -> Array:
    """Values [n, …] about zero as at most that many rows, whose mean is the same."""
    count = len(centred)
    if count <= most:
        return centred
    edges = np.arange(most) * count // most
    shuffled = centred[generator.permutation(count)]
    return np.asarray(np.add.reduceat(shuffled, edges) * (most / count))


def mean_intervals(values: Array, resamples: int, generator: np.random.Generator) -> list[Interval]:
    """The studentised bootstrap interval of each column's mean, of values [n, M].

    mean − t*·s/√n for the 97.5 % and 2.5 % points t* of (mean* − mean)·√n/s* over resamples
    (Efron and Tibshirani 1993, ch. 12). All columns share the resamples. Covers 94 to 96 % from 30
    samples on where losses are skewed, but no interval knows of large losses that a group is too
    small to show: where 5 % of the changes are large, it covers 70 % at 30 samples and 91 % at 300
    (benchmarks/coverage.py). Unknown for fewer than two samples, and for a column with values that
    are not finite.
    """
    count = len(values)
    if count < 2:
        return [UNKNOWN] * values.shape[1]
    mean, deviation = values.mean(0), values.std(0, ddof=1)
    # The blocks give the shape of t*; s stays that of the samples, so that it loses nothing.
    rows = _block_means(values - mean, BLOCKS, generator)
    own = rows.std(0, ddof=1)
    scaled = rows / np.where(own > 0, own, 1.0)
    draws = resample_means(np.hstack([scaled, scaled**2]), resamples, generator)
    first, second = np.split(draws, 2, axis=1)
    spread = np.sqrt(np.maximum(second - first**2, 0.0) * len(rows) / (len(rows) - 1))
    # A resample of one value over and over says nothing of the spread.
    ratios = np.where(spread > 1e-6, first / np.maximum(spread, 1e-6), 0.0)
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(ratios, [100 * (1 - TAIL), 100 * TAIL], axis=0)
        bounds = mean - np.stack([low, high]) * deviation * np.sqrt(len(rows) / count)
    return [Interval(float(a), float(b)) for a, b in bounds.T]


def group_intervals(
    values: Array,
    groups: Codes,
    number: int,
    resamples: int,
    seed: int,
    units: Codes | None = None,
) -> list[list[Interval]]:
    """`mean_intervals` of every group of values [n, M]: one list of M intervals a group.

    Groups are resampled in threads, each from its own stream of the seed; with units [n], units are
    resampled in place of samples.
    """
    streams = np.random.default_rng(seed).spawn(number)

    def intervals(group: int) -> list[Interval]:
        own = groups == group
        rows = unit_rows(values[own], None if units is None else units[own])
        return mean_intervals(rows, resamples, streams[group])

    with ThreadPoolExecutor() as pool:
        return list(pool.map(intervals, range(number)))


def mean_interval(
    samples: Array, resamples: int, seed: int, units: Codes | None = None
) -> Interval:
    """The studentised bootstrap interval of the mean of samples [n]; unknown for fewer than two."""
    rows = unit_rows(samples[:, None], units)
    (found,) = mean_intervals(rows, resamples, np.random.default_rng(seed))
    return found


# --- shares and drops ---------------------------------------------------------------------------


def wilson_interval(
    successes: float, n: float, effect: float = 1.0, level: float = CONFIDENCE
) -> Interval:
    """Wilson's interval of a share: unlike the bootstrap it does not collapse at 0 or 100 %.

    effect   the design effect (`design_effects`) that n is divided by: n/effect samples count

    >>> found = wilson_interval(0, 30)
    >>> round(found.low, 3), round(found.high, 3)
    (0.0, 0.114)
    """
    if n < 1:
        return UNKNOWN
    share, size, z = successes / n, n / effect, normal_quantile((1 + level) / 2)
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    reach = np.sqrt(share * (1 - share) / size + z**2 / (4 * size**2)) * z / (1 + z**2 / size)
    # Exactly at an end where nothing else was seen, whatever the rounding.
    low, high = 0.0 if share == 0 else centre - reach, 1.0 if share == 1 else centre + reach
    return Interval(float(max(0.0, low)), float(min(1.0, high)))


def drop_interval(drops: Array, effect: float = 1.0) -> Interval:
    """The interval of a mean drop in accuracy, of drops [n] in {−1, 0, 1} (M3).

    Bonett and Price (2012): one event of each kind is added to those that were seen, so that a
    small group without any does not look certain. Cautious where fewer than about five events are
    expected: it then covers 98 to 100 %. Samples and events are divided by the design effect.
    """
    if len(drops) < 1:
        return UNKNOWN
    count = len(drops) / effect + 2
    lost, gained = (np.sum(drops == sign) / effect + 1.0 for sign in (1, -1))
    value = (lost - gained) / count
    error = np.sqrt((lost + gained - (lost - gained) ** 2 / count) / count**2)
    reach = normal_quantile(1 - TAIL) * error
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
    return _largest([(contrasts, estimates, intervals)], shared_tail, seed)


def range_interval(estimates: Array, intervals: Sequence[Interval], seed: int = 0) -> Interval:
    """The interval of max − min of G independent numbers: the largest of all their differences.

    Never below zero. The lower bound keeps 2.5 % for its misses: it stands on as many differences
    as there are pairs, far in their tails. No better than the intervals that it is given: means of
    groups too small to show their seldom large losses make it start above the truth in up to 41 %
    of audits (benchmarks/coverage.py). Unknown for fewer than two numbers, or where one is.
    """
    return largest_range_interval([(estimates, intervals)], seed)


def largest_range_interval(
    families: Sequence[tuple[Array, Sequence[Interval]]], seed: int = 0
) -> Interval:
    """The interval of the largest max − min of several families of independent numbers.

    families  estimates and intervals of each, as for `range_interval`: the rate of every group,
              say, one family a class. Errors of different families count as independent, which
              makes the lower bound cautious where they are not. Families of fewer than two numbers
              have no range and are passed over; unknown if none is left.
    """
    blocks = [(pair_contrasts(len(own[0])), *own) for own in families if len(own[0]) > 1]
    if not blocks:
        return UNKNOWN
    found = _largest(blocks, TAIL, seed)
    return Interval(float(np.maximum(0.0, found.low)), found.high)


Block = tuple[Array, Array, Sequence[Interval]]


def _largest(blocks: Sequence[Block], shared_tail: float, seed: int) -> Interval:
    """`maximum_interval` over blocks (contrasts, estimates, intervals) of independent numbers."""
    values = np.concatenate([contrasts @ estimates for contrasts, estimates, _ in blocks])
    low, high = np.hstack([_reaches(*block) for block in blocks])
    if not np.isfinite(low + high).all():
        return UNKNOWN
    near = values + 2 * high >= (values - low).max()
    tail = TAIL if near.sum() == 1 else shared_tail
    kept = np.split(near, np.cumsum([len(block[0]) for block in blocks])[:-1])
    roots = [_roots(block, own) for block, own in zip(blocks, kept, strict=True)]
    factor = _simultaneous(roots, tail, seed) / normal_quantile(1 - TAIL)
    return Interval(float((values - factor * low)[near].max()), float((values + high).max()))


def _roots(block: Block, kept: NDArray[np.bool_]) -> Array:
    """What makes the errors of the kept combinations from standard normal numbers: [K, G]."""
    contrasts, _, intervals = block
    return np.asarray(contrasts[kept] * [own.high - own.low for own in intervals])


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


def _simultaneous(roots: Sequence[Array], tail: float, seed: int) -> float:
    """The point that the largest of all standardised errors exceeds with that probability.

    The errors of each block are its roots [K, G] times independent standard normal numbers.
    """
    generator = np.random.default_rng(seed)
    largest = np.full(DRAWS, -np.inf)
    for block in roots:
        lengths = np.sqrt((block**2).sum(1))
        known = lengths > 0
        if known.any():
            noise = generator.standard_normal((DRAWS, block.shape[1]))
            errors = noise @ (block[known] / lengths[known, None]).T
            largest = np.maximum(largest, errors.max(1))
    return float(np.quantile(largest, 1 - tail)) if np.isfinite(largest[0]) else 0.0


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


def mean_floor(within: Array, counts: Array, seed: int = 0) -> NoiseFloor:
    """The floor of max − min of means: every group draws from the same values, of group mean zero.

    within [n]: each value less its group's mean; counts [G]. The mean of more than 1,000 draws is
    taken as normal.
    """
    generator = np.random.default_rng(seed)
    deviation = within.std()
    means = [
        generator.choice(within, (DRAWS, count)).mean(1)
        if count <= BLOCKS
        else generator.standard_normal(DRAWS) * deviation / np.sqrt(count)
        for count in counts.astype(np.int64)
    ]
    return _floor(spread(np.stack(means, -1)))


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


def rest_p_values(
    values: Array, groups: Codes, number: int, seed: int = 0, units: Codes | None = None
) -> Array:
    """p-values [G] that a group's mean differs from that of all other samples, of values [n].

    The share of 2,000 reshuffled groups whose Welch statistic is as large, two-sided (Janssen 1997;
    Chung and Romano 2013), so never below 1/2,001. Exact where group and rest are alike, however
    small the group and heavy the tails, where Welch's own test cries wolf: at 30 samples with a few
    large losses, a third of the time. With units [n] these are reshuffled. NaN where a side has
    fewer than two samples.
    """
    streams = np.random.default_rng(seed).spawn(number)
    found = np.full(number, np.nan)
    for group in range(number):
        sides = (groups == group, groups != group)
        rows = [
            unit_rows(values[side, None], None if units is None else units[side])[:, 0]
            for side in sides
        ]
        few, many = sorted(rows, key=len)
        if len(few) > 1:
            found[group] = _reshuffled_p_value(few, many, streams[group])
    return found


def _reshuffled_p_value(few: Array, many: Array, generator: np.random.Generator) -> float:
    """Of two samples, the smaller first; more than 1,000 are summed in blocks, all of one size."""
    most = min(len(few), BLOCKS)
    middle = (few.sum() + many.sum()) / (len(few) + len(many))
    own = _block_means(few - middle, most, generator)
    rest = _block_means(many - middle, most * len(many) // len(few), generator)
    rows = np.concatenate([own, rest])
    # One shuffle gives as many disjoint groups of that size as it has room for.
    windows = len(rows) // most
    shuffles = -(-RESHUFFLES // windows)
    drawn = [generator.permutation(rows)[: windows * most] for _ in range(shuffles)]
    chosen = np.concatenate(drawn).reshape(-1, most)[:RESHUFFLES]
    sizes = _welch(np.vstack([own, chosen]), rows)
    return float(np.mean(sizes >= sizes[0] * (1 - 1e-9)))


def _welch(chosen: Array, rows: Array) -> Array:
    """|t| of each choice [B, m] among rows [M] against the rows that it leaves: [B]."""
    taken, left = chosen.shape[1], len(rows) - chosen.shape[1]
    first, square = chosen.sum(1), (chosen**2).sum(1)
    others, square_others = rows.sum() - first, (rows**2).sum() - square
    variance = np.maximum(square - first**2 / taken, 0.0) / (taken - 1) / taken
    variance += np.maximum(square_others - others**2 / left, 0.0) / (left - 1) / left
    difference = np.abs(first / taken - others / left)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(difference / np.sqrt(variance), nan=0.0, posinf=np.inf))


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
