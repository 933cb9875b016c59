"""What removing whole filters saves: parameters, multiply-adds and latency, before and after.

Reads the networks that `audit run benchmarks/studies/utkface-filters.toml --out FOLDER` left, all
pruned by structured methods, and shrinks each as `audit shrink` does.

Run: python benchmarks/shrinking.py FOLDER (half a minute)
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from common import hardware, store, versions

from audit import load_results
from audit.findings.words import label
from audit.models.checkpoint import Checkpoint, load_checkpoint
from audit.study.shrinking import BATCH, shrink_model

TRIALS = 5


def row(model: dict[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """Costs before and after; of the trials, the one whose ratio of latencies is the median."""
    trials = sorted(
        (shrink_model(checkpoint) for _ in range(TRIALS)),
        key=lambda one: one.after.latency / one.before.latency,
    )
    found = trials[TRIALS // 2]
    inputs = torch.randn(256, *checkpoint.architecture.input_shape)
    with torch.no_grad():
        change = found.network(inputs) - checkpoint.model(None)(inputs)
    kinds = {"before": found.before, "after": found.after}
    return {
        "method": label(model),
        "rate": model["rate"],
        "seed": model["seed"],
        **{f"parameters_{when}": cost.parameters for when, cost in kinds.items()},
        **{f"multiply_adds_{when}": cost.multiply_adds for when, cost in kinds.items()},
        **{f"milliseconds_{when}": 1e3 * cost.latency for when, cost in kinds.items()},
        "largest_change_of_a_logit": float(change.abs().max()),
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    models = load_results(folder).record["models"]
    return [
        row(one, load_checkpoint(folder / "models" / f"{one['name']}.pt"))
        for one in models
        if one["method"] != "dense"
    ]


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """What is left of each cost, the median over seeds."""
    left = {
        name: table[f"{name}_after"] / table[f"{name}_before"]
        for name in ("parameters", "multiply_adds", "milliseconds")
    }
    return table[["method", "rate"]].assign(**left).groupby(["method", "rate"]).median()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where `audit run` wrote its results")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = pd.DataFrame(rows(parser.parse_args().folder))
    record = {
        "command": "python benchmarks/shrinking.py FOLDER",
        "study": "benchmarks/studies/utkface-filters.toml",
        "setting": f"batches of {BATCH} samples, one thread",
        "rows": table.to_dict("records"),
        "versions": versions("torch-pruning"),
        "hardware": hardware(),
    }
    store("shrinking", record)
    print(shares(table).round(3).to_string())


if __name__ == "__main__":
    main()
