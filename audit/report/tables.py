"""Tables of the report: rows of text, formatted once for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.finding import Claimed, Finding
from audit.findings.words import DASH, bare, count, interval, named, number, percent
from audit.metrics import METRICS, metric, shown

MOST_CHARACTERS = 32
NONE: Claimed = {}
PADDING = 2.0
"""The width that a column of a printed table has beside its text, in characters."""


@dataclass(frozen=True)
class Cell:
    """A value as text, its interval below it, and a class for its look."""

    value: str
    interval: str = ""
    style: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row: its name, a flag beside it, and its cells."""

    name: str
    cells: list[Cell]
    flag: str = ""


@dataclass(frozen=True)
class Table:
    """A titled table; `folded` ones open on a click."""

    title: str
    columns: list[str]
    rows: list[TableRow]
    note: str = ""
    folded: bool = False

    def is_text(self, column: int) -> bool:
        """Whether a column holds words, which stand on the left, not numbers."""
        return column == 0 or any(row.cells[column - 1].style == "text" for row in self.rows)

    def widths(self) -> list[float]:
        """How many characters every column needs; on paper nothing scrolls."""
        return [self._width(column) for column in range(len(self.columns))]

    def _width(self, column: int) -> float:
        """The longest number whole, names and words on lines of MOST_CHARACTERS."""
        head = 1.1 * max(len(word) for word in self.columns[column].split())
        if column == 0:
            names = max((1.1 * len(row.name) for row in self.rows), default=0.0)
            return PADDING + max(head, min(names, MOST_CHARACTERS))
        cells = [row.cells[column - 1] for row in self.rows]
        values = max((len(cell.value) for cell in cells), default=0)
        intervals = max((len(cell.interval) for cell in cells), default=0)
        # Evidence is long: its intervals stand beside the values, not below.
        longest = values + 1 + intervals if self.folded else max(values, 0.82 * intervals)
        return PADDING + max(head, min(longest, MOST_CHARACTERS))


def group_table(groups: pd.DataFrame, title: str, note: str = "", pays: Claimed = NONE) -> Table:
    """Every group under one method and rate: n, and each metric with its interval.

    pays   by network and group whether it was found to pay: its gap then is coloured, and stands
           with the interval of that claim, which holds for all groups at once

    With several seeds: the mean over seeds and its standard deviation instead of the interval.
    """
    metrics = [name for name in shown("every group") if (groups["metric"] == name).any()]
    rows = []
    for group, own in groups.groupby("group", observed=True):
        cells = [Cell(f"{int(own['n'].max()):,}")]
        cells += [_group_cell(own[own["metric"] == name], name, pays) for name in metrics]
        rows.append(TableRow(named(group), cells, str(own["flag"].iloc[0])))
    return Table(title, ["group", "n", *(METRICS[name].head for name in metrics)], rows, note)


def _group_cell(rows: pd.DataFrame, metric: str, pays: Claimed) -> Cell:
    values, claim = rows["value"], None
    if metric == "excess_accuracy_gap":
        claim = pays.get((str(rows["model"].iloc[0]), str(rows["group"].iloc[0])))
    style = "worse" if claim is not None and claim.decision else ""
    if len(rows) > 1:
        # An infinite distance (a flat network) has no spread.
        finite = bool(np.isfinite(values).all())
        spread = bare(values.std() if finite else None, metric)
        return Cell(number(values.mean(), metric), f"± {spread}", style)
    row = rows.iloc[0]
    low, high = _claimed(claim, row["ci_low"], row["ci_high"])
    return Cell(number(row["value"], metric), interval(low, high, metric), style)


def model_table(models: Sequence[dict[str, Any]], overall: Sequence[dict[str, Any]]) -> Table:
    """Every network: measured sparsity, size, accuracy, and the gaps over its groups."""
    columns = ("accuracy", "max_excess_accuracy_gap", "fairness_violation")
    known = {(row["model"], row["metric"]): row for row in overall}
    rows = []
    for model in models:
        cells = [
            Cell(_sparsity(model)),
            Cell(_counted(model["surviving_parameters"])),
            Cell(f"{model['steps']:,}"),
        ]
        cells += [_overall_cell(known.get((model["name"], name)), name) for name in columns]
        rows.append(TableRow(model["name"], cells))
    names = ["model", "sparsity, measured", "parameters left", "steps"]
    return Table("Models", [*names, *(METRICS[name].head for name in columns)], rows)


def network_table(models: Sequence[dict[str, Any]]) -> Table:
    """Every network's identity: architecture, measured sparsity, what is left of it, its file."""
    rows = []
    for model in models:
        arguments = ", ".join(f"{key}={value}" for key, value in model["arguments"].items())
        asked = f"asked for: {percent(model['rate'])}" if model["rate"] else ""
        cells = [
            Cell(str(model["architecture"]), arguments, "text"),
            Cell(_sparsity(model), asked),
            _left(model, "parameters"),
            _left(model, "multiply_adds"),
            Cell(model["file"] or "in memory", model["sha256"] or "", "text file"),
        ]
        rows.append(TableRow(model["name"], cells))
    columns = ["model", "architecture", "sparsity, measured", "parameters left",
               "multiply-adds left", "file, SHA-256"]  # fmt: skip
    note = (
        "Multiply-adds are those of convolutions and linear layers for one sample. What is left "
        "belongs to weights that are not exactly zero; only a network that was shrunk, or a "
        "runtime made for sparse weights, does less than the whole."
    )
    return Table("Every network", columns, rows, note)


