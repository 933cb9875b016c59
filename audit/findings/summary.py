"""The one small table that says what a study or a comparison found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, mode, stdev
from typing import Any

import pandas as pd

from audit.findings.words import DASH, Row, interval, label, number, percent, points_with_interval

GAP = "max_excess_accuracy_gap"


def summary(record: Mapping[str, Any]) -> pd.DataFrame:
    """Texts for a person: a row per group of a comparison, or per method and rate of a study."""
    if record["tables"].get("compared"):
        return _compared(record)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for model in record["models"]:
        key = (label(model), percent(model["rate"]))
        if key not in rows:
            same = [m for m in record["models"] if (label(m), percent(m["rate"])) == key]
            rows[key] = _method(record["overall"], same)
    index = pd.MultiIndex.from_tuples(rows, names=["method", "rate"])
    return pd.DataFrame(list(rows.values()), index=index)


def _method(overall: Sequence[Row], models: Sequence[Row]) -> dict[str, str]:
    """A method at a rate; over several seeds, means ± their standard deviation."""
    names = [model["name"] for model in models]
    split = "test" if any(row["split"] == "test" for row in overall) else overall[0]["split"]
    own = [row for row in overall if row["model"] in names and row["split"] == split]
    accuracy, gap = ([r for r in own if r["metric"] == m] for m in ("accuracy", GAP))
    sparsity = [model["sparsity"] for model in models if model["sparsity"] is not None]
    return {
        "sparsity": number(mean(sparsity), "share") if sparsity else DASH,
        "accuracy": _spread(accuracy, "%"),
        "largest excess accuracy gap": _gap(gap),
        "group": mode([str(row["group"]) for row in gap]) if gap else "",
    }


def _gap(rows: Sequence[Row]) -> str:
    return points_with_interval(rows[0]) if len(rows) == 1 else _spread(rows, "points")


def _spread(rows: Sequence[Row], unit: str) -> str:
    values = [100 * row["value"] for row in rows]
    if not values:
        return DASH
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread} {unit}"


def _compared(record: Mapping[str, Any]) -> pd.DataFrame:
    """Accuracy of every group under the baseline, and how far every candidate is from it."""
    baseline, *candidates = record["tables"]["compared"]
    table = pd.DataFrame(record["tables"]["comparison"])
    table = table[table["metric"] == "accuracy"]
    shown: dict[str, list[str]] = {}
    groups: list[str] = []
    for candidate in candidates:
        rows = table[table["candidate_name"] == candidate].to_dict("records")
        groups = [f"{r['group']} ({r['flag']})" if r["flag"] else str(r["group"]) for r in rows]
        shown["n"] = [f"{row['n']:,}" for row in rows]
        shown[baseline] = [number(row["baseline"], "accuracy") for row in rows]
        shown[candidate] = [number(row["candidate"], "accuracy") for row in rows]
        shown[f"{candidate} − {baseline}, points"] = [_difference(row) for row in rows]
    return pd.DataFrame(shown, index=pd.Index(groups, name="group")).rename_axis(columns="accuracy")


def _difference(row: Mapping[str, Any]) -> str:
    low, high = row["difference_ci_low"], row["difference_ci_high"]
    between = interval(low, high, "points")
    return f"{number(row['difference'], 'points', signed=True)} {between}" if between else DASH
