"""What to do: the step that follows from the findings, and what they could not have seen (J9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audit.findings.changes import GAP as LARGEST
from audit.findings.changes import less_accurate
from audit.findings.decisions import needed_samples
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding
from audit.findings.losses import balanced_loss, class_alone, ruined
from audit.findings.missing import left_out
from audit.findings.outcomes import Cell
from audit.findings.pays import COPIED, GAP, drop_sums
from audit.findings.words import MOST_LOST

TOLERANCE = 0.02
"""Points of accuracy beyond the average that an audit should be able to see."""
BROAD = ("magnitude", "none")


def power(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """The smallest harm that would have been seen, for the group known least (J9)."""
    every = (_seen(evidence, found, cell) for cell in _spoken_of(evidence, found))
    return [one for one in every if one is not None]


def _seen(evidence: Evidence, found: Sequence[Finding], cell: Cell) -> Finding | None:
    """What the samples would have shown under a network; None where it is not known who pays."""
    own = [
        one
        for one in found
        if one.claim == "pays" and one.networks == cell.names and one.details.get("detectable")
    ]
    if not own:
        return None
    blind = max(own, key=lambda one: float(one.details["detectable"]))
    sharp = min(own, key=lambda one: float(one.details["detectable"]))
    known = drop_sums(evidence, cell)
    needed = None
    if known is not None:
        group = evidence.names.index(str(blind.group))
        needed = needed_samples(known, group, int(evidence.large.sum()), TOLERANCE)
    return Finding(
        "detectable",
        bool(blind.details["detectable"] <= TOLERANCE),
        **evidence.of(cell),
        group=blind.group,
        metric=GAP,
        estimate=float(blind.details["detectable"]),
        n=blind.n,
        details={
            "best_group": sharp.group,
            "best": float(sharp.details["detectable"]),
            "best_n": sharp.n,
            "tolerance": TOLERANCE,
            "needed": needed,
        },
    )


def _spoken_of(evidence: Evidence, found: Sequence[Finding]) -> list[Cell]:
    """The pruned networks compared, or the baseline at the rate where its harm is largest."""
    if evidence.compared:
        return [cell for cell in evidence.pruned if cell.label in evidence.compared]
    rates = judged_rates(evidence, found)
    return [c for c in evidence.pruned if c.label == evidence.baseline and c.rate in rates[:1]]


def judged_rates(evidence: Evidence, found: Sequence[Finding]) -> list[float]:
    """The rates that a report speaks of: where the baseline's harm is largest, then the highest."""
    own = [one for one in found if one.claim == "pays" and one.label == evidence.baseline]
    paying = [one for one in own if one.decision]
    rates = [max(paying, key=lambda one: one.estimate or 0.0).rate] if paying else []
    highest = max((one.rate for one in own), default=0.0)
    return list(dict.fromkeys([*rates, highest]))


