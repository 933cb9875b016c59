"""What one network changes against another, group by group, and which is fairest (J4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from audit.findings.decisions import (
    ALPHA,
    Claims,
    Gap,
    Sums,
    combined_claims,
    gap_of,
    sums,
    told_apart,
)
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding, known
from audit.findings.losses import ruined
from audit.findings.outcomes import Cell, Outcomes
from audit.findings.predicted import compared_classes, groups_are_classes
from audit.findings.words import MOST_LOST
from audit.measure.uncertainty import gap_contrasts, pair_contrasts

GAP, ODDS, PARITY, VIOLATION = (
    "max_excess_accuracy_gap",
    "equalized_odds_difference",
    "demographic_parity_difference",
    "fairness_violation",
)
HELD = {
    "equalised-odds": ODDS,
    "demographic-parity": PARITY,
    "group-loss": VIOLATION,
    "excess-loss": VIOLATION,
    "worst-group": VIOLATION,
}
"""What a constraint holds; all others, and none, hold the largest excess accuracy gap."""


def changes(evidence: Evidence) -> list[Finding]:
    """Whose accuracy each candidate of a comparison changes: paired, and for all groups at once.

    The estimate is the candidate's accuracy less the baseline's; `changes_overall` is that of all
    samples together.
    """
    outcomes = evidence.outcomes
    if outcomes is None or not evidence.compared:
        return []
    by_label = {cell.label: cell for cell in evidence.cells}
    baseline, *candidates = (by_label[name] for name in evidence.compared)
    return [one for cell in candidates for one in _changed(evidence, outcomes, baseline, cell)]


def _changed(
    evidence: Evidence, outcomes: Outcomes, baseline: Cell, candidate: Cell
) -> list[Finding]:
    gained = outcomes.right(candidate.networks) - outcomes.right(baseline.networks)
    groups = len(evidence.names)
    found = sums(gained, outcomes.codes, groups, outcomes.units)
    claims = combined_claims(found, np.eye(groups), evidence.large)
    return [
        _of_all(evidence, outcomes, found, baseline, candidate),
        *_of_groups(evidence, outcomes, claims, baseline, candidate),
    ]


def less_accurate(found: Sequence[Finding], label: str) -> Finding | None:
    """That a candidate has lost more than MOST_LOST against the baseline beyond doubt (J4).

    None where the baseline is dense: what is lost against that is a finding of its own.
    """
    pruned = {one.label for one in found if one.claim == "pays"}
    own = (one for one in found if one.claim == "changes_overall" and one.label == label)
    own = (one for one in own if one.details["against"] in pruned)
    return next((one for one in own if (one.high or 0.0) < -MOST_LOST), None)


def _of_all(
    evidence: Evidence, outcomes: Outcomes, found: Sums, baseline: Cell, candidate: Cell
) -> Finding:
    weights = (found.size / found.size.sum())[None]
    whole = combined_claims(found, weights, np.array([True]))
    low, high = float(whole.low[0]), float(whole.high[0])
    return Finding(
        "changes_overall",
        low > 0 or high < 0,
        **evidence.of(candidate),
        metric="accuracy",
        estimate=known(whole.estimate[0]),
        low=low,
        high=high,
        interval="single",
        p_adjusted=known(whole.p_adjusted[0]),
        n=len(outcomes.codes),
        details={"against": baseline.label},
    )


def _of_groups(
    evidence: Evidence, outcomes: Outcomes, claims: Claims, baseline: Cell, candidate: Cell
) -> list[Finding]:
    return [
        Finding(
            "changes",
            bool(claims.low[group] > 0 or claims.high[group] < 0),
            **evidence.of(candidate),
            group=evidence.names[group],
            metric="accuracy",
            **claims.of(group),
            n=int(outcomes.counts[group]),
            details={"against": baseline.label},
        )
        for group in np.flatnonzero(evidence.large)
    ]


def fairest(evidence: Evidence, found: Sequence[Finding] = ()) -> list[Finding]:
    """Which of several networks is fairest, by what the constraints hold (J4), a finding a metric.

    Of a study, the methods at the first one's highest rate. True where one differs from every
    other; else the networks that cannot be told apart are named. A network that was found to have
    collapsed, or ruined, is no rival: its differences are small because it says nothing.
    """
    outcomes = evidence.outcomes
    fallen = {
        one.networks: one.label
        for one in found
        if (one.claim == "collapse" and one.decision) or ruined(one)
    }
    collapsed = [fallen[cell.names] for cell in rivals(evidence) if cell.names in fallen]
    chosen = [cell for cell in rivals(evidence) if cell.names not in fallen]
    if outcomes is None or len(chosen) < 2 or evidence.large.sum() < 2:
        return []
    metrics = dict.fromkeys(_held(cell.constraint) for cell in chosen if cell.constraint != "none")
    made = []
    outcomes, chosen = outcomes.only(chosen)
    for metric in metrics or {GAP: None}:
        gap = gap_measure(evidence, outcomes, metric)
        if gap is not None and all(outcomes.knows(cell) for cell in chosen):
            one = _fairest(evidence, outcomes, chosen, metric, gap)
            made.append(replace(one, details={**one.details, "collapsed": collapsed}))
    return made


def rivals(evidence: Evidence) -> list[Cell]:
    """The networks of a comparison, or the methods of a study at the baseline's highest rate."""
    if evidence.compared:
        by_label = {cell.label: cell for cell in evidence.cells}
        return [by_label[name] for name in evidence.compared if not by_label[name].dense]
    own = [cell for cell in evidence.pruned if cell.label == evidence.baseline]
    rate = max((cell.rate for cell in own), default=0.0)
    return [cell for cell in evidence.pruned if cell.rate == rate]


