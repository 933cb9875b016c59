"""Tables of the report: rows of text, formatted once for the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.finding import Claimed, Finding
from audit.findings.outcomes import is_dense
from audit.findings.words import (
    DASH,
    bare,
    count,
    first_upper,
    interval,
    layer_named,
    named,
    number,
    percent,
)
from audit.metrics import METRICS, metric, shown

MOST_CHARACTERS, ROOMY = 32, 44
"""Of a line of words in a printed table, and where there is room."""
WIDTH, LARGEST_TEXT, READABLE, HALF = 815.0, 7.0, 6.5, 0.488
"""Of a printed page, its width in digits of one point; sizes of a table's text; and the share of
the width that a table beside another has."""
MOST_LINES, FEW_LINES = 50, 14
"""Of a table beside another, which stays on one page, and of one that no page parts."""
SLENDER, WIDE = re.compile(r"[\s.,:;()\[\]|!'iljI]"), re.compile(r"[−+±%<>=mwMW@]")
"""Characters that take half the width of a digit, and half as much again."""
MOST_TOGETHER = 4
"""From so many rows a name on, names have tables of their own on paper."""
NONE: Claimed = {}
PADDING = 1.5
"""The width that a column of a printed table has beside its text, in digits."""
BOLD = 1.1
"""How much wider bold letters are."""


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
    """A titled table; `folded` ones open on a click, and those `on_paper` are printed too."""

    title: str
    columns: list[str]
    rows: list[TableRow]
    note: str = ""
    folded: bool = False
    on_paper: bool = True

    def is_text(self, column: int) -> bool:
        """Whether a column holds words, which stand on the left, not numbers."""
        return column == 0 or any(row.cells[column - 1].style == "text" for row in self.rows)

    def widths(
        self, flat: bool = False, most: int = MOST_CHARACTERS, parted: bool = False
    ) -> list[float]:
        """How many characters every column needs, intervals below their values or beside them.

        most     the characters of a line of words
        parted   whether an interval may take two lines, a bound on each
        """
        return [self._width(column, flat, most, parted) for column in range(len(self.columns))]

    def printed(self, share: float = 1.0) -> tuple[float, list[float], bool]:
        """On a share of the page's width: the size of its text in points, its columns' widths in
        characters, and whether intervals stand beside their values. On paper nothing scrolls.
        """
        for flat, most in ((True, ROOMY), (True, MOST_CHARACTERS), (False, MOST_CHARACTERS)):
            widths = self.widths(flat, most)
            size = min(LARGEST_TEXT, WIDTH * share / sum(widths))
            if size >= READABLE:
                return size, widths, flat
        return READABLE, self.widths(parted=True), False

    def fits(self, share: float) -> bool:
        """Whether a share of the page's width holds it in letters that can be read, on one page."""
        widths = self.widths()
        return WIDTH * share / sum(widths) >= READABLE and self._lines(widths) <= MOST_LINES

    @property
    def is_narrow(self) -> bool:
        """Whether it can stand beside another on paper, whole."""
        return self.fits(HALF) and not self.apart()

    @property
    def is_short(self) -> bool:
        """Whether it is so short that no page should part it."""
        return self._lines(self.widths()) <= FEW_LINES

    def _lines(self, widths: Sequence[float]) -> int:
        return sum(_lines(row, widths) for row in self.rows)

    def apart(self) -> list[Table]:
        """One table for every name that several rows have, where these fit beside one another."""
        names = list(dict.fromkeys(row.name for row in self.rows))
        if len(names) < 2 or len(self.rows) < MOST_TOGETHER * len(names):
            return []
        parts = [self._of(name) for name in names]
        return parts if all(part.fits(HALF) for part in parts) else []

    def _of(self, name: str) -> Table:
        """The rows of one name, which becomes the title; their next column names them."""
        rows = [
            TableRow(row.cells[0].value, row.cells[1:], row.flag)
            for row in self.rows
            if row.name == name
        ]
        return replace(self, title=name, columns=self.columns[1:], rows=rows, note="")

    def _width(self, column: int, flat: bool, most: int, parted: bool = False) -> float:
        """The longest number whole, names and words on lines of at most so many characters."""
        words = re.split(r"[\s-]", self.columns[column])
        head = BOLD * max(map(_length, words))
        if column == 0:
            names = max((BOLD * _length(row.name) for row in self.rows), default=0.0)
            return PADDING + max(head, min(names, most))
        cells = [row.cells[column - 1] for row in self.rows]
        values = max((_length(cell.value) for cell in cells), default=0.0)
        bounds = [cell.interval.split(" ") if parted else [cell.interval] for cell in cells]
        intervals = max((_length(part) for own in bounds for part in own), default=0.0)
        longest = values + 1 + intervals if flat else max(values, intervals)
        return PADDING + max(head, min(longest, most))


