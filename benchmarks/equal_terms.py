"""Every method on equal terms: the same dense networks, steps, data, and settings tried.

Each method is tried with the same shares of distillation κ. One is chosen for it on pools that
hold no test sample (for the digits, splits of the images outside the test split; for other data,
its select split stands for test), by one rule: of the settings whose mean accuracy is within half a
point of the method's best, the one with the smallest largest gap. Then all are run on the study's
own splits and read on test.

Run: python benchmarks/equal_terms.py (digits at 98 %, five seeds)
     python benchmarks/equal_terms.py --study STUDY.toml --rate 0.95 --seeds 3 --name NAME
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from choosing import dense_model, digits_pool, inner, outcome, shortened
from common import RESULTS, hardware, store, versions
from joblib import Parallel, delayed
from steps import DIGITS

from audit import Method, StudySettings
from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.models.checkpoint import Checkpoint
from audit.study.making import prune_model
from audit.study.settings import load_settings

KAPPAS = (0.0, 0.7)
WITHIN = 0.005
POOLS = 2
"""Splits of the digits' pool that the settings are chosen on."""
PLAIN = ("magnitude", "magnitude-layerwise", "gradual", "lottery-ticket", "snip", "synflow",
         "fairgrape", "fairprune")  # fmt: skip
FAIR = ("gradual-excess-accuracy", "prune-then-fair", "fair-then-prune", "bilevel")
DUAL = ("lagrangian-dual", "lagrangian-dual-before", "lagrangian-dual-both")


def methods(constraint: str) -> tuple[Method, ...]:
    """Every method that removes single weights, and the solver without a constraint too."""
    return (
        *(Method(name) for name in PLAIN),
        *(Method(name, "group-loss") for name in DUAL),
        *(Method(name, constraint) for name in FAIR),
        Method("bilevel"),
    )


def cells(chosen: tuple[Method, ...]) -> Iterator[tuple[Method, float]]:
    for method in chosen:
        for kappa in KAPPAS:
            yield replace(method, options={**method.options, "distillation": kappa}), kappa


def trial(
    settings: StudySettings, data: GroupedData, dense: Checkpoint, seed: int, rate: float,
    method: Method, kappa: float, where: str,
) -> dict[str, Any]:  # fmt: skip
    """One network, in figures on the split that is or stands for test."""
    torch.set_num_threads(1)
    made = prune_model(dense, data, method, rate, replace(settings.pruning, seed=seed))
    (before, own, _), (accuracy, after, more) = outcome(dense, data), outcome(made, data)
    gaps = (own - after) - (before - accuracy)
    return {
        "where": where,
        "method": method.label,
        "distillation": kappa,
        "rate": rate,
        "seed": seed,
        "steps": made.provenance.steps,
        "accuracy": accuracy,
        "max_gap": float(gaps.max()),
        **more,
    }


def trials(
    settings: StudySettings, splits: list[tuple[int, GroupedData]], where: str,
    rates: list[float], chosen: tuple[Method, ...], jobs: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Every method and κ at every rate, from one dense network a seed."""
    pool = Parallel(n_jobs=jobs)
    dense = pool(delayed(dense_model)(settings, data, seed) for seed, data in splits)
    return pool(
        delayed(trial)(settings, data, start, seed, rate, method, kappa, where)
        for rate in rates
        for method, kappa in cells(chosen)
        for (seed, data), start in zip(splits, dense, strict=True)
    )


def choice(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The κ of every method and rate: the smallest gap among those nearly as accurate as any."""
    means = rows.groupby(["rate", "method", "distillation"])[["accuracy", metric]].mean()
    best = means["accuracy"].groupby(level=["rate", "method"]).transform("max")
    near = means[means["accuracy"] >= best - WITHIN]
    return near[metric].groupby(level=["rate", "method"]).idxmin().map(lambda place: place[2])


def summary(rows: pd.DataFrame, kappas: pd.Series, metric: str) -> pd.DataFrame:
    """Mean and spread over seeds on test, of the chosen κ and, in short, of every κ."""
    table = []
    for (rate, method), own in rows.groupby(["rate", "method"], sort=False):
        kappa = kappas[(rate, method)]
        row: dict[str, Any] = {"rate": rate, "method": method, "chosen κ": kappa}
        for place, found in own.groupby("distillation"):
            accuracy, gap = 100 * found["accuracy"], 100 * found[metric]
            values = (accuracy.mean(), accuracy.std(), gap.mean(), gap.std())
            text = "{:.1f} ± {:.1f} / {:.1f} ± {:.1f}".format(*values)
            row[f"κ {place:g}"] = text
            if place == kappa:
                row["on test"] = text
        table.append(row)
    return pd.DataFrame(table)


def stored_rows(name: str, without: set[str]) -> list[dict[str, Any]]:
    """The rows that an earlier run has stored, but for those of the methods that ran again."""
    path = RESULTS / f"{name}.json"
    rows = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []
    return [row for row in rows if row["method"] not in without]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", help="TOML file whose data, model and training are taken")
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--constraint", default="excess-accuracy")
    parser.add_argument("--metric", default="max_gap", help="what is to be small")
    parser.add_argument(
        "--only", nargs="+", help="labels of the methods to run; the others' rows stay as stored"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--name", default="equal_terms", help="of the file of results")
    arguments = parser.parse_args()
    settings = load_settings(arguments.study) if arguments.study else DIGITS
    data, rates = load_data(settings.data), arguments.rate or [0.98]
    chosen = tuple(
        method for method in methods(arguments.constraint)
        if not arguments.only or method.label in arguments.only
    )  # fmt: skip
    seeds = range(arguments.seeds)
    if arguments.study:
        pools = [(seed, inner(data)) for seed in seeds]
    else:
        pools = [(seed, digits_pool(seed)) for seed in range(POOLS)]
    rows = [
        *trials(settings, pools, "pool", rates, chosen, arguments.jobs),
        *trials(settings, [(s, data) for s in seeds], "test", rates, chosen, arguments.jobs),
    ]
    if arguments.only:
        rows = [*stored_rows(arguments.name, {method.label for method in chosen}), *rows]
    table = pd.DataFrame(rows)
    kappas = choice(table[table["where"] == "pool"], arguments.metric)
    shown = summary(table[table["where"] == "test"], kappas, arguments.metric)
    print(shown.to_string(index=False))
    terms = {
        "data": "train + select for every method",
        "settings tried": f"{len(KAPPAS)} a method: κ {', '.join(map(str, KAPPAS))}",
        "chosen by": f"the smallest {arguments.metric} on the pools among those within "
        f"{WITHIN:.1%} of the method's best accuracy there",
    }
    record = {
        "command": shlex.join(
            ["python", "benchmarks/equal_terms.py", *map(shortened, sys.argv[1:])]
        ),
        "terms": terms,
        "table": shown.to_dict("records"),
        "rows": rows,
        "versions": versions(),
        "hardware": hardware(),
    }
    store(arguments.name, record)


if __name__ == "__main__":
    main()
