"""Decisions under uncertainty: who pays, which rates differ, which network is fairer (J1 to J5).

Kernels of plain numpy. Every claim made with them is wrong in at most 5 % of audits without any
true harm, however many groups, rates and networks were looked at (benchmarks/judgement.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.finding import known
from audit.measure.distributions import normal_quantile, normal_tail, t_quantile, t_tail
from audit.measure.uncertainty import design_effects, gap_contrasts, holm

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]
ALPHA = 0.05
EVENTS = 2.0
"""Squares of the events, one of each kind, that are added to those seen (Bonett and Price)."""
OF_TEN = 10
"""Groups of the family whose level widens what few units show."""
FURTHEST = 60.0
"""Standard errors from zero beyond which a p-value is no number that anybody needs."""


@dataclass(frozen=True)
class Claims:
    """Estimates [K] with simultaneous 95 % bounds, and p-values adjusted over their family.

    A bound and its p-value agree: an interval leaves out zero where p_adjusted is below 0.05. NaN
    where an estimate is not of the family, such as that of a group too small to be judged.
    """

    estimate: Array
    low: Array
    high: Array
    p_adjusted: Array

    def of(self, place: int | np.signedinteger[Any], runs: int = 1) -> dict[str, Any]:
        """What a finding holds of one of them: estimate, bounds and their kind, and p-value."""
        return {
            "estimate": known(self.estimate[place]),
            "low": known(self.low[place]),
            "high": known(self.high[place]),
            "interval": "seeds" if runs > 1 else "simultaneous",
            "p_adjusted": known(self.p_adjusted[place]),
        }


# --- sums of one value per sample, group by group -------------------------------------------------


@dataclass(frozen=True)
class Sums:
    """Of a value in [−1, 1] per sample, the mean over S runs: what its mean's error follows from.

    total, square   sums [G] over the group's samples of the value and of its square
    count           effective samples [G]: fewer than there are where units have several
    runs            the mean of every run [S, G]
    size            samples [G]: what a group weighs in the mean over all
    few             [G], by how much few units widen its error; 1 where samples are no one's
    """

    total: Array
    square: Array
    count: Array
    runs: Array
    size: Array
    few: Array | float = 1.0

    @property
    def mean(self) -> Array:
        """The mean over runs and samples [G]; NaN for a group without samples."""
        return np.asarray(self.runs.mean(0))

    @property
    def centre(self) -> Array:
        """The mean with one event of each kind added (Bonett and Price 2012): [G]."""
        return self.total / (self.count + 2)

    @property
    def error(self) -> Array:
        """Its standard error, which does not vanish where nothing was seen to happen: [G]."""
        count = self.count + 2
        return np.asarray(self.few * np.sqrt(self.square + EVENTS - self.total**2 / count) / count)


def sums(values: Array, codes: Codes, groups: int, units: Codes | None = None) -> Sums:
    """The sums of values [S, n] in S runs on the same n samples, group by group.

    units   int [n], who a sample is of: several samples of one person are not independent, and the
            group's sums are divided by their design effect (Rao and Scott 1992), the variance of
            its mean over units against that over samples, at least 1
    """
    mean = values.mean(0)
    count = np.bincount(codes, minlength=groups).astype(float)
    total = np.bincount(codes, weights=mean, minlength=groups).astype(float)
    square = np.bincount(codes, weights=mean**2, minlength=groups).astype(float)
    with np.errstate(invalid="ignore"):
        runs = np.stack([np.bincount(codes, weights=v, minlength=groups) for v in values]) / count
    found = Sums(total, square, count, runs, count)
    effect = design_effects(mean, codes, groups, units)
    few = widening(codes, groups, units)
    return replace(
        found, total=total / effect, square=square / effect, count=count / effect, few=few
    )


def widening(codes: Codes, groups: int, units: Codes | None) -> Array | float:
    """How much wider Student's t for so many units of a group is than the normal one: [G].

    A design effect that two persons show is hardly known. At the level of a family of ten; 1 where
    no unit has several samples.
    """
    if units is None:
        return 1.0
    _, unit = np.unique(np.asarray(units), return_inverse=True)
    whose = np.unique(codes * (int(unit.max()) + 1) + unit) // (int(unit.max()) + 1)
    number, count = (np.bincount(of, minlength=groups) for of in (whose, codes))
    level = 1 - ALPHA / OF_TEN / 2
    wider = t_quantile(level, np.maximum(number - 1, 1)) / normal_quantile(level)
    return np.where(number == count, 1.0, wider)


# --- J1 and J3: who pays --------------------------------------------------------------------------


def gap_claims(found: Sums, judged: Flags) -> Claims:
    """ψ of every group with bounds that hold for all judged groups at once (J1, J3; M3).

    judged   the groups [G] of at least minimum size: the family. Δ is over all samples, those of
             other groups among them.

    One run: Bonett and Price's intervals at level 1 − 0.05/G, combined as Zou and Donner (2008) do.
    Several: Student's t with Satterthwaite's degrees of freedom, over the variance between runs
    and that of the run-mean over the test samples, which all runs share.
    """
    present = np.flatnonzero(found.count > 0)
    contrasts = np.zeros((len(judged), len(judged)))
    contrasts[np.ix_(present, present)] = gap_contrasts(found.size[present])
    return combined_claims(found, contrasts, judged)


def combined_claims(
    found: Sums, contrasts: Array, judged: Flags, family: int | None = None
) -> Claims:
    """Claims of Σ c x for contrasts [K, G], of which the judged [K] are a family (J1, J3).

    family   its size, where these are only a part of it
    """
    estimate = contrasts @ np.nan_to_num(found.mean)
    family = int(judged.sum()) if family is None else family
    nothing = np.full(len(judged), np.nan)
    if family == 0:
        return Claims(np.where(judged, estimate, np.nan), nothing, nothing, nothing)
    tail = ALPHA / family / 2
    if len(found.runs) == 1:
        low, high = _skewed(
            found, contrasts, estimate, np.full(len(judged), normal_quantile(1 - tail))
        )
        single = _skewed_p_values(found, contrasts, estimate)
    else:
        error, freedom = run_errors(found, contrasts)
        reach = t_quantile(1 - tail, freedom) * error
        # Two runs that differ reach far beyond what can be: each mean lies in [−1, 1].
        furthest = np.abs(contrasts).sum(1)
        low = np.maximum(estimate - reach, -furthest)
        high = np.minimum(estimate + reach, furthest)
        single = 2 * t_tail(np.abs(estimate) / error, freedom)
    adjusted = np.minimum(1.0, single * family)
    return Claims(*(np.where(judged, v, np.nan) for v in (estimate, low, high, adjusted)))


def run_errors(found: Sums, contrasts: Array) -> tuple[Array, Array]:
    """Standard errors [K] of the mean over runs, and their degrees of freedom (J3).

    The variance between two or three runs is small by chance now and then, and of many groups that
    of some is: so it is taken to be what all contrasts show together, which is known far better,
    and what it lies above that by. Degrees of freedom are Satterthwaite's, of these two parts.
    """
    of_samples = contrasts**2 @ np.where(found.count > 0, found.error, 0.0) ** 2
    number = len(found.runs)
    own = (np.nan_to_num(found.runs) @ contrasts.T).var(0, ddof=1) / number
    shared, many = _of_all_runs(own, of_samples, contrasts)
    beyond = np.maximum(0.0, own - shared)
    whole = of_samples + shared + beyond
    unsure = (shared**2 / many + beyond**2) / (number - 1)
    freedom = np.divide(whole**2, unsure, out=np.full(len(own), np.inf), where=unsure > 0)
    return np.sqrt(whole), np.minimum(freedom, 1e9)


def _of_all_runs(of_runs: Array, of_samples: Array, contrasts: Array) -> tuple[Array, float]:
    """The variance between runs [K] if every group's were alike, and by how many it is told.

    Σ c² times the mean over all contrasts, each weighted by how well its samples tell it; told by
    as many as are independent, and weigh.
    """
    squares = (contrasts**2).sum(1)
    known = (squares > 0) & (of_samples > 0)
    if not known.any():
        return np.zeros(len(squares)), 1.0
    weights = squares[known] / of_samples[known]
    mean = (weights * of_runs[known] / squares[known]).sum() / weights.sum()
    weighing = weights.sum() ** 2 / (weights**2).sum()
    many = min(float(np.linalg.matrix_rank(contrasts[known])), float(weighing))
    return squares * mean, many


def _satterthwaite(of_samples: Array, of_runs: Array, runs: int) -> tuple[Array, Array]:
    whole = of_samples + of_runs
    with np.errstate(divide="ignore"):
        freedom = (runs - 1) * np.where(of_runs > 0, whole / np.maximum(of_runs, 1e-300), np.inf)
        freedom = np.minimum(freedom * np.where(of_runs > 0, whole / of_runs, 1.0), 1e9)
    return np.sqrt(whole), freedom


def _skewed(found: Sums, contrasts: Array, estimate: Array, reach: Array) -> tuple[Array, Array]:
    """Bounds [K] of each combination, `reach` [K] standard errors away, each side its own."""
    known = found.count > 0
    mean = np.nan_to_num(found.mean)
    centre, error = (np.where(known, v, 0.0) for v in (found.centre, found.error))
    down = mean - np.maximum(-1.0, centre - reach[:, None] * error)
    up = np.minimum(1.0, centre + reach[:, None] * error) - mean
    rising, falling = np.maximum(contrasts, 0.0) ** 2, np.minimum(contrasts, 0.0) ** 2
    low = np.sqrt((rising * down**2 + falling * up**2).sum(1))
    high = np.sqrt((rising * up**2 + falling * down**2).sum(1))
    return estimate - low, estimate + high


def _skewed_p_values(found: Sums, contrasts: Array, estimate: Array) -> Array:
    """Two-sided p-values [K]: the level at which the interval of a combination touches zero."""
    near, far = np.zeros(len(estimate)), np.full(len(estimate), FURTHEST)
    for _ in range(50):
        middle = (near + far) / 2
        low, high = _skewed(found, contrasts, estimate, middle)
        outside = (low > 0) | (high < 0)
        near, far = np.where(outside, middle, near), np.where(outside, far, middle)
    return np.asarray(2 * normal_tail(near))


def needed_samples(found: Sums, group: int, family: int, tolerance: float) -> int:
    """How many samples of a group show a ψ of `tolerance` four times in five, at J1's level.

    As if the other groups were known: n = ((z + 0.84)/tolerance)² times the variance of a sample's
    drop, z the point of 1 − 0.05/2G; the harm itself adds as many events as `tolerance` says. Times
    the design effect, where units have several samples each.
    """
    few = np.broadcast_to(found.few, found.size.shape)[group]
    variance = (found.error[group] / few) ** 2 * (found.count[group] + 2) + tolerance
    reach = float(normal_quantile(1 - ALPHA / family / 2) + normal_quantile(0.8))
    effect = found.size[group] / found.count[group]
    return int(np.ceil((reach / tolerance) ** 2 * variance * effect))


def detectable(found: Sums, contrasts: Array, judged: Flags) -> Array:
    """The ψ [K] that this many samples show four times in five, at J1's level; NaN if not judged.

    (z + 0.84) standard errors, z the point of 1 − 0.05/2G, or Student's with several runs. A harm
    of d is d more events a sample, so that d² = (z + 0.84)²·(error² + d/n).
    """
    tail = ALPHA / max(1, int(judged.sum())) / 2
    if len(found.runs) > 1:
        error, freedom = run_errors(found, contrasts)
        reach = t_quantile(1 - tail, freedom) + t_quantile(0.8, freedom)
    else:
        error = np.sqrt(contrasts**2 @ np.where(found.count > 0, found.error, 0.0) ** 2)
        reach = np.full(len(judged), normal_quantile(1 - tail) + normal_quantile(0.8))
    half = reach**2 / np.maximum(found.count, 1.0) / 2
    return np.where(judged, np.minimum(1.0, half + np.sqrt(half**2 + (reach * error) ** 2)), np.nan)


# --- J5: rates --------------------------------------------------------------------------------


def rate_p_values(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> Array:
    """p-values [R, G] that a group's share differs from that of all others, rate by rate (J5).

    parts of wholes [R, G] are counts. Fisher's exact test, twice the smaller side, which holds
    however few the samples are; not adjusted. NaN where the group or the others have none.
    """
    from scipy.stats import hypergeom  # takes as long to import as pandas

    part, whole = parts.sum(1, keepdims=True), wholes.sum(1, keepdims=True)
    below = hypergeom.cdf(parts, whole, part, wholes)
    above = hypergeom.sf(parts - 1, whole, part, wholes)
    found = np.minimum(1.0, 2 * np.minimum(below, above))
    return np.where((wholes > 0) & (wholes < whole), found, np.nan)


def rate_run_p_values(
    values: Array, subsets: Flags, codes: Codes, judged: Flags, units: Codes | None = None
) -> Array:
    """`rate_p_values` for the mean over S runs on the same samples (J3, J5): [R, G].

    values [S, R, n]: 1 where a sample counts for a rate; subsets [R, n]: the samples it is of.
    """
    found = np.full((subsets.shape[0], len(judged)), np.nan)
    for rate, own in enumerate(subsets):
        kept = own & judged[codes]
        own_units = None if units is None else units[kept]
        known = sums(values[:, rate, kept].astype(float), codes[kept], len(judged), own_units)
        present = np.flatnonzero(known.count)
        if len(present) < 2:
            continue
        contrasts = np.zeros((len(judged), len(judged)))
        for group in present:
            others = known.size.copy()
            others[group] = 0.0
            contrasts[group] = -others / others.sum()
            contrasts[group, group] = 1.0
        error, freedom = run_errors(known, contrasts)
        estimate = contrasts @ np.nan_to_num(known.mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            single = 2 * t_tail(np.abs(estimate) / error, freedom)
        found[rate, present] = single[present]
    return found


def adjusted(p_values: Array) -> Array:
    """Holm's adjustment over a whole table of p-values; NaN stays NaN."""
    return holm(p_values.ravel()).reshape(p_values.shape)