def _length(text: str) -> float:
    """The width of a text, in digits."""
    return len(text) + 0.5 * (len(WIDE.findall(text)) - len(SLENDER.findall(text)))


def _lines(row: TableRow, widths: Sequence[float]) -> int:
    """The lines that a row takes where its columns have so many characters, at the most."""
    name = BOLD * _length(f"{row.name} {row.flag}".strip())
    texts = [(name, 0.0), *((_length(one.value), _length(one.interval)) for one in row.cells)]
    return max(
        sum(ceil(length / (width - PADDING)) for length in own)
        for own, width in zip(texts, widths, strict=True)
    )


def group_table(groups: pd.DataFrame, title: str, note: str = "", pays: Claimed = NONE) -> Table:
    """Every group under one method and rate: n, and each metric with its interval.

    pays   by network and group whether it was found to pay: its gap then is coloured, and stands
           with the interval of that claim, which holds for all groups at once

    With several seeds: the mean over seeds and its standard deviation instead of the interval.
    """
    metrics = [name for name in shown("every group") if (groups["metric"] == name).any()]
    rows = []
    for group, own in groups.groupby("group", observed=True):
        found: dict[str, list[dict[Any, Any]]] = {name: [] for name in metrics}
        for row in own[own["metric"].isin(metrics)].to_dict("records"):
            found[row["metric"]].append(row)
        cells = [Cell(f"{int(own['n'].max()):,}")]
        cells += [_group_cell(found[name], name, pays) for name in metrics]
        rows.append(TableRow(named(group), cells, str(own["flag"].iloc[0])))
    return Table(title, ["group", "n", *(METRICS[name].head for name in metrics)], rows, note)


def _group_cell(rows: Sequence[Mapping[Any, Any]], metric: str, pays: Claimed) -> Cell:
    claim = None
    if metric == "excess_accuracy_gap":
        claim = pays.get((str(rows[0]["model"]), str(rows[0]["group"])))
    style = "worse" if claim is not None and claim.decision else ""
    if len(rows) > 1:
        values = pd.Series([row["value"] for row in rows])
        # An infinite distance (a flat network) has no spread.
        finite = bool(np.isfinite(values).all())
        spread = f"± {bare(values.std(), metric)}" if finite else ""
        return Cell(number(values.mean(), metric), spread, style)
    row = rows[0]
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
            Cell(_counted(None if is_dense(model) and not model["steps"] else model["steps"])),
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


def eigenvalue_tables(groups: pd.DataFrame) -> list[Table]:
    """Every eigenvalue with its residual, products, space, and whether it converged.

    The largest, which reports speak of, in a table of their own.
    """
    found = groups[groups["metric"].str.startswith("hessian_") & (groups["n"] > 0)]
    largest = found["metric"] == "hessian_max_eigenvalue"
    title = METRICS["hessian_max_eigenvalue"].title
    others = _eigenvalue_table(found[~largest], "The other eigenvalues, with their residuals")
    return [
        _of_one_kind(
            _eigenvalue_table(found[largest], f"The {title} of every group, with its residual")
        ),
        replace(others, on_paper=False),
    ]


def _eigenvalue_table(found: pd.DataFrame, title: str) -> Table:
    rows = []
    for row in found.to_dict("records"):
        cells = [
            Cell(metric(row["metric"]).title, style="text"),
            Cell(str(row["group"]), style="text"),
            Cell(f"{row['n']:,}"),
            Cell(_outer(row) + number(row["value"]), interval(row["ci_low"], row["ci_high"])),
            Cell(DASH if pd.isna(row["residual"]) else f"{row['residual']:.1e}"),
            Cell(DASH if pd.isna(row["error"]) else f"{row['error']:.1e}"),
            Cell(DASH if pd.isna(row["products"]) else f"{row['products']:.0f}"),
            Cell(DASH if pd.isna(row["converged"]) else "yes" if row["converged"] else "no"),
            Cell(DASH if pd.isna(row["space"]) else str(row["space"])),
        ]
        rows.append(TableRow(row["model"], cells))
    columns = ["model", "eigenvalue", "group", "n", "value", "residual", "error", "products",
               "converged", "space"]  # fmt: skip
    return Table(title, columns, rows, folded=True)


