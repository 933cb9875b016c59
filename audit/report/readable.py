"""The networks that a page lists: all, or of more than anybody reads those that are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from audit.findings.networks import shown_models
from audit.findings.results import Results

MOST_NETWORKS = 200


def readable(results: Results) -> Results:
    """The results of no more networks than a page lists one by one (`told_left` says which).

    Findings and verdict stay those of all, and so does what figures and means are made of.
    """
    record = results.record
    if len(record["models"]) <= MOST_NETWORKS:
        return results
    names = set(shown_models(record))
    tables = {name: _rows_of(names, rows) for name, rows in record["tables"].items()}
    kept = {
        "models": [one for one in record["models"] if one["name"] in names],
        "overall": [row for row in record["overall"] if row["model"] in names],
        "tables": tables,
    }
    return replace(
        results,
        groups=results.groups[results.groups["model"].isin(names)],
        layers=results.layers[results.layers["model"].isin(names)],
        record=record | kept,
    )


def told_left(record: Mapping[str, Any]) -> list[str]:
    """What the page does not list, where that is something, and which files have it."""
    total = len(record["models"])
    if total <= MOST_NETWORKS:
        return []
    return [
        f"Of {total:,} networks {len(shown_models(record))} are listed one by one: those of the "
        "first seed, the dense one and every method at its highest rate. Figures, means over seeds "
        "and the verdict are of all; results.json, groups.parquet and layers.parquet have every "
        "number of every network."
    ]


def _rows_of(names: set[str], rows: Any) -> Any:
    if not isinstance(rows, list):
        return rows
    return [row for row in rows if not isinstance(row, dict) or row.get("model") in {*names, None}]
