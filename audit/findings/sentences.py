"""Findings in words: every sentence is of findings, and says no more than they do (J7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.findings.finding import Finding
from audit.findings.words import count, group, interval, listed, number, percent, points

MOST_TOLD = 3
"""Of more groups that pay under one method, those that pay most are told, and how many others."""
LARGEST = "excess_accuracy_gap"


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
    sentences = [*_who(told), *_onset(told), *_changes(told), *_rates(told), *_how(told)]
    sentences += [*_collapse(told), *_fairest(told), *_left_out(told)]
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

    def harmed(self, label: str) -> list[Finding]:
        return [one for one in self.all("pays") if one.label == label and one.decision]


def _amount(one: Finding) -> str:
    """An estimate in points with the interval that its claim stands on."""
    return f"{points(one.estimate or 0.0)} points {interval(one.low, one.high, LARGEST)}".strip()


def _runs(one: Finding) -> str:
    """Over how many runs, and in how many by itself; one run says nothing of another."""
    if one.runs == 1:
        return ""
    return (
        f", the mean over {one.runs} runs (in {one.details['runs_paying']} of {one.runs} by itself)"
    )


# --- the headline ---------------------------------------------------------------------------------


def _headline(told: _Told) -> Said:
    every = told.all("pays")
    if not every:
        return Said("A dense network was measured; there is no pruning to judge.", ())
    unknown = [one for one in every if one.decision is None]
    if len(unknown) == len(every):
        why = str(unknown[0].details["why"])
        return told.said(f"Who pays for the pruning is not known: {why}.", unknown)
    return _compared(told) if told.compared else _studied(told)


def _studied(told: _Told) -> Said:
    harmed = told.harmed(told.baseline)
    own = [one for one in told.all("pays") if one.label == told.baseline]
    if harmed:
        worst = max(harmed, key=lambda one: one.estimate or 0.0)
        rate = [one for one in harmed if one.rate == worst.rate]
        others = f"; {len(rate) - 1} more pay too" if len(rate) > 1 else ""
        return told.said(
            f"Pruning to {percent(worst.rate)} by {told.baseline} harms some groups more than "
            f"others: {group(worst.group)} pays {_amount(worst)} of accuracy beyond the average "
            f"loss{_runs(worst)}{others}.",
            rate,
        )
    onset = next((f for f in told.all("onset") if f.label == told.baseline), None)
    rates = listed([percent(rate) for rate in sorted({one.rate for one in own})])
    if onset is not None and onset.decision is None:
        some = listed([percent(rate) for rate in onset.details["in_some_runs"]])
        return told.said(
            f"Over all runs no group was found to pay more than the others under {told.baseline}, "
            f"but in single runs one was, at {some}: the runs do not agree.",
            [*own, onset],
        )
    return told.said(
        f"At {rates} pruning by {told.baseline}, no group was found to pay more than the others"
        f"{_unseen(told)}.",
        [*own, *([onset] if onset else []), *told.all("detectable")],
    )


def _unseen(told: _Told) -> str:
    blind = next(iter(told.all("detectable")), None)
    if blind is None:
        return ""
    return (
        f"; harm below {points(blind.estimate or 0.0)} points would often have gone unseen for "
        f"{group(blind.group)} ({count(blind.n)} samples)"
    )


def _compared(told: _Told) -> Said:
    parts, used = [], []
    for name in told.compared:
        own = [one for one in told.all("pays") if one.label == name]
        if not own:
            continue
        harmed = [one for one in own if one.decision]
        used += own
        if harmed:
            worst = max(harmed, key=lambda one: one.estimate or 0.0)
            more = f" and {len(harmed) - 1} more" if len(harmed) > 1 else ""
            parts.append(f"under {name}, {group(worst.group)}{more} pays {_amount(worst)}")
        else:
            parts.append(f"under {name}, no group was found to pay")
    text = "; ".join(parts)
    return told.said(
        f"{_first_upper(text)}; points of accuracy beyond the average, against the dense network.",
        used,
    )


# --- who pays, and from which rate on -------------------------------------------------------------


def _who(told: _Told) -> Iterator[Said]:
    """Method by method who pays at every rate; those under which nobody does, in one sentence."""
    for label in told.labels():
        harmed = sorted(told.harmed(label), key=lambda one: (one.rate, -(one.estimate or 0.0)))
        if harmed:
            yield told.said(f"{label}: {_payers(told, harmed)}.", harmed)
    clear = [label for label in told.labels() if not told.harmed(label)]
    own = [one for one in told.all("pays") if one.label in clear and one.decision is False]
    single = [one for one in own if one.runs > 1 and one.details["runs_paying"]]
    if single:
        named = listed(
            [
                f"{group(one.group)} under {told.where(one)} "
                f"(in {one.details['runs_paying']} of {one.runs})"
                for one in single[:MOST_TOLD]
            ]
        )
        more = f" and {len(single) - MOST_TOLD} more" if len(single) > MOST_TOLD else ""
        yield told.said(
            f"Found to pay in single runs but not over all of them: {named}{more}.", single
        )
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
        first = listed([f"{group(one.group)} pays {_amount(one)}" for one in own[:MOST_TOLD]])
        more = f" and {len(own) - MOST_TOLD} more pay" if len(own) > MOST_TOLD else ""
        at = "" if told.compared else f"at {percent(rate)}, "
        parts.append(f"{at}{first}{more}")
    return f"{'; '.join(parts)}, of accuracy beyond the average"


def _onset(told: _Told) -> Iterator[Said]:
    for one in told.all("onset"):
        if not one.decision:
            continue
        found = one.details
        if one.rate:
            text = (
                f"Under {one.label}, somebody pays from {percent(one.rate)} on, up to the highest "
                f"rate measured ({percent(found['highest'])})"
            )
        else:
            text = f"Under {one.label}, nobody was found to pay at {percent(found['highest'])}"
        if found["elsewhere"]:
            text += f", but somebody does at {listed([percent(r) for r in found['elsewhere']])}"
        if len(found["rates"]) > 1:
            yield told.said(f"{text}.", [one])


# --- what a candidate changes ---------------------------------------------------------------------


def _changes(told: _Told) -> Iterator[Said]:
    for name in told.compared[1:]:
        own = [one for one in told.all("changes") if one.label == name]
        sides = (("more", 1), ("less", -1))
        for word, sign in sides:
            changed = [one for one in own if one.decision and sign * (one.estimate or 0.0) > 0]
            if changed:
                parts = [f"{group(one.group)} ({_signed(one)})" for one in changed[:MOST_TOLD]]
                more = f" and {len(changed) - MOST_TOLD} more" if len(changed) > MOST_TOLD else ""
                yield told.said(
                    f"{name} is {word} accurate than {told.compared[0]} for {listed(parts)}{more}.",
                    changed,
                )
        if own and not any(one.decision for one in own):
            yield told.said(
                f"For no group was {name} found to be more or less accurate than "
                f"{told.compared[0]}.",
                own,
            )


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
        text += f"; not under {listed(within)}" if within else ""
        found = worst.details
        text += (
            f". Under {told.where(worst)}, the {found['rate_of']} of {group(worst.group)} is "
            f"{number(found['rate_of_group'], 'accuracy')}, that of all others "
            f"{number(found['rate_of_others'], 'accuracy')} (class {found['class']})."
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
    for one in told.all("levelling_down"):
        found = one.details
        if not _spoken_of(told, one) or not (one.decision or found["rose"]):
            continue
        before, after = (number(v, "accuracy") for v in found["rates"][one.group])
        balanced = " to ".join(
            number(found[f"balanced_{side}"], "accuracy") for side in ("before", "after")
        )
        closed = (
            f"{told.where(one)} narrows the gap in {one.metric} against {found['against']} from "
            f"{points(found['gap_before'])} to {points(found['gap_after'])} points"
        )
        if one.decision:
            how = f"by levelling down: {group(one.group)}, the worst off, goes from {before} to"
            text = f"{closed} {how} {after}; balanced accuracy goes from {balanced}."
        else:
            text = (
                f"{closed}, with {group(one.group)}, the worst off, raised from {before} to "
                f"{after}; balanced accuracy goes from {balanced}."
            )
        yield told.said(text, [one])


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
        price = _price(told, one)
        if one.decision:
            yield told.said(
                f"By {held}{at}, {one.label} is the fairest of {found['of']} networks ({size}), "
                f"significantly so against every other; {price}.",
                [one],
            )
            continue
        alike = found["not_told_apart"]
        others = found["of"] - 1 - len(alike)
        text = f"By {held}{at}, {one.label} has the smallest of {found['of']}: {size}; {price}."
        names = listed(alike) if len(alike) <= MOST_TOLD else f"{len(alike)} networks"
        text += f" It cannot be told apart from {names}"
        text += f"; {others} others are significantly less fair." if others else "."
        yield told.said(text, [one])


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
    """Of the group that pays most under each method, or network compared."""
    every = told.all("boundary")
    for label in dict.fromkeys(one.label for one in every):
        one = max((o for o in every if o.label == label), key=lambda o: o.estimate or 0.0)
        shared, own = (_part(one.details, part) for part in ("composition", "within"))
        yield told.said(
            f"Of the {points(one.estimate or 0.0)} points that {group(one.group)} pays beyond the "
            f"average under {told.where(one)}, {shared} are what any group's samples so near the "
            f"boundary pay; {own} are what this group pays more than others at the same margin.",
            [one],
        )


def _part(found: Mapping[str, Any], part: str) -> str:
    between = interval(found[f"{part}_low"], found[f"{part}_high"], LARGEST)
    return f"{points(found[part])} {between}".strip()


def _faithful(told: _Told) -> Iterator[Said]:
    own = [one for one in told.all("faithful") if _spoken_of(told, one)]
    for name in dict.fromkeys(one.label for one in own):
        rows = [one for one in own if one.label == name and one.estimate is not None]
        if rows:
            least = min(rows, key=lambda one: one.estimate or 0.0)
            yield told.said(
                f"{told.where(least)} agrees least with the dense network on "
                f"{group(least.group)}: {number(least.estimate, 'accuracy')} "
                f"{interval(least.low, least.high, 'accuracy')} of its predictions are the same.",
                [least],
            )


CAUSES: dict[str, str] = {
    "group_size": "how many samples of the group the network was trained on",
    "gradient_norm": "the gradient norm of the dense network",
    "hessian_max_eigenvalue": "the largest Hessian eigenvalue of the dense network",
    "boundary_closeness": "closeness to the dense network's decision boundary",
}


def _causes(told: _Told) -> Iterator[Said]:
    own = told.all("cause")
    for key in dict.fromkeys((one.label, one.rate) for one in own):
        rows = [one for one in own if (one.label, one.rate) == key]
        first = rows[0]
        if first.decision is None:
            yield told.said(
                f"{first.n} groups are too few for any correlation with the harm under "
                f"{told.where(first)} to be significant; none is told.",
                rows,
            )
            continue
        beyond = [one for one in rows if one.decision]
        if beyond:
            parts = [
                f"{CAUSES[str(one.metric)]} (ρ = {_rho(one)}, adjusted p "
                f"{_p_value(one.p_adjusted)})"
                for one in beyond
            ]
            yield told.said(
                f"Over the {first.n} groups, excess risk under {told.where(first)} goes with "
                f"{listed(parts)}; {len(rows)} causes were tested.",
                rows,
            )
        else:
            yield told.said(
                f"Over the {first.n} groups, none of the {len(rows)} causes tested goes with "
                f"excess risk under {told.where(first)} beyond chance.",
                rows,
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
    for one in told.all("detectable"):
        found = one.details
        text = (
            f"This many samples show, four times in five, that a group pays "
            f"{points(found['best'])} points ({group(found['best_group'])}, "
            f"{count(found['best_n'])} samples) up to {points(one.estimate or 0.0)} points "
            f"({group(one.group)}, {count(one.n)} samples); smaller harm may go unseen"
        )
        if one.runs == 1:
            text += ". Another training run may differ"
        yield told.said(f"{text}.", [one])


def _left_out(told: _Told) -> Iterator[Said]:
    texts = {
        "small": "too small for a verdict and kept out of every maximum and minimum",
        "absent": "absent from what was measured, so nothing is known of them",
    }
    for flag, text in texts.items():
        own = [one for one in told.all("left_out") if one.details["flag"] == flag]
        if own:
            yield told.said(
                f"{listed([group(one.group) for one in own]).capitalize()}: {text}.", own
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
        f"Take {told.where(one)}{files} instead of {found['instead_of']}: under it no group was "
        f"found to pay (the largest gap is {points(found['largest_gap'])} points), and accuracy "
        f"changes by {points(found['accuracy_change'], '+')} points."
    )
    if not found.get("needed"):
        return text
    return (
        f"{text} To see {points(found['tolerance'])} points of harm four times in five, "
        f"{group(found['needed_group'])} would need about {count(found['needed'])} samples; it has "
        f"{count(found['has'])}."
    )


def _prune_less(told: _Told, one: Finding) -> str:
    return (
        f"Prune less: {percent(one.rate)} is the highest rate at which, as at all below it, no "
        f"group was found to pay under {one.label}; or prune again under a fairness constraint "
        "(audit mitigate)."
    )


def _mitigate(told: _Told, one: Finding) -> str:
    faults = " and ".join(fault.replace("_", " ") for fault in one.details["faults"])
    why = "somebody pays" if not faults else f"there is {faults}"
    return (
        f"Do not ship {told.where(one)} as it is: {why}, and no network measured here is better. "
        "Prune again under a fairness constraint (audit mitigate), or prune less."
    )


def _collect(told: _Told, one: Finding) -> str:
    found = one.details
    needed = found.get("needed")
    if not needed:
        return "Collect more samples: nobody was found to pay, but too little is known to rely on."
    return (
        f"Collect samples before you rely on this: nobody was found to pay, but to see "
        f"{points(found['tolerance'])} points four times in five {group(found['needed_group'])} "
        f"needs about {count(needed)} samples and has {count(found['has'])}."
    )


def _keep(told: _Told, one: Finding) -> str:
    tolerance = points(one.details["tolerance"])
    paid = [f"{group(name)} at most {points(high)}" for name, high in one.details["small_harm"]]
    found = f"what is paid is less ({listed(paid)} points)" if paid else "no group was found to pay"
    text = (
        f"Keep {told.where(one)}: {found}, and these samples would have shown {tolerance} points "
        "of harm four times in five."
    )
    worse = one.details.get("not") or []
    return f"{text} Not {listed(worse)}: somebody pays there." if worse else text


def _unknown(told: _Told, one: Finding) -> str:
    return "Measure the network beside its dense parent: without it nobody can say who pays."


ACTIONS: dict[str, Callable[[_Told, Finding], str]] = {
    "take": _take,
    "prune_less": _prune_less,
    "mitigate": _mitigate,
    "collect": _collect,
    "keep": _keep,
    "unknown": _unknown,
}
"""What the action finding says, by its `do`."""
