"""Findings in words: every sentence is of findings, and says no more than they do (J7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from audit.findings.advice import advice
from audit.findings.decisions import ALPHA
from audit.findings.finding import Finding
from audit.findings.headline import headline_of
from audit.findings.told import MOST_TOLD, Said, Told, spoken_of
from audit.findings.who import (
    changes,
    classes_gone,
    copies,
    discoveries,
    left_out,
    losses_of_all,
    onsets,
    otherwise,
    suspected,
    who_pays,
    wrong_way_round,
)
from audit.findings.why import boundary, causes, faithful, layers, power
from audit.findings.words import MOST_LOST, first_upper, group, listed, number, percent, points


@dataclass(frozen=True)
class Verdict:
    """A report in words.

    because   why the harm falls where it does, and how small a harm would have gone unseen
    action    what to do next; empty where no pruned network was measured
    """

    headline: Said
    sentences: tuple[Said, ...]
    because: tuple[Said, ...]
    action: Said | None

    def plain(self) -> dict[str, Any]:
        """For results.json: texts, and `said`, the findings of each."""
        every = [self.headline, *self.sentences, *self.because]
        every += [] if self.action is None else [self.action]
        return {
            "headline": self.headline.text,
            "sentences": [one.text for one in (*self.sentences, *self.because)],
            "because": [one.text for one in self.because],
            "action": "" if self.action is None else self.action.text,
            "said": [{"text": one.text, "findings": list(one.findings)} for one in every],
        }


def make_verdict(findings: Sequence[Finding], baseline: str, compared: Sequence[str]) -> Verdict:
    """All findings in words.

    baseline   the label of the first method, or of the first network compared
    compared   the networks of a comparison, the baseline first; empty for a study
    """
    told = Told(tuple(findings), baseline, tuple(compared))
    sentences = [
        *wrong_way_round(told),
        *copies(told),
        *losses_of_all(told),
        *who_pays(told),
        *suspected(told),
        *otherwise(told),
        *classes_gone(told),
        *onsets(told),
        *changes(told),
        *_rates(told),
        *_how(told),
    ]
    sentences += [*_collapse(told), *_fairest(told), *discoveries(told), *left_out(told)]
    because = [*boundary(told), *faithful(told), *causes(told), *layers(told), *power(told)]
    return Verdict(headline_of(told), tuple(sentences), tuple(because), advice(told))


RATES = {
    "demographic_parity_difference": "Demographic parity",
    "equalized_odds_difference": "Equalised odds",
}


def _rates(told: Told) -> Iterator[Said]:
    for metric, name in RATES.items():
        own = [one for one in told.all("beyond_chance") if one.metric == metric]
        own = [one for one in own if spoken_of(told, one)]
        beyond = [one for one in own if one.decision]
        if not beyond:
            continue
        worst = max(beyond, key=lambda one: one.estimate or 0.0)
        parts = [f"{points(one.estimate or 0.0)} points under {told.where(one)}" for one in beyond]
        text = f"{name} differ beyond chance: {listed(parts)}"
        if name == "Demographic parity":
            text = f"{name} differs beyond chance: {listed(parts)}"
        within = [f"{told.where(one)} ({points(one.estimate or 0.0)})" for one in own
                  if not one.decision]  # fmt: skip
        text += f"; not found beyond chance under {listed(within)}" if within else ""
        found = worst.details
        lacking = sorted({str(name) for one in own for name in one.details["without"]})
        without = ""
        if lacking:
            names = listed([group(name) for name in lacking])
            without = f" Nothing is known of a rate of which {names} has no sample."
        others = "the others judged" if told.all("left_out") else "all others"
        text += (
            f". Under {told.where(worst)}, the {found['rate_of']} of {group(worst.group)} is "
            f"{number(found['rate_of_group'], 'accuracy')}, that of {others} "
            f"{number(found['rate_of_others'], 'accuracy')} (class {found['class']}).{without}"
        )
        yield told.said(text, own)


def _how(told: Told) -> Iterator[Said]:
    """Gaps that narrowed: by lowering somebody, or by raising the worst-off beyond chance (J6)."""
    own = [
        one
        for one in told.all("levelling_down")
        if spoken_of(told, one) and (one.decision is not False or _raised(one))
    ]
    for key in dict.fromkeys(map(_narrowed_so, own)):
        alike = [one for one in own if _narrowed_so(one) == key]
        yield told.said(_narrowed(told, alike), alike)


def _raised(one: Finding) -> bool:
    """Whether a gap narrowed beyond chance, with the worst off raised beyond chance."""
    return bool(one.details["rose"] and one.details.get("narrowed", True))


def _narrowed_so(one: Finding) -> tuple[object, ...]:
    """What gaps that one sentence speaks of have in common."""
    return one.decision, one.metric, one.details["against"]


def _narrowed(told: Told, alike: Sequence[Finding]) -> str:
    """Several networks that narrowed the same gap in the same way, in one sentence."""
    first = alike[0]
    gap = f"the gap in {first.metric} against {first.details['against']}"
    ways = [f"{told.where(one)} from {_of_gap(one)}, {_of_worst_off(one)}" for one in alike]
    each = "; ".join(ways)
    if first.decision:
        return f"By levelling down, {gap} narrows under {each}."
    if first.decision is None:
        return (
            f"{first_upper(gap)} narrows, but the worst off did not gain by it, under {each}: "
            "too few samples to say whether this is levelling down."
        )
    return f"{first_upper(gap)} narrows, with the worst off raised, under {each}."


def _of_gap(one: Finding) -> str:
    found = one.details
    return f"{points(found['gap_before'])} to {points(found['gap_after'])} points"


def _of_worst_off(one: Finding) -> str:
    """What became of the worst-off group; where it did not fall, of the best-off one too."""
    found = one.details

    def change(name: str | None) -> str:
        before, after = (number(v, "accuracy") for v in found["rates"][name])
        return f"from {before} to {after}"

    before, after = (number(found[f"balanced_{side}"], "accuracy") for side in ("before", "after"))
    text = f"{group(one.group)}, the worst off, {change(one.group)}"
    if one.decision and (one.p_adjusted or 0.0) >= ALPHA:
        text += f", {group(found['best_off'])}, the best off, {change(found['best_off'])}"
    cost = (found["balanced_before"] or 0.0) - (found["balanced_after"] or 0.0) > MOST_LOST
    how = "but balanced accuracy over all fell from" if cost else "balanced accuracy over all"
    return f"{text} ({how} {before} to {after})"


def _collapse(told: Told) -> Iterator[Said]:
    for one in told.all("collapse"):
        found = one.details
        if not one.decision:
            continue
        parts = []
        if (one.estimate or 0.0) >= 0.99:
            runs = f" in {found['collapsed_runs']} of {one.runs} runs" if one.runs > 1 else ""
            parts.append(
                f"predicts class {found['class']} for {number(one.estimate, 'accuracy')} of the "
                f"samples{runs} (balanced accuracy "
                f"{number(found['balanced_accuracy'], 'accuracy')})"
            )
        if found["empty_layers"]:
            parts.append(f"has no weight left in {listed(found['empty_layers'])}")
        yield told.said(f"{told.where(one)} has collapsed: it {listed(parts)}.", [one])


HELD = {
    "max_excess_accuracy_gap": "the largest excess accuracy gap",
    "equalized_odds_difference": "the equalised odds difference",
    "demographic_parity_difference": "the demographic parity difference",
    "fairness_violation": "the fairness violation ξ",
}


def _fairest(told: Told) -> Iterator[Said]:
    for one in told.all("fairest"):
        found, unit = one.details, str(one.metric)
        held = HELD[unit]
        size = number(one.estimate, unit)
        size += " nats" if unit == "fairness_violation" else " points"
        at = "" if told.compared else f" at {percent(one.rate)}"
        # Beside it stand means of every run's own largest, which is larger.
        at += f", of every group's mean over {one.runs} runs" if one.runs > 1 else ""
        price = f"{_price(told, one)}{_not_proposed(one)}"
        fallen = found["collapsed"]
        collapsed = f" Left out: {listed(fallen)}, collapsed or ruined." if fallen else ""
        if one.decision:
            yield told.said(
                f"By {held}{at}, {one.label} is the fairest of {found['of']} networks ({size}), "
                f"significantly so against every other; {price}.{collapsed}",
                [one],
            )
            continue
        alike = found["not_told_apart"]
        others = found["of"] - 1 - len(alike)
        text = f"By {held}{at}, {one.label} has the smallest of {found['of']}: {size}; {price}."
        names = listed(alike) if len(alike) <= MOST_TOLD else f"{len(alike)} networks"
        text += f" It cannot be told apart from {names}"
        rest = "1 other is" if others == 1 else f"{others} others are"
        text += f"; {rest} significantly less fair." if others else "."
        yield told.said(text + collapsed, [one])


def _not_proposed(one: Finding) -> str:
    """That it loses more accuracy than it may (J4), where it does."""
    lost = one.details.get("lost")
    if lost is None or lost <= MOST_LOST:
        return ""
    return f"; at {points(lost)} points of accuracy lost, plain or balanced, it is not proposed"


def _price(told: Told, one: Finding) -> str:
    found = one.details
    accuracy, balanced = (found[key] for key in ("accuracy", "balanced_accuracy"))
    own = (
        f"its accuracy is {number(accuracy[one.label], 'accuracy')}, balanced "
        f"{number(balanced[one.label], 'accuracy')}"
    )
    if one.label == told.baseline or told.baseline not in accuracy:
        return own
    change = points(accuracy[one.label] - accuracy[told.baseline], "+")
    return f"{own} ({change} points of accuracy against {told.baseline})"
