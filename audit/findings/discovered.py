"""Groups that nobody named, as a group like any other: measured, in tables, and judged (M16)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.answers import Answers
from audit.findings.discovery import (
    Discovery,
    DiscoverySettings,
    confirming_half,
    discover,
    drops_of,
    members,
)
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding
from audit.findings.outcomes import Cell
from audit.findings.paired import beside_dense, units_of
from audit.measure.uncertainty import design_effects, wilson_interval

GAP = "excess_accuracy_gap"
Tables = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def discovered_tables(
    samples: pd.DataFrame | Answers,
    groups: pd.DataFrame,
    columns: pd.DataFrame,
    settings: DiscoverySettings | None = None,
) -> Tables:
    """What was sought under every network beside a dense one, and what was proposed.

    columns   indexed by the samples' ids, a column for each that is crossed

    A row of the first a network: model, columns, candidates, proposed, confirmed. A row of the
    second a proposed group: model, then as `discover` gives it, and of the half that confirms its
    accuracy under the network and the dense one, with Wilson's intervals, and its agreement.
    """
    settings = settings or DiscoverySettings()
    sought: list[dict[str, Any]] = []
    proposed: list[dict[str, Any]] = []
    for model, own in beside_dense(samples, groups):
        known = columns.reindex(own["sample"])
        units = units_of(own)
        found = discover(known, drops_of(own), settings, units)
        sought.append(_sought(model, columns, found))
        second = confirming_half(len(own), settings.seed, units)
        for row in found.proposed.to_dict("records"):
            chosen = members(known, str(row["group"]), settings.bins) & second
            part = own[chosen]
            found_row = {str(key): value for key, value in row.items()}
            proposed.append({"model": model} | found_row | _measured(part, units_of(part)))
    return sought, proposed


def _sought(model: str, columns: pd.DataFrame, found: Discovery) -> dict[str, Any]:
    return {
        "model": model,
        "columns": [str(name) for name in columns],
        "candidates": found.candidates,
        "proposed": len(found.proposed),
        "confirmed": int(found.proposed["confirmed"].sum()),
    }


def _measured(part: pd.DataFrame, units: np.ndarray | None) -> dict[str, Any]:
    """Accuracy before and after, and agreement, of the members in the half that confirms."""
    shares = {
        "accuracy": part["prediction"] == part["label"],
        "dense_accuracy": part["dense_prediction"] == part["label"],
        "agreement": part["prediction"] == part["dense_prediction"],
    }
    found: dict[str, Any] = {}
    everyone = np.zeros(len(part), dtype=np.int64)
    for name, column in shares.items():
        values = np.asarray(column, dtype=np.float64)
        (effect,) = design_effects(values, everyone, 1, units)
        interval = wilson_interval(values.sum(), len(values), effect)
        found |= {name: float(values.mean()), f"{name}_ci_low": interval.low,
                  f"{name}_ci_high": interval.high}  # fmt: skip
    return found


def discovered(evidence: Evidence) -> list[Finding]:
    """Of every network what was sought, and of each proposed group whether it was confirmed to pay.

    The first of a network has no group: whether any was confirmed, None where no crossing has
    enough samples in both halves.
    """
    sought = {row["model"]: row for row in evidence.record["tables"].get("discovery") or ()}
    rows = evidence.record["tables"].get("discovered") or ()
    made = []
    for cell in evidence.pruned:
        for name in cell.names:
            if name in sought:
                own = [row for row in rows if row["model"] == name]
                made += _of_network(evidence, cell, name, sought[name], own)
    return made


def _of_network(
    evidence: Evidence,
    cell: Cell,
    name: str,
    sought: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> list[Finding]:
    crossed = " × ".join(sought["columns"])
    common: dict[str, Any] = {"label": cell.label, "rate": cell.rate, "networks": (name,),
                              "attribute": crossed}  # fmt: skip
    details = {key: sought[key] for key in ("columns", "candidates", "proposed", "confirmed")}
    decision = None if not sought["candidates"] else bool(sought["confirmed"])
    found = [Finding("discovered", decision, **common, metric=GAP, details=details)]
    return found + [
        Finding(
            "discovered",
            bool(row["confirmed"]),
            **common,
            group=str(row["group"]),
            metric=GAP,
            estimate=row["gap"],
            low=row["ci_low"],
            high=row["ci_high"],
            interval="simultaneous",
            p_adjusted=row["p_adjusted"],
            n=int(row["n"]),
            details={"accuracy": row["accuracy"], "dense_accuracy": row["dense_accuracy"]},
        )
        for row in rows
    ]
