"""Findings in words: every sentence is of findings, and says no more than they do (J7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.findings.changes import less_accurate
from audit.findings.decisions import ALPHA
from audit.findings.finding import Finding
from audit.findings.losses import fell, first_loss, hidden, left_of, ruined, size, who_lost
from audit.findings.pays import NO_PARENT, TOO_FEW
from audit.findings.words import (
    MISSING,
    MOST_LOST,
    count,
    counted,
    group,
    interval,
    listed,
    named,
    number,
    percent,
    points,
    were,
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
    told = _Told(tuple(findings), baseline, tuple(compared))
    sentences = [
        *_better(told),
        *_losses(told),
        *_who(told),
        *_suspected(told),
        *_gone(told),
        *_onset(told),
        *_changes(told),
        *_rates(told),
        *_how(told),
    ]
    sentences += [*_collapse(told), *_fairest(told), *_discovered(told), *_left_out(told)]
    because = [*_boundary(told), *_faithful(told), *_causes(told), *_layer(told), *_power(told)]
    return Verdict(_headline(told), tuple(sentences), tuple(because), _action(told))


@dataclass(frozen=True)
class _Told:
    """The findings, and what sentences need to pick from them."""

    findings: tuple[Finding, ...]
    baseline: str
    compared: tuple[str, ...]

    def all(self, claim: str) -> list[Finding]:
        return [one for one in self.findings if one.claim == claim]

    def labels(self) -> list[str]:
        return list(dict.fromkeys(one.label for one in self.all("pays")))

    def said(self, text: str, findings: Iterable[Finding]) -> Said:
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
        return [one for one in self.all("pays") if one.label == label and one.decision]


def _amount(one: Finding) -> str:
    """An estimate in points with the interval that its claim stands on."""
    return f"{points(one.estimate or 0.0)} points {interval(one.low, one.high, LARGEST)}".strip()


def _paid_by(one: Finding) -> str:
    """A group and what it pays; where all together gained, what became of its own accuracy."""
    whole, own = one.details.get("whole_drop"), one.details.get("own_drop")
    aside = ""
    if whole is not None and own is not None and whole < 0:
        aside = (
            f" (its accuracy changed by {points(-own, '+')}, that of all by {points(-whole, '+')})"
        )
    return f"{group(one.group)} pays {_amount(one)}{aside}"


def _few(parts: Sequence[str], rest: str = "more") -> str:
    """The first of many parts of a sentence, and how many are not told."""
    left = len(parts) - MOST_TOLD
    return listed([*parts[:MOST_TOLD], *([f"{left} {rest}"] if left > 0 else [])])


def _runs(one: Finding) -> str:
    """Over how many runs, and in how many by itself; one run says nothing of another."""
    if one.runs == 1:
        return ""
    text = (
        f", the mean over {one.runs} runs (in {one.details['runs_paying']} of {one.runs} by itself)"
    )
    return f"{text}, and two runs tell little of a third" if one.runs == 2 else text


# --- the headline ---------------------------------------------------------------------------------


def _headline(told: _Told) -> Said:
    every = told.all("pays")
    if not every:
        return Said("A dense network was measured; there is no pruning to judge.", ())
    unknown = [one for one in every if one.decision is None]
    if len(unknown) == len(every):
        why = str(unknown[0].details["why"])
        losses = [told.loss(name) for name in told.compared or [told.baseline]]
        first = next(filter(None, losses), None)
        if first is None:
            return told.said(f"Who pays for the pruning is not known: {why}.", unknown)
        return told.said(
            f"Under {told.where(first)}, {fell(first)}; who pays beyond that is not known: {why}.",
            [first, *unknown],
        )
    return _compared(told) if told.compared else _studied(told)


def _not_known(told: _Told, found: Iterable[Finding]) -> str:
    """Of which networks it is not known who pays, and why; empty where it is of all."""
    unknown = [one for one in found if one.decision is None]
    if not unknown:
        return ""
    where = listed(list(dict.fromkeys(told.where(one) for one in unknown)))
    return f"who pays under {where} is not known ({unknown[0].details['why']})"


def _unjudged(told: _Told, labels: Sequence[str]) -> str:
    """What a clear verdict on these does not say of groups that were not judged."""
    seen = _worst_suspected(told, labels)
    left = [one for one in told.all("left_out") if one.group not in {own.group for own in seen}]
    named = [f"{group(one.group)}{FLAGGED[one.details['flag']]}" for one in left]
    text = f"; but {_few([_fell_behind(told, one) for one in seen])}" if seen else ""
    return text + (f"; nothing is known of {_few(named)}" if named else "")


def _worst_suspected(told: _Told, labels: Sequence[str]) -> list[Finding]:
    """Of every group too small for a verdict that fell behind under one of these, the furthest."""
    found: dict[str | None, Finding] = {}
    for one in sorted(told.all("suspected"), key=lambda one: -(one.estimate or 0.0)):
        if one.label in labels:
            found.setdefault(one.group, one)
    return list(found.values())


def _fell_behind(told: _Told, one: Finding) -> str:
    return (
        f"{group(one.group)} ({counted(one.n, 'sample')}, too small for a verdict) fell behind the "
        f"average under {told.where(one)} by {_amount(one)}"
    )


def _suspected(told: _Told) -> Iterator[Said]:
    """Groups too small for a verdict that fell behind all the same, network by network."""
    for label in told.labels():
        own = _worst_suspected(told, [label])
        if own:
            text = _few([_fell_behind(told, one) for one in own])
            yield told.said(
                f"{_first_upper(text)}: beyond what chance alone does to so few.",
                own,
            )


def _gone(told: _Told) -> Iterator[Said]:
    """Small classes of which no right answer is left, network by network."""
    for one in told.all("loss"):
        if one.details.get("classes_gone"):
            text = (
                f"Under {told.where(one)}, {_all_gone(one.details)}, too few samples for a verdict."
            )
            yield told.said(text, [one])


def _all_gone(found: Mapping[str, Any]) -> str:
    """The small classes that have no right answer left, in words."""
    own = [f"class {named(one['class'])} (of {one['right']})" for one in found["classes_gone"]]
    return f"no right answer is left of {_few(own)}"


def _but_gone(told: _Told, labels: Sequence[str]) -> str:
    """What a clear verdict must not pass over of classes too small for a verdict."""
    own = [one for one in told.all("loss") if one.label in labels]
    own = [one for one in own if one.details.get("classes_gone")]
    parts = [f"under {told.where(one)} {_all_gone(one.details)}" for one in own]
    return f"; but {_few(parts, 'networks more so')}" if parts else ""


def _unchanged(told: _Told, labels: Sequence[str]) -> str:
    """Which networks answer every sample as the dense one does: what is clear may be a copy."""
    own = [one for one in told.all("loss") if one.label in labels]
    alike = [told.where(one) for one in own if one.details.get("changed") == 0]
    return f"; {listed(alike)} answered every sample as the dense network does" if alike else ""


def _crossed(told: _Told, labels: Sequence[str]) -> list[Finding]:
    """The groups that nobody named and that were found to pay under one of these."""
    own = [one for one in told.all("discovered") if one.label in labels and one.group is not None]
    return [one for one in own if one.decision]


def _but_crossed(told: _Told, labels: Sequence[str]) -> str:
    """What a clear verdict about the named groups must not pass over."""
    crossed = _crossed(told, labels)
    if not crossed:
        return ""
    worst = max(crossed, key=lambda one: one.estimate or 0.0)
    return f"; but {group(worst.group)}, a crossing that nobody named, pays {_amount(worst)}"


def _studied(told: _Told) -> Said:
    own = [one for one in told.all("pays") if one.label == told.baseline]
    if all(one.decision is None for one in own):
        return told.said(f"{_first_upper(_not_known(told, own))}.", own)
    first = told.loss(told.baseline)
    before = f"Under {told.where(first)}, {fell(first)}; beyond that, " if first else ""
    if told.harmed(told.baseline):
        return _harmed(told, first, before)
    onset = next((f for f in told.all("onset") if f.label == told.baseline), None)
    used = [*own, *(one for one in (first, onset) if one is not None)]
    if onset is not None and onset.decision is None:
        some = listed([percent(rate) for rate in onset.details["in_some_runs"]])
        return told.said(
            f"{_first_upper(f'{before}over all runs')} no group was found to pay more than the "
            f"others under {told.baseline}, but in single runs one was, at {some}: the runs do not "
            "agree.",
            used,
        )
    return _clear(told, first, before, used)


def _harmed(told: _Told, first: Finding | None, before: str) -> Said:
    """Who pays most under the first method, after what all lost, if that is more."""
    harmed = told.harmed(told.baseline)
    worst = max(harmed, key=lambda one: one.estimate or 0.0)
    rate = [one for one in harmed if one.rate == worst.rate]
    others = f"; {len(rate) - 1} more pay too" if len(rate) > 1 else ""
    if first is not None:
        at = "" if worst.rate == first.rate else f"at {percent(worst.rate)} "
        return told.said(
            f"{before}{at}{_paid_by(worst)} more than the average{_runs(worst)}{others}.",
            [first, *rate],
        )
    return told.said(
        f"Pruning to {percent(worst.rate)} by {told.baseline} harms some groups more than "
        f"others: {_paid_by(worst)} of accuracy beyond the average "
        f"loss{_runs(worst)}{others}.",
        rate,
    )


def _clear(told: _Told, first: Finding | None, before: str, used: Sequence[Finding]) -> Said:
    """That nobody was found to pay under the first method, and all that this does not say."""
    own = [one for one in used if one.claim == "pays"]
    known = [one for one in own if one.decision is not None]
    single = [one for one in known if one.runs > 1 and one.details["runs_paying"]]
    beside = f"; {unknown}" if (unknown := _not_known(told, own)) else ""
    if single:
        named = list(dict.fromkeys(group(one.group) for one in single))
        beside += f"; in single runs {_few(named)} {were(named)}"
    rates = sorted({one.rate for one in known})
    at = f"at {listed([percent(rate) for rate in rates])} pruning by {told.baseline}, "
    if first and rates == [first.rate]:
        at = ""
    crossed = _crossed(told, [told.baseline])
    return told.said(
        f"{_first_upper(f'{before}{at}no group')} was found to pay more than the others"
        f"{_unseen(told)}{_unjudged(told, [told.baseline])}{beside}"
        f"{_but_crossed(told, [told.baseline])}{_but_gone(told, [told.baseline])}.",
        [
            *used,
            *told.all("detectable"),
            *told.all("left_out"),
            *_worst_suspected(told, [told.baseline]),
            *crossed,
            *(one for one in told.all("loss") if one.label == told.baseline),
        ],
    )


def _unseen(told: _Told, labels: Sequence[str] = ()) -> str:
    """What a clear verdict could not have seen: of these networks, or of all that are told."""
    every = [one for one in told.all("detectable") if not labels or one.label in labels]
    blind = max(every, key=lambda one: one.estimate or 0.0, default=None)
    if blind is None:
        return ""
    if (blind.estimate or 0.0) >= 1:
        return f"; any harm might have gone unseen for {group(blind.group)}"
    return (
        f"; harm below {points(blind.estimate or 0.0)} points would often have gone unseen for "
        f"{group(blind.group)} ({counted(blind.n, 'sample')})"
    )


def _compared(told: _Told) -> Said:
    """Network by network who pays, or of many networks together, the worst first."""
    own = {name: [f for f in told.all("pays") if f.label == name] for name in told.compared}
    judged = [name for name in told.compared if own[name]]
    lossy = {name: loss for name in judged if (loss := told.loss(name)) is not None}
    if lossy:
        judged.sort(key=lambda name: _worst(told, name), reverse=True)
    clear = [
        name
        for name in judged
        if not told.harmed(name) and not _not_known(told, own[name])
    ]  # fmt: skip
    parts = [_of_network(told, name, own[name]) for name in judged]
    if len(judged) > MOST_TOLD:
        parts = _of_many(told, judged, clear)
    beside = [
        *(one for one in told.all("detectable") if one.label in clear),
        *told.all("left_out"),
        *_worst_suspected(told, clear),
        *_crossed(told, told.compared),
        *(one for one in told.all("loss") if one.label in clear),
    ]
    unseen = (
        f"{_unseen(told, clear)}{_unjudged(told, clear)}{_but_crossed(told, told.compared)}"
        f"{_but_gone(told, clear)}{_unchanged(told, clear)}"
    )
    used = [*lossy.values(), *(one for name in judged for one in own[name])]
    what = (
        "points of accuracy beyond the average," if any(map(told.harmed, judged)) else "each held"
    )
    return told.said(
        f"{_first_upper('; '.join(parts))}; {what} against the dense network"
        f"{unseen if clear else ''}.",
        [*used, *(beside if clear else ())],
    )


def _worst(told: _Told, name: str) -> tuple[bool, float]:
    """The largest loss or harm under a network, for the order of telling; ruined ones first."""
    first = told.loss(name)
    every = [*told.harmed(name), *([first] if first else [])]
    return max(map(size, every), default=(False, 0.0))


def _of_network(told: _Told, name: str, own: Sequence[Finding]) -> str:
    first, harmed = told.loss(name), told.harmed(name)
    before = f"under {name}, {fell(first)}; beyond that, " if first else f"under {name}, "
    less = "" if first else _below_baseline(told, name)
    if harmed:
        worst = max(harmed, key=lambda one: one.estimate or 0.0)
        more = f", the most of {len(harmed)} groups that pay" if len(harmed) > 1 else ""
        return f"{before}{_paid_by(worst)}{more}{less}"
    text = _not_known(told, own) or f"{before}no group was found to pay"
    return f"{text}{less}"


def _below_baseline(told: _Told, name: str) -> str:
    """What a network lost against the baseline of a comparison, where that is much (J4)."""
    lost = less_accurate(told.findings, name)
    return f", and it is less accurate than {told.baseline} by {_lost(lost)}" if lost else ""


def _lost(one: Finding) -> str:
    """A change for the worse in points, as a loss."""
    low, high = (None if bound is None else -bound for bound in (one.high, one.low))
    return f"{points(-(one.estimate or 0.0))} points {interval(low, high, LARGEST)}".strip()


def _of_many(told: _Told, judged: Sequence[str], clear: Sequence[str]) -> list[str]:
    """Many networks in one sentence: where all lost, where somebody pays, and where nobody does."""
    worst = sorted(judged, key=lambda name: _worst(told, name), reverse=True)
    losses = {name: one for name in worst if (one := told.loss(name)) is not None}
    gone = [f"under {name} {left_of(one)}" for name, one in losses.items() if hidden(one)]
    lossy = [f"under {name} by {_amount(one)}" for name, one in losses.items() if not hidden(one)]
    payers = [
        (name, max(harmed, key=lambda one: one.estimate or 0.0))
        for name in judged
        if (harmed := told.harmed(name))
    ]
    payers.sort(key=lambda pair: -(pair[1].estimate or 0.0))
    unknown = [one for name in judged for one in told.all("pays") if one.label == name]
    parts = [_few(gone)] if gone else []
    parts += [f"accuracy fell {_few(lossy)}; beyond that"] if lossy else []
    parts += [_few([f"under {name} {_paid_by(one)}" for name, one in payers])] if payers else []
    parts += [f"under {listed(clear)} no group was found to pay"] if clear else []
    parts += [text] if (text := _not_known(told, unknown)) else []
    if lossy and len(parts) > (first := len(gone[:1])) + 1:
        parts[first : first + 2] = [f"{parts[first]}, {parts[first + 1]}"]
    return parts


# --- who pays, and from which rate on -------------------------------------------------------------


def _better(told: _Told) -> Iterator[Said]:
    """Whether the network called dense may be another than the one that was pruned."""
    for one in (one for one in told.all("better") if one.decision):
        yield told.said(
            f"{told.where(one)} is more accurate than the network called dense by "
            f"{_amount(one)}: are the files the right way round?",
            [one],
        )


def _losses(told: _Told) -> Iterator[Said]:
    """Where all lost more than anybody pays beyond it, the largest losses first."""
    own = [one for one in told.all("loss") if one.details["leads"]]
    if not own:
        return
    own.sort(key=size, reverse=True)
    gone = [one for one in own if hidden(one)]
    if gone:
        each = [f"under {told.where(one)}, {fell(one)}" for one in gone]
        left = len(gone) - MOST_TOLD
        more = [f"{left} more lost a class so"] if left > 0 else []
        yield told.said(f"{_first_upper('; '.join([*each[:MOST_TOLD], *more]))}.", gone)
    others = [one for one in own if not hidden(one)]
    parts = [f"under {told.where(one)} by {_amount(one)}{_of_whom(one)}" for one in others]
    if parts:
        yield told.said(f"Against the dense network, accuracy fell {_few(parts)}.", others)


def _of_whom(one: Finding) -> str:
    """How many lost beyond doubt, and how much a ruined network still tells of the labels."""
    said = [who] if (who := who_lost(one)) else []
    said += [left_of(one)] if ruined(one) else []
    return f" ({'; '.join(said)})" if said else ""


def _who(told: _Told) -> Iterator[Said]:
    """Method by method who pays at every rate; those under which nobody does, in one sentence."""
    for label in told.labels():
        harmed = sorted(told.harmed(label), key=lambda one: (one.rate, -(one.estimate or 0.0)))
        if harmed:
            yield told.said(f"{label}: {_payers(told, harmed)}.", harmed)
    unknown = [one for one in told.all("pays") if one.decision is None]
    if unknown:
        yield told.said(f"{_first_upper(_not_known(told, unknown))}.", unknown)
    open_labels = {one.label for one in unknown}
    clear = [
        label for label in told.labels() if label not in open_labels and not told.harmed(label)
    ]
    own = [one for one in told.all("pays") if one.label in clear and one.decision is False]
    single = [one for one in own if one.runs > 1 and one.details["runs_paying"]]
    if single:
        named = _few(
            [
                f"{group(one.group)} under {told.where(one)} "
                f"(in {one.details['runs_paying']} of {one.runs})"
                for one in single
            ]
        )
        yield told.said(f"Found to pay in single runs but not over all of them: {named}.", single)
    quiet = [label for label in clear if not any(one.label == label for one in single)]
    shown = [one for one in own if one.label in quiet]
    if shown and (told.compared or quiet != [told.baseline]):
        worst = max(shown, key=lambda one: one.estimate or 0.0)
        yield told.said(
            f"Under {listed(quiet)} no group was found to pay; the largest gap is "
            f"{_amount(worst)}, that of {group(worst.group)}{_at(told, worst, quiet)}.",
            shown,
        )


def _at(told: _Told, one: Finding, labels: Sequence[str]) -> str:
    """Where among several networks, as far as that is not said already."""
    if len(labels) > 1:
        return f" under {told.where(one)}"
    return "" if told.compared else f" at {percent(one.rate)}"


def _payers(told: _Told, harmed: Sequence[Finding]) -> str:
    by_rate: dict[float, list[Finding]] = {}
    for one in harmed:
        by_rate.setdefault(one.rate, []).append(one)
    parts = []
    for rate, own in by_rate.items():
        first = _few([_paid_by(one) for one in own], "more pay")
        at = "" if told.compared else f"at {percent(rate)}, "
        parts.append(f"{at}{first}")
    return f"{'; '.join(parts)} of accuracy beyond the average"


def _onset(told: _Told) -> Iterator[Said]:
    for one in told.all("onset"):
        if not one.decision:
            continue
        found = one.details
        highest = percent(found["highest"])
        begin = f"from {percent(one.rate)} on, up to {highest}"
        if one.rate == found["highest"]:
            begin = f"at {highest}"
        text = f"somebody pays {begin}, the highest rate measured"
        if not one.rate:
            text = f"nobody was found to pay at {highest}"
        if found["elsewhere"]:
            but = ", and at" if one.rate else ", but somebody does at"
            text += f"{but} {listed([percent(r) for r in found['elsewhere']])}"
        elif one.rate > min(found["rates"]):
            text += "; nobody was found to pay at any lower rate"
        if len(found["rates"]) > 1:
            yield told.said(f"Under {one.label}, {text}.", [one])


# --- what a candidate changes ---------------------------------------------------------------------


def _changes(told: _Told) -> Iterator[Said]:
    for name in told.compared[1:]:
        every = [*told.all("changes_overall"), *told.all("changes")]
        own = [one for one in every if one.label == name]
        sides = (("more", 1), ("less", -1))
        for word, sign in sides:
            changed = [one for one in own if one.decision and sign * (one.estimate or 0.0) > 0]
            if changed:
                parts = _few([f"{_whom(one)} ({_signed(one)})" for one in changed])
                yield told.said(
                    f"{name} is {word} accurate than {told.compared[0]} for {parts}.", changed
                )
        if own and not any(one.decision for one in own):
            yield told.said(
                f"For no group, nor for all together, was {name} found to be more or less "
                f"accurate than {told.compared[0]}.",
                own,
            )


def _whom(one: Finding) -> str:
    return "all samples together" if one.group is None else group(one.group)


def _signed(one: Finding) -> str:
    return (
        f"{points(one.estimate or 0.0, '+')} points {interval(one.low, one.high, LARGEST)}".strip()
    )


# --- rates, levelling down, collapse --------------------------------------------------------------

RATES = {
    "demographic_parity_difference": "Demographic parity",
    "equalized_odds_difference": "Equalised odds",
}


def _rates(told: _Told) -> Iterator[Said]:
    for metric, name in RATES.items():
        own = [one for one in told.all("beyond_chance") if one.metric == metric]
        own = [one for one in own if _spoken_of(told, one)]
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


def _spoken_of(told: _Told, one: Finding) -> bool:
    """The dense network, those compared, and of a study the methods at the rate that is judged."""
    return bool(told.compared) or one.rate in (0.0, _judged_rate(told))


def _judged_rate(told: _Told) -> float:
    own = [one for one in told.all("pays") if one.label == told.baseline]
    harmed = [one for one in own if one.decision]
    if harmed:
        return max(harmed, key=lambda one: one.estimate or 0.0).rate
    return max((one.rate for one in own), default=0.0)


def _how(told: _Told) -> Iterator[Said]:
    """Gaps that narrowed: by lowering somebody, or by raising the worst-off beyond chance (J6)."""
    own = [
        one
        for one in told.all("levelling_down")
        if _spoken_of(told, one) and (one.decision is not False or one.details["rose"])
    ]
    for key in dict.fromkeys(map(_narrowed_so, own)):
        alike = [one for one in own if _narrowed_so(one) == key]
        yield told.said(_narrowed(told, alike), alike)


def _narrowed_so(one: Finding) -> tuple[object, ...]:
    """What gaps that one sentence speaks of have in common."""
    return one.decision, one.metric, one.details["against"]


def _narrowed(told: _Told, alike: Sequence[Finding]) -> str:
    """Several networks that narrowed the same gap in the same way, in one sentence."""
    first = alike[0]
    gap = f"the gap in {first.metric} against {first.details['against']}"
    ways = [f"{told.where(one)} from {_of_gap(one)}, {_of_worst_off(one)}" for one in alike]
    each = "; ".join(ways)
    if first.decision:
        return f"By levelling down, {gap} narrows under {each}."
    if first.decision is None:
        return (
            f"{_first_upper(gap)} narrows, but the worst off did not gain by it, under {each}: "
            "too few samples to say whether this is levelling down."
        )
    return f"{_first_upper(gap)} narrows, with the worst off raised, under {each}."


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
    how = f"but balanced accuracy fell from {before}" if cost else f"balanced accuracy {before}"
    return f"{text} ({how} to {after})"


def _collapse(told: _Told) -> Iterator[Said]:
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


# --- which is fairest -----------------------------------------------------------------------------

HELD = {
    "max_excess_accuracy_gap": "the largest excess accuracy gap",
    "equalized_odds_difference": "the equalised odds difference",
    "demographic_parity_difference": "the demographic parity difference",
    "fairness_violation": "the fairness violation ξ",
}


def _fairest(told: _Told) -> Iterator[Said]:
    for one in told.all("fairest"):
        found, unit = one.details, str(one.metric)
        held = HELD[unit]
        size = number(one.estimate, unit)
        size += " nats" if unit == "fairness_violation" else " points"
        at = "" if told.compared else f" at {percent(one.rate)}"
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


def _price(told: _Told, one: Finding) -> str:
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


# --- why, and how sure ----------------------------------------------------------------------------


def _boundary(told: _Told) -> Iterator[Said]:
    """Of the group that pays most under each method, or network compared, all in one sentence."""
    every = told.all("boundary")
    most = [
        max((o for o in every if o.label == label), key=lambda o: o.estimate or 0.0)
        for label in dict.fromkeys(one.label for one in every)
    ]
    if not most:
        return
    first, *rest = most
    others = [
        f"of the {points(one.estimate or 0.0)} of {group(one.group)} under {told.where(one)}, "
        f"{_part(one.details, 'composition')} and {_part(one.details, 'within')}"
        for one in rest
    ]
    told_first = (
        f"Of the {points(first.estimate or 0.0)} points that {group(first.group)} pays "
        f"beyond the average under {told.where(first)}, {_shared(first.details)}; "
        f"{_own(first.details)}"
    )
    yield told.said("; ".join([told_first, *others]) + ".", most)


def _shared(found: Mapping[str, Any]) -> str:
    """What a group pays for where its samples lie, which may be less than the average."""
    part = _part(found, "composition")
    if round(100 * found["composition"], 1) < 0:
        return f"{part} are for lying where any group's samples pay less than the average"
    return f"{part} are what any group's samples so near the boundary pay"


def _own(found: Mapping[str, Any]) -> str:
    part = _part(found, "within")
    if round(100 * found["within"], 1) < 0:
        return f"{part} are for paying less than others at the same margin"
    return f"{part} are what this group pays more than others at the same margin"


def _part(found: Mapping[str, Any], part: str) -> str:
    between = interval(found[f"{part}_low"], found[f"{part}_high"], LARGEST)
    return f"{points(found[part])} {between}".strip()


def _faithful(told: _Told) -> Iterator[Said]:
    """On whom each network agrees least with the dense one, all in one sentence."""
    own = [one for one in told.all("faithful") if _spoken_of(told, one)]
    own = [one for one in own if one.estimate is not None]
    least = [
        min((one for one in own if one.label == name), key=lambda one: one.estimate or 0.0)
        for name in dict.fromkeys(one.label for one in own)
    ]
    if not least:
        return
    first, *rest = least
    others = [f"{told.where(one)} on {group(one.group)} ({_agreed(one)})" for one in rest]
    beside = f"; {listed(others)}" if others else ""
    yield told.said(
        f"{told.where(first)} agrees least with the dense network on {group(first.group)}: "
        f"{_agreed(first)} of its predictions are the same{beside}.",
        least,
    )


def _agreed(one: Finding) -> str:
    between = interval(one.low, one.high, "accuracy")
    return f"{number(one.estimate, 'accuracy')} {between}".strip()


CAUSES: dict[str, str] = {
    "group_size": "how many samples of the group the network was trained on",
    "gradient_norm": "the gradient norm of the dense network",
    "hessian_max_eigenvalue": "the largest Hessian eigenvalue of the dense network",
    "boundary_closeness": "closeness to the dense network's decision boundary",
}


def _causes(told: _Told) -> Iterator[Said]:
    """What goes with the harm, network by network; those of which nothing is told, together."""
    every = told.all("cause")
    own = [one for one in every if "why" not in one.details]
    cells = [
        [one for one in own if (one.label, one.rate) == key]
        for key in dict.fromkeys((one.label, one.rate) for one in own)
    ]
    yield from _too_few_groups(told, [rows for rows in cells if rows[0].decision is None])
    quiet = []
    for rows in (rows for rows in cells if rows[0].decision is not None):
        beyond = [one for one in rows if one.decision]
        if not beyond:
            quiet.append(rows)
            continue
        parts = [
            f"{CAUSES[str(one.metric)]} (ρ = {_rho(one)}, adjusted p {_p_value(one.p_adjusted)})"
            for one in beyond
        ]
        yield told.said(
            f"Over the {rows[0].n} groups, excess risk under {told.where(rows[0])} goes with "
            f"{listed(parts)}; {_tested(len(rows))} tested.",
            rows,
        )
    for tested in dict.fromkeys((rows[0].n, len(rows)) for rows in quiet):
        alike = [rows for rows in quiet if (rows[0].n, len(rows)) == tested]
        none = f"none of the {tested[1]} causes tested goes"
        none = "the one cause tested does not go" if tested[1] == 1 else none
        yield told.said(
            f"Over the {tested[0]} groups, {none} with excess risk under "
            f"{listed([told.where(rows[0]) for rows in alike])} beyond chance.",
            [one for rows in alike for one in rows],
        )
    unknown = [one for one in every if "why" in one.details]
    if unknown:
        yield told.said(
            f"How many samples of each group the network was trained on is not known: "
            f"{unknown[0].details['why']}.",
            unknown,
        )


def _tested(causes: int) -> str:
    return "1 cause was" if causes == 1 else f"{causes} causes were"


def _too_few_groups(told: _Told, cells: Sequence[Sequence[Finding]]) -> Iterator[Said]:
    for number_of in dict.fromkeys(rows[0].n for rows in cells):
        alike = [rows for rows in cells if rows[0].n == number_of]
        yield told.said(
            f"{number_of} groups are too few for any correlation with the harm under "
            f"{listed([told.where(rows[0]) for rows in alike])} to be significant; none is told.",
            [one for rows in alike for one in rows],
        )


def _rho(one: Finding) -> str:
    return f"{one.estimate:+.2f}".replace("-", "−")


def _p_value(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _layer(told: _Told) -> Iterator[Said]:
    for one in told.all("layer"):
        found = one.details
        kind = f", a {found['kind']} layer" if found["kind"] else ""
        yield told.said(
            f"Of the layers, the change of {found['layer']}{kind} cost {group(one.group)} most "
            f"under {told.where(one)}: {number(one.estimate, 'excess_risk')} of "
            f"{number(found['all_layers'], 'excess_risk')} nats by slope and curvature.",
            [one],
        )


def _power(told: _Told) -> Iterator[Said]:
    """Of several networks, the one under which least would have been seen."""
    for one in sorted(told.all("detectable"), key=lambda one: -(one.estimate or 0.0))[:1]:
        found = one.details
        if (one.estimate or 0.0) >= 1:
            seeds = " of so few runs that differ" if one.runs > 1 else ""
            yield told.said(
                f"No harm to {group(one.group)} would surely have been seen in {count(one.n)} "
                f"samples{seeds}: what was not found is not cleared.",
                [one],
            )
            continue
        most = f"{points(one.estimate or 0.0)} points"
        least = f"{points(found['best'])} points"
        reach = f"{most} ({group(one.group)}, {counted(one.n, 'sample')})"
        if least != most:
            best = f"{group(found['best_group'])}, {counted(found['best_n'], 'sample')}"
            reach = f"{least} ({best}) up to {reach}"
        elif one.group != found["best_group"]:
            reach = f"{most}, whichever it is"
        text = (
            f"This many samples show, four times in five, that a group pays {reach}; "
            "smaller harm may go unseen"
        )
        if one.runs == 1:
            text += ". Another training run may differ"
        yield told.said(f"{text}.", [one])


def _discovered(told: _Told) -> Iterator[Said]:
    """Which crossings pay that nobody named; where none was confirmed, how many were looked at."""
    every = told.all("discovered")
    quiet = []
    for whole in (one for one in every if one.group is None):
        own = [o for o in every if o.networks == whole.networks and o.group and o.decision]
        if not own and not whole.decision:
            quiet.append(whole)
            continue
        if not own:
            yield told.said(
                f"Of the crossings that nobody named, {count(whole.details['confirmed'])} that are "
                f"not shown were confirmed to pay under {whole.networks[0]}.",
                [whole],
            )
            continue
        own.sort(key=lambda one: -(one.estimate or 0.0))
        parts = _few([f"{group(one.group)} pays {_amount(one)}" for one in own], "more pay")
        yield told.said(
            f"Among crossings that nobody named, under {whole.networks[0]}: {parts}; found "
            "in one half of the samples and confirmed in the other.",
            [whole, *own],
        )
    if quiet:
        seen = max(int(one.details["candidates"]) for one in quiet)
        crossed = listed([str(name) for name in quiet[0].details["columns"]])
        text = f"No crossing of {crossed} was confirmed to pay that nobody named"
        if len(quiet) < sum(one.group is None for one in every):
            text += f" under {listed([one.networks[0] for one in quiet])}"
        few = "; none has enough samples in both halves to be looked at" if not seen else ""
        yield told.said(f"{text}{few or f' (at most {count(seen)} were looked at)'}.", quiet)


def _left_out(told: _Told) -> Iterator[Said]:
    texts = {
        "small": "too small for a verdict and kept out of every maximum and minimum",
        "absent": "absent from what was measured, so nothing is known of them",
    }
    for flag, text in texts.items():
        own = [one for one in told.all("left_out") if one.details["flag"] == flag]
        if own:
            named = _first_upper(listed([group(one.group) for one in own]))
            yield told.said(f"{named}: {text}.", own)
    for one in told.all("without_value"):
        yield told.said(
            f"{_first_upper(group(one.group))} is {counted(one.n, 'sample')} whose {one.attribute} "
            "is not known; whoever is harmed may be among them.",
            [one],
        )


def _first_upper(text: str) -> str:
    """A sentence's first letter; names keep theirs."""
    return text[:1].upper() + text[1:]


