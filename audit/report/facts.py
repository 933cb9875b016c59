"""The findings at a glance: a few facts, each a word or a number with what qualifies it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from audit.findings.advice import is_spoiled
from audit.findings.changes import VIOLATION, less_accurate
from audit.findings.finding import Finding, findings_of
from audit.findings.losses import class_alone, fell, first_loss, hidden
from audit.findings.pays import COPIED, NO_PARENT, TOO_FEW
from audit.findings.results import Results
from audit.findings.told import where_all_gained
from audit.findings.words import MOST_LOST, interval, listed, named, number, percent, points

GAP = "excess_accuracy_gap"


@dataclass(frozen=True)
class Fact:
    """What is asked, the answer in a word or a number, and what qualifies it."""

    label: str
    value: str
    detail: str
    harm: bool = False


def facts(results: Results) -> list[Fact]:
    """Who pays, how much, from which rate on, what mends it, and what to do; all from findings.

    Of a comparison, a fact a network instead of the first four.
    """
    found = findings_of(results.record)
    compared = results.record["tables"].get("compared")
    first = _compared(found, compared) if compared else _studied(found)
    return [*_not_shown(results), *first, *_action(found)]


def _not_shown(results: Results) -> list[Fact]:
    """The groups that redacted results leave out, and whether harm was found among them."""
    redacted = results.record.get("redacted") or {}
    if not redacted.get("groups"):
        return []
    paying = redacted["found_to_pay"]
    detail = f"{paying} of them found to pay" if paying else "nothing here speaks of them"
    return [Fact("Not shown", f"{redacted['groups']} groups", detail, bool(paying))]


def _studied(found: Sequence[Finding]) -> list[Fact]:
    every = [one for one in found if one.claim == "pays"]
    if not every:
        return []
    baseline = every[0].label
    whole = [one for one in every if one.label == baseline]
    own = [one for one in whole if one.decision is not None]
    if not own:
        return [Fact("Who pays", "Not known", str(whole[0].details["why"]))]
    harmed = [one for one in own if one.decision]
    most = max(harmed or own, key=lambda one: one.estimate or 0.0)
    where = f"{baseline}, {percent(most.rate)} removed"
    small = [one for one in found if one.claim == "suspected" and one.label == baseline]
    if harmed:
        who = Fact("Who pays most", f"Group {named(most.group)}", f"under {where}", harm=True)
    elif small:
        worst = max(small, key=lambda one: one.estimate or 0.0)
        who = replace(_suspected("Who pays", worst), value=f"Group {named(worst.group)}, perhaps")
    elif (one := _otherwise(found, baseline)) is not None:
        who = replace(
            _lost_otherwise("Who pays", one), value=f"Group {named(one.group)}, otherwise"
        )
    else:
        who = Fact("Who pays", "Nobody found", _clear(found, whole))
    first = first_loss(found, baseline)
    if first is not None:
        who = _lost("Who pays", first, f"{baseline}, {percent(first.rate)} removed: ", harmed, most)
    much = Fact("How much", f"{points(most.estimate or 0.0)} points", _extent(most), bool(harmed))
    return [who, much, *_onset(found, baseline), *_fairest(found)]


def _lost(label: str, first: Finding, where: str, harmed: Sequence[Finding], most: Finding) -> Fact:
    """A loss for all, and who was found to pay beyond it."""
    beyond = "no group was found to pay"
    if harmed:
        beyond = f"group {named(most.group)} pays {points(most.estimate or 0.0)} points"
    lost, judged = first.details["lost"], first.details["judged"]
    everybody = (
        "Everybody" if lost == judged > 1 else f"{points(first.estimate or 0.0)} points lost"
    )
    value = "Little is left" if hidden(first) else everybody
    if hidden(first) and class_alone(first.details) is not None:
        value = f"Class {named(first.details['class'])} lost"
    return Fact(label, value, f"{where}{fell(first)}; beyond that, {beyond}", harm=True)


def _clear(found: Sequence[Finding], whole: Sequence[Finding]) -> str:
    """What a clear verdict is about, and what it is not."""
    known = sorted({one.rate for one in whole if one.decision is not None})
    unknown = sorted({one.rate for one in whole if one.decision is None})
    parts = [f"under {whole[0].label} at {listed([percent(rate) for rate in known])}"]
    if unknown:
        parts.append(f"not known at {listed([percent(rate) for rate in unknown])}")
    if any(one.runs > 1 and one.details.get("runs_paying") for one in whole):
        parts.append("single runs differ")
    if any(one.claim == "discovered" and one.group and one.decision for one in found):
        parts.append("a crossing that nobody named pays")
    left = sum(one.claim == "left_out" for one in found)
    if left:
        parts.append(f"{left} group{'s' if left > 1 else ''} not judged")
    return "; ".join(parts)


def _extent(one: Finding) -> str:
    """The interval that the claim stands on, and what it is of."""
    runs = f", mean over {one.runs} runs" if one.runs > 1 else ""
    who = "" if one.decision else f" (group {named(one.group)})"
    return (
        f"{interval(one.low, one.high, GAP)} of accuracy beyond the average{who}{runs}".strip()
        + (where_all_gained(one) if one.decision else "")
    )


def _onset(found: Sequence[Finding], baseline: str) -> list[Fact]:
    own = [one for one in found if one.claim == "onset" and one.label == baseline]
    if not own:
        return []
    one, question = own[0], "From which rate on"
    if one.decision and one.rate:
        return [Fact(question, percent(one.rate), f"somebody pays under {baseline}", harm=True)]
    if one.decision:
        rates = listed([percent(rate) for rate in one.details["elsewhere"]])
        return [Fact(question, f"At {rates} only", f"somebody pays under {baseline}", harm=True)]
    if one.decision is None:
        return [Fact(question, "Runs disagree", f"in some run somebody pays under {baseline}")]
    return [Fact(question, "None found", f"up to {percent(one.details['highest'])}")]


def _fairest(found: Sequence[Finding]) -> list[Fact]:
    """The first of the networks that are told apart, or the one with the smallest gap, said so."""
    own = next((one for one in found if one.claim == "fairest"), None)
    if own is None:
        return []
    alike = own.details["not_told_apart"]
    if (own.details.get("lost") or 0.0) > MOST_LOST:
        lost = points(own.details["lost"])
        what = f"{own.label} loses {lost} points of accuracy, plain or balanced"
        return [Fact("Fairest", "None to propose", what)]
    unit = "nats" if own.metric == VIOLATION else "points"
    accuracy = number(own.details["accuracy"][own.label], "accuracy")
    detail = f"{own.label}: {number(own.estimate, unit)} {unit}, accuracy {accuracy}"
    if not alike:
        return [Fact("Fairest", own.label, detail)]
    names = listed(alike) if len(alike) < 3 else f"{len(alike)} others"
    return [Fact("Fairest", "Not told apart", f"{detail}; not surely fairer than {names}")]


def _compared(found: Sequence[Finding], compared: Sequence[str]) -> list[Fact]:
    """Who pays most under every network of a comparison."""
    made = []
    for name in compared:
        own = [one for one in found if one.claim == "pays" and one.label == name]
        judged = [one for one in own if one.decision is not None]
        if any(one.claim == "copy" and one.label == name for one in found):
            made.append(Fact(name, "A copy", "of the dense network: nothing was compared"))
            continue
        if not judged:
            unknown = Fact(name, "Not known", "who pays for the pruning")
            made.append(unknown if own else Fact(name, "Dense", "what others are held against"))
            continue
        harmed = [one for one in judged if one.decision]
        most = max(harmed or judged, key=lambda one: one.estimate or 0.0)
        first = first_loss(found, name)
        if first is not None:
            made.append(_lost(name, first, "", harmed, most))
            continue
        small = [one for one in found if one.claim == "suspected" and one.label == name]
        if small and not harmed:
            made.append(_suspected(name, max(small, key=lambda one: one.estimate or 0.0)))
            continue
        one = _otherwise(found, name)
        if one is not None and not harmed:
            made.append(_lost_otherwise(name, one))
            continue
        made.append(_gap(name, most, less_accurate(found, name), compared[0]))
    return made


def _gap(name: str, most: Finding, less: Finding | None, baseline: str) -> Fact:
    """The largest gap under a network, and what it lost against the baseline if much."""
    gap, between = f"{points(most.estimate or 0.0)} points", interval(most.low, most.high, GAP)
    lost = against = ""
    if less is not None:
        change, low, high = (-(v or 0.0) for v in (less.estimate, less.high, less.low))
        lost, against = f"{points(change)} points", interval(low, high, GAP)
    if most.decision:
        detail = f"{between} group {named(most.group)} pays beyond the average"
        detail += where_all_gained(most)
        detail += f"; {lost} {against} less accurate than {baseline}" if lost else ""
        return Fact(name, gap, detail, harm=True)
    if lost:
        detail = f"{against} of accuracy against {baseline}; no group was found to pay"
        return Fact(name, f"{lost} lost", detail, harm=True)
    detail = f"{between} the largest gap, of group {named(most.group)}; no group was found to pay"
    return Fact(name, gap, detail)


def _otherwise(found: Sequence[Finding], label: str) -> Finding | None:
    """What a group lost most in one class, or else of loss, under a method or network."""
    own = [one for one in found if one.claim == "lost_otherwise" and one.label == label]
    own = [one for one in own if one.decision]
    own.sort(key=lambda one: (one.details["class"] is None, -(one.estimate or 0.0)))
    return own[0] if own else None


def _lost_otherwise(name: str, one: Finding) -> Fact:
    """What a group lost that its accuracy does not show, where no group was found to pay."""
    clear = "in accuracy no group was found to pay"
    if one.details["class"] is None:
        nats = number(one.estimate, "excess_risk")
        detail = f"by which the loss of group {named(one.group)} rose more than the average"
        return Fact(name, f"{nats} nats", f"{detail}; {clear}", harm=True)
    detail = f"{interval(one.low, one.high, GAP)} group {named(one.group)} lost more than the "
    detail += f"average on samples of class {named(one.details['class'])}; {clear}"
    return Fact(name, f"{points(one.estimate or 0.0)} points", detail, harm=True)


def _suspected(name: str, one: Finding) -> Fact:
    """A group too small for a verdict that fell behind the average where nobody else pays."""
    behind = f"{points(one.estimate or 0.0)} points"
    between = interval(one.low, one.high, GAP)
    detail = f"{between} group {named(one.group)} fell {behind} behind the average; too small for "
    return Fact(name, behind, f"{detail}a verdict", harm=True)


def _action(found: Sequence[Finding]) -> list[Fact]:
    one = next((f for f in found if f.claim == "action"), None)
    if one is None:
        return []
    value, detail = DO[str(one.details["do"])](one)
    return [Fact("What to do", value, detail)]


DO: dict[str, Callable[[Finding], tuple[str, str]]] = {
    "take": lambda one: (
        f"Take {one.label}",
        f"{_paid(one)}; accuracy {points(one.details['accuracy_change'], '+')} points"
        f"{_small_unseen(one)}",
    ),
    "prune_less": lambda one: (
        f"Prune to {percent(one.rate)}",
        f"the highest rate measured at which {_paid(one)}{_small_unseen(one)}",
    ),
    "mitigate": lambda one: ("Do not ship it", _remedy(one)),
    "repeat": lambda one: ("Train more runs", "single runs found somebody to pay"),
    "collect": lambda one: ("Collect samples", _too_few(one)),
    "keep": lambda one: (
        "Weigh its loss" if "loss" in one.details else "Keep it",
        f"{_borne(one)}harm of {points(one.details['tolerance'])} points would have shown four "
        "times in five",
    ),
    "unknown": lambda one: _why_unknown(str(one.details.get("why", ""))),
}
"""The action in a few words, by its `do`."""


def _paid(one: Finding) -> str:
    """That nobody was found to pay, or only less than the tolerance."""
    if one.details.get("small_harm"):
        return f"what is paid is less than {points(one.details['tolerance'])} points"
    return "no group was found to pay"


def _small_unseen(one: Finding) -> str:
    """That a network that is advised is not cleared by so few samples."""
    unseen = one.details.get("needed") and not one.details.get("seen")
    tolerance = points(one.details.get("tolerance") or 0.0)
    return f"; too few samples to see {tolerance} points of harm" if unseen else ""


def _why_unknown(why: str) -> tuple[str, str]:
    if why == TOO_FEW:
        return "Collect samples", f"of more groups: {why}"
    if why == COPIED:
        return "Give its own file", why
    if why in ("", NO_PARENT):
        return "Measure the dense network", "without it nobody can say who pays"
    return "Find out why", why


def _remedy(one: Finding) -> str:
    spoiled = is_spoiled(one.details)
    return "prune less, or train longer" if spoiled else "prune again under a fairness constraint"


def _borne(one: Finding) -> str:
    lost = one.details.get("loss")
    if not lost:
        return ""
    whose = f"of {lost['of']}" if "of" in lost else "for all"
    return f"{points(lost['estimate'])} points {whose}; beyond that, "


def _too_few(one: Finding) -> str:
    if one.details.get("suspected"):
        return f"first of group {named(one.details['suspected'][0]['group'])}, which fell behind"
    if one.details.get("seen") and one.details.get("unjudged"):
        return f"nothing is known of group {named(one.details['unjudged'][0]['group'])}"
    return f"of group {named(one.details.get('needed_group', ''))}: too few to see small harm"
