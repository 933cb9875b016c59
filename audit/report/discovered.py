"""The groups that nobody named, as a table (M16)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audit.findings.words import interval, number, points
from audit.report.tables import Cell, Table, TableRow

GAP = "excess_accuracy_gap"


def discovered_table(tables: Mapping[str, Any]) -> Table:
    """What was sought, and every group that one half of the samples proposed to the other."""
    sought: Sequence[Mapping[str, Any]] = tables.get("discovery") or ()
    rows = [_row(row) for row in tables.get("discovered") or ()]
    columns = ["model", "group", "n", "accuracy", "dense", "excess accuracy gap (points)", "p"]
    crossed = ", ".join(sought[0]["columns"]) if sought else ""
    counts = "; ".join(
        f"{one['model']}: {one['candidates']:,} looked at, {one['proposed']} proposed, "
        f"{one['confirmed']} confirmed"
        for one in sought
    )
    note = (
        f"Crossings of {crossed}. One half of the samples proposes, the other alone tests; numbers "
        "are of the other. Coloured: confirmed to pay, Holm-adjusted over what was proposed, so "
        f"that of each network a false discovery has at most 5 %. {counts}."
    )
    return Table("Groups that nobody named", columns, rows, note if sought else "", folded=True)


def _row(row: Mapping[str, Any]) -> TableRow:
    between = interval(row["ci_low"], row["ci_high"], GAP)
    harmed = "worse" if row["confirmed"] else ""
    return TableRow(
        str(row["model"]),
        [
            Cell(str(row["group"]), style="text"),
            Cell(f"{row['n']:,}"),
            _share(row, "accuracy"),
            _share(row, "dense_accuracy"),
            Cell(points(row["gap"]), between, style=harmed),
            Cell(number(row["p_adjusted"])),
        ],
    )


def _share(row: Mapping[str, Any], name: str) -> Cell:
    between = interval(row[f"{name}_ci_low"], row[f"{name}_ci_high"], "accuracy")
    return Cell(number(row[name], "accuracy"), between)