def _of_one_kind(table: Table) -> Table:
    """Without the column that says which eigenvalue it is: the title does."""
    rows = [replace(row, cells=row.cells[1:]) for row in table.rows]
    return replace(table, columns=[table.columns[0], *table.columns[2:]], rows=rows)


def comparison_tables(
    records: Sequence[dict[str, Any]],
    names: Sequence[str],
    pays: Claimed = NONE,
    changes: Claimed = NONE,
) -> list[Table]:
    """One table a metric: baseline, then every candidate and its difference, group by group.

    pays, changes   the findings that colour a gap and a difference of accuracy; their intervals,
                    which hold for all groups at once, stand in place of the groups' own
    """
    known = {(row["candidate_name"], row["metric"], str(row["group"])): row for row in records}
    groups = list(dict.fromkeys(str(row["group"]) for row in records))
    measured = {metric for _, metric, _ in known}
    tables = []
    for name in shown("every group"):
        if name not in measured:
            continue
        rows = []
        for group in groups:
            found = [known.get((candidate, name, group)) for candidate in names[1:]]
            own = [row for row in found if row is not None]
            if own:
                rows.append(_comparison_row(own, name, names[0], pays, changes))
        unit = " (points)" if METRICS[name].unit == "share" else ""
        sides = [text for candidate in names[1:] for text in (candidate, f"difference{unit}")]
        title = METRICS[name].head
        columns = ["group", "n", names[0], *sides]
        on_paper = name in shown("compared on paper")
        tables.append(Table(first_upper(title), columns, rows, on_paper=on_paper))
    return tables


def _comparison_row(
    found: Sequence[dict[str, Any]], metric: str, baseline: str, pays: Claimed, changes: Claimed
) -> TableRow:
    first = found[0]
    cells = [
        Cell(f"{int(first['n']):,}"),
        _side_cell(first, "baseline", baseline, metric, pays),
    ]
    for row in found:
        candidate = str(row["candidate_name"])
        claim = changes.get((candidate, str(row["group"]))) if metric == "accuracy" else None
        low, high = _claimed(claim, row["difference_ci_low"], row["difference_ci_high"])
        worse = claim is not None and bool(claim.decision) and (claim.estimate or 0.0) < 0
        difference = number(row["difference"], metric, signed=True)
        cells += [
            _side_cell(row, "candidate", candidate, metric, pays),
            Cell(difference, interval(low, high, metric), "worse" if worse else ""),
        ]
    return TableRow(named(first["group"]), cells, first["flag"])


def _side_cell(row: dict[str, Any], side: str, network: str, metric: str, pays: Claimed) -> Cell:
    claim = pays.get((network, str(row["group"]))) if metric == "excess_accuracy_gap" else None
    low, high = _claimed(claim, row[f"{side}_ci_low"], row[f"{side}_ci_high"])
    style = "worse" if claim is not None and claim.decision else ""
    return Cell(number(row[side], metric), interval(low, high, metric), style)


def _claimed(claim: Finding | None, low: Any, high: Any) -> tuple[Any, Any]:
    """The interval that a claim stands on, where there is one: of one network, not of several runs.

    A claim about a mean over runs has no interval for the number of one of them.
    """
    if claim is None or claim.low is None or claim.runs > 1:
        return low, high
    return claim.low, claim.high


def layer_table(models: Sequence[dict[str, Any]]) -> Table:
    """The measured sparsity of every layer of every network."""
    layers = list(dict.fromkeys(layer for model in models for layer in model["layer_sparsity"]))
    rows = []
    for model in models:
        found = [model["layer_sparsity"].get(layer) for layer in layers]
        cells = [Cell(DASH if share is None else f"{share:.1%}") for share in found]
        rows.append(TableRow(model["name"], cells))
    kinds = layer_kinds(models)
    columns = ["model", *(layer_named(layer, kinds) for layer in layers)]
    title = "Measured sparsity of every layer"
    return Table(title, columns, rows, folded=True, on_paper=False)


def layer_kinds(models: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The kind of every layer by its name; none of results from before they were kept."""
    return {name: kind for m in models for name, kind in (m.get("layer_kinds") or {}).items()}


def size_table(data: dict[str, Any]) -> Table:
    """Samples per group and split."""
    splits = [key for key in data["groups"][0] if key != "group"]
    rows = [
        TableRow(named(row["group"]), [Cell(count(row[split])) for split in splits])
        for row in data["groups"]
    ]
    return Table(f"Samples per {data['attribute']} and split", ["group", *splits], rows)