def actions(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """The one thing to do next (J9); none where no pruned network was measured.

    take          a network under which nobody was found to pay, and nothing was levelled down
    prune_less    the highest rate at which nobody was found to pay
    mitigate      somebody pays, and no network here is better
    repeat        nobody was found to pay over all runs, but somebody was in single ones
    collect       nobody was found to pay, but samples are too few to have seen it, or a group is
                  not judged at all
    keep          nobody was found to pay more than the tolerance, and the samples would show it
    unknown       it is not known who pays
    """
    copied = [one for one in found if one.claim == "copy"]
    if not evidence.pruned and copied:
        details = {"do": "unknown", "why": COPIED}
        return [Finding("action", None, attribute=evidence.attribute, details=details)]
    if not evidence.pruned:
        return []
    chosen = _spoken_of(evidence, found)
    start = [cell for cell in evidence.pruned if cell.label == evidence.baseline]
    start = start or _foremost(evidence, found, chosen)
    rate = judged_rates(evidence, found)[0] if not evidence.compared else start[0].rate
    at_rate = [cell for cell in start if evidence.compared or cell.rate == rate]
    if not _is_judged(found, at_rate[0]):
        why = _why_unknown(found, at_rate[0])
        details = {"do": "unknown", "why": why}
        return [Finding("action", None, attribute=evidence.attribute, details=details)]
    harmed = any(_harms(found, cell) for cell in at_rate)
    if harmed or _faults(found, at_rate[0]):
        return [_mend(evidence, found, at_rate[0])]
    others = [cell for cell in evidence.pruned if cell.label in evidence.compared[1:]]
    harming = [cell for cell in others if _harms(found, cell) or _faults(found, cell)]
    if harming:
        worst = max(harming, key=lambda cell: _estimate(found, cell))
        better = _mend(evidence, found, worst)
        if better.details["do"] == "take":
            return [better]
    return [_kept(evidence, found, at_rate[0], harming)]


def _harms(found: Sequence[Finding], cell: Cell) -> bool:
    """Whether somebody pays, and not surely less than the tolerance."""
    return any(one.high is None or one.high > TOLERANCE for one in _payers(found, cell))


def _is_judged(found: Sequence[Finding], cell: Cell) -> bool:
    """Whether it is known of any group if it pays."""
    own = [one for one in found if one.claim == "pays" and one.networks == cell.names]
    return bool(own) and all(one.decision is not None for one in own)


def _why_unknown(found: Sequence[Finding], cell: Cell) -> str:
    """Why it is not known who pays under a network; empty where nothing was looked at."""
    own = [one for one in found if one.claim == "pays" and one.networks == cell.names]
    return next((str(one.details["why"]) for one in own if one.decision is None), "")


def _in_single_runs(found: Sequence[Finding], cell: Cell) -> list[Finding]:
    """What single runs found and the mean over all of them did not."""
    own = [one for one in found if one.claim == "pays" and one.networks == cell.names]
    return [f for f in own if f.runs > 1 and not f.decision and f.details.get("runs_paying")]


def _is_sound(found: Sequence[Finding], cell: Cell) -> bool:
    """Whether nobody was found or suspected to pay under it, in any run, and it has no fault."""
    return (
        _is_judged(found, cell)
        and not _harms(found, cell)
        and not _in_single_runs(found, cell)
        and not _suspects(found, cell)
        and not _faults(found, cell)
    )


def _suspects(found: Sequence[Finding], cell: Cell) -> list[Finding]:
    """The groups too small for a verdict that fell behind the average under it all the same."""
    return [one for one in found if one.claim == "suspected" and one.networks == cell.names]


def _payers(found: Sequence[Finding], cell: Cell) -> list[Finding]:
    own = [f for f in found if f.claim == "pays" and f.networks == cell.names]
    crossed = [f for f in found if f.claim == "discovered" and set(f.networks) <= set(cell.names)]
    return [f for f in own + crossed if f.decision and f.group is not None]


def _faults(found: Sequence[Finding], cell: Cell) -> list[str]:
    """Why a network is not proposed though nobody pays: claims, each once."""
    claims = [
        one.claim
        for one in found
        if one.networks == cell.names
        and one.decision
        and (
            one.claim == "collapse"
            or ruined(one)
            or (one.claim == "levelling_down" and one.details["fell"] > MOST_LOST)
            or _in_one_class(one)
        )
    ]
    return list(dict.fromkeys(claims))


def _in_one_class(one: Finding) -> bool:
    """Whether a finding says that a group lost more than the tolerance in one class."""
    lost = one.claim == "lost_otherwise" and one.decision and one.details["class"] is not None
    return bool(lost and (one.high is None or one.high > TOLERANCE))


def _needs_fairer(found: Sequence[Finding], cell: Cell) -> bool:
    """Whether its gap is a yardstick: that of a ruined or collapsed network says nothing.

    Nor does it of one under which nobody was found to pay but in one class.
    """
    own = [one for one in found if one.networks == cell.names and one.decision]
    if not _payers(found, cell) and any(map(_in_one_class, own)):
        return False
    return not any(one.claim == "collapse" or ruined(one) for one in own)


def _mend(evidence: Evidence, found: Sequence[Finding], cell: Cell) -> Finding:
    """Somebody pays under this network: take another, prune less, or mitigate."""
    rivals = [
        other
        for other in evidence.pruned
        if other.names != cell.names and (evidence.compared or other.rate == cell.rate)
    ]
    sound = [
        other
        for other in rivals
        if _is_sound(found, other)
        and not _says_the_same(evidence, other)
        and _affordable(evidence, other, cell)
        and (not _needs_fairer(found, cell) or _harm(found, other) < _harm(found, cell))
    ]
    if sound:
        # Gaps of sound networks hardly differ; a loss for all that is beyond doubt weighs more.
        best = min(sound, key=lambda o: (_large_loss(found, o) is not None, _estimate(found, o)))
        return _action(evidence, best, "take", cell, found)
    lower = [
        other
        for other in evidence.pruned
        if not evidence.compared
        and other.label == cell.label
        and other.rate < cell.rate
        and _is_sound(found, other)
    ]
    below = [o for o in lower if all(
        _is_sound(found, x) for x in evidence.pruned if x.label == cell.label and x.rate < o.rate
    )]  # fmt: skip
    if below:
        highest = max(below, key=lambda other: other.rate)
        lower = [other for other in below if other.rate < highest.rate]
        return _action(evidence, highest, "prune_less", cell, found, {"lower": bool(lower)})
    constrained = any(other.constraint != "none" for other in (cell, *rivals))
    return _action(evidence, cell, "mitigate", cell, found, {"constrained": constrained})


def _says_the_same(evidence: Evidence, cell: Cell) -> bool:
    """Whether a network says of every sample what the dense one says: it may be that one."""
    outcomes = evidence.outcomes
    if outcomes is None:
        return False
    return np.array_equal(outcomes.loss[cell.networks], outcomes.loss_before[cell.networks])


def _worse_off(
    evidence: Evidence, found: Sequence[Finding], cell: Cell, instead: Cell
) -> list[Finding]:
    """The groups found less accurate under a candidate than under the baseline it would replace."""
    if instead.label != evidence.baseline:
        return []
    own = [one for one in found if one.claim == "changes" and one.label == cell.label]
    own = [one for one in own if one.decision and (one.estimate or 0.0) < 0]
    return sorted(own, key=lambda one: one.estimate or 0.0)


def _kept(
    evidence: Evidence, found: Sequence[Finding], cell: Cell, harming: Sequence[Cell]
) -> Finding:
    seen = _seen(evidence, found, cell)
    sure = seen is not None and seen.decision and not _unjudged(evidence)
    single = [
        {"group": str(f.group), "runs": f.details["runs_paying"]}
        for f in _in_single_runs(found, cell)
    ]
    do = "repeat" if single else "keep" if sure else "collect"
    faults = {own.label: [] if _harms(found, own) else _faults(found, own) for own in harming}
    more = {
        "not": list(faults),
        "not_faults": faults,
        "less": _less(evidence, found, cell, faults),
        "in_single_runs": single,
    }
    return _action(evidence, cell, do, cell, found, more)


def _less(
    evidence: Evidence, found: Sequence[Finding], cell: Cell, faults: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What other networks of a comparison lost, where that is much: against what, and how much."""
    made: dict[str, dict[str, Any]] = {}
    for own in evidence.pruned if evidence.compared else ():
        if own.label in (cell.label, *faults):
            continue
        less, lost = less_accurate(found, own.label), _large_loss(found, own)
        if less is not None:
            bounds = [-(v or 0.0) for v in (less.estimate, less.high, less.low)]
            made[own.label] = {"against": evidence.baseline}
        elif lost is not None and _large_loss(found, cell) is None:
            bounds = [v or 0.0 for v in (lost.estimate, lost.low, lost.high)]
            made[own.label] = {"against": "the dense network"}
        else:
            continue
        made[own.label] |= dict(zip(("estimate", "low", "high"), bounds, strict=True))
    return made


def _large_loss(found: Sequence[Finding], cell: Cell) -> Finding | None:
    """What all lost under a network, where its whole interval lies beyond MOST_LOST."""
    own = (one for one in found if one.claim == "loss" and one.networks == cell.names)
    return next((one for one in own if one.decision), None)


def _foremost(evidence: Evidence, found: Sequence[Finding], chosen: Sequence[Cell]) -> list[Cell]:
    """Of networks compared with the dense one, that which advice is on: the best that is sound.

    The most accurate without a large loss; where none is sound, the last. One that says what the
    dense network says only where there is no other.
    """
    apart = [cell for cell in chosen if not _says_the_same(evidence, cell)] or list(chosen)
    sound = [cell for cell in apart if _is_sound(found, cell)]
    if not sound:
        return apart[-1:]
    return [max(sound, key=lambda c: (_large_loss(found, c) is None, evidence.accuracy(c)))]


def _sought(evidence: Evidence) -> list[str]:
    """The columns whose crossings were searched for groups that nobody named (M16)."""
    rows = evidence.record["tables"].get("discovery") or ()
    return list(dict.fromkeys(name for row in rows for name in row["columns"]))


def _unjudged(evidence: Evidence, suspects: Sequence[Finding] = ()) -> list[dict[str, str]]:
    """The groups of which nothing is known, with their flags."""
    seen = {one.group for one in suspects}
    return [
        {"group": str(one.group), "flag": str(one.details["flag"])}
        for one in left_out(evidence)
        if one.group not in seen
    ]


def _action(
    evidence: Evidence,
    cell: Cell,
    do: str,
    instead: Cell,
    found: Sequence[Finding],
    more: Mapping[str, Any] | None = None,
) -> Finding:
    files = {str(m["name"]): m.get("file") for m in evidence.record["models"]}
    seen = _seen(evidence, found, cell)
    details: dict[str, Any] = {
        "do": do,
        "instead_of": instead.label,
        "instead_rate": instead.rate,
        "files": [files[name] for name in cell.names if files.get(name)],
        "accuracy_change": evidence.accuracy(cell) - evidence.accuracy(instead),
        "largest_gap": _estimate(found, cell),
        "faults": _faults(found, instead),
        "tolerance": TOLERANCE,
        "small_harm": [{"group": str(one.group), "high": one.high} for one in _payers(found, cell)],
        "gained_less": _gained_less(_payers(found, cell)),
        "unjudged": _unjudged(evidence, _suspects(found, cell)),
        "suspected": [
            {"group": str(one.group), "estimate": one.estimate, "low": one.low, "high": one.high}
            for one in _suspects(found, cell)
        ],
        "sought": _sought(evidence),
        "worse_off": [
            {
                "group": str(one.group),
                "estimate": -(one.estimate or 0.0),
                "low": -(one.high or 0.0),
                "high": -(one.low or 0.0),
            }
            for one in _worse_off(evidence, found, cell, instead)
        ],
        "loss_rose": [
            {"group": str(one.group), "nats": one.estimate}
            for one in found
            if one.claim == "lost_otherwise" and one.networks == cell.names and one.decision
            if one.details["class"] is None
        ],
    }
    if evidence.outcomes is not None:
        balanced = evidence.outcomes.balanced_accuracy
        details["balanced_change"] = balanced(cell.networks) - balanced(instead.networks)
    lost = [one for one in found if one.claim == "loss" and one.networks == cell.names]
    spoiled = [one for one in found if ruined(one) and one.networks == instead.names]
    if spoiled:
        details["class_alone"] = class_alone(spoiled[0].details)
    if lost and (gone := lost[0].details.get("classes_gone")):
        details["classes_gone"] = gone
    if lost and lost[0].decision:
        details["loss"] = {key: getattr(lost[0], key) for key in ("estimate", "low", "high")}
    elif lost and (balanced_drop := balanced_loss(lost[0])) is not None:
        details["loss"] = {**balanced_drop, "of": "balanced accuracy"}
    if seen is not None:
        details |= {"needed": seen.details["needed"], "needed_group": seen.group,
                    "has": seen.n, "seen": seen.decision}  # fmt: skip
    return Finding("action", True, **evidence.of(cell), metric=LARGEST,
                   details=details | dict(more or {}))  # fmt: skip


def _gained_less(paying: Sequence[Finding]) -> bool:
    """Whether all who pay lost nothing themselves: the others gained more."""
    lost = [one.details.get("own_drop") for one in paying]
    return bool(lost) and all(one is not None and one <= 0 for one in lost)


def _estimate(found: Sequence[Finding], cell: Cell) -> float:
    own = [
        one.estimate
        for one in found
        if one.claim == "pays" and one.networks == cell.names and one.estimate is not None
    ]
    return max(own, default=np.inf)


def _harm(found: Sequence[Finding], cell: Cell) -> float:
    """The largest gap, of the groups that were named or of a crossing that pays."""
    paid = [one.estimate or 0.0 for one in _payers(found, cell)]
    return max(_estimate(found, cell), *paid, 0.0) if paid else _estimate(found, cell)


def _affordable(evidence: Evidence, cell: Cell, baseline: Cell) -> bool:
    """Whether it loses no more accuracy, plain and balanced, than it may."""
    lost = evidence.accuracy(baseline) - evidence.accuracy(cell)
    if evidence.outcomes is not None:
        balanced = evidence.outcomes.balanced_accuracy
        lost = max(lost, balanced(baseline.networks) - balanced(cell.networks))
    return lost <= MOST_LOST
