"""The findings that are told, and the phrases that several sentences share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.findings.finding import Finding
from audit.findings.losses import first_loss
from audit.findings.words import (
    counted,
    group,
    interval,
    listed,
    named,
    number,
    percent,
    points,
)

MOST_TOLD = 3
"""Of more groups that pay under one method, those that pay most are told, and how many others."""

LARGEST = "excess_accuracy_gap"

FLAGGED = {"small": ", which is too small", "absent": ", which is absent"}
"""Why a group is not judged."""


@dataclass(frozen=True)
class Said:
    """A sentence, and the positions of the findings that it is made from."""

    text: str
    findings: tuple[int, ...]


@dataclass(frozen=True)
class Told:
    """The findings, and what sentences need to pick from them."""

    findings: tuple[Finding, ...]
    baseline: str
    compared: tuple[str, ...]

    def all(self, claim: str) -> list[Finding]:
        """All findings of a claim."""
        return [one for one in self.findings if one.claim == claim]

    def labels(self) -> list[str]:
        """The methods, or networks, that are judged."""
        return list(dict.fromkeys(one.label for one in self.all("pays")))

    def said(self, text: str, findings: Iterable[Finding]) -> Said:
        """A sentence and the findings that it is made from."""
        chosen = {id(one) for one in findings}
        places = (place for place, one in enumerate(self.findings) if id(one) in chosen)
        return Said(text, tuple(places))

    def where(self, one: Finding) -> str:
        """'magnitude at 90%', or in a comparison the network's name."""
        return one.label if self.compared or not one.rate else f"{one.label} at {percent(one.rate)}"

    def loss(self, label: str) -> Finding | None:
        """The largest loss for all of a method, or network, that is more than anybody pays."""
        return first_loss(self.findings, label)

    def harmed(self, label: str) -> list[Finding]:
        """Who pays under a method, or network."""
        return [one for one in self.all("pays") if one.label == label and one.decision]


def amount(one: Finding) -> str:
    """An estimate in points with the interval that its claim stands on."""
    return f"{points(one.estimate or 0.0)} points {interval(one.low, one.high, LARGEST)}".strip()


def paid_by(one: Finding) -> str:
    """A group and what it pays; where all together gained, what became of its own accuracy."""
    return f"{group(one.group)} pays {amount(one)}{where_all_gained(one)}"


def where_all_gained(one: Finding) -> str:
    """What became of the accuracy of a group, where all together gained; else nothing."""
    whole, own = one.details.get("whole_drop"), one.details.get("own_drop")
    if whole is None or own is None or whole >= 0:
        return ""
    return f" (its accuracy changed by {points(-own, '+')}, that of all by {points(-whole, '+')})"


def first_few(parts: Sequence[str], rest: str = "more") -> str:
    """The first of many parts of a sentence, and how many are not told."""
    left = len(parts) - MOST_TOLD
    return listed([*parts[:MOST_TOLD], *([f"{left} {rest}"] if left > 0 else [])])


def over_runs(one: Finding) -> str:
    """Over how many runs, and in how many by itself; one run says nothing of another."""
    if one.runs == 1:
        return ""
    text = (
        f", the mean over {one.runs} runs (in {one.details['runs_paying']} of {one.runs} by itself)"
    )
    return f"{text}, and two runs tell little of a third" if one.runs == 2 else text


def not_known(told: Told, found: Iterable[Finding]) -> str:
    """Of which networks it is not known who pays, and why; empty where it is of all."""
    unknown = [one for one in found if one.decision is None]
    if not unknown:
        return ""
    where = listed(list(dict.fromkeys(told.where(one) for one in unknown)))
    return f"who pays under {where} is not known ({unknown[0].details['why']})"


def worst_suspected(told: Told, labels: Sequence[str]) -> list[Finding]:
    """Of every group too small for a verdict that fell behind under one of these, the furthest."""
    found: dict[str | None, Finding] = {}
    for one in sorted(told.all("suspected"), key=lambda one: -(one.estimate or 0.0)):
        if one.label in labels:
            found.setdefault(one.group, one)
    return list(found.values())


def fell_behind(told: Told, one: Finding) -> str:
    """By how much a group fell behind that is too small for a verdict."""
    return (
        f"{group(one.group)} ({counted(one.n, 'sample')}, too small for a verdict) fell behind the "
        f"average under {told.where(one)} by {amount(one)}"
    )


def all_gone(found: Mapping[str, Any]) -> str:
    """The small classes that have no right answer left, in words."""
    own = [f"class {named(one['class'])} (of {one['right']})" for one in found["classes_gone"]]
    return f"no right answer is left of {first_few(own)}"


def lost_otherwise(told: Told, labels: Sequence[str]) -> list[Finding]:
    """What groups lost in one class, then of loss, that were not found to pay: the most first."""
    paying = {(one.networks, one.group) for one in told.all("pays") if one.decision}
    own = [
        one
        for one in told.all("lost_otherwise")
        if one.label in labels and one.decision and (one.networks, one.group) not in paying
    ]
    return sorted(own, key=lambda one: (one.details["class"] is None, -(one.estimate or 0.0)))


def more_than_average(one: Finding) -> str:
    """What a group lost in one class, or of loss, in words."""
    name = one.details["class"]
    if name is None:
        nats = f"{number(one.estimate, 'excess_risk')} nats"
        if one.low is not None:
            nats += f" {interval(one.low, one.high, 'excess_risk')}"
        return f"the loss of {group(one.group)} rose by {nats} more than the average"
    return (
        f"{group(one.group)} lost {amount(one)} more than the average on samples of class "
        f"{named(name)}"
    )


def copies_of(told: Told) -> str:
    """Which networks compared are the dense one."""
    names = [one.label for one in told.all("copy")]
    answers = "gives" if len(names) == 1 else "give"
    return (
        f"{listed(names)} {answers} the dense network's outputs to the last digit, and no prunable "
        "weight is zero"
    )


def crossed_payers(told: Told, labels: Sequence[str]) -> list[Finding]:
    """The groups that nobody named and that were found to pay under one of these."""
    own = [one for one in told.all("discovered") if one.label in labels and one.group is not None]
    return [one for one in own if one.decision]


def spoken_of(told: Told, one: Finding) -> bool:
    """The dense network, those compared, and of a study the methods at the rate that is judged."""
    return bool(told.compared) or one.rate in (0.0, _judged_rate(told))


def _judged_rate(told: Told) -> float:
    own = [one for one in told.all("pays") if one.label == told.baseline]
    harmed = [one for one in own if one.decision]
    if harmed:
        return max(harmed, key=lambda one: one.estimate or 0.0).rate
    return max((one.rate for one in own), default=0.0)
