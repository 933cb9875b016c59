"""Intervals: one paired bootstrap within groups for everything that is a mean over samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Array = NDArray[np.float64]
CONFIDENCE = 0.95
CELLS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Interval:
    """A 95 % interval; NaN bounds where nothing can be said, as for a group of one sample."""

    low: float
    high: float


UNKNOWN = Interval(float("nan"), float("nan"))


def resample_means(values: Array, resamples: int, generator: np.random.Generator) -> Array:
    """Means [B, M] of B bootstrap resamples of the rows of values [n, M].

    All columns share the resample: that is what pairs two models, and a gap with its parts. A
    resample is drawn as rows with replacement and kept as counts of rows, some resamples at a time
    to bound the memory; ten times faster than multinomial draws, of which it is the definition.
    """
    count = len(values)
    at_once = max(1, CELLS_AT_ONCE // count)
    blocks = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        rows = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        counts = np.bincount(rows.ravel(), minlength=size * count).reshape(size, count)
        blocks.append(counts.astype(np.float64) @ values / count)
    return np.concatenate(blocks)


def group_resamples(
    values: Array, groups: NDArray[np.int64], number: int, resamples: int, seed: int
) -> Array:
    """Bootstrap means [B, G, M] of the groups of values [n, M], resampled within each group.

    NaN for a group without samples.
    """
    generator = np.random.default_rng(seed)
    means = np.full((resamples, number, values.shape[1]), np.nan)
    for group in range(number):
        rows = values[groups == group]
        if len(rows):
            means[:, group] = resample_means(rows, resamples, generator)
    return means


def percentile_interval(draws: Array, n: int) -> Interval:
    """The middle 95 % of bootstrap draws [B]; unknown for fewer than two samples."""
    if n < 2 or not np.isfinite(draws).all() or len(draws) == 0:
        return UNKNOWN
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(low), float(high))


def wilson_interval(successes: int, n: int) -> Interval:
    """Wilson's interval of a share: unlike the bootstrap it does not collapse at 0 or 100 %."""
    if n < 1:
        return UNKNOWN
    found = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def mean_interval(samples: Array, resamples: int, seed: int) -> Interval:
    """The bootstrap interval of the mean of samples [n]; unknown where there are none."""
    if len(samples) < 2 or not np.isfinite(samples).all():
        return UNKNOWN
    generator = np.random.default_rng(seed)
    return percentile_interval(
        resample_means(samples[:, None], resamples, generator)[:, 0], len(samples)
    )