def _held(constraint: str) -> str:
    names = [part.split("=")[0] for part in constraint.split("+")]
    return next((HELD[name] for name in names if name in HELD), GAP)


def gap_measure(evidence: Evidence, outcomes: Outcomes, metric: str) -> Gap | None:
    """A gap as the largest of combinations of means over samples (see decisions.Gap)."""
    judged = np.flatnonzero(evidence.large)
    counts = outcomes.counts
    if metric == GAP:
        contrasts = np.zeros((len(judged), len(counts)))
        present = np.flatnonzero(counts)
        contrasts[:, present] = gap_contrasts(counts[present].astype(float))[
            np.searchsorted(present, judged)
        ]
        drops = np.nan_to_num(outcomes.drops(np.arange(len(outcomes.names))))
        return Gap(drops, outcomes.codes, contrasts, outcomes.units)
    pairs = np.zeros((len(judged) * (len(judged) - 1), len(counts)))
    pairs[:, judged] = pair_contrasts(len(judged))
    if metric == VIOLATION:
        risk = outcomes.loss - outcomes.loss_before
        return None if np.isnan(risk).any() else Gap(risk, outcomes.codes, pairs, outcomes.units)
    if groups_are_classes(evidence) or len(outcomes.classes) != 2:
        return None
    positive = compared_classes(outcomes)[0]
    said = (outcomes.predictions == positive).astype(float)
    if metric == PARITY:
        return Gap(said, outcomes.codes, pairs, outcomes.units)
    true = outcomes.labels == positive
    component = outcomes.codes + np.where(true, 0, len(counts))
    rows = np.zeros((2 * len(pairs), 2 * len(counts)))
    rows[: len(pairs), : len(counts)] = pairs
    rows[len(pairs) :, len(counts) :] = pairs
    contrasts = _without_empty(rows, component, len(counts))
    return Gap(said, component.astype(np.int64), contrasts, outcomes.units)


def _without_empty(
    contrasts: NDArray[np.float64], component: NDArray[np.int64], groups: int
) -> NDArray[np.float64]:
    """The combinations whose every part has samples: a group without positives has no rate."""
    empty = np.bincount(component, minlength=2 * groups) == 0
    return np.asarray(contrasts[~(contrasts[:, empty] != 0).any(1)])


def _fairest(
    evidence: Evidence, outcomes: Outcomes, chosen: Sequence[Cell], metric: str, gap: Gap
) -> Finding:
    best, p_values = told_apart(gap, [cell.networks for cell in chosen])
    unsure = [
        cell.label
        for place, cell in enumerate(chosen)
        if place != best and not p_values[place] < ALPHA
    ]
    cell = chosen[best]
    return Finding(
        "fairest",
        not unsure,
        **evidence.of(cell),
        metric=metric,
        estimate=gap_of(gap, cell.networks),
        p_adjusted=known(float(np.nanmax(p_values))),
        n=len(outcomes.codes),
        details={
            "of": len(chosen),
            "not_told_apart": unsure,
            "gaps": {own.label: gap_of(gap, own.networks) for own in chosen},
            "accuracy": {own.label: evidence.accuracy(own) for own in chosen},
            "balanced_accuracy": {
                own.label: known(outcomes.balanced_accuracy(own.networks)) for own in chosen
            },
            "baseline": evidence.baseline,
            "lost": _lost(evidence, outcomes, chosen, cell),
        },
    )


def _lost(
    evidence: Evidence, outcomes: Outcomes, chosen: Sequence[Cell], cell: Cell
) -> float | None:
    """What it loses of accuracy, plain or balanced, against the baseline; None without one."""
    baseline = next((own for own in chosen if own.label == evidence.baseline), None)
    if baseline is None or baseline.names == cell.names:
        return None
    balanced = outcomes.balanced_accuracy
    return known(
        max(
            evidence.accuracy(baseline) - evidence.accuracy(cell),
            balanced(baseline.networks) - balanced(cell.networks),
        )
    )
