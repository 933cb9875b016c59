"""What each half of the solver adds: fairness left out of the mask, of the weights, or of both.

With the loss on the line between the solver's network and each ablation's (Dai et al., 5.4 and
Fig. 8), and with multipliers that read training data instead of samples unseen by the weights.

Run: python benchmarks/ablations.py (digits at 98 %, five seeds, about three minutes on two cores)
Draw: python benchmarks/ablations.py --draw
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import torch
from choosing import dense_model, outcome
from common import RESULTS, hardware, store, versions
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from steps import DIGITS

from audit import Method, TrainingSettings
from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.files import replacing
from audit.mitigate.line import LossLine, loss_on_line
from audit.models.checkpoint import Checkpoint
from audit.report.svg import STYLE
from audit.study.making import prune_model

RATE, SEEDS = 0.98, (0, 1, 2, 3, 4)
VARIANTS: dict[str, dict[str, Any]] = {
    "fair mask and weights": {},
    "without fairness in the mask": {"fair_mask": False},
    "without fairness in the weights": {"fair_weights": False},
    "without fairness in both": {"fair_mask": False, "fair_weights": False},
    "multipliers on training data": {"multiplier_split": "train"},
}
FAIR = next(iter(VARIANTS))


def pruned(
    dense: Checkpoint, data: GroupedData, variant: str, training: TrainingSettings
) -> Checkpoint:
    torch.set_num_threads(1)
    method = Method("bilevel", "excess-accuracy", options=VARIANTS[variant])
    return prune_model(dense, data, method, RATE, training)


def row(dense: Checkpoint, made: Checkpoint, data: GroupedData, variant: str) -> dict[str, Any]:
    (before, own, _), (accuracy, after, _) = outcome(dense, data), outcome(made, data)
    gaps = (own - after) - (before - accuracy)
    return {
        "variant": variant,
        "seed": made.provenance.seed,
        "accuracy": accuracy,
        "max_gap": float(gaps.max()),
    }


def line(found: LossLine) -> dict[str, Any]:
    return {
        "positions": found.positions.tolist(),
        "loss": found.loss.tolist(),
        "largest_group_loss": found.group_loss.amax(1).tolist(),
        "barrier": found.barrier,
    }


def draw(record: dict[str, Any], path: Path) -> None:
    """Loss over all samples and of the worst group, from the solver's network to each ablation."""
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
    with mpl.rc_context(STYLE | {"svg.fonttype": "path", "font.size": 9.5}):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        panels = (("loss", "all samples"), ("largest_group_loss", "the group with the most loss"))
        for axis, (key, title) in zip(figure.subplots(1, 2), panels, strict=True):
            for place, (variant, found) in enumerate(record["lines"].items()):
                axis.plot(
                    found["positions"], found[key], color=colours[place],
                    linestyle=("-", "--", ":", "-.")[place], label=variant,
                )  # fmt: skip
            axis.set(title=f"test loss of {title}", ylabel="nats")
            axis.set_xticks([0, 1], ["the solver's", "the other"])
        figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=2,
                      frameon=False)  # fmt: skip
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None}, facecolor="white")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="draw the stored results and stop")
    image = Path(__file__).parents[1] / "docs" / "images" / "ablations.svg"
    if parser.parse_args().draw:
        draw(json.loads((RESULTS / "ablations.json").read_text("utf-8")), image)
        return
    data, pool = load_data(DIGITS.data), Parallel(n_jobs=2)
    dense = pool(delayed(dense_model)(DIGITS, data, seed) for seed in SEEDS)
    trials = [(seed, variant) for seed in SEEDS for variant in VARIANTS]
    made = pool(
        delayed(pruned)(dense[seed], data, variant, replace(DIGITS.pruning, seed=seed))
        for seed, variant in trials
    )
    rows = [
        row(dense[seed], network, data, variant)
        for (seed, variant), network in zip(trials, made, strict=True)
    ]
    first = dict(zip(VARIANTS, made, strict=False))  # of the first seed
    lines = {
        variant: line(loss_on_line(first[FAIR].model(), network.model(), data))
        for variant, network in first.items()
        if variant != FAIR
    }
    record = {
        "command": "python benchmarks/ablations.py",
        "rate": RATE,
        "rows": rows,
        "lines": lines,
        "versions": versions(),
        "hardware": hardware(),
    }
    store("ablations", record)
    table = pd.DataFrame(rows).groupby("variant", sort=False)[["accuracy", "max_gap"]]
    print((100 * table.agg(["mean", "std"])).round(1).to_string())
    print({variant: round(found["barrier"], 3) for variant, found in lines.items()})
    draw(record, image)


if __name__ == "__main__":
    main()
