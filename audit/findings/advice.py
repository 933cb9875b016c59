"""What to do next, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from audit.findings.finding import Finding
from audit.findings.pays import COPIED, NO_PARENT, TOO_FEW
from audit.findings.told import FLAGGED, LARGEST, Said, Told, all_gone, first_few
from audit.findings.words import (
    MISSING,
    count,
    first_upper,
    group,
    interval,
    listed,
    number,
    percent,
    points,
    were,
)


def advice(told: Told) -> Said | None:
    """What to do next; None where no pruned network was measured."""
    one = next(iter(told.all("action")), None)
    if one is None:
        return None
    return told.said(ACTIONS[str(one.details["do"])](told, one), [one])


def _take(told: Told, one: Finding) -> str:
    found = one.details
    files = f" ({found['files'][0]})" if len(found["files"]) == 1 else ""
    text = (
        f"Take {told.where(one)}{files} instead of {found['instead_of']}: under it "
        f"{_paid(found)} (the largest gap is {points(found['largest_gap'])} points), and accuracy "
        f"changes by {points(found['accuracy_change'], '+')} points."
    )
    worse = [
        f"{group(own['group'])} by {points(own['estimate'])} points "
        f"{interval(own['low'], own['high'], LARGEST)}"
        for own in found.get("worse_off", ())
    ]
    if worse:
        text += f" But under {found['instead_of']} accuracy is higher for {first_few(worse)}."
    return f"{text}{_cost(found)}{_to_see(found)}{_caveat(one)}"


def _to_see(found: Mapping[str, Any]) -> str:
    """How many samples would show small harm under a network that is advised, if these do not."""
    if not found.get("needed") or found.get("seen"):
        return ""
    return (
        f" To see {points(found['tolerance'])} points of harm four times in five, "
        f"{group(found['needed_group'])} would need about {count(found['needed'])} samples; it has "
        f"{count(found['has'])}."
    )


def _paid(found: Mapping[str, Any]) -> str:
    """That nobody was found to pay, or only less than the tolerance."""
    paid = [f"{group(one['group'])} at most {points(one['high'])}" for one in found["small_harm"]]
    if not paid:
        return "no group was found to pay"
    return f"what is paid is less than {points(found['tolerance'])} points ({listed(paid)})"


def _cost(found: Mapping[str, Any]) -> str:
    """What all lose under the network that is spoken of, where that is much."""
    if "loss" not in found:
        return ""
    return f" Its {_lost_of(found)} is {_loss(found)} below the dense network's."


def _lost_of(found: Mapping[str, Any]) -> str:
    return str(found["loss"].get("of", "accuracy"))


def _loss(found: Mapping[str, Any]) -> str:
    lost = found["loss"]
    return f"{points(lost['estimate'])} points {interval(lost['low'], lost['high'], LARGEST)}"


def _caveat(one: Finding) -> str:
    """What a clear verdict is not about: groups that were not judged, and other attributes."""
    behind = [
        f"{group(own['group'])} by {points(own['estimate'])} points "
        f"{interval(own['low'], own['high'], LARGEST)}"
        for own in one.details.get("suspected", ())
    ]
    left = [f"{group(own['group'])}{FLAGGED[own['flag']]}" for own in one.details["unjudged"]]
    unjudged = (
        f" Too small for a verdict, but behind the average: {first_few(behind)}." if behind else ""
    )
    unjudged += f" Nothing is known of {first_few(left)}." if left else ""
    for rose in one.details.get("loss_rose", ())[:1]:
        unjudged += (
            f" The loss of {group(rose['group'])} rose by {number(rose['nats'], 'excess_risk')} "
            "nats more than the average: see its probabilities before they are used."
        )
    if one.details.get("classes_gone"):
        unjudged += f" {first_upper(all_gone(one.details))}."
    sought = one.details.get("sought")
    crossed = f" and what {listed(sought)} tell apart" if sought else ""
    return f"{unjudged} Groups by anything but {one.attribute}{crossed} were not looked at."


def _prune_less(told: Told, one: Finding) -> str:
    found = one.details
    below = ", as at all below it," if found.get("lower") else ""
    return (
        f"Prune less: {percent(one.rate)} is the highest rate measured at which{below} "
        f"{_paid(found)} under {one.label}; or prune again under a fairness constraint "
        f"(audit mitigate).{_cost(found)}{_to_see(found)}{_caveat(one)}"
    )


FAULTS = {
    "levelling_down": "a gap was narrowed by levelling down",
    "collapse": "it has collapsed",
    "lost_otherwise": "a group lost more than the average in one class",
    "loss": "most of what the dense network tells of the labels is lost",
}
"""Why a network is not proposed, by the claim that says so."""


def _mitigate(told: Told, one: Finding) -> str:
    found = one.details
    paid = "somebody gained less than others" if found.get("gained_less") else "somebody pays"
    faults = [paid] if found["small_harm"] else []
    faults_of_accuracy = bool(faults)
    known = [one for one in found["faults"] if not (faults and one == "lost_otherwise")]
    faults += [_fault(found, fault) for fault in known]
    remedy = "Prune again under a fairness constraint (audit mitigate), or prune less."
    if is_spoiled(found):
        remedy = "Prune less, or train longer after pruning."
    elif "lost_otherwise" in found["faults"] and not faults_of_accuracy:
        remedy = (
            "Prune again under a constraint on the rates of classes (audit mitigate --constraint "
            "equalised-odds), or prune less."
        )
    elif found.get("constrained"):
        remedy = (
            "Prune less, or prune again under a constraint with other settings than were tried "
            "here: more epochs, another method or constraint."
        )
    return (
        f"Do not ship {told.where(one)} as it is: {listed(faults or ['somebody pays'])}, and no "
        f"other network measured here is cleared. {remedy}"
    )


def is_spoiled(found: Mapping[str, Any]) -> bool:
    """Whether a network is not proposed since it is ruined or collapsed, and nobody pays."""
    faults = set(found["faults"])
    return bool(faults) and faults <= {"loss", "collapse"} and not found["small_harm"]


def _fault(found: Mapping[str, Any], fault: str) -> str:
    """Why a network is not proposed; where one class alone is lost, that class."""
    return found.get("class_alone") or FAULTS[fault] if fault == "loss" else FAULTS[fault]


def _repeat(told: Told, one: Finding) -> str:
    named = [
        f"{group(own['group'])} (in {own['runs']} of {one.runs})"
        for own in one.details["in_single_runs"]
    ]
    text = (
        f"Train more runs before you rely on {told.where(one)}: over all {one.runs} no group was "
        f"found to pay, but in single ones {first_few(named)} {were(named)}."
    )
    return f"{text}{_cost(one.details)}{_caveat(one)}"


def _collect(told: Told, one: Finding) -> str:
    found = one.details
    needed = found.get("needed")
    if found.get("seen"):
        text = f"Collect samples before you rely on this: {_paid(found)}, but not all were judged."
        return f"{text}{_cost(found)}{_not(found)}{_caveat(one)}"
    if not needed:
        text = f"Collect more samples: under {told.where(one)} {_paid(found)}, but too little is"
        return f"{text} known to rely on.{_cost(found)}{_not(found)}{_caveat(one)}"
    whose = "needs"
    if MISSING in str(found["needed_group"]).split(" × "):
        whose = f"({one.attribute} not known: record it) needs"
    return (
        f"Collect samples before you rely on {told.where(one)}: under it {_paid(found)}, "
        f"but to see {points(found['tolerance'])} points four times in five "
        f"{group(found['needed_group'])} {whose} about {count(needed)} samples and has "
        f"{count(found['has'])}.{_cost(found)}{_not(found)}{_caveat(one)}"
    )


def _not(found: Mapping[str, Any]) -> str:
    """Which other networks are not to be taken."""
    reasons: dict[str, list[str]] = {}
    for name in found.get("not") or ():
        faults = (found.get("not_faults") or {}).get(name)
        why = listed([FAULTS[fault] for fault in faults]) if faults else "harm was found there"
        reasons.setdefault(why, []).append(name)
    for name, less in (found.get("less") or {}).items():
        lost = f"{points(less['estimate'])} points {interval(less['low'], less['high'], LARGEST)}"
        reasons[f"it loses {lost} of accuracy against {less['against']}"] = [name]
    return "".join(f" Not {listed(names)}: {why}." for why, names in reasons.items())


def _keep(told: Told, one: Finding) -> str:
    found = one.details
    bearing = ""
    if "loss" in found:
        whose = "for all" if _lost_of(found) == "accuracy" else f"of {_lost_of(found)}"
        bearing = f" if a loss of {_loss(found)} {whose} can be borne"
    text = (
        f"Keep {told.where(one)}{bearing}: {_paid(found)}, and these samples would have shown "
        f"{points(found['tolerance'])} points of harm four times in five."
    )
    if found.get("classes_gone"):
        text = f"Look first at classes that are lost. {text}"
    return f"{text}{_not(found)}{_caveat(one)}"


def _unknown(told: Told, one: Finding) -> str:
    why = one.details.get("why", "")
    if why == TOO_FEW:
        return f"Collect samples of more groups: {why}, and so nobody can say who pays."
    if why == COPIED:
        return f"Give the pruned network's own file: {why}."
    if why in ("", NO_PARENT):
        return "Measure the network beside its dense parent: without it nobody can say who pays."
    return (
        f"Find out first why {why}: are rows, classes and preprocessing those it was trained on? "
        "Then measure again."
    )


ACTIONS: dict[str, Callable[[Told, Finding], str]] = {
    "take": _take,
    "prune_less": _prune_less,
    "mitigate": _mitigate,
    "repeat": _repeat,
    "collect": _collect,
    "keep": _keep,
    "unknown": _unknown,
}
"""What the action finding says, by its `do`."""
