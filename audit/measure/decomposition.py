"""Who is near the boundary, and who pays for being there: harm by the dense network's margin (M14).

Kitagawa's decomposition (1955), which Oaxaca and Blinder (1973) made for wages, applied to pruning:
a group can pay more than the average because more of its samples lie where pruning hurts anybody's,
or because it pays more than others do at the same margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import AuditError
from audit.measure.uncertainty import BLOCKS, CONFIDENCE, UNKNOWN, Interval, resample_means

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
BINS = 10


@dataclass(frozen=True)
class Decomposition:
    """What each group pays beyond the average, as two parts that add up to it (M14); [G] each.

    gap           ψ_a = Δ_a − Δ, in the unit of the harm; NaN for a group without samples
    composition   what the average sample of each bin pays, over the group's own bins, less Δ: the
                  group has more samples where everybody pays
    within        the rest: at the same margin the group pays more than all samples do
    bins          how many bins the group is compared in, int64; with fewer than two nothing can be
                  told apart, and the intervals are unknown
    composition_intervals, within_intervals   of the two parts
    """

    gap: Array
    composition: Array
    within: Array
    bins: Codes
    composition_intervals: list[Interval]
    within_intervals: list[Interval]


def decompose(
    margin: Array,
    harms: Mapping[str, Array],
    groups: Codes,
    number: int,
    *,
    unit: Codes | None = None,
    bins: int = BINS,
    resamples: int = 2000,
    seed: int = 0,
    level: float = CONFIDENCE,
) -> dict[str, Decomposition]:
    """Kitagawa's decomposition of every harm over bins of the dense network's signed margin (M14).

        ψ_a = Σ_b (p_a(b) − p(b))·h(b)  +  Σ_b p_a(b)·(h_a(b) − h(b))

    with p_a(b), p(b) the shares of group a's and of all samples in bin b, h_a(b), h(b) their mean
    harm there. The bins are quantiles of all margins; where one lacks samples of the group or of
    the others it joins its neighbour, group by group.

    margin   float [n]: of the dense network, z_y − max_{k≠y} z_k, negative where it is wrong
    harms    float [n] each, by name: the drop in accuracy in {−1, 0, 1}, or the excess loss
    groups   int64 [n] in 0..number−1
    unit     int64 [n]: the samples of one unit (a person with several rows) are drawn together

    Intervals at `level` are percentiles of the paired bootstrap within groups: all harms share the
    resamples, and the bins stay as they are. What is finer than a bin, as where a group lies nearer
    the boundary within one, counts as within. Raises AuditError where shapes differ or a number is
    not finite.

    >>> found = decompose(
    ...     np.array([0.1, 2.0, 0.1, 2.0]),
    ...     {"accuracy": np.array([1.0, 0.0, 1.0, 0.0])},
    ...     np.array([0, 1, 1, 1]), 2, bins=2, resamples=50,
    ... )["accuracy"]
    >>> found.gap.round(3).tolist()
    [0.5, -0.167]
    """
    _check(margin, harms, groups, unit)
    # Of ones, and the harms: what is summed over bins.
    columns = np.stack([np.ones(len(margin)), *harms.values()])
    place = _places(margin, bins)
    means = np.zeros((len(columns), number, bins))
    drawn = np.zeros((resamples, *means.shape))
    streams = np.random.default_rng(seed).spawn(number)
    for group in np.unique(groups):
        own = groups == group
        units = _units(int(own.sum()), None if unit is None else unit[own])
        who = _blocks(units, streams[group])
        rows = _sums(columns[:, own], who * bins + place[own], (who.max() + 1) * bins)
        rows = rows.reshape(len(columns), -1, bins).transpose(1, 0, 2)
        means[:, group] = _shares(rows.mean(0))
        draws = resample_means(rows.reshape(len(rows), -1), resamples, streams[group])
        drawn[:, :, group] = _shares(draws.reshape(resamples, len(columns), bins))
        unseen = _unseen(columns, int(units.max()) + 1, resamples, streams[group])
        drawn[:, :, group] += unseen[:, :, None] * means[0, group]
    counts = _sums(np.ones((1, len(groups))), groups * bins + place, number * bins)
    merged = _merged(counts.reshape(number, bins))
    sizes = np.bincount(groups, minlength=number)
    estimates = _parts(means, sizes / sizes.sum(), merged)
    spread = _parts(drawn, sizes / sizes.sum(), merged)
    return {
        name: _decomposition(estimates[:, at], spread[:, :, at], sizes, merged, level)
        for at, name in enumerate(harms)
    }


def _places(margin: Array, bins: int) -> Codes:
    """The bin of each sample; ties may leave a bin empty, which then joins its neighbour."""
    edges = np.quantile(margin, np.arange(1, bins) / bins)
    return np.searchsorted(edges, margin, side="right").astype(np.int64)


def _merged(counts: Array) -> list[Codes]:
    """For every group, the first bins of its runs that hold samples of it and of others [G, B].

    Bins join from the left; what is left over at the end joins the last run.
    """
    found = []
    for own, rest in zip(counts, counts.sum(0) - counts, strict=True):
        starts, has_own, has_rest = [0], False, False
        for place, (mine, others) in enumerate(zip(own, rest, strict=True)):
            if has_own and has_rest and own[place:].any() and rest[place:].any():
                starts.append(place)
                has_own, has_rest = False, False
            has_own, has_rest = has_own or mine > 0, has_rest or others > 0
        found.append(np.array(starts))
    return found


def _units(count: int, unit: Codes | None) -> Codes:
    """The unit of each sample, numbered from 0: itself, where none are declared."""
    return np.arange(count) if unit is None else np.unique(unit, return_inverse=True)[1]


def _blocks(units: Codes, generator: np.random.Generator) -> Codes:
    """What each sample is drawn with: its unit, or of more than 1,000 units a random block."""
    number = int(units.max()) + 1
    if number <= BLOCKS:
        return units
    return np.asarray((generator.permutation(number) * BLOCKS // number)[units])


def _sums(columns: Array, cells: Codes, number: int) -> Array:
    """The sum of every column [C, n] in every cell: [C, number]."""
    return np.stack([np.bincount(cells, column, number) for column in columns])


def _shares(sums: Array) -> Array:
    """Sums [..., C, B] as parts of the mean over samples; the first column counts the samples."""
    return np.asarray(sums / sums[..., :1, :].sum(-1, keepdims=True))


def _unseen(columns: Array, units: int, resamples: int, generator: np.random.Generator) -> Array:
    """What one more unit that loses, and one that gains, add to a group's means: [R, C].

    For harms of −1, 0 and 1, as Bonett and Price (2012) add an event of each kind: a group too
    small to show any would look certain. They lie over the bins as the group does.
    """
    events = generator.poisson(1.0, (2, resamples, 1))
    is_drop = [False, *(np.isin(column, (-1.0, 0.0, 1.0)).all() for column in columns[1:])]
    return np.asarray((events[0] - events[1]) / units * np.array(is_drop))


def _parts(means: Array, weights: Array, merged: Sequence[Codes]) -> Array:
    """Gap and composition [2, ..., H, G] of means [..., 1 + H, G, B] and the groups' sizes [G]."""
    everybody = np.einsum("...gb,g->...b", means, weights)
    gap = means[..., 1:, :, :].sum(-1) - everybody[..., 1:, :].sum(-1)[..., None]
    composition = np.zeros_like(gap)
    for group, starts in enumerate(merged):
        share, harm = np.split(np.add.reduceat(everybody, starts, -1), [1], axis=-2)
        own = np.add.reduceat(means[..., :1, group, :], starts, -1)
        rate = np.divide(harm, share, out=np.zeros_like(harm), where=share > 0)
        composition[..., group] = ((own - share) * rate).sum(-1)
    return np.stack([gap, composition])


