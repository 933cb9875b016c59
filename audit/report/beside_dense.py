"""Tables of pruned networks beside their dense one: whose samples pay where, and what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audit.findings.words import DASH, interval, named, number
from audit.metrics import METRICS
from audit.report.tables import Cell, Table, TableRow

UNITS = {"accuracy": "points", "loss": "nats"}
"""In which a gap in a harm is told."""


def margin_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Every group's gap as composition and within, by the dense network's margin (M14)."""
    shown = []
    for row in rows:
        unit = UNITS[row["harm"]]
        cells = [
            Cell(named(row["group"]), style="text"),
            Cell(f"{row['harm']} ({unit})", style="text"),
            Cell(f"{row['n']:,}"),
            Cell(number(row["gap"], unit)),
            *(_part(row, part, unit) for part in ("composition", "within")),
            Cell(f"{row['bins']:,}"),
        ]
        shown.append(TableRow(str(row["model"]), cells, row["flag"]))
    note = (
        "A gap is what the group lost beyond the average of all samples, and the two parts add up "
        "to it. Composition: more of the group's samples lie where any group's pay, near the dense "
        "network's decision boundary. Within: at the same margin the group pays more than others."
    )
    heads = [METRICS[name].title for name in ("boundary_composition", "boundary_within")]
    columns = ["model", "group", "harm", "n", "gap", *heads, "bins of the margin"]
    title = "Who pays for being near the boundary"
    return Table(title, columns, shown, note, folded=True, on_paper=False)


def _part(row: Mapping[str, Any], part: str, unit: str) -> Cell:
    between = interval(row[f"{part}_ci_low"], row[f"{part}_ci_high"], unit)
    return Cell(number(row[part], unit), between)


def faithfulness_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What became of the dense network's predictions, group by group (M15)."""
    shown = []
    for row in rows:
        far = interval(row["divergence_ci_low"], row["divergence_ci_high"])
        between = interval(row["ci_low"], row["ci_high"], "share")
        cells = [
            Cell(named(row["group"]), style="text"),
            Cell(f"{row['n']:,}"),
            Cell(number(row["agreement"], "share"), between),
            *(Cell(_count(row[name])) for name in ("broken", "mended", "moved")),
            Cell(number(row["p_value"])),
            Cell(number(row["p_adjusted"])),
            Cell(number(row["divergence"]), far),
        ]
        shown.append(TableRow(str(row["model"]), cells, row["flag"]))
    agreement, moved, divergence = (
        METRICS[name].head for name in ("agreement", "moved", "divergence")
    )
    columns = ["model", "group", "n", agreement, "broken", "mended", moved, "p of McNemar's test",
               "p, Holm-adjusted", divergence]  # fmt: skip
    note = (
        "Samples by what became of them: p is that of as many broken as mended, by McNemar's exact "
        "test, adjusted over the groups of at least minimum size."
    )
    title = "How faithful each network is to the dense one"
    return Table(title, columns, shown, note, folded=True, on_paper=False)


def _count(value: Any) -> str:
    return DASH if value is None else f"{value:,}"
