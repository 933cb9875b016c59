"""What a group lost that its accuracy does not show: in one class, or in probabilities (J1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings.decisions import ALPHA, combined_claims, sums
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding, known, records
from audit.findings.outcomes import Cell, Outcomes
from audit.findings.pays import GAP
from audit.findings.predicted import groups_are_classes
from audit.findings.reasons import merged_p_value
from audit.measure.uncertainty import UNKNOWN, Interval, combined_interval, gap_contrasts

LEAST = 30
"""Samples of a class that a group, and all others together, must have for a verdict."""
NATS = 0.1
"""A loss that rose by less beyond the average is not told: as where the probability of the right
answer fell by a tenth."""


def lost_otherwise(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """What judged groups lost beyond the average in one class, or of loss, where payers are known.

    In a class: ψ over its samples, so that right answers which a group wins in one class do not
    hide those which it loses in another; simultaneous over classes and groups. Of loss: excess risk
    beyond the average, by its Holm-adjusted p-value (M1). Decision: True where the first lies above
    zero, or the second is significant and above NATS, and what the group itself lost does so too:
    of others that gained it is no loss. Details: `class`, or None.
    """
    judged = {one.networks for one in found if one.claim == "pays" and one.decision is not None}
    made = []
    for cell in (one for one in evidence.pruned if one.names in judged):
        if evidence.outcomes is not None and not groups_are_classes(evidence):
            made += _in_classes(evidence, evidence.outcomes, cell)
        made += _in_loss(evidence, cell)
    return made


def _in_classes(evidence: Evidence, outcomes: Outcomes, cell: Cell) -> list[Finding]:
    groups = len(evidence.names)
    sizes = np.zeros((len(outcomes.classes), groups))
    np.add.at(sizes, (outcomes.labels, outcomes.codes), 1.0)
    others = sizes.sum(1, keepdims=True) - sizes
    judged = evidence.large & (sizes >= LEAST) & (others >= LEAST)
    drops = outcomes.drops(cell.networks)
    made = []
    for place in np.flatnonzero(judged.any(1)):
        own = outcomes.labels == place
        units = None if outcomes.units is None else outcomes.units[own]
        known_of = sums(drops[:, own], outcomes.codes[own], groups, units)
        claims, alone = (
            combined_claims(known_of, contrasts, judged[place], int(judged.sum()))
            for contrasts in (_contrasts(sizes[place]), np.eye(groups))
        )
        made += [
            Finding(
                "lost_otherwise",
                bool(min(claims.low[group], alone.low[group]) > 0),
                **evidence.of(cell),
                group=evidence.names[group],
                metric=GAP,
                **claims.of(group, len(cell.names)),
                n=int(sizes[place, group]),
                details={"class": outcomes.classes[place], "tests": int(judged.sum())},
            )
            for group in np.flatnonzero(judged[place])
        ]
    return made


def _contrasts(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """ψ [G, G] of groups of these sizes, some of which are empty."""
    found, present = np.zeros((len(sizes), len(sizes))), np.flatnonzero(sizes)
    found[np.ix_(present, present)] = gap_contrasts(sizes[present])
    return found


def _in_loss(evidence: Evidence, cell: Cell) -> list[Finding]:
    whole = evidence.overall(cell, "excess_risk")
    if len(whole) != len(cell.names):
        return []
    average = float(np.mean([row["value"] for row in whole]))
    rows = evidence.groups[
        evidence.groups["model"].isin(cell.names) & (evidence.groups["metric"] == "excess_risk")
    ]
    between = _intervals(rows) if len(cell.names) == 1 else {}
    made = []
    rows = rows[rows["flag"] == ""]
    for name, own in rows.groupby(rows["group"].astype(str), sort=False):
        if len(own) != len(cell.names) or own[["value", "p_value"]].isna().any(axis=None):
            continue
        beyond = float(own["value"].mean()) - average
        reach = between.get(str(name), UNKNOWN)
        rose = bool((own["ci_low"] > 0).all())
        p_value = merged_p_value(records(own[["p_value"]]))
        made.append(
            Finding(
                "lost_otherwise",
                bool(p_value < ALPHA and beyond > NATS and rose),
                **evidence.of(cell),
                group=str(name),
                metric="excess_risk",
                estimate=beyond,
                low=known(reach.low),
                high=known(reach.high),
                interval="single" if between else None,
                p_adjusted=known(p_value),
                n=evidence.sizes[str(name)],
                details={"class": None},
            )
        )
    return made


def _intervals(rows: pd.DataFrame) -> dict[str, Interval]:
    """Of each group's mean beyond that of all samples, from the groups' own, by group."""
    own = rows[rows["n"] > 0]
    parts = [Interval(*ends) for ends in own[["ci_low", "ci_high"]].to_numpy(float)]
    means = own["value"].to_numpy(float)
    contrasts = gap_contrasts(own["n"].to_numpy(float))
    return {
        str(name): combined_interval(contrast, means, parts)
        for name, contrast in zip(own["group"], contrasts, strict=True)
    }
