"""Why a group pays: causes measured on the dense network, and the layers that cost it (J8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import factorial
from typing import Any

import numpy as np

from audit.findings.causes import trained_sizes
from audit.findings.decisions import ALPHA
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding, known
from audit.findings.outcomes import Cell
from audit.measure.uncertainty import holm

Row = Mapping[str, Any]
CAUSES = ("group_size", "gradient_norm", "hessian_max_eigenvalue", "boundary_closeness")
"""What the papers hold to cause harm (Tran et al. 2022), of the dense network and its training."""
TERMS = ("taylor_slope", "taylor_curvature")
MOST_REMAINDER = 0.5
"""Above this share of the remainder, the Taylor terms say nothing of who was harmed."""


def explained_cells(evidence: Evidence, found: Sequence[Finding]) -> list[Cell]:
    """The cells that a reason is given for: those compared, or where most harm was found."""
    if evidence.compared:
        return [cell for cell in evidence.cells if cell.label in evidence.compared]
    own = [one for one in found if one.claim == "pays" and one.label == evidence.baseline]
    paying = [one for one in own if one.decision] or own
    if not paying:
        return []
    rate = max(paying, key=lambda one: one.estimate or 0.0).rate
    return [c for c in evidence.pruned if (c.label, c.rate) == (evidence.baseline, rate)]


def causes(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """Which causes go with excess risk over the groups, Holm-adjusted over all that are shown.

    Over runs, twice the median p-value, which holds however the runs depend on each other (Rüger
    1978). Where the groups are too few for any correlation to be significant, the decision is None.
    """
    rows = evidence.record["tables"].get("causes") or ()
    made = []
    for cell in explained_cells(evidence, found):
        if cell.dense:
            continue
        own = {
            cause: [r for r in rows if r["cause"] == cause and r["model"] in cell.names]
            for cause in CAUSES
        }
        known_rows = {
            cause: [r for r in found_rows if r["rho"] is not None]
            for cause, found_rows in own.items()
        }
        shown = {cause: found_rows for cause, found_rows in known_rows.items() if found_rows}
        sizes = [row["n"] for found_rows in own.values() for row in found_rows]
        if sizes and max(sizes) < 3:
            made.append(_none_known(evidence, cell, max(sizes)))
        p_values = holm(np.array([merged_p_value(own_rows) for own_rows in shown.values()]))
        for (cause, own_rows), p_value in zip(shown.items(), p_values, strict=True):
            made.append(_cause(evidence, cell, cause, own_rows, float(p_value), len(shown)))
        if shown and not any(trained_sizes(evidence.record).values()):
            made.append(
                Finding(
                    "cause",
                    None,
                    **evidence.of(cell),
                    metric="group_size",
                    details={"why": _without_sizes(evidence.record)},
                )
            )
    return made


def _none_known(evidence: Evidence, cell: Cell, groups: int) -> Finding:
    """That no cause has a rank correlation over so few groups."""
    details = {"causes_tested": 0, "enough_groups": False, "unit": "groups"}
    return Finding("cause", None, **evidence.of(cell), n=groups, details=details)


def _without_sizes(record: Mapping[str, Any]) -> str:
    """Why it is not known how many samples of each group the networks were trained on."""
    data = record["data"]
    if data.get("trained_elsewhere") and not any(row.get("train") for row in data["groups"]):
        return "all samples are measured, and which of them it was trained on is not said"
    if data.get("trained_elsewhere"):
        return "the split was drawn here, and what the dense network was trained on is not said"
    return "the data hold no training samples"


def boundaries(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """How much of what each paying group pays is what anybody's samples so near the boundary pay.

    (M14.) Over runs, the mean of both parts; their intervals then are known of single runs alone.
    """
    rows = evidence.record["tables"].get("boundary") or ()
    made = []
    for one in found:
        if one.claim != "pays" or not one.decision:
            continue
        own = [
            r
            for r in rows
            if r["model"] in one.networks and r["group"] == one.group and r["harm"] == "accuracy"
        ]
        if len(own) != len(one.networks) or any(r["composition"] is None for r in own):
            continue
        parts = {part: float(np.mean([r[part] for r in own])) for part in ("composition", "within")}
        bounds = {
            f"{part}_{side}": own[0][f"{part}_ci_{side}"] if len(own) == 1 else None
            for part in ("composition", "within")
            for side in ("low", "high")
        }
        low = bounds["composition_low"]
        made.append(
            replace(
                one,
                claim="boundary",
                decision=None if low is None else bool(low > 0),
                low=None,
                high=None,
                interval="single" if len(own) == 1 else None,
                p_adjusted=None,
                details=parts | bounds | {"bins": int(own[0]["bins"])},
            )
        )
    return made


def faithful(evidence: Evidence) -> list[Finding]:
    """How far each group's predictions are still those of the dense network (M15).

    Decision: whether McNemar's test, Holm-adjusted over the groups, sees more samples broken than
    mended, or the other way round; of several runs None.
    """
    rows = evidence.record["tables"].get("faithfulness") or ()
    made = []
    for cell in evidence.pruned:
        for group in evidence.names:
            own = [
                r
                for r in rows
                if r["model"] in cell.names and r["group"] == group and r["agreement"] is not None
            ]
            if len(own) != len(cell.names) or own[0]["flag"]:
                continue
            single = len(own) == 1
            p_value = own[0]["p_adjusted"] if single else None
            made.append(
                Finding(
                    "faithful",
                    None if p_value is None else bool(p_value < ALPHA),
                    **evidence.of(cell),
                    group=group,
                    metric="agreement",
                    estimate=float(np.mean([r["agreement"] for r in own])),
                    low=own[0]["ci_low"] if single else None,
                    high=own[0]["ci_high"] if single else None,
                    interval="single" if single else None,
                    p_adjusted=p_value,
                    n=int(own[0]["n"]),
                    details={
                        what: float(np.mean([r[what] for r in own]))
                        for what in ("broken", "mended", "moved")
                    },
                )
            )
    return made


def merged_p_value(rows: Sequence[Row]) -> float:
    """Of several runs, twice the median p-value: it holds however they depend on each other."""
    p_values = [float(row["p_value"]) for row in rows if row["p_value"] is not None]
    if not p_values:
        return float("nan")
    return p_values[0] if len(p_values) == 1 else min(1.0, 2 * float(np.median(p_values)))


def _cause(
    evidence: Evidence, cell: Cell, cause: str, rows: Sequence[Row], p_value: float, shown: int
) -> Finding:
    number = int(rows[0]["n"])
    enough = shown * 2 / factorial(min(number, 20)) <= ALPHA
    single = len(rows) == 1
    return Finding(
        "cause",
        bool(p_value < ALPHA) if enough and np.isfinite(p_value) else None,
        **evidence.of(cell),
        metric=cause,
        estimate=known(float(np.mean([row["rho"] for row in rows]))),
        low=rows[0]["ci_low"] if single else None,
        high=rows[0]["ci_high"] if single else None,
        interval="single" if single else None,
        p_adjusted=known(p_value),
        n=number,
        details={"causes_tested": shown, "enough_groups": enough, "unit": "groups"},
    )


def layers(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """Which layer's change cost the group that pays most, by slope and curvature (M9).

    Nothing where nobody pays, the remainder of the series outweighs its terms, or no layer cost
    anything.
    """
    made = []
    for cell in explained_cells(evidence, found):
        own = [
            one
            for one in found
            if one.claim == "pays" and one.networks == cell.names and one.decision
        ]
        remainder = _share(evidence, cell, "taylor_remainder")
        if own and remainder is not None and abs(remainder) <= MOST_REMAINDER:
            payer = max(own, key=lambda one: one.estimate or 0.0)
            made += _costly(evidence, cell, str(payer.group), remainder)
    return made


def _share(evidence: Evidence, cell: Cell, term: str) -> float | None:
    rows = evidence.record["tables"].get("causes") or ()
    shares = [
        row["share"]
        for row in rows
        if row["cause"] == term and row["model"] in cell.names and row["share"] is not None
    ]
    return float(np.mean(shares)) if shares else None


def _costly(evidence: Evidence, cell: Cell, group: str, remainder: float) -> list[Finding]:
    table = evidence.layers
    if table.empty:
        return []
    terms = table[
        table["model"].isin(cell.names)
        & (table["group"].astype(str) == group)
        & table["metric"].isin(TERMS)
    ]
    total = terms.groupby("layer")["value"].sum() / len(cell.names)
    if total.empty or total.max() < 0.005:
        return []
    layer = str(total.idxmax())
    kinds = next(
        (m.get("layer_kinds") or {} for m in evidence.record["models"] if m["name"] in cell.names),
        {},
    )
    parts = terms[terms["layer"] == layer].groupby("metric")["value"].sum() / len(cell.names)
    return [
        Finding(
            "layer",
            True,
            **evidence.of(cell),
            group=group,
            metric="excess_risk",
            estimate=float(total.max()),
            n=int(terms["n"].max()),
            details={
                "layer": layer,
                "kind": kinds.get(layer, ""),
                "all_layers": float(total.sum()),
                "slope": float(parts.get("taylor_slope", 0.0)),
                "curvature": float(parts.get("taylor_curvature", 0.0)),
                "remainder_share": remainder,
            },
        )
    ]
