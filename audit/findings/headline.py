"""The first sentence: who pays under which network, and all that a clear verdict does not say."""

from __future__ import annotations

from collections.abc import Sequence

from audit.findings.changes import less_accurate
from audit.findings.finding import Finding
from audit.findings.losses import fell, hidden, left_of, size
from audit.findings.told import (
    FLAGGED,
    LARGEST,
    MOST_TOLD,
    Said,
    Told,
    all_gone,
    amount,
    copies_of,
    crossed_payers,
    fell_behind,
    first_few,
    lost_otherwise,
    more_than_average,
    not_known,
    over_runs,
    paid_by,
    worst_suspected,
)
from audit.findings.words import (
    counted,
    first_upper,
    group,
    interval,
    listed,
    percent,
    points,
    were,
)


def headline_of(told: Told) -> Said:
    """Who pays under which network; of no pruned one, or none that can be judged, that."""
    every = told.all("pays")
    copied = told.all("copy")
    if not every and copied:
        return told.said(f"Nothing was compared: {copies_of(told)}.", copied)
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


def _unjudged(told: Told, labels: Sequence[str]) -> str:
    """What a clear verdict on these does not say of groups that were not judged."""
    seen = worst_suspected(told, labels)
    left = [one for one in told.all("left_out") if one.group not in {own.group for own in seen}]
    named = [f"{group(one.group)}{FLAGGED[one.details['flag']]}" for one in left]
    text = f"; but {first_few([fell_behind(told, one) for one in seen])}" if seen else ""
    return text + (f"; nothing is known of {first_few(named)}" if named else "")


def _but_otherwise(told: Told, labels: Sequence[str]) -> str:
    """What a clear verdict must not pass over of one class, or of probabilities."""
    own = lost_otherwise(told, labels)
    own = [one for one in own if one.details["class"] is not None or told.loss(one.label) is None]
    parts = [f"under {told.where(one)} {more_than_average(one)}" for one in own]
    return f"; but {first_few(parts)}" if parts else ""


def _but_gone(told: Told, labels: Sequence[str]) -> str:
    """What a clear verdict must not pass over of classes too small for a verdict."""
    own = [one for one in told.all("loss") if one.label in labels]
    own = [one for one in own if one.details.get("classes_gone")]
    parts = [f"under {told.where(one)} {all_gone(one.details)}" for one in own]
    return f"; but {first_few(parts, 'networks more so')}" if parts else ""


def _unchanged(told: Told, labels: Sequence[str]) -> str:
    """Which networks answer every sample as the dense one does: what is clear may be a copy."""
    own = [one for one in told.all("loss") if one.label in labels]
    alike = [told.where(one) for one in own if one.details.get("changed") == 0]
    return f"; {listed(alike)} answered every sample as the dense network does" if alike else ""


def _but_crossed(told: Told, labels: Sequence[str]) -> str:
    """What a clear verdict about the named groups must not pass over."""
    crossed = crossed_payers(told, labels)
    if not crossed:
        return ""
    worst = max(crossed, key=lambda one: one.estimate or 0.0)
    return f"; but {group(worst.group)}, a crossing that nobody named, pays {amount(worst)}"


def _studied(told: Told) -> Said:
    own = [one for one in told.all("pays") if one.label == told.baseline]
    if all(one.decision is None for one in own):
        return told.said(f"{first_upper(not_known(told, own))}.", own)
    first = told.loss(told.baseline)
    before = f"Under {told.where(first)}, {fell(first)}; beyond that, " if first else ""
    if told.harmed(told.baseline):
        return _harmed(told, first, before)
    onset = next((f for f in told.all("onset") if f.label == told.baseline), None)
    used = [*own, *(one for one in (first, onset) if one is not None)]
    if onset is not None and onset.decision is None:
        some = listed([percent(rate) for rate in onset.details["in_some_runs"]])
        return told.said(
            f"{first_upper(f'{before}over all runs')} no group was found to pay more than the "
            f"others under {told.baseline}, but in single runs one was, at {some}: the runs do not "
            "agree.",
            used,
        )
    return _clear(told, first, before, used)


def _harmed(told: Told, first: Finding | None, before: str) -> Said:
    """Who pays most under the first method, after what all lost, if that is more."""
    harmed = told.harmed(told.baseline)
    worst = max(harmed, key=lambda one: one.estimate or 0.0)
    rate = [one for one in harmed if one.rate == worst.rate]
    others = f"; {len(rate) - 1} more pay too" if len(rate) > 1 else ""
    if first is not None:
        at = "" if worst.rate == first.rate else f"at {percent(worst.rate)} "
        return told.said(
            f"{before}{at}{paid_by(worst)} more than the average{over_runs(worst)}{others}.",
            [first, *rate],
        )
    return told.said(
        f"Pruning to {percent(worst.rate)} by {told.baseline} harms some groups more than "
        f"others: {paid_by(worst)} of accuracy beyond the average "
        f"loss{over_runs(worst)}{others}.",
        rate,
    )


