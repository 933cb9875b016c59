"""What the networks predict of each group: rates beyond chance, levelling down, collapse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.decisions import (
    ALPHA,
    Gap,
    adjusted,
    fairer_p_value,
    rate_p_values,
    rate_run_p_values,
    run_errors,
    sums,
    widening,
)
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding, known
from audit.findings.outcomes import Cell, Outcomes
from audit.measure.distributions import t_tail
from audit.measure.fairness import one_class_each
from audit.measure.faithfulness import mcnemar_p_value
from audit.measure.uncertainty import design_effects, pair_contrasts

Flags = NDArray[np.bool_]
SELECTION, TRUE_POSITIVE, FALSE_POSITIVE, TRUE_NEGATIVE = (
    "selection rate",
    "true positive rate",
    "false positive rate",
    "true negative rate",
)
PARTS = {
    "demographic_parity_difference": (SELECTION,),
    "equalized_odds_difference": (TRUE_POSITIVE, FALSE_POSITIVE),
}
"""The differences that are judged, and the rates that they are the largest of (M4)."""
ALL_ALIKE = 0.99
"""A class predicted for this share of the samples is all that a network says (J6)."""
NARROWED = 0.005
"""A gap that closed by less than half a point is not told."""


def compared_classes(outcomes: Outcomes) -> list[int]:
    """Of two classes the second alone is the positive one; of more, each against the rest."""
    return [1] if len(outcomes.classes) == 2 else list(range(len(outcomes.classes)))


# --- J5: beyond chance ----------------------------------------------------------------------------


def beyond_chance(evidence: Evidence) -> list[Finding]:
    """Whether any rate of any group differs from the others', cell by cell, Holm-adjusted (J5).

    Nothing where the groups are the classes: they are meant to be predicted differently.
    """
    if evidence.outcomes is None or evidence.large.sum() < 2 or groups_are_classes(evidence):
        return []
    return [
        one
        for cell in evidence.cells
        for metric in PARTS
        if (one := _beyond(evidence, evidence.outcomes, cell, metric)) is not None
    ]


def groups_are_classes(evidence: Evidence) -> bool:
    """Whether groups are classes, or all samples of one: rates then say nothing of people."""
    outcomes = evidence.outcomes
    if outcomes is None:
        return tuple(evidence.names) == tuple(map(str, evidence.record["data"]["classes"]))
    alike = len(np.unique(outcomes.labels)) < 2
    return alike or one_class_each(outcomes.labels, outcomes.codes)


def _beyond(evidence: Evidence, outcomes: Outcomes, cell: Cell, metric: str) -> Finding | None:
    tested = _tested(evidence, outcomes, cell, metric)
    rows = evidence.overall(cell, metric)
    if not rows or not np.isfinite(tested.p_adjusted).any():
        return None
    row, column = np.unravel_index(int(np.nanargmin(tested.p_adjusted)), tested.p_adjusted.shape)
    p_adjusted = float(tested.p_adjusted[row, column])
    own, others = _against_others(tested.shares[row], tested.wholes[row], int(column))
    rate, position = tested.rates[row]
    lacking = evidence.large & (tested.wholes == 0).any(0)
    return Finding(
        "beyond_chance",
        p_adjusted < ALPHA,
        **evidence.of(cell),
        group=evidence.names[column],
        metric=metric,
        estimate=known(float(np.mean([r["value"] for r in rows]))),
        low=rows[0]["ci_low"] if len(rows) == 1 else None,
        high=rows[0]["ci_high"] if len(rows) == 1 else None,
        interval="single" if len(rows) == 1 else None,
        p_adjusted=known(p_adjusted),
        n=int(tested.wholes[row].sum()),
        details={
            "rate_of": rate,
            "class": outcomes.classes[position],
            "rate_of_group": known(own),
            "rate_of_others": known(others),
            "gap_of_rate": known(
                float(np.nanmax(tested.shares[row]) - np.nanmin(tested.shares[row]))
            ),
            "floor_p95": known(float(np.mean([r["floor_p95"] or np.nan for r in rows]))),
            "without": sorted({evidence.names[g] for g in np.flatnonzero(lacking)}),
            "tests": int(np.isfinite(tested.p_adjusted).sum()),
        },
    )


@dataclass(frozen=True)
class _Tested:
    """Rates of a class each, by group [R, G]: shares, counts, and whether they differ by chance."""

    rates: list[tuple[str, int]]
    shares: NDArray[np.float64]
    wholes: NDArray[np.float64]
    p_adjusted: NDArray[np.float64]


def _tested(evidence: Evidence, outcomes: Outcomes, cell: Cell, metric: str) -> _Tested:
    """The rates of a metric in the large groups; of one network by counts, of more by runs."""
    rates = [(rate, c) for rate in PARTS[metric] for c in compared_classes(outcomes)]
    subsets = np.stack([_subset(outcomes, rate, c) for rate, c in rates])
    subsets &= evidence.large[outcomes.codes]
    values = np.stack([outcomes.predictions[cell.networks] == c for _, c in rates], 1)
    groups = len(evidence.names)
    wholes = _by_group(outcomes, subsets, subsets, groups)
    parts = _by_group(outcomes, subsets, values.mean(0), groups)
    if len(cell.networks) == 1:
        counts = np.round(parts).astype(np.int64), wholes.astype(np.int64)
        single = rate_p_values(*_effective(outcomes, *counts, values[0], subsets))
    else:
        single = rate_run_p_values(values, subsets, outcomes.codes, evidence.large, outcomes.units)
    return _Tested(rates, parts / np.where(wholes > 0, wholes, np.nan), wholes, adjusted(single))


def _by_group(
    outcomes: Outcomes, subsets: Flags, values: NDArray[Any], groups: int
) -> NDArray[np.float64]:
    """The sums of values [R, n] over each group's samples of each subset: [R, G]."""
    return np.stack(
        [
            np.bincount(outcomes.codes[s], weights=v[s], minlength=groups)
            for s, v in zip(subsets, values, strict=True)
        ]
    )