def _sparsity(model: Mapping[str, Any]) -> str:
    """Two decimals, as it is measured; some networks do not tell their weights."""
    return DASH if model["sparsity"] is None else f"{model['sparsity']:.2%}"


def _counted(number: int | None) -> str:
    return DASH if number is None else f"{number:,}"


def _left(model: dict[str, Any], what: str) -> Cell:
    """What survives, and of how many; results of earlier versions do not have every count."""
    left, whole = model.get(f"surviving_{what}"), model.get(what)
    if left is None or whole is None:
        return Cell(DASH)
    return Cell(f"{left:,}", f"of {whole:,}")


def _overall_cell(row: dict[str, Any] | None, metric: str) -> Cell:
    if row is None:
        return Cell(DASH)
    text = number(row["value"], metric)
    if row["group"] is not None and row["value"] > 0:
        text += f" (group {named(row['group'])})"
    return Cell(text, interval(row["ci_low"], row["ci_high"], metric))


def _outer(row: Mapping[Any, Any]) -> str:
    """What an eigenvalue that has not converged is: a bound, from inside the spectrum."""
    if pd.isna(row["converged"]) or row["converged"]:
        return ""
    return "at most " if row["metric"] == "hessian_min_eigenvalue" else "at least "


def eigenvalue_table(groups: pd.DataFrame) -> Table:
    """Every eigenvalue with its residual, products, space, and whether it converged."""
    rows = []
    found = groups[groups["metric"].str.startswith("hessian_") & (groups["n"] > 0)]
    for row in found.to_dict("records"):
        cells = [
            Cell(str(row["group"]), style="text"),
            Cell(metric(row["metric"]).title, style="text"),
            Cell(f"{row['n']:,}"),
            Cell(_outer(row) + number(row["value"]), interval(row["ci_low"], row["ci_high"])),
            Cell(DASH if pd.isna(row["residual"]) else f"{row['residual']:.1e}"),
            Cell(DASH if pd.isna(row["error"]) else f"{row['error']:.1e}"),
            Cell(DASH if pd.isna(row["products"]) else f"{row['products']:.0f}"),
            Cell(DASH if pd.isna(row["converged"]) else "yes" if row["converged"] else "no"),
            Cell(DASH if pd.isna(row["space"]) else str(row["space"])),
        ]
        rows.append(TableRow(row["model"], cells))
    columns = [
        "model",
        "group",
        "eigenvalue",
        "n",
        "value",
        "residual",
        "error",
        "products",
        "converged",
        "space",
    ]
    return Table(f"All {len(rows)} eigenvalues with their residuals", columns, rows, folded=True)


def comparison_tables(
    records: Sequence[dict[str, Any]],
    names: Sequence[str],
    pays: Claimed = NONE,
    changes: Claimed = NONE,
) -> list[Table]:
    """One table a metric: baseline | candidate | difference, group by group.

    pays, changes   the findings that colour a gap and a difference of accuracy; their intervals,
                    which hold for all groups at once, stand in place of the groups' own
    """
    table = pd.DataFrame(list(records))
    found = []
    for name in shown("every group"):
        own = table[table["metric"] == name]
        if own.empty:
            continue
        rows = [_comparison_row(row, name, names, pays, changes) for row in own.to_dict("records")]
        unit = " (points)" if METRICS[name].unit == "share" else ""
        columns = ["group", "n", *names, f"difference{unit}"]
        title = METRICS[name].head
        found.append(Table(title[0].upper() + title[1:], columns, rows))
    return found


def _comparison_row(
    row: dict[Any, Any], metric: str, names: Sequence[str], pays: Claimed, changes: Claimed
) -> TableRow:
    cells = [Cell(f"{row['n']:,}")]
    group = str(row["group"])
    for side, name in zip(("baseline", "candidate"), names, strict=True):
        claim = pays.get((name, group)) if metric == "excess_accuracy_gap" else None
        low, high = _claimed(claim, row[f"{side}_ci_low"], row[f"{side}_ci_high"])
        style = "worse" if claim is not None and claim.decision else ""
        cells.append(Cell(number(row[side], metric), interval(low, high, metric), style))
    claim = changes.get((names[1], group)) if metric == "accuracy" else None
    low, high = _claimed(claim, row["difference_ci_low"], row["difference_ci_high"])
    worse = claim is not None and bool(claim.decision) and (claim.estimate or 0.0) < 0
    difference = number(row["difference"], metric, signed=True)
    cells.append(Cell(difference, interval(low, high, metric), "worse" if worse else ""))
    return TableRow(named(row["group"]), cells, row["flag"])


def _claimed(claim: Finding | None, low: Any, high: Any) -> tuple[Any, Any]:
    """The interval that a claim stands on, where there is one."""
    return (low, high) if claim is None or claim.low is None else (claim.low, claim.high)


def layer_table(models: Sequence[dict[str, Any]]) -> Table:
    """The measured sparsity of every layer of every network."""
    layers = list(dict.fromkeys(layer for model in models for layer in model["layer_sparsity"]))
    rows = []
    for model in models:
        found = [model["layer_sparsity"].get(layer) for layer in layers]
        cells = [Cell(DASH if share is None else f"{share:.1%}") for share in found]
        rows.append(TableRow(model["name"], cells))
    return Table("Measured sparsity of every layer", ["model", *layers], rows, folded=True)


def size_table(data: dict[str, Any]) -> Table:
    """Samples per group and split."""
    splits = [key for key in data["groups"][0] if key != "group"]
    rows = [
        TableRow(named(row["group"]), [Cell(count(row[split])) for split in splits])
        for row in data["groups"]
    ]
    return Table(f"Samples per {data['attribute']} and split", ["group", *splits], rows)