# --- J4: which network is fairer ------------------------------------------------------------------


@dataclass(frozen=True)
class Gap:
    """A number of a network that is the largest of several combinations of means over samples.

    values      [M, n]: of every network's samples, such as their drop in accuracy
    component   int [n]: which mean a sample is part of, −1 for none
    contrasts   [J, P]: the combinations of the P means, of which the gap is the largest
    units       int [n], who a sample is of, where samples of one person are several
    """

    values: Array
    component: Codes
    contrasts: Array
    units: Codes | None = None


def gap_of(gap: Gap, networks: NDArray[np.intp]) -> float:
    """The gap of the mean over some networks, such as the runs of one method."""
    return float((gap.contrasts @ _means(gap, networks)).max())


def fairer_p_value(gap: Gap, one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """p-value that the gap of `one` is not below that of `other`: both rows of networks, in pairs.

    The other's gap is larger if some combination of it is above every combination of the first
    (an intersection–union test: Berger 1982); which one is chosen by the data, so p is multiplied
    by their number J. Errors are paired, sample by sample and run by run.
    """
    means = _means(gap, other)
    highest = int(np.argmax(gap.contrasts @ means))
    ours, theirs = gap.values[one].mean(0), gap.values[other].mean(0)
    size = np.bincount(gap.component[gap.component >= 0], minlength=gap.contrasts.shape[1])
    of_ours, of_theirs = (_covariances(gap, own, own, size, EVENTS) for own in (ours, theirs))
    shared = _covariances(gap, ours, theirs, size, 0.0)
    chosen = gap.contrasts[highest]
    difference = chosen @ means - gap.contrasts @ _means(gap, one)
    variance = (
        chosen**2 @ of_theirs + gap.contrasts**2 @ of_ours - 2 * (gap.contrasts * chosen) @ shared
    )
    if gap.units is not None:
        variance = np.maximum(variance, _of_units(gap, ours, theirs, chosen, size))
    pairs = min(len(one), len(other))
    freedom = np.full(len(difference), 1e9)
    if pairs > 1:
        runs = np.array(
            [
                chosen @ _means(gap, other[s : s + 1]) - gap.contrasts @ _means(gap, one[s : s + 1])
                for s in range(pairs)
            ]
        )
        of_runs = runs.var(0, ddof=1) / pairs
        error, freedom = _satterthwaite(np.maximum(variance, 1e-300), of_runs, pairs)
    else:
        error = np.sqrt(np.maximum(variance, 1e-300))
    single = t_tail(difference / error, freedom)
    return float(min(1.0, len(gap.contrasts) * single.max()))


def _means(gap: Gap, networks: NDArray[np.intp]) -> Array:
    known = gap.component >= 0
    component, number = gap.component[known], gap.contrasts.shape[1]
    values = gap.values[networks][:, known].mean(0)
    total = np.bincount(component, weights=values, minlength=number)
    return total / np.maximum(np.bincount(component, minlength=number), 1)


def _covariances(
    gap: Gap, one: Array, other: Array, size: NDArray[np.intp], events: float
) -> Array:
    """Of both means of each component [P]; `events` are added to what was seen."""
    known = gap.component >= 0
    component, number = gap.component[known], gap.contrasts.shape[1]
    a, b = one[known], other[known]
    total_a, total_b, product = (
        np.bincount(component, weights=w, minlength=number) for w in (a, b, a * b)
    )
    return np.asarray((product + events - total_a * total_b / (size + 2)) / (size + 2.0) ** 2)


def _of_units(gap: Gap, ours: Array, theirs: Array, chosen: Array, size: NDArray[np.intp]) -> Array:
    """The variance of each difference [J], summed over units: Σ_u (Σ_i influence)²."""
    known = gap.component >= 0
    component, number = gap.component[known], gap.contrasts.shape[1]
    _, unit = np.unique(np.asarray(gap.units)[known], return_inverse=True)
    units = int(unit.max()) + 1
    sides = []
    for values in (ours[known], theirs[known]):
        mean = np.bincount(component, weights=values, minlength=number) / np.maximum(size, 1)
        influence = (values - mean[component]) / size[component]
        flat = np.bincount(unit * number + component, weights=influence, minlength=units * number)
        sides.append(flat.reshape(units, number))
    one, other = sides
    influences = (other @ chosen)[:, None] - one @ gap.contrasts.T
    return np.asarray((influences**2).sum(0))


def told_apart(gap: Gap, cells: list[NDArray[np.intp]]) -> tuple[int, Array]:
    """The cell with the smallest gap, and p-values [K] that it is not fairer than each other (J4).

    Adjusted over the cells that might have been the best: multiplied by their number K. NaN for
    the best itself.
    """
    gaps = np.array([gap_of(gap, cell) for cell in cells])
    best = int(np.argmin(gaps))
    found = np.full(len(cells), np.nan)
    for place, cell in enumerate(cells):
        if place != best:
            found[place] = min(1.0, len(cells) * fairer_p_value(gap, cells[best], cell))
    return best, found
