"""The finding in a few lines, for the terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from audit.report.tables import GROUP_METRICS, comparison_tables, model_table
from audit.report.tables import Table as Contents
from audit.study.results import Results

COMPARED = ("accuracy", "excess_accuracy_gap", "excess_risk", "gradient_norm",
            "hessian_max_eigenvalue", "boundary_closeness")  # fmt: skip
WIDE = ("parameters left", "steps", "fairness violation ξ (nats)")


def print_findings(results: Results, console: Console) -> None:
    """The verdict, then one table: the models of a study, or the groups of a comparison."""
    record = results.record
    console.print(f"[bold]{escape(record['verdict']['headline'])}[/bold]")
    for sentence in record["verdict"]["sentences"]:
        console.print(f"  • {escape(sentence)}", highlight=False)
    console.print()
    compared = record["tables"].get("compared")
    if compared is None:
        console.print(_rich(_narrow(model_table(record["models"], record["overall"]))))
        return
    rows = record["tables"]["comparison"]
    for candidate in compared[1:]:
        own = [row for row in rows if row["candidate_name"] == candidate]
        for contents in comparison_tables(own, (compared[0], candidate)):
            if contents.title.lower() in {GROUP_METRICS[metric].lower() for metric in COMPARED}:
                console.print(_rich(contents))


def _narrow(contents: Contents) -> Contents:
    """A table without intervals and without what does not fit a terminal of 80 columns."""
    kept = [place for place, name in enumerate(contents.columns[1:]) if name not in WIDE]
    rows = [
        replace(row, cells=[replace(row.cells[place], interval="") for place in kept])
        for row in contents.rows
    ]
    columns = [contents.columns[0], *(contents.columns[1:][place] for place in kept)]
    return replace(contents, columns=columns, rows=rows)


def _rich(contents: Contents) -> Table:
    table = Table(
        title=escape(contents.title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
    )
    for position, column in enumerate(contents.columns):
        kind: dict[str, Any] = {} if position == 0 else {"justify": "right"}
        table.add_column(escape(column), overflow="fold", **kind)
    for row in contents.rows:
        cells = [
            escape(f"{cell.value} {cell.interval}".strip()).replace(" ", "\u00a0")
            for cell in row.cells
        ]
        flag = f" ({row.flag})" if row.flag else ""
        table.add_row(escape(f"{row.name}{flag}"), *cells)
    return table