def _clear(told: Told, first: Finding | None, before: str, used: Sequence[Finding]) -> Said:
    """That nobody was found to pay under the first method, and all that this does not say."""
    own = [one for one in used if one.claim == "pays"]
    known = [one for one in own if one.decision is not None]
    single = [one for one in known if one.runs > 1 and one.details["runs_paying"]]
    beside = f"; {unknown}" if (unknown := not_known(told, own)) else ""
    if single:
        named = list(dict.fromkeys(group(one.group) for one in single))
        beside += f"; in single runs {first_few(named)} {were(named)}"
    rates = sorted({one.rate for one in known})
    at = f"at {listed([percent(rate) for rate in rates])} pruning by {told.baseline}, "
    if first and rates == [first.rate]:
        at = ""
    crossed = crossed_payers(told, [told.baseline])
    return told.said(
        f"{first_upper(f'{before}{at}no group')} was found to pay more than the others"
        f"{_unseen(told)}{_unjudged(told, [told.baseline])}{beside}"
        f"{_but_crossed(told, [told.baseline])}{_but_otherwise(told, [told.baseline])}"
        f"{_but_gone(told, [told.baseline])}.",
        [
            *used,
            *lost_otherwise(told, [told.baseline]),
            *told.all("detectable"),
            *told.all("left_out"),
            *worst_suspected(told, [told.baseline]),
            *crossed,
            *(one for one in told.all("loss") if one.label == told.baseline),
        ],
    )


def _unseen(told: Told, labels: Sequence[str] = ()) -> str:
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


def _compared(told: Told) -> Said:
    """Network by network who pays, or of many networks together, the worst first."""
    own = {name: [f for f in told.all("pays") if f.label == name] for name in told.compared}
    judged = [name for name in told.compared if own[name]]
    lossy = {name: loss for name in judged if (loss := told.loss(name)) is not None}
    if lossy:
        judged.sort(key=lambda name: _worst(told, name), reverse=True)
    clear = [
        name
        for name in judged
        if not told.harmed(name) and not not_known(told, own[name])
    ]  # fmt: skip
    parts = [_of_network(told, name, own[name]) for name in judged]
    if len(judged) > MOST_TOLD:
        parts = _of_many(told, judged, clear)
    beside = [
        *(one for one in told.all("detectable") if one.label in clear),
        *told.all("left_out"),
        *worst_suspected(told, clear),
        *crossed_payers(told, told.compared),
        *lost_otherwise(told, clear),
        *(one for one in told.all("loss") if one.label in clear),
    ]
    unseen = (
        f"{_unseen(told, clear)}{_unjudged(told, clear)}{_but_crossed(told, told.compared)}"
        f"{_but_otherwise(told, clear)}{_but_gone(told, clear)}{_unchanged(told, clear)}"
    )
    used = [*lossy.values(), *(one for name in judged for one in own[name])]
    what = (
        "points of accuracy beyond the average," if any(map(told.harmed, judged)) else "each held"
    )
    return told.said(
        f"{first_upper('; '.join(parts))}; {what} against the dense network"
        f"{unseen if clear else ''}{f'; {copies_of(told)}' if told.all('copy') else ''}.",
        [*used, *(beside if clear else ()), *told.all("copy")],
    )


def _worst(told: Told, name: str) -> tuple[bool, float]:
    """The largest loss or harm under a network, for the order of telling; ruined ones first."""
    first = told.loss(name)
    every = [*told.harmed(name), *([first] if first else [])]
    return max(map(size, every), default=(False, 0.0))


def _of_network(told: Told, name: str, own: Sequence[Finding]) -> str:
    first, harmed = told.loss(name), told.harmed(name)
    before = f"under {name}, {fell(first)}; beyond that, " if first else f"under {name}, "
    less = "" if first else _below_baseline(told, name)
    if harmed:
        worst = max(harmed, key=lambda one: one.estimate or 0.0)
        more = f", the most of {len(harmed)} groups that pay" if len(harmed) > 1 else ""
        return f"{before}{paid_by(worst)}{more}{less}"
    text = not_known(told, own) or f"{before}no group was found to pay"
    return f"{text}{less}"


def _below_baseline(told: Told, name: str) -> str:
    """What a network lost against the baseline of a comparison, where that is much (J4)."""
    lost = less_accurate(told.findings, name)
    return f", and it is less accurate than {told.baseline} by {_lost(lost)}" if lost else ""


def _lost(one: Finding) -> str:
    """A change for the worse in points, as a loss."""
    low, high = (None if bound is None else -bound for bound in (one.high, one.low))
    return f"{points(-(one.estimate or 0.0))} points {interval(low, high, LARGEST)}".strip()


def _of_many(told: Told, judged: Sequence[str], clear: Sequence[str]) -> list[str]:
    """Many networks in one sentence: where all lost, where somebody pays, and where nobody does."""
    worst = sorted(judged, key=lambda name: _worst(told, name), reverse=True)
    losses = {name: one for name in worst if (one := told.loss(name)) is not None}
    gone = [f"under {name} {left_of(one)}" for name, one in losses.items() if hidden(one)]
    lossy = [f"under {name} by {amount(one)}" for name, one in losses.items() if not hidden(one)]
    payers = [
        (name, max(harmed, key=lambda one: one.estimate or 0.0))
        for name in judged
        if (harmed := told.harmed(name))
    ]
    payers.sort(key=lambda pair: -(pair[1].estimate or 0.0))
    unknown = [one for name in judged for one in told.all("pays") if one.label == name]
    parts = [first_few(gone)] if gone else []
    parts += [f"accuracy fell {first_few(lossy)}; beyond that"] if lossy else []
    parts += [first_few([f"under {name} {paid_by(one)}" for name, one in payers])] if payers else []
    parts += [f"under {listed(clear)} no group was found to pay"] if clear else []
    parts += [text] if (text := not_known(told, unknown)) else []
    if lossy and len(parts) > (first := len(gone[:1])) + 1:
        parts[first : first + 2] = [f"{parts[first]}, {parts[first + 1]}"]
    return parts
