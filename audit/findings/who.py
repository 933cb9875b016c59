"""Who pays, from which rate on, what a candidate changes, and of whom nothing is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from audit.findings.finding import Finding
from audit.findings.losses import fell, hidden, left_of, ruined, size, who_lost
from audit.findings.told import (
    LARGEST,
    MOST_TOLD,
    Said,
    Told,
    all_gone,
    amount,
    copies_of,
    fell_behind,
    first_few,
    lost_otherwise,
    more_than_average,
    not_known,
    paid_by,
    worst_suspected,
)
from audit.findings.words import (
    count,
    counted,
    first_upper,
    group,
    interval,
    listed,
    named,
    percent,
    points,
)


def suspected(told: Told) -> Iterator[Said]:
    """Groups too small for a verdict that fell behind all the same, network by network."""
    for label in told.labels():
        own = worst_suspected(told, [label])
        if own:
            text = first_few([fell_behind(told, one) for one in own])
            yield told.said(
                f"{first_upper(text)}: beyond what chance alone does to so few.",
                own,
            )


def otherwise(told: Told) -> Iterator[Said]:
    """What groups lost that accuracy does not show, network by network."""
    for label in told.labels():
        own = lost_otherwise(told, [label])
        for where in dict.fromkeys(told.where(one) for one in own):
            here = [one for one in own if told.where(one) == where]
            text = first_few([more_than_average(one) for one in here])
            yield told.said(f"Under {where}, {text}; accuracy alone does not show it.", here)


def classes_gone(told: Told) -> Iterator[Said]:
    """Small classes of which no right answer is left, or less than half, network by network."""
    for one in told.all("loss"):
        few = [
            f"class {named(own['class'])} ({own['left']} of {own['right']})"
            for own in one.details.get("classes_few") or ()
        ]
        if few:
            yield told.said(
                f"Under {told.where(one)}, less than half of the right answers is left of "
                f"{first_few(few)}, too few samples for a verdict.",
                [one],
            )
        if one.details.get("classes_gone"):
            text = (
                f"Under {told.where(one)}, {all_gone(one.details)}, too few samples for a verdict."
            )
            yield told.said(text, [one])


def wrong_way_round(told: Told) -> Iterator[Said]:
    """Whether the network called dense may be another than the one that was pruned."""
    for one in (one for one in told.all("better") if one.decision):
        yield told.said(
            f"{told.where(one)} is more accurate than the network called dense by "
            f"{amount(one)}: are the files the right way round?",
            [one],
        )


def copies(told: Told) -> Iterator[Said]:
    """Which networks compared are the dense one, where others were compared too."""
    own = told.all("copy")
    if own and told.labels():
        yield told.said(f"{copies_of(told)}: is it another network's file?", own)


def losses_of_all(told: Told) -> Iterator[Said]:
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
        yield told.said(f"{first_upper('; '.join([*each[:MOST_TOLD], *more]))}.", gone)
    others = [one for one in own if not hidden(one)]
    parts = [f"under {told.where(one)} by {amount(one)}{_of_whom(one)}" for one in others]
    if parts:
        yield told.said(f"Against the dense network, accuracy fell {first_few(parts)}.", others)


def _of_whom(one: Finding) -> str:
    """How many lost beyond doubt, and how much a ruined network still tells of the labels."""
    said = [who] if (who := who_lost(one)) else []
    said += [left_of(one)] if ruined(one) else []
    return f" ({'; '.join(said)})" if said else ""


def who_pays(told: Told) -> Iterator[Said]:
    """Method by method who pays at every rate; those under which nobody does, in one sentence."""
    for label in told.labels():
        harmed = sorted(told.harmed(label), key=lambda one: (one.rate, -(one.estimate or 0.0)))
        if harmed:
            yield told.said(f"{label}: {_payers(told, harmed)}.", harmed)
    unknown = [one for one in told.all("pays") if one.decision is None]
    if unknown:
        yield told.said(f"{first_upper(not_known(told, unknown))}.", unknown)
    open_labels = {one.label for one in unknown}
    clear = [
        label for label in told.labels() if label not in open_labels and not told.harmed(label)
    ]
    own = [one for one in told.all("pays") if one.label in clear and one.decision is False]
    single = [one for one in own if one.runs > 1 and one.details["runs_paying"]]
    if single:
        named = first_few(
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
            f"{amount(worst)}, that of {group(worst.group)}{_at(told, worst, quiet)}.",
            shown,
        )


def _at(told: Told, one: Finding, labels: Sequence[str]) -> str:
    """Where among several networks, as far as that is not said already."""
    if len(labels) > 1:
        return f" under {told.where(one)}"
    return "" if told.compared else f" at {percent(one.rate)}"


def _payers(told: Told, harmed: Sequence[Finding]) -> str:
    by_rate: dict[float, list[Finding]] = {}
    for one in harmed:
        by_rate.setdefault(one.rate, []).append(one)
    parts = []
    for rate, own in by_rate.items():
        first = first_few([paid_by(one) for one in own], "more pay")
        at = "" if told.compared else f"at {percent(rate)}, "
        parts.append(f"{at}{first}")
    return f"{'; '.join(parts)} of accuracy beyond the average"


def onsets(told: Told) -> Iterator[Said]:
    """From which rate on somebody pays, method by method."""
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


def changes(told: Told) -> Iterator[Said]:
    """For whom each candidate is more or less accurate than the first network."""
    for name in told.compared[1:]:
        every = [*told.all("changes_overall"), *told.all("changes")]
        own = [one for one in every if one.label == name]
        sides = (("more", 1), ("less", -1))
        for word, sign in sides:
            changed = [one for one in own if one.decision and sign * (one.estimate or 0.0) > 0]
            if changed:
                parts = first_few([f"{_whom(one)} ({_signed(one)})" for one in changed])
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


def discoveries(told: Told) -> Iterator[Said]:
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
        parts = first_few([f"{group(one.group)} pays {amount(one)}" for one in own], "more pay")
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


def left_out(told: Told) -> Iterator[Said]:
    """Groups that were not judged, and samples whose group is not known."""
    texts = {
        "small": "too small for a verdict and kept out of every maximum and minimum",
        "absent": "absent from what was measured, so nothing is known of them",
    }
    for flag, text in texts.items():
        own = [one for one in told.all("left_out") if one.details["flag"] == flag]
        if own:
            named = first_upper(listed([group(one.group) for one in own]))
            yield told.said(f"{named}: {text}.", own)
    for one in told.all("without_value"):
        yield told.said(
            f"{first_upper(group(one.group))} is {counted(one.n, 'sample')} whose {one.attribute} "
            "is not known; whoever is harmed may be among them.",
            [one],
        )
