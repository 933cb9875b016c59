"""What pruning took from everybody, which a clear verdict on groups must not pass over (J1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audit.findings.decisions import Sums, combined_claims
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding, known
from audit.findings.outcomes import Cell
from audit.findings.pays import drop_sums
from audit.findings.words import MOST_LOST, points_with_interval
from audit.measure.sense import agreement

HALF = 0.5
"""A network that tells less than this share of what the dense one tells of the labels is ruined."""


def losses(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """The accuracy that each pruned cell lost over all samples, and how many groups lost.

    Decision: True where the whole interval lies beyond MOST_LOST, None where a part of it does.
    Details: `leads`, whether it is more than any group was found to pay beyond it, and so is told
    first; `kept`, the share left of what the dense network tells of the labels (by Cohen's κ);
    `ruined`, whether that is less than half.
    """
    made = []
    for cell in evidence.pruned:
        drops = drop_sums(evidence, cell)
        if drops is not None:
            made.append(_loss(evidence, cell, drops, found))
    return made


def first_loss(found: Sequence[Finding], label: str) -> Finding | None:
    """The largest loss under a method, or network, that is told before who pays."""
    own = [one for one in found if one.claim == "loss" and one.label == label]
    leading = [one for one in own if one.details["leads"]]
    return max(leading, key=lambda one: one.estimate or 0.0, default=None)


def fell(one: Finding) -> str:
    """A loss in words, with how many of the groups judged lost beyond doubt."""
    row = {"value": one.estimate or 0.0, "ci_low": one.low, "ci_high": one.high}
    who = who_lost(one)
    return f"accuracy fell by {points_with_interval(row)}{f', and {who}' if who else ''}"


def who_lost(one: Finding) -> str:
    """How many of the groups judged lost beyond doubt; empty where none did, or one is judged."""
    lost, judged = one.details["lost"], one.details["judged"]
    if not lost or judged < 2:
        return ""
    return "every group lost" if lost == judged else f"{lost} of {judged} groups lost beyond doubt"


def ruined(finding: Finding) -> bool:
    """Whether a finding says that a network lost most of what the dense one tells of the labels."""
    return finding.claim == "loss" and bool(finding.details["ruined"])


def _loss(evidence: Evidence, cell: Cell, drops: Sums, found: Sequence[Finding]) -> Finding:
    weights = (drops.size / drops.size.sum())[None]
    whole = combined_claims(drops, weights, np.array([True]))
    each = combined_claims(drops, np.eye(len(drops.size)), evidence.large)
    estimate, low, high = (float(v[0]) for v in (whole.estimate, whole.low, whole.high))
    decision = True if low > MOST_LOST else None if high > MOST_LOST else False
    own = [one for one in found if one.claim == "pays" and one.networks == cell.names]
    paid = max((one.estimate or 0.0 for one in own if one.decision), default=0.0)
    kept = _kept(evidence, cell)
    return Finding(
        "loss",
        decision,
        **evidence.of(cell),
        metric="accuracy_drop",
        estimate=known(estimate),
        low=known(low),
        high=known(high),
        interval="seeds" if len(drops.runs) > 1 else "single",
        n=int(drops.size.sum()),
        details={
            "limit": MOST_LOST,
            "judged": int(evidence.large.sum()),
            "lost": int((each.low > 0).sum()),
            "leads": bool(decision and estimate > paid),
            "kept": kept,
            "ruined": bool(decision and kept is not None and kept < HALF),
        },
    )


def _kept(evidence: Evidence, cell: Cell) -> float | None:
    """Cohen's κ against the labels over that of the dense network, each the mean over runs."""
    outcomes = evidence.outcomes
    if outcomes is None:
        return None
    before, after = (
        np.mean([agreement(outcomes.labels, said, len(outcomes.classes)).kappa for said in answers])
        for answers in (outcomes.before[cell.networks], outcomes.predictions[cell.networks])
    )
    return known(float(after / before)) if before > 0 else None