def _decomposition(
    estimates: Array, spread: Array, sizes: Codes, merged: Sequence[Codes], level: float
) -> Decomposition:
    """Of estimates [2, G] and their resamples [2, R, G]; NaN for a group without samples."""
    gap, composition = np.where(sizes > 0, estimates, np.nan)
    bins = np.array([len(starts) for starts in merged])
    tail = (1 - level) / 2
    intervals = []
    for draws in (spread[1], spread[0] - spread[1]):
        low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
        intervals.append(
            [
                Interval(float(a), float(b)) if known else UNKNOWN
                for a, b, known in zip(low, high, (bins > 1) & (sizes > 1), strict=True)
            ]
        )
    return Decomposition(gap, composition, gap - composition, bins, *intervals)


def _check(margin: Array, harms: Mapping[str, Array], groups: Codes, unit: Codes | None) -> None:
    columns = {"margins": margin, **harms}
    for name, column in columns.items():
        if column.shape != groups.shape or not len(groups):
            raise AuditError(
                f"found {name} of shape {column.shape} and groups of shape {groups.shape}; "
                "expected one of each per sample"
            )
        if not np.isfinite(column).all():
            raise AuditError(f"found {name} that are not finite (NaN or infinity)")
    if unit is not None and unit.shape != groups.shape:
        raise AuditError(
            f"found units of shape {unit.shape}; expected {groups.shape}, one per sample"
        )
