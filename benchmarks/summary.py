"""What a study found, in one table: means and spread over seeds, and paired differences.

Reads the results that `audit run STUDY.toml --out FOLDER` left, keeps its table of groups as
results/studies/NAME.parquet and writes the summary as results/studies/NAME.json.

Run: python benchmarks/summary.py FOLDER [--baseline magnitude]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import RESULTS
from scipy.stats import t

from audit import load_results
from audit.files import replacing, write_atomically
from audit.findings.networks import overall_table
from audit.findings.results import Results
from audit.findings.words import label

GAP, ODDS = "max_excess_accuracy_gap", "equalized_odds_difference"
PARITY = "demographic_parity_difference"


def seeds(results: Results) -> pd.DataFrame:
    """One row per method, rate and seed: accuracy, gaps, floors, and whether they stand out."""
    record = results.record
    table = overall_table(record["overall"], record["models"])
    table = table[table["split"] == "test"]
    kept = table[table["metric"].isin(["accuracy", GAP, ODDS, PARITY])]
    wide = kept.pivot_table(index=["method", "rate", "seed"], columns="metric", values="value")
    gaps = kept[kept["metric"] == GAP].set_index(["method", "rate", "seed"])
    wide["group"] = gaps["group"]
    # Beyond zero with its whole interval, and beyond what equal groups show 19 times in 20.
    wide["significant"] = (gaps["ci_low"] > 0) & (gaps["value"] > gaps["floor_p95"])
    wide["within_noise"] = gaps["ci_low"] <= 0
    odds = kept[kept["metric"] == ODDS].set_index(["method", "rate", "seed"])
    wide["odds_floor"] = odds["floor_median"]
    wide["odds_above_floor"] = odds["corrected"]
    wide["odds_significant"] = odds["value"] > odds["floor_p95"]
    models = {(label(m), m["rate"], m["seed"]): m for m in record["models"]}
    wide["steps"] = [models[key]["steps"] for key in wide.index]
    wide["passes"] = [passes(models[key]) for key in wide.index]
    return wide.reset_index()


def passes(model: dict[str, Any]) -> int:
    """Forward-backward passes over a batch: those of the steps, and those spent on scores alone."""
    settings = model["settings"]
    if "readings" in settings:  # a mitigation method counts them all itself
        return int(settings["passes"])
    return int(model["steps"]) + int(settings.get("passes", 0))


def mean_and_interval(values: np.ndarray) -> dict[str, float | None]:
    """Mean over seeds with its 95 % interval (Student's t), for paired differences."""
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def summarised(runs: pd.DataFrame, baseline: str) -> list[dict[str, Any]]:
    """A row per method and rate, beside the baseline at the same rate and on the same seeds."""
    rows = []
    for (method, rate), own in runs.groupby(["method", "rate"], sort=True):
        row: dict[str, Any] = {
            "method": method,
            "rate": rate,
            "seeds": len(own),
            "steps": int(own["steps"].median()),
            "passes": int(own["passes"].median()),
            "worst_groups": sorted(own["group"].dropna().unique().tolist()),
            "significant": float(own["significant"].mean()),
            "within_noise": float(own["within_noise"].mean()),
            "odds_significant": float(own["odds_significant"].mean()),
        }
        for name in ("accuracy", GAP, ODDS, PARITY, "odds_floor", "odds_above_floor"):
            row[name] = float(own[name].mean())
            row[f"{name}_sd"] = float(own[name].std(ddof=1)) if len(own) > 1 else None
        rows.append(row | against(own, runs, baseline, float(rate)))
    return rows


def against(own: pd.DataFrame, runs: pd.DataFrame, baseline: str, rate: float) -> dict[str, Any]:
    """Paired differences with the baseline, and the shares of its gaps that are gone."""
    other = runs[(runs["method"] == baseline) & (runs["rate"] == rate)]
    pairs = own.merge(other, on="seed", suffixes=("", "_base"))
    if pairs.empty or own["method"].iloc[0] == baseline:
        return {}
    return {
        "accuracy_change": mean_and_interval((pairs["accuracy"] - pairs["accuracy_base"]).values),
        "gap_change": mean_and_interval((pairs[GAP] - pairs[f"{GAP}_base"]).values),
        "gap_cut": float(1 - pairs[GAP].mean() / pairs[f"{GAP}_base"].mean()),
        "odds_cut_above_floor": float(
            1 - pairs["odds_above_floor"].mean() / pairs["odds_above_floor_base"].mean()
        ),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table for a README."""
    lines = [
        "| rate | method | accuracy | max ψ, points | cut | equalised odds, points (floor) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda one: (one["rate"], one["method"])):
        cut = f"{100 * row['gap_cut']:.0f} %" if "gap_cut" in row else ""
        gap = "" if np.isnan(row[GAP]) or row["rate"] == 0 else spread(row, GAP)
        odds = f"{spread(row, ODDS)} ({100 * row['odds_floor']:.1f})"
        lines.append(
            f"| {row['rate']:g} | {row['method']} | {spread(row, 'accuracy')} % | {gap} | {cut} "
            f"| {odds} |"
        )
    return "\n".join(lines)


def spread(row: dict[str, Any], name: str) -> str:
    deviation = row[f"{name}_sd"]
    text = f"{100 * row[name]:.1f}"
    return text if deviation is None else f"{text} ± {100 * deviation:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where `audit run` wrote its results")
    parser.add_argument("--baseline", default="magnitude")
    parser.add_argument("--name", help="of the files written [default: the folder's]")
    arguments = parser.parse_args()
    results = load_results(arguments.folder)
    name = arguments.name or arguments.folder.name
    rows = summarised(seeds(results), arguments.baseline)
    record = {
        "study": f"benchmarks/studies/{name}.toml",
        "baseline": arguments.baseline,
        "rows": rows,
        "settings": results.record["settings"],
        "data": results.record["data"],
        "versions": results.record["versions"],
    }
    folder = RESULTS / "studies"
    with replacing(folder / f"{name}.parquet") as temporary:
        results.groups.to_parquet(temporary, index=False)
    write_atomically(folder / f"{name}.json", json.dumps(record, indent=1, default=str) + "\n")
    print(markdown(rows))


if __name__ == "__main__":
    main()