# --- what to do -----------------------------------------------------------------------------------


def _action(told: _Told) -> Said | None:
    one = next(iter(told.all("action")), None)
    if one is None:
        return None
    return told.said(ACTIONS[str(one.details["do"])](told, one), [one])


def _take(told: _Told, one: Finding) -> str:
    found = one.details
    files = f" ({found['files'][0]})" if len(found["files"]) == 1 else ""
    text = (
        f"Take {told.where(one)}{files} instead of {found['instead_of']}: under it "
        f"{_paid(found)} (the largest gap is {points(found['largest_gap'])} points), and accuracy "
        f"changes by {points(found['accuracy_change'], '+')} points."
    )
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
        f" Too small for a verdict, but behind the average: {_few(behind)}." if behind else ""
    )
    unjudged += f" Nothing is known of {_few(left)}." if left else ""
    if one.details.get("classes_gone"):
        unjudged += f" {_first_upper(_all_gone(one.details))}."
    sought = one.details.get("sought")
    crossed = f" and what {listed(sought)} tell apart" if sought else ""
    return f"{unjudged} Groups by anything but {one.attribute}{crossed} were not looked at."


def _prune_less(told: _Told, one: Finding) -> str:
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
    "loss": "most of what the dense network tells of the labels is lost",
}
"""Why a network is not proposed, by the claim that says so."""


