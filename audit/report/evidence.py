"""Tables of the evidence: gaps with their noise floors, causes, layers, forgotten samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.words import DASH, interval, number
from audit.metrics import METRICS, TAYLOR, of_definition, shown
from audit.report.tables import Cell, Table, TableRow

MOST_LAYERS = 3


def gap_table(overall: Sequence[Mapping[str, Any]]) -> Table:
    """Every gap between groups beside what equal groups of these sizes would show."""
    rows, gaps = [], shown("gaps")
    for row in overall:
        name = row["metric"]
        if name not in gaps:
            continue
        cells = [
            Cell(METRICS[name].head, style="text"),
            Cell(number(row["value"], name), interval(row["ci_low"], row["ci_high"], name)),
            Cell(number(row["floor_median"], name)),
            Cell(number(row["floor_p95"], name)),
            Cell(number(row["corrected"], name), style=_beyond(row)),
            Cell(_where(row), style="text"),
        ]
        rows.append(TableRow(str(row["model"]), cells))
    columns = ["model", "gap", "value", "noise floor, median", "95th percentile",
               "less the median", "where"]  # fmt: skip
    note = (
        "The largest less the smallest of several groups is above zero even where all are equal. "
        "The noise floor is that gap for equal groups of these sizes. Coloured: beyond its 95th "
        "percentile."
    )
    return Table(f"All {len(rows)} gaps with their noise floors", columns, rows, note, folded=True)


def _beyond(row: Mapping[str, Any]) -> str:
    known = row["value"] is not None and row["floor_p95"] is not None
    return "worse" if known and row["value"] > row["floor_p95"] + 1e-12 else ""


def _where(row: Mapping[str, Any]) -> str:
    """The groups at both ends, and the class and rate of a fairness difference."""
    if row.get("rate") is None:
        return f"group {row['group']}" if row["group"] is not None else DASH
    text = f"class {row['class']}, {row['rate']}"
    if row["group"] is not None:
        text += f": {row['lowest_group']} lowest, {row['group']} highest"
    if row["without"]:
        text += f"; without such samples: {', '.join(row['without'])}"
    return text


def cause_table(causes: Sequence[Mapping[str, Any]]) -> Table:
    """Rank correlation of every cause with excess risk over groups, and the Taylor shares."""
    rows = []
    for row in causes:
        cells = [
            Cell(_cause(row["cause"]), style="text"),
            Cell(number(row["rho"]), interval(row["ci_low"], row["ci_high"])),
            Cell(number(row["p_value"])),
            Cell(f"{row['n']:,}"),
            Cell(DASH if row["share"] is None else f"{100 * row['share']:.0f} %".replace("-", "−")),
        ]
        rows.append(TableRow(str(row["model"]), cells))
    note = (
        "ρ: Spearman's rank correlation with excess risk over the groups; a few groups make wide "
        "intervals. Share: what a term of the Taylor series makes of the differences of excess "
        "risk between groups; the four add up to 100 %. Where the remainder outweighs the others, "
        "as after long fine-tuning, the series says little."
    )
    columns = ["model", "cause", "ρ", "p", "groups", "share"]
    return Table("What goes with the harm, model by model", columns, rows, note, folded=True)


def _cause(name: str) -> str:
    """A cause; those that are no terms of the pruning itself are the dense network's."""
    term = name in of_definition(TAYLOR) or name == "group_size"
    return METRICS[name].brief if term else f"{METRICS[name].brief}, dense"


def attribution_table(layers: pd.DataFrame, groups: pd.DataFrame) -> Table:
    """The layers whose pruning cost each group the most, by slope and by curvature."""
    terms = layers[layers["metric"].isin(["taylor_slope", "taylor_curvature"])]
    risk = groups[groups["metric"] == "excess_risk"].set_index(["model", "group"])["value"]
    keys = ["model", "group"]
    by_term = terms.groupby([*keys, "metric"], sort=False, observed=True)["value"].sum()
    by_layer = terms.groupby([*keys, "layer"], sort=False, observed=True)["value"].sum()
    rows = []
    for (model, group), own in by_layer.groupby(keys, sort=False, observed=True):
        worst = own.droplevel(["model", "group"]).sort_values(ascending=False)[:MOST_LAYERS]
        named = ", ".join(f"{layer} ({number(value, 'nats')})" for layer, value in worst.items())
        slope, curvature = (
            by_term.get((model, group, term), np.nan)
            for term in ("taylor_slope", "taylor_curvature")
        )
        cells = [
            Cell(str(group), style="text"),
            Cell(number(risk.get((model, group), np.nan), "nats")),
            Cell(number(slope, "nats")),
            Cell(number(curvature, "nats")),
            Cell(named, style="text"),
        ]
        rows.append(TableRow(str(model), cells))
    columns = ["model", "group", "excess risk", "slope gᵀδ", "curvature ½δᵀHδ",
               "layers that cost most (slope + curvature)"]  # fmt: skip
    note = "In nats, at the dense network's weights; exactly additive over layers."
    return Table("Which layer's pruning hurt whom", columns, rows, note, folded=True)


def exemplar_table(exemplars: Sequence[Mapping[str, Any]]) -> Table:
    """Samples whose modal prediction over the seeds changed, group by group."""
    rows = []
    for row in exemplars:
        cells = [
            Cell(str(row["group"]), style="text"),
            Cell(f"{row['n']:,}"),
            Cell(f"{row['exemplars']:,}"),
            Cell(
                number(row["share"], "share"),
                interval(row["ci_low"], row["ci_high"], "share"),
            ),
            Cell(number(row["over"])),
        ]
        rows.append(TableRow(f"{row['method']} at {100 * row['rate']:.6g}%", cells))
    columns = ["method", "group", "n", "exemplars", "share", "share over that of all"]
    note = (
        "A sample is an exemplar where the label that most pruned networks give it is not the "
        "one that most dense networks give (Hooker et al.); with one seed, where the prediction "
        "changed."
    )
    return Table("Samples that pruning sees otherwise", columns, rows, note, folded=True)
