"""Tables of the evidence: gaps with their noise floors, causes, layers, forgotten samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.words import DASH, interval, named, number
from audit.metrics import METRICS, TAYLOR, Metric, metric, of_definition, shown
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
        "percentile. What the sentences say of rates is decided rate by rate, adjusted for their "
        "number, and may differ."
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
        "intervals. p is of one correlation alone; the sentences of this report adjust it for all "
        "that were tested. Share: what a term of the Taylor series makes of the differences of "
        "excess risk between groups; the four add up to 100 %. Where the remainder outweighs the "
        "others, as after long fine-tuning, the series says little."
    )
    columns = ["model", "cause", "ρ", "p", "groups", "share"]
    return Table("What goes with the harm, model by model", columns, rows, note, folded=True)


def further_table(groups: pd.DataFrame, own: Mapping[str, Metric]) -> Table:
    """What is measured beside the harm and its causes, group by group: the rest, told whole.

    own   metrics of measures from elsewhere, by name
    """
    present = {name: own.get(name) or metric(name) for name in groups["metric"].unique()}
    chosen = [one for one in present.values() if "further measures" in one.shown]
    order = list(METRICS)
    chosen.sort(key=lambda one: order.index(one.name) if one.name in METRICS else len(order))
    known = groups[groups["metric"].isin([one.name for one in chosen])]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in known.to_dict("records"):
        found.setdefault((row["model"], row["group"]), {})[row["metric"]] = row
    rows = []
    for (model, group), own in found.items():
        cells = [_further_cell(own.get(one.name), one.unit) for one in chosen]
        flag = str(next(iter(own.values()))["flag"])
        rows.append(TableRow(model, [Cell(named(group), style="text"), *cells], flag))
    columns = ["model", "group", *(one.head for one in chosen)]
    note = (
        "The bound of theorem 1 holds for pruning in one shot without fine-tuning; those of the "
        "other theorems at the network itself. What could not be measured says why among the notes."
    )
    title = "Further measures of every group"
    return Table(title, columns, rows, note, folded=True, on_paper=False)


def _further_cell(row: Mapping[str, Any] | None, unit: str) -> Cell:
    if row is None:
        return Cell(DASH)
    return Cell(number(row["value"], unit), interval(row["ci_low"], row["ci_high"], unit))


def overall_measures_table(overall: Sequence[Mapping[str, Any]]) -> Table:
    """Numbers over all samples that are no gap between groups."""
    rows = []
    for row in overall:
        one = metric(row["metric"])
        if "overall" in one.shown:
            between = interval(row["ci_low"], row["ci_high"], one.unit)
            cells = [Cell(one.head, style="text"), Cell(number(row["value"], one.unit), between)]
            rows.append(TableRow(str(row["model"]), [*cells, Cell(f"{row['n']:,}")]))
    return Table("Over all samples", ["model", "measure", "value", "n"], rows, folded=True)


def layer_curvature_table(layers: pd.DataFrame) -> Table:
    """Both ends of the spectrum of every layer's block, group by group (M6)."""
    found = layers[layers["metric"].isin(shown("layers"))]
    keys = ["model", "layer", "group"]
    rows = []
    for (model, layer, group), own in found.groupby(keys, sort=False, observed=True):
        ends = {row["metric"]: row for row in own.to_dict("records")}
        cells = [Cell(str(layer), style="text"), Cell(named(group), style="text")]
        for name in shown("layers"):
            row = ends.get(name)
            error = "" if row is None or pd.isna(row["error"]) else f"± {row['error']:.1e}"
            cells.append(Cell(DASH if row is None else number(row["value"]), error))
        vouched = all(bool(row["converged"]) for row in ends.values())
        cells += [Cell("yes" if vouched else "no"), Cell(str(own["space"].iloc[0]))]
        rows.append(TableRow(str(model), cells))
    heads = [METRICS[name].title for name in shown("layers")]
    columns = ["model", "layer", "group", *heads, "converged", "space"]
    note = (
        "Of the block of the Hessian that belongs to the layer's own weights. ±: the estimated "
        "error; an eigenvalue that did not converge is no more than a bound."
    )
    return Table("The spectrum of every layer", columns, rows, note, folded=True)


def _cause(name: str) -> str:
    """A cause; those that are no terms of the pruning itself are the dense network's."""
    term = name in of_definition(TAYLOR) or name == "group_size"
    return METRICS[name].brief if term else f"{METRICS[name].brief}, dense"


def attribution_table(layers: pd.DataFrame, groups: pd.DataFrame) -> Table:
    """The layers whose pruning cost each group the most, by slope and by curvature."""
    terms = layers[layers["metric"].isin(["taylor_slope", "taylor_curvature"])]
    keys = ["model", "group"]
    risk = groups[groups["metric"] == "excess_risk"].set_index(keys)["value"]
    series = groups[groups["metric"].isin(of_definition(TAYLOR))]
    beyond = series.set_index([*keys, "metric"])["value"]
    by_term = terms.groupby([*keys, "metric"], sort=False, observed=True)["value"].sum()
    by_layer = terms.groupby([*keys, "layer"], sort=False, observed=True)["value"].sum()
    rows = []
    for (model, group), own in by_layer.groupby(keys, sort=False, observed=True):
        if not own.any():
            continue  # A dense network has lost nothing.
        worst = own.droplevel(["model", "group"]).sort_values(ascending=False)[:MOST_LAYERS]
        costly = ", ".join(f"{layer} ({number(value)})" for layer, value in worst.items())
        slope, curvature = (
            by_term.get((model, group, term), np.nan)
            for term in ("taylor_slope", "taylor_curvature")
        )
        rest = (
            beyond.get((model, group, term), np.nan)
            for term in ("taylor_buffers", "taylor_remainder")
        )
        cells = [
            Cell(named(group), style="text"),
            Cell(number(risk.get((model, group), np.nan))),
            *(Cell(number(term)) for term in (slope, curvature, *rest)),
            Cell(costly, style="text"),
        ]
        rows.append(TableRow(str(model), cells))
    heads = [METRICS[name].title for name in shown("attribution")]
    columns = ["model", "group", *heads, "layers that cost most (slope + curvature)"]
    note = (
        "In nats, at the dense network's weights. Excess risk is the sum of the four that follow; "
        "slope and curvature are exactly additive over layers."
    )
    title = "Which layer's pruning hurt whom"
    return Table(title, columns, rows, note, folded=True, on_paper=False)


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
    title = "Samples that pruning sees otherwise"
    return Table(title, columns, rows, note, folded=True, on_paper=False)
