"""What pruning took from everybody, which a clear verdict on groups must not pass over (J1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from audit.findings.decisions import Sums, combined_claims, sums
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding, known
from audit.findings.outcomes import Cell, Outcomes
from audit.findings.pays import drop_sums
from audit.findings.words import MOST_LOST, named, number, points_with_interval
from audit.measure.sense import SURE, agreement, kappa_interval
from audit.measure.uncertainty import design_effects, wilson_interval

HALF = 0.5
"""A network that tells less than this share of what the dense one tells of the labels is ruined."""
HIDING = 2.0
"""A class that lost more than so many times what accuracy shows is hidden by it."""
ROUNDING = 1e-9
LEAST = 30
"""Samples of a class that what became of it is told of."""
GONE = 3
"""Right answers of a class too small for a verdict that are told of where all are gone."""


def losses(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """The accuracy that each pruned cell lost over all samples, and how many groups lost.

    Decision: True where the whole interval lies beyond MOST_LOST, or the network is ruined, None
    where a part of it does. Details: `kept`, the share left of what the dense network tells of the
    labels (by Cohen's κ); `changed`, how many answers are not the dense network's; `class`, the one
    that lost most, its samples `class_n`, and the shares of these that were right, `class_before`
    and `class_after`, since accuracy hides what becomes of a rare class; `class_lost`, whether less
    than half of these is left, and `classes_lost`, of how many classes; `classes_gone`, those too
    small for that with none of GONE right answers or more left, as {class, right}; `classes_few`,
    those with less than half of them left, as {class, right, left}; `balanced`, the
    drop in balanced accuracy over the classes of LEAST samples or more; `ruined`, whether of what
    is told of all labels, or of that class where no group was found to pay as much; `leads`,
    whether the loss, of all or of that class, is more than any group was found to pay beyond it,
    and so is told first.
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
    return max(leading, key=size, default=None)


def size(one: Finding) -> tuple[bool, float]:
    """By which losses are ordered: those that accuracy hides first, then by accuracy."""
    return hidden(one), one.estimate or 0.0


def fell(one: Finding) -> str:
    """A loss in words, with how many of the groups judged lost beyond doubt."""
    who = f", and {who_lost(one)}" if who_lost(one) else ""
    value, low, high = one.estimate or 0.0, one.low, one.high
    if value < 0:
        rise = {"value": -value, "ci_low": high and -high, "ci_high": low and -low}
        accuracy = f"accuracy rose by {points_with_interval(rise)}"
    else:
        fall = {"value": value, "ci_low": low, "ci_high": high}
        accuracy = f"accuracy fell by {points_with_interval(fall)}"
    return f"{left_of(one)}; {accuracy}{who}" if hidden(one) else f"{accuracy}{who}"


def hidden(one: Finding) -> bool:
    """Whether accuracy hides what a ruined network lost: one class lost over HIDING times it."""
    return ruined(one) and _hidden(one.details, one.estimate or 0.0) > 0


def left_of(one: Finding) -> str:
    """How much a ruined network still tells of the labels, and which class it lost most of."""
    found = one.details
    kept = number(max(0.0, found["kept"]), "accuracy")
    told = f"{kept} is left of what the dense network tells of the labels, by Cohen's κ"
    if not hidden(one):
        return told
    before, after = (number(found[f"class_{side}"], "accuracy") for side in ("before", "after"))
    right = f"{after} right, before {before}"
    if (size := found.get("class_n") or LEAST) < LEAST:
        right += f", of {size} samples"
    if (alone := class_alone(found)) is not None:
        return f"{alone} ({right})"
    return f"{told} (class {named(found['class'])}: {right})"


def class_alone(details: Mapping[str, Any]) -> str | None:
    """That a class is lost, in words, where more than half is left of what is told of all."""
    spared = details["kept"] is None or details["kept"] >= HALF
    if not details.get("class_lost") or not spared:
        return None
    more = (details.get("classes_lost") or 1) - 1
    beside = f", and of {more} more" if more else ""
    return f"most of class {named(details['class'])} is lost{beside}"


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
    kept, gone = _kept(evidence, cell)
    much = low > MOST_LOST
    gone = gone or bool(much and kept is not None and kept < HALF)
    classes = _class(evidence, cell)
    own = [one for one in found if one.claim == "pays" and one.networks == cell.names]
    paid = max((one.estimate or 0.0 for one in own if one.decision), default=0.0)
    # As what a group pays is, so that a class that is a group is told as the group that pays.
    beyond = _hidden(classes, estimate) - estimate
    gone = gone or bool(classes["class_lost"] and beyond > paid + ROUNDING)
    beyond = beyond if gone else 0.0
    decision = True if much or gone else None if high > MOST_LOST else False
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
            "leads": bool(decision and max(estimate, beyond) > paid + ROUNDING),
            "kept": kept,
            "ruined": gone,
            "balanced": _balanced(evidence, cell),
            **_small_classes(evidence, cell, classes),
            "changed": _changed(evidence, cell),
        }
        | classes,
    )


