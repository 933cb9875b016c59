"""Digits at 98 %: does the fair solver halve the harm of magnitude pruning, at no cost?

Every method starts from the same dense networks, one a seed, and takes the same number of
forward-backward passes. Run: python benchmarks/digits.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pandas as pd
from common import hardware

from audit import MeasureSettings, Method, StudySettings, TrainingSettings, run_study
from audit.files import write_atomically
from audit.findings.networks import overall_table

METHODS = (
    Method("magnitude"),
    Method("random"),
    Method("bilevel"),
    Method("bilevel", "excess-accuracy"),
    Method("bilevel", "group-loss"),
    Method("bilevel", "equal-accuracy"),
)
TARGET = 0.65


def main() -> None:
    settings = StudySettings(
        data={"dataset": "digits"},
        model="convnet",
        methods=METHODS,
        rates=(0.98,),
        seeds=(0, 1, 2, 3, 4),
        training=TrainingSettings(epochs=30),
        pruning=TrainingSettings(epochs=20),
        measure=MeasureSettings(curvature="none"),
    )
    with tempfile.TemporaryDirectory() as folder:
        results = run_study(settings, folder, threads=1)
    table = summary(results.record)
    print(table.to_string())
    record = {
        "command": "python benchmarks/digits.py",
        "rows": table.reset_index().to_dict("records"),
        "target_cut": TARGET,
        "versions": results.record["versions"],
        "hardware": hardware() | {"threads": 1},
    }  # fmt: skip
    path = Path(__file__).parent / "results" / "digits.json"
    write_atomically(path, json.dumps(record, indent=1) + "\n")
    print(f"wrote {path.name}", file=sys.stderr)


def summary(record: dict) -> pd.DataFrame:
    """Mean and standard deviation over seeds, and the paired change against magnitude."""
    table = overall_table(record["overall"], record["models"])
    values = table[table["metric"].isin(["accuracy", "max_excess_accuracy_gap"])].pivot_table(
        index=["method", "seed"], columns="metric", values="value"
    )
    base = values.loc["magnitude"]
    rows = {}
    for method, own in values.groupby(level="method"):
        own = own.droplevel("method")
        rows[method] = {
            "accuracy": own["accuracy"].mean(),
            "accuracy_sd": own["accuracy"].std(),
            "max_gap": own["max_excess_accuracy_gap"].mean(),
            "max_gap_sd": own["max_excess_accuracy_gap"].std(),
            "accuracy_change": (own["accuracy"] - base["accuracy"]).mean(),
            "gap_cut": 1
            - own["max_excess_accuracy_gap"].mean() / base["max_excess_accuracy_gap"].mean(),
            "seeds_better": int(
                (own["max_excess_accuracy_gap"] < base["max_excess_accuracy_gap"]).sum()
            ),
        }
    return pd.DataFrame(rows).T.rename_axis("method").round(4)


if __name__ == "__main__":
    main()