def _effective(
    outcomes: Outcomes,
    parts: NDArray[np.int64],
    wholes: NDArray[np.int64],
    values: Flags,
    subsets: Flags,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts [R, G] divided by their design effects, rounded: of independent samples (Rao, Scott).

    Few units divide them further. At least one of a rate that has any. As they are where no unit
    has several samples.
    """
    if outcomes.units is None:
        return parts, wholes
    groups = wholes.shape[1]
    effects = np.stack(
        [
            design_effects(v[s].astype(float), outcomes.codes[s], groups, outcomes.units[s])
            * widening(outcomes.codes[s], groups, outcomes.units[s]) ** 2
            for s, v in zip(subsets, values, strict=True)
        ]
    )
    fewer = np.maximum(np.minimum(wholes, 1), (wholes / effects).astype(np.int64))
    return np.round(parts * fewer / np.maximum(wholes, 1)).astype(np.int64), fewer


def _subset(outcomes: Outcomes, rate: str, position: int) -> Flags:
    """The samples that a rate of one class against the rest is a share of: bool [n]."""
    if rate == SELECTION:
        return np.ones(len(outcomes.labels), bool)
    positive = outcomes.labels == position
    return np.asarray(positive if rate == TRUE_POSITIVE else ~positive)


def _against_others(shares: NDArray[Any], wholes: NDArray[Any], group: int) -> tuple[float, float]:
    """A group's share, and that of all others together."""
    others = wholes.astype(float).copy()
    others[group] = 0.0
    return float(shares[group]), float(np.nansum(shares * others) / others.sum())


# --- J6: levelling down and collapse --------------------------------------------------------------


def levelling_down(evidence: Evidence) -> list[Finding]:
    """How gaps narrowed against the dense network and the baseline, and at whose cost (J6).

    A finding a cell, reference and rate whose gap between groups narrowed. Decision: True where it
    narrowed beyond chance while the worst-off group's own rate fell, or by lowering the better-off
    alone; None where that is not significant; False where the worst-off group rose. Details:
    `narrowed`, whether the gap is smaller beyond chance: of groups that all lost alike, it is
    smaller by chance half of the time.
    """
    if evidence.outcomes is None or evidence.large.sum() < 2:
        return []
    references = [cell for cell in (evidence.dense,) if cell is not None]
    found = []
    for cell in evidence.pruned:
        baseline = [
            other
            for other in evidence.pruned
            if other.label == evidence.baseline
            and other.label != cell.label
            and (evidence.compared or other.rate == cell.rate)
        ]
        for reference in references + baseline:
            found += list(_narrowed(evidence, evidence.outcomes, cell, reference))
    return found


def _narrowed(
    evidence: Evidence, outcomes: Outcomes, cell: Cell, reference: Cell
) -> Iterator[Finding]:
    judged = np.flatnonzero(evidence.large)
    rates = _success_rates(outcomes, groups_are_classes(evidence))
    for name, kept in rates.items():
        before, after = (
            _shares(outcomes, own, kept, len(evidence.names))[judged] for own in (reference, cell)
        )
        known_both = np.isfinite(before) & np.isfinite(after)
        if known_both.sum() < 2:
            continue
        gone = np.ptp(before[known_both]) - np.ptp(after[known_both])
        if gone < NARROWED:
            continue
        order = np.flatnonzero(known_both)
        worst = order[int(np.argmin(before[order]))]
        best = order[int(np.argmax(before[order]))]
        served = kept & (outcomes.codes == judged[worst])
        envied = kept & (outcomes.codes == judged[best])
        fell = _fell(outcomes, cell, reference, served)
        lowered = _fell(outcomes, cell, reference, envied)
        rose = _fell(outcomes, reference, cell, served)
        raised = after[worst] > before[worst]
        chance = _by_chance(outcomes, cell, reference, kept, judged[order])
        narrowed = len(rates) * chance < ALPHA
        change = {
            evidence.names[judged[g]]: [known(float(before[g])), known(float(after[g]))]
            for g in order
        }
        yield Finding(
            "levelling_down",
            _levelled(narrowed, fell, lowered, bool(raised), len(rates)),
            **evidence.of(cell),
            group=evidence.names[judged[worst]],
            metric=name,
            estimate=-float(gone),
            p_adjusted=min(1.0, len(rates) * fell),
            n=int(served.sum()),
            details={
                "against": reference.label,
                "gap_before": float(np.ptp(before[known_both])),
                "gap_after": float(np.ptp(after[known_both])),
                "rates": change,
                "fell": float(before[worst] - after[worst]),
                "narrowed": narrowed,
                "rose": len(rates) * rose < ALPHA,
                "best_off": evidence.names[judged[best]],
                "balanced_before": known(outcomes.balanced_accuracy(reference.networks)),
                "balanced_after": known(outcomes.balanced_accuracy(cell.networks)),
            },
        )


def _success_rates(outcomes: Outcomes, classes_are_groups: bool) -> dict[str, Flags]:
    """The rates at which groups are served rightly, and the samples that each is of."""
    everyone = np.ones(len(outcomes.labels), bool)
    if len(outcomes.classes) != 2 or classes_are_groups:
        return {"accuracy": everyone}
    return {TRUE_POSITIVE: outcomes.labels == 1, TRUE_NEGATIVE: outcomes.labels == 0}


def _shares(outcomes: Outcomes, cell: Cell, kept: Flags, groups: int) -> NDArray[np.float64]:
    """The share of right answers of each group among the samples kept, the mean over runs: [G]."""
    right = outcomes.right(cell.networks).mean(0)
    codes = outcomes.codes[kept]
    count = np.bincount(codes, minlength=groups)
    total = np.bincount(codes, weights=right[kept], minlength=groups)
    return np.asarray(total / np.where(count > 0, count, np.nan))


def _by_chance(
    outcomes: Outcomes, cell: Cell, reference: Cell, kept: Flags, groups: NDArray[np.intp]
) -> float:
    """p-value that the gap in right answers, among the samples kept, is no smaller: paired (J4)."""
    contrasts = np.zeros((len(groups) * (len(groups) - 1), len(outcomes.groups)))
    contrasts[:, groups] = pair_contrasts(len(groups))
    right = np.zeros((len(outcomes.names), len(outcomes.codes)))
    for networks in (cell.networks, reference.networks):
        right[networks] = outcomes.right(networks)
    component = np.where(kept, outcomes.codes, -1)
    gap = Gap(right, component, contrasts, outcomes.units)
    return fairer_p_value(gap, cell.networks, reference.networks)


def _levelled(narrowed: bool, fell: float, lowered: float, raised: bool, tests: int) -> bool | None:
    """True where a fall is significant, None where one was only seen, False where the gap closed
    by raising the worst-off group.
    """
    lost = fell * tests < ALPHA or (not raised and lowered * tests < ALPHA)
    if lost and narrowed:
        return True
    return False if raised else None


def _fell(outcomes: Outcomes, cell: Cell, reference: Cell, kept: Flags) -> float:
    """One-sided p-value that the share of right answers fell: McNemar's exact test for one run.

    Over several, Student's t of the mean over runs (see decisions.run_errors).
    """
    pairs = min(len(cell.networks), len(reference.networks))
    one, other = (outcomes.right(own.networks[:pairs])[:, kept] for own in (reference, cell))
    everyone = np.zeros(int(kept.sum()), np.int64)
    units = None if outcomes.units is None else outcomes.units[kept]
    if pairs == 1:
        lost, won = int((one > other).sum()), int((one < other).sum())
        (effect,) = design_effects((one - other)[0], everyone, 1, units)
        return mcnemar_p_value(lost, won, float(effect), "greater")
    found = sums(one - other, everyone, 1, units)
    error, freedom = run_errors(found, np.eye(1))
    return float(t_tail(found.mean[0] / error[0], freedom[0]))


def collapses(evidence: Evidence) -> list[Finding]:
    """Networks that predict one class for nearly every sample, or that have an empty layer (J6)."""
    models = {str(model["name"]): model for model in evidence.record["models"]}
    found = []
    for cell in evidence.cells:
        empty = sorted(
            {
                str(layer)
                for name in cell.names
                for layer, share in models[name]["layer_sparsity"].items()
                if share >= 1.0
            }
        )
        details: dict[str, Any] = {"empty_layers": empty}
        share = 0.0
        if evidence.outcomes is not None:
            shares = [
                evidence.outcomes.predicted_shares(cell.networks[place : place + 1])
                for place in range(len(cell.networks))
            ]
            most = max(shares, key=lambda own: float(own.max()))
            share = float(most.max())
            details |= {
                "class": evidence.outcomes.classes[int(most.argmax())],
                "collapsed_runs": sum(float(own.max()) >= ALL_ALIKE for own in shares),
                "balanced_accuracy": known(evidence.outcomes.balanced_accuracy(cell.networks)),
            }
        if not share and not empty:
            continue
        common = _commonest(evidence.outcomes)
        found.append(
            Finding(
                "collapse",
                bool(empty) or share >= ALL_ALIKE,
                **evidence.of(cell),
                metric="predicted_share",
                estimate=share or None,
                n=None if evidence.outcomes is None else len(evidence.outcomes.labels),
                details=details | common,
            )
        )
    return found


def _commonest(outcomes: Outcomes | None) -> dict[str, Any]:
    if outcomes is None:
        return {}
    counts = np.bincount(outcomes.labels, minlength=len(outcomes.classes))
    return {"largest_class": float(counts.max() / counts.sum())}
