"""Writes the pictures of the README and of the benchmarks.

python docs/figures.py            the digits, from reports/demo, after `make demo`
python docs/figures.py studies    those of the studies in benchmarks/results: the methods against
                                  the rate, or all of them at the highest
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from audit import load_results
from audit.files import write_atomically
from audit.findings.words import label
from audit.report import figures
from audit.report.view import make_view

ROOT = Path(__file__).parents[1]
PAGE = '<rect width="100%" height="100%" fill="white"/>'
GAP, ODDS, ACCURACY = "max_excess_accuracy_gap", "equalized_odds_difference", "accuracy"
RATES = {"utkface": (GAP, ACCURACY), "acs-income": (GAP, ODDS, ACCURACY)}
"""Studies that are drawn against the rate, by what."""
CHOICE = ("utkface-methods",)
"""Studies whose methods are drawn at the highest rate."""


def on_paper(svg: str, name: str) -> None:
    """Write a figure of a report on white paper."""
    start = svg.index(">") + 1
    path = ROOT / "docs" / "images" / f"{name}.svg"
    write_atomically(path, svg[:start] + PAGE + svg[start:])
    print(f"wrote {path.relative_to(ROOT)}")


def of_study(name: str) -> tuple[pd.DataFrame, dict[str, float]]:
    """A study's methods in their order: means over seeds ± their deviation; and the dense one."""
    path = ROOT / "benchmarks" / "results" / "studies" / f"{name}.json"
    study = json.loads(path.read_text("utf-8"))
    methods = [_label(method) for method in study["settings"]["methods"]]
    rows = sorted(
        (row for row in study["rows"] if row["method"] != "dense"),
        key=lambda row: methods.index(row["method"]),
    )
    dense = next(row for row in study["rows"] if row["method"] == "dense")
    table = [
        {
            "method": row["method"],
            "rate": row["rate"],
            "metric": metric,
            "value": row[metric],
            "low": row[metric] - row[f"{metric}_sd"],
            "high": row[metric] + row[f"{metric}_sd"],
            "floor": float("nan"),
        }
        for row in rows
        for metric in (GAP, ODDS, ACCURACY)
    ]
    return pd.DataFrame(table), {metric: dense[metric] for metric in (GAP, ODDS, ACCURACY)}


def _label(method: Mapping[str, Any]) -> str:
    named = {"method": method["title"] or method["name"], "constraint": method["constraint"]}
    return label(named)


def studies() -> None:
    """Draw the studies that the benchmarks tell of."""
    for name, metrics in RATES.items():
        table, dense = of_study(name)
        on_paper(figures.methods_by_rate(table, metrics, dense, "methods"), f"{name}-rates")
    for name in CHOICE:
        table, dense = of_study(name)
        own = table[table["rate"] == table["rate"].max()]
        wide = own.pivot(index="method", columns="metric", values=["value", "low", "high"])
        marks = [
            {"method": method}
            | {
                f"{short}{end}": float(wide.loc[method, (side, metric)])
                for short, metric in (("gap", GAP), ("accuracy", ACCURACY))
                for side, end in (("value", ""), ("low", "_low"), ("high", "_high"))
            }
            for method in dict.fromkeys(own["method"])
        ]
        svg = figures.trade_off(pd.DataFrame(marks), dense[ACCURACY], "trade-off")
        on_paper(svg, f"{name}-trade-off")


def main() -> None:
    """Draw the digits, or the studies."""
    if sys.argv[1:] == ["studies"]:
        studies()
        return
    results = load_results(ROOT / "reports" / "demo")
    on_paper(make_view(results).sections[0].figures[0].svg, "digits")


if __name__ == "__main__":
    main()
