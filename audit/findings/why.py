"""Why the harm falls where it does, and how small a harm would have gone unseen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audit.findings.finding import Finding
from audit.findings.told import LARGEST, Said, Told, spoken_of
from audit.findings.words import count, counted, group, interval, listed, number, points


def boundary(told: Told) -> Iterator[Said]:
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


def faithful(told: Told) -> Iterator[Said]:
    """On whom each network agrees least with the dense one, all in one sentence."""
    own = [one for one in told.all("faithful") if spoken_of(told, one)]
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


def causes(told: Told) -> Iterator[Said]:
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


def _too_few_groups(told: Told, cells: Sequence[Sequence[Finding]]) -> Iterator[Said]:
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


def layers(told: Told) -> Iterator[Said]:
    """The layer whose change cost the group that pays most."""
    for one in told.all("layer"):
        found = one.details
        kind = f" ({found['kind']})" if found["kind"] else ""
        yield told.said(
            f"Of the layers, the change of '{found['layer']}'{kind} cost {group(one.group)} most "
            f"under {told.where(one)}: {number(one.estimate, 'excess_risk')} of "
            f"{number(found['all_layers'], 'excess_risk')} nats by slope and curvature.",
            [one],
        )


def power(told: Told) -> Iterator[Said]:
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