def _kept(evidence: Evidence, cell: Cell) -> tuple[float | None, bool]:
    """Cohen's κ against the labels over that of the dense network, each the mean over runs.

    And whether it is under HALF beyond doubt, in every run: the upper bound of the one below half
    of the lower bound of the other, each at 99 %.
    """
    outcomes = evidence.outcomes
    if outcomes is None:
        return None, False
    kappas, sure = [], []
    for place in cell.networks:
        found, bounds = [], []
        for answers in (outcomes.before[place], outcomes.predictions[place]):
            right = (answers == outcomes.labels).astype(float)
            effect = float(
                design_effects(right, np.zeros_like(outcomes.labels), 1, outcomes.units)[0]
            )
            one = agreement(outcomes.labels, answers, len(outcomes.classes), effect)
            found.append(one.kappa)
            bounds.append(kappa_interval(one, len(right), effect))
        kappas.append(found)
        sure.append(bounds[1].high < HALF * bounds[0].low)
    before, after = np.mean(kappas, axis=0)
    return (known(float(after / before)), all(sure)) if before > 0 else (None, False)


def _hidden(classes: Mapping[str, Any], estimate: float) -> float:
    """What one class lost, where that is over HIDING times what accuracy shows; else zero."""
    if classes.get("class") is None:
        return 0.0
    lost = float(classes["class_before"] - classes["class_after"])
    return lost if lost > HIDING * max(estimate, 0.0) else 0.0


def _balanced(evidence: Evidence, cell: Cell) -> dict[str, float | None] | None:
    """What was lost of the mean over the classes of LEAST samples or more; None of fewer than two.

    The same sums as of groups, those of classes, weighted alike.
    """
    outcomes = evidence.outcomes
    if outcomes is None:
        return None
    drops = outcomes.drops(cell.networks)
    found = sums(drops, outcomes.labels, len(outcomes.classes), outcomes.units)
    large = found.size >= LEAST
    if large.sum() < 2:
        return None
    whole = combined_claims(found, (large / large.sum())[None], np.array([True]))
    return {
        "estimate": known(float(whole.estimate[0])),
        "low": known(float(whole.low[0])),
        "high": known(float(whole.high[0])),
    }


def balanced_loss(one: Finding) -> Mapping[str, float] | None:
    """The drop in balanced accuracy of a network, where it is much and accuracy hides it."""
    found: Mapping[str, float] | None = one.details.get("balanced")
    if not found or found["low"] is None or found["low"] <= MOST_LOST:
        return None
    return found if found["estimate"] > HIDING * max(one.estimate or 0.0, 0.0) else None


def _class(evidence: Evidence, cell: Cell) -> dict[str, Any]:
    """The class of LEAST samples or more that lost the largest share of its right answers.

    One of those that are lost, where there are any; a smaller class where that alone is lost.
    """
    found: dict[str, Any] = {"class": None, "class_before": None, "class_after": None}
    outcomes = evidence.outcomes
    if outcomes is None:
        return found | {"class_lost": False}
    counts = np.bincount(outcomes.labels, minlength=len(outcomes.classes))
    large, small = np.flatnonzero(counts >= LEAST), np.flatnonzero((counts > 0) & (counts < LEAST))
    lost = np.zeros(len(counts), bool)
    lost[small] = _lost_small_classes(outcomes, cell, small)
    if len(large):
        lost[large] = _lost_classes(outcomes, cell, large)
    told = lost | (counts >= LEAST)
    if not told.any():
        return found | {"class_lost": False}
    before, after = (
        _right_of_classes(outcomes, said)
        for said in (outcomes.before[cell.networks], outcomes.predictions[cell.networks])
    )
    # A share is lower than one: first those that are lost, and the large ones among them.
    order = (before - after).mean(0) + 2.0 * lost + 2.0 * (lost & (counts >= LEAST))
    most = int(np.where(told, order, -np.inf).argmax())
    return {
        "class": outcomes.classes[most],
        "class_n": int(counts[most]),
        "class_before": known(float(before[:, most].mean())),
        "class_after": known(float(after[:, most].mean())),
        "class_lost": bool(lost[most]),
        "classes_lost": int(lost.sum()),
    }