def _mitigate(told: _Told, one: Finding) -> str:
    found = one.details
    faults = ["somebody pays"] if found["small_harm"] else []
    faults += [_fault(found, fault) for fault in found["faults"]]
    remedy = "Prune again under a fairness constraint (audit mitigate), or prune less."
    if is_spoiled(found):
        remedy = "Prune less, or train longer after pruning."
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


def _repeat(told: _Told, one: Finding) -> str:
    named = [
        f"{group(own['group'])} (in {own['runs']} of {one.runs})"
        for own in one.details["in_single_runs"]
    ]
    text = (
        f"Train more runs before you rely on {told.where(one)}: over all {one.runs} no group was "
        f"found to pay, but in single ones {_few(named)} {were(named)}."
    )
    return f"{text}{_cost(one.details)}{_caveat(one)}"


def _collect(told: _Told, one: Finding) -> str:
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


def _keep(told: _Told, one: Finding) -> str:
    found = one.details
    bearing = ""
    if "loss" in found:
        whose = "for all" if _lost_of(found) == "accuracy" else f"of {_lost_of(found)}"
        bearing = f" if a loss of {_loss(found)} {whose} can be borne"
    text = (
        f"Keep {told.where(one)}{bearing}: {_paid(found)}, and these samples would have shown "
        f"{points(found['tolerance'])} points of harm four times in five."
    )
    return f"{text}{_not(found)}{_caveat(one)}"


def _unknown(told: _Told, one: Finding) -> str:
    why = one.details.get("why", "")
    if why == TOO_FEW:
        return f"Collect samples of more groups: {why}, and so nobody can say who pays."
    if why in ("", NO_PARENT):
        return "Measure the network beside its dense parent: without it nobody can say who pays."
    return (
        f"Find out first why {why}: are rows, classes and preprocessing those it was trained on? "
        "Then measure again."
    )


ACTIONS: dict[str, Callable[[_Told, Finding], str]] = {
    "take": _take,
    "prune_less": _prune_less,
    "mitigate": _mitigate,
    "repeat": _repeat,
    "collect": _collect,
    "keep": _keep,
    "unknown": _unknown,
}
"""What the action finding says, by its `do`."""
