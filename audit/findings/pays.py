"""Who pays for the pruning, and from which rate on (J1 to J3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audit.findings.decisions import ALPHA, Claims, Sums, detectable, gap_claims, sums
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding, known
from audit.findings.outcomes import Cell, Outcomes
from audit.findings.words import number
from audit.measure.distributions import normal_quantile
from audit.measure.sense import agreement, renamed
from audit.measure.uncertainty import design_effects

GAP = "excess_accuracy_gap"
MORE = 0.02
"""Points of accuracy that a pruned network may be better by before it is asked about."""
NO_PARENT = "no dense network beside it"
TOO_FEW = "fewer than two groups are judged"
COPIED = "what was compared with the dense network is that network"
KNOWS_NOTHING = "the dense network tells nothing of the labels"
CODED_OTHERWISE = "the dense network answers the classes of a group as one another"


def who_pays(evidence: Evidence) -> list[Finding]:
    """For every pruned cell and judged group whether it pays (J1, J3), negative ones too."""
    return [one for cell in evidence.pruned for one in _cell(evidence, cell)]


def suspected(evidence: Evidence) -> list[Finding]:
    """The groups too small for a verdict that fell behind the average all the same (J1).

    Those of a network are a family of their own, with the intervals of J1. Nobody is called
    harmed by it, but what is seen of so few is not called unknown either.
    """
    return [one for cell in evidence.pruned for one in _suspected(evidence, cell)]


def _suspected(evidence: Evidence, cell: Cell) -> list[Finding]:
    found = drop_sums(evidence, cell)
    if found is None:
        return []
    if evidence.outcomes is not None and _knowing_nothing(evidence.outcomes, cell):
        return []
    small = ~evidence.large & (found.size > 0)
    claims = gap_claims(found, small)
    return [
        Finding(
            "suspected",
            True,
            **evidence.of(cell),
            group=evidence.names[group],
            metric=GAP,
            **claims.of(group, len(found.runs)),
            n=evidence.sizes[evidence.names[group]],
            details={"small_groups": int(small.sum())},
        )
        for group in np.flatnonzero(small)
        if claims.low[group] > 0
    ]


def pays(finding: Finding) -> bool:
    """Whether a finding says that a group pays."""
    return finding.claim == "pays" and finding.decision is True


def drop_sums(evidence: Evidence, cell: Cell, run: int | None = None) -> Sums | None:
    """The sums of the drops in accuracy under a cell, or one run of it; None if not known.

    Without samples, from the shares of broken and mended samples: the square of a mean over runs
    is at most the mean of the squares, so that errors are never too small.
    """
    chosen = slice(None) if run is None else slice(run, run + 1)
    outcomes = evidence.outcomes
    if outcomes is not None:
        if not outcomes.knows(cell):
            return None
        drops = outcomes.drops(cell.networks[chosen])
        return sums(drops, outcomes.codes, len(outcomes.groups), outcomes.units)
    lost, won, count = (_shares(evidence, cell, m) for m in ("broken", "mended", "n"))
    if lost is None or won is None or count is None:
        return None
    lost, won, size = lost[chosen], won[chosen], count[0]
    return Sums(
        (lost - won).mean(0) * size, (lost + won).mean(0) * size, size,
        np.where(size > 0, lost - won, np.nan), size,
    )  # fmt: skip


def _shares(evidence: Evidence, cell: Cell, metric: str) -> np.ndarray | None:
    """A metric of every run and group [S, G]; `n` are the groups' sizes."""
    rows = evidence.groups.astype({"group": str})
    rows = rows[rows["metric"] == ("broken" if metric == "n" else metric)]
    column = "n" if metric == "n" else "value"
    wide = rows.pivot_table(index="model", columns="group", values=column, dropna=False)
    if not set(cell.names) <= set(wide.index):
        return None
    wide = wide.reindex(index=list(cell.names), columns=list(evidence.names))
    found: np.ndarray = wide.fillna(0.0).to_numpy(float)
    return found


def _cell(evidence: Evidence, cell: Cell) -> list[Finding]:
    found, judged = drop_sums(evidence, cell), evidence.large
    why = _unknowable(evidence, cell, found)
    if found is None or why:
        return [Finding("pays", None, **evidence.of(cell), metric=GAP, details={"why": why})]
    claims = gap_claims(found, judged)
    several = len(found.runs) > 1
    alone = [claims]
    if several:
        runs = [drop_sums(evidence, cell, run) for run in range(len(found.runs))]
        alone = [gap_claims(own, judged) for own in runs if own is not None]
    reach = detectable(found, _contrasts(found), judged)
    whole = known(float(np.nan_to_num(found.mean) @ found.size / found.size.sum()))
    return [
        Finding(
            "pays",
            bool(claims.low[group] > 0),
            **evidence.of(cell),
            group=evidence.names[group],
            metric=GAP,
            **claims.of(group, len(found.runs)),
            n=evidence.sizes[evidence.names[group]],
            details={
                "groups_judged": int(judged.sum()),
                "runs_paying": _paying(alone, int(group)),
                "detectable": known(reach[group]),
                "own_drop": known(found.mean[group]),
                "whole_drop": whole,
            },
        )
        for group in np.flatnonzero(judged)
    ]