def _changed(evidence: Evidence, cell: Cell) -> int | None:
    """How many answers of all runs are not those of the dense network."""
    if (outcomes := evidence.outcomes) is None:
        return None
    return int((outcomes.before[cell.networks] != outcomes.predictions[cell.networks]).sum())


def _small_classes(
    evidence: Evidence, cell: Cell, told: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """The classes below LEAST, but the one told, that seem lost, of GONE right answers or more.

    None of these is left of `classes_gone`, less than HALF in every run of `classes_few`.
    """
    outcomes = evidence.outcomes
    if outcomes is None:
        return {"classes_gone": [], "classes_few": []}
    counts = np.bincount(outcomes.labels, minlength=len(outcomes.classes))
    before, after = (
        _right_of_classes(outcomes, said) * counts
        for said in (outcomes.before[cell.networks], outcomes.predictions[cell.networks])
    )
    known_of = (counts < LEAST) & (before.min(0) > GONE - 0.5)
    known_of &= np.array([one != told["class"] for one in outcomes.classes])
    gone = known_of & (after.max(0) == 0)
    few = known_of & ~gone & (after < HALF * before - ROUNDING).all(0)
    right, left = (np.round(one.mean(0)).astype(int) for one in (before, after))
    return {
        "classes_gone": [
            {"class": outcomes.classes[one], "right": int(right[one])}
            for one in np.flatnonzero(gone)
        ],
        "classes_few": [
            {"class": outcomes.classes[one], "right": int(right[one]), "left": int(left[one])}
            for one in np.flatnonzero(few)
        ],
    }


def _right_of_classes(outcomes: Outcomes, answers: NDArray[Any]) -> NDArray[np.float64]:
    """The share of the samples of each class that some networks answer right: [S, C]."""
    number = len(outcomes.classes)
    sizes = np.maximum(np.bincount(outcomes.labels, minlength=number), 1)
    return np.array(
        [
            np.bincount(outcomes.labels, weights=said == outcomes.labels, minlength=number) / sizes
            for said in answers
        ]
    )


def _lost_classes(outcomes: Outcomes, cell: Cell, large: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Of which of some classes less than HALF of the right answers is left, in every run.

    Beyond doubt, as κ's half is (`_kept`): the upper bound of the share that is right below half
    of the dense network's lower one, at a level of SURE for all of these classes at once.
    """
    number, level = len(outcomes.classes), 1 - (1 - SURE) / len(large)
    sizes = np.bincount(outcomes.labels, minlength=number)
    lost = np.ones(len(large), bool)
    for place in cell.networks:
        bounds = []
        for answers in (outcomes.before[place], outcomes.predictions[place]):
            right = (answers == outcomes.labels).astype(float)
            effects = design_effects(right, outcomes.labels, number, outcomes.units)
            successes = np.bincount(outcomes.labels, weights=right, minlength=number)
            bounds.append(
                [
                    wilson_interval(successes[one], int(sizes[one]), float(effects[one]), level)
                    for one in large
                ]
            )
        lost &= [after.high < HALF * before.low for before, after in zip(*bounds, strict=True)]
    return lost


def _lost_small_classes(
    outcomes: Outcomes, cell: Cell, small: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Of which classes below LEAST less than HALF of the right answers is left, in every run.

    Beyond doubt by an exact test: of as many answers as the dense network has right, no more are
    right than if each had been kept with a chance of HALF. (McNemar's test, of those that broke and
    mended, is never the stricter one.) At 1 − SURE for all of these classes at once, of which those
    count whose loss could show at all (Tarone 1990).
    """
    number, lost = len(outcomes.classes), np.ones(len(small), bool)
    for place in cell.networks:
        was, stays = (
            answers == outcomes.labels
            for answers in (outcomes.before[place], outcomes.predictions[place])
        )
        effects = design_effects(
            was.astype(float) - stays, outcomes.labels, number, outcomes.units
        )[small]
        right, left = (
            np.bincount(outcomes.labels[one], minlength=number)[small] for one in (was, stays)
        )
        before = np.floor(right / effects).astype(int)
        after = np.minimum(np.ceil(left / effects).astype(int), before)
        lost &= bdtr(after, before, HALF) < _level(HALF**before)
    return lost


def _level(least: NDArray[np.float64]) -> float:
    """The level of each of some tests, of p-values that are at least these: (1 − SURE)/K.

    K is the smallest number that is no less than that of the tests which could be significant so.
    """
    family = next(k for k in range(1, len(least) + 2) if (least < (1 - SURE) / k).sum() <= k)
    return (1 - SURE) / family