def _unknowable(evidence: Evidence, cell: Cell, found: Sums | None) -> str:
    """Why it cannot be known who pays under a cell; empty where it can."""
    if found is None:
        return NO_PARENT
    if evidence.large.sum() < 2:
        return TOO_FEW
    if evidence.outcomes is None:
        return ""
    return _knowing_nothing(evidence.outcomes, cell) or _coded_otherwise(evidence, cell)


def _knowing_nothing(outcomes: Outcomes, cell: Cell) -> str:
    """Why a dense network's answers do not tell of the labels; empty where all of a cell's do.

    What pruning takes from a network that knows nothing is nothing, whoever is hurt in truth.
    """
    for place in cell.networks:
        labels, answers = outcomes.labels, outcomes.before[place]
        effects = design_effects(
            (labels == answers).astype(float), np.zeros_like(labels), 1, outcomes.units
        )
        known = agreement(labels, answers, len(outcomes.classes), float(effects[0]))
        if known.p_value > ALPHA:
            return (
                f"{KNOWS_NOTHING} (it is right on {number(known.observed, 'accuracy')} of the "
                "samples, and its answers dealt out by lot would be on "
                f"{number(known.by_chance, 'accuracy')})"
            )
    return ""


def _coded_otherwise(evidence: Evidence, cell: Cell) -> str:
    """Which judged group has labels that stand in another order than the dense network's answers.

    Its harm would be told as mended samples, and that of all others against a wrong average.
    """
    outcomes = evidence.outcomes
    assert outcomes is not None
    for place in cell.networks:
        for group in np.flatnonzero(evidence.large):
            own = outcomes.codes == group
            labels, answers = outcomes.labels[own], outcomes.before[place][own]
            moved = renamed(labels, answers, len(outcomes.classes))
            if moved:
                first, second = (outcomes.classes[code] for code in next(iter(moved.items())))
                right = number(float((labels == answers).mean()), "accuracy")
                return (
                    f"{CODED_OTHERWISE}: most samples of group {evidence.names[group]} and class "
                    f"{first} as {second}, and it is right on {right} of that group; see whether "
                    "its labels are coded as those of all others"
                )
    return ""


def _contrasts(found: Sums) -> np.ndarray:
    sizes = found.size / found.size.sum()
    return np.asarray(np.eye(len(sizes)) - sizes)


def _paying(alone: Sequence[Claims], group: int) -> int:
    return sum(bool(claims.low[group] > 0) for claims in alone)


def better(evidence: Evidence) -> list[Finding]:
    """The networks compared that are right on more samples than the one called dense.

    Pruning may do that by a little; where it is more than MORE beyond doubt, files may have been
    given the wrong way round, and then who pays is told the wrong way round too.
    """
    outcomes = evidence.outcomes
    if outcomes is None or not evidence.compared:
        return []
    found = []
    for cell in evidence.pruned:
        if not outcomes.knows(cell):
            continue
        drops = outcomes.drops(cell.networks)
        whole = sums(drops, np.zeros_like(outcomes.codes), 1, outcomes.units)
        middle, reach = (
            -float(whole.centre[0]),
            float(normal_quantile(1 - ALPHA / 2) * whole.error[0]),
        )
        found.append(
            Finding(
                "better",
                middle - reach > MORE,
                **evidence.of(cell),
                metric="accuracy_drop",
                estimate=-float(whole.mean[0]),
                low=middle - reach,
                high=middle + reach,
                interval="single",
                n=len(outcomes.codes),
            )
        )
    return found


def onsets(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """From which rate on somebody pays, method by method (J2); nothing for a comparison.

    Going down from the highest rate, the last of the unbroken run of rates at which somebody pays.
    'No rate' is said only where no group pays in any run at any rate by itself.
    """
    if evidence.compared:
        return []
    return [one for label in _labels(evidence) for one in _onset(evidence, found, label)]


def _labels(evidence: Evidence) -> list[str]:
    return list(dict.fromkeys(cell.label for cell in evidence.pruned))


def _onset(evidence: Evidence, found: Sequence[Finding], label: str) -> list[Finding]:
    own = [one for one in found if one.claim == "pays" and one.label == label]
    rates = sorted({one.rate for one in own}, reverse=True)
    if not rates or any(one.decision is None for one in own):
        return []
    paying = {rate: [one for one in own if one.rate == rate and one.decision] for rate in rates}
    run = []
    for rate in rates:
        if not paying[rate]:
            break
        run.append(rate)
    elsewhere = [rate for rate in rates if paying[rate] and rate not in run]
    single = [one for one in own if one.details["runs_paying"] and not one.decision]
    largest = max(own, key=lambda one: one.estimate or 0.0)
    decision = True if run or elsewhere else None if single else False
    return [
        Finding(
            "onset",
            decision,
            label=label,
            rate=run[-1] if run else 0.0,
            networks=tuple(dict.fromkeys(name for one in own for name in one.networks)),
            attribute=evidence.attribute,
            metric=GAP,
            runs=max(one.runs for one in own),
            details={
                "groups": [str(one.group) for one in paying[run[-1]]] if run else [],
                "highest": rates[0],
                "rates": sorted(rates),
                "elsewhere": sorted(elsewhere),
                "in_some_runs": sorted({one.rate for one in single}),
                "largest_rate": largest.rate,
                "largest_group": largest.group,
                "level": ALPHA,
            },
        )
    ]
