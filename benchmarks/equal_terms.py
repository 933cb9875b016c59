"""Every method on equal terms: the same dense networks, steps, data, and settings tried.

Each method is tried with the same shares of distillation κ. One is chosen for it on pools that
hold no test sample (for the digits, splits of the images outside the test split; for other data,
its select split stands for test), by one rule: of the settings whose mean accuracy is within half a
point of the method's best, the one with the smallest largest gap. Then all are run on the study's
own splits and read on test. Without pools nothing is chosen: methods are compared at each κ, and
by default every setting of every method is the package's own.

Every network is stored as soon as it is made: a run that was stopped goes on where it was.

Run: python benchmarks/equal_terms.py (digits at 98 %, five seeds)
     python benchmarks/equal_terms.py --study STUDY.toml --rate 0.95 --seeds 3 --pools 0 --name NAME
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from choosing import dense_model, digits_pool, inner, outcome, shortened
from common import RESULTS, hardware, store, versions
from joblib import Parallel, delayed
from scipy.stats import t as student
from steps import DIGITS

from audit import Method, StudySettings
from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.findings.decisions import gap_claims, sums
from audit.measure.predictions import predict
from audit.models.checkpoint import Checkpoint
from audit.study.making import prune_model
from audit.study.settings import load_settings

KAPPAS = (0.0, 0.7)
WITHIN = 0.005
POOLS = 2
"""Splits of the digits' pool that the settings are chosen on."""
PLAIN = ("magnitude", "magnitude-layerwise", "gradual", "lottery-ticket", "snip", "grasp",
         "synflow", "fairgrape", "fairprune", "random")  # fmt: skip
FAIR = ("gradual-excess-accuracy", "prune-then-fair", "fair-then-prune",
        "prune-in-rounds-then-fair", "bilevel")  # fmt: skip
FILTERS = ("fpgm", "l1-filter")
DUAL = ("lagrangian-dual", "lagrangian-dual-before", "lagrangian-dual-both")


def methods(constraint: str, structure: str) -> tuple[Method, ...]:
    """Every method that removes single weights, or filters; the solver without a constraint too."""
    if structure == "filter":
        own = {"structure": structure}
        fair = (Method("bilevel", held, options=own) for held in (constraint, "none"))
        return (*map(Method, FILTERS), *fair)
    return (
        *(Method(name) for name in PLAIN),
        *(Method(name, "group-loss") for name in DUAL),
        *(Method(name, constraint) for name in FAIR),
        Method("bilevel"),
    )


def with_kappa(method: Method, kappa: float) -> Method:
    return replace(method, options={**method.options, "distillation": kappa})


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
        "pays": paying(dense, made, data),
        **more,
    }


def paying(dense: Checkpoint, made: Checkpoint, data: GroupedData, minimum: int = 30) -> list[str]:
    """The groups that pay for the pruning by J1, of this run alone, on the split that is test."""
    rows = data.indices("test")
    before, after = (
        predict(model.model(None), [(b.inputs, b.labels) for b in data.batches(rows)]).correct
        for model in (dense, made)
    )
    number, groups = len(data.group_names), data.groups[rows].numpy()
    judged = np.bincount(groups, minlength=number) >= minimum
    lost = (before.double() - after.double()).numpy()
    claims = gap_claims(sums(lost[None], groups, number), judged)
    return [data.group_names[group] for group in np.flatnonzero(claims.low > 0)]


def trials(
    settings: StudySettings, splits: list[tuple[int, GroupedData]], where: str,
    rates: list[float], chosen: tuple[Method, ...], jobs: int, known: list[dict[str, Any]],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Every method and κ at every rate that is not known yet, from one dense network a seed."""
    pool, dense = Parallel(n_jobs=jobs, return_as="generator"), {}
    done = {key(row) for row in known}
    for kappa in KAPPAS:
        for seed, data in splits:
            wanted = [
                (rate, method)
                for rate in rates
                for method in chosen
                if (where, rate, method.label, kappa, seed) not in done
            ]
            if wanted and seed not in dense:
                dense[seed] = dense_model(settings, data, seed)
            yield from pool(
                delayed(trial)(
                    settings, data, dense[seed], seed, rate, with_kappa(method, kappa), kappa, where
                )
                for rate, method in wanted
            )


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("where", "rate", "method", "distillation", "seed"))


def choice(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The κ of every method and rate: the smallest gap among those nearly as accurate as any."""
    means = rows.groupby(["rate", "method", "distillation"])[["accuracy", metric]].mean()
    best = means["accuracy"].groupby(level=["rate", "method"]).transform("max")
    near = means[means["accuracy"] >= best - WITHIN]
    return near[metric].groupby(level=["rate", "method"]).idxmin().map(lambda place: place[2])


def summary(rows: pd.DataFrame, kappas: pd.Series, metric: str) -> pd.DataFrame:
    """Mean and spread over seeds on test, of every κ, and of the chosen one where one was."""
    table = []
    for (rate, method), own in rows.groupby(["rate", "method"], sort=False):
        kappa = kappas.get((rate, method))
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


def against(rows: pd.DataFrame, kappas: pd.Series, metric: str, own: str) -> pd.DataFrame:
    """How much larger each rival's gap is than the method's own, and how much lower its accuracy.

    Paired over seeds, with Student's intervals: at the chosen κ of each, or at each κ.
    """
    found = []
    for (rate, rival), theirs in rows[rows["method"] != own].groupby(
        ["rate", "method"], sort=False
    ):
        ours = rows[(rows["method"] == own) & (rows["rate"] == rate)]
        chosen = [(kappas[(rate, own)], kappas[(rate, rival)])] if len(kappas) else None
        for mine, other in chosen or [(kappa, kappa) for kappa in KAPPAS]:
            one, two = (
                part[part["distillation"] == place].set_index("seed")
                for part, place in ((ours, mine), (theirs, other))
            )
            pairs = one.join(two.add_suffix("_rival"), how="inner")
            if len(pairs) < 2:
                continue
            row = {"rate": rate, "rival": rival, "κ": mine, "κ of the rival": other}
            gap = pairs[f"{metric}_rival"] - pairs[metric]
            accuracy = pairs["accuracy"] - pairs["accuracy_rival"]
            for name, values in (("gap larger by", gap), ("less accurate by", accuracy)):
                half = float(
                    student.ppf(0.975, len(values) - 1) * values.std() / len(values) ** 0.5
                )
                row[name] = [100 * (values.mean() + side) for side in (0.0, -half, half)]
            found.append(row)
    return pd.DataFrame(found)


def stored_rows(name: str) -> list[dict[str, Any]]:
    """The rows that an earlier run has stored."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", help="TOML file whose data, model and training are taken")
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--constraint", default="excess-accuracy")
    parser.add_argument("--structure", choices=("weight", "filter"), default="weight")
    parser.add_argument("--metric", default="max_gap", help="what is to be small")
    parser.add_argument("--only", nargs="+", help="labels of the methods to run")
    parser.add_argument(
        "--again", nargs="+", default=[], help="labels of the methods whose stored rows go"
    )
    parser.add_argument("--epochs", type=int, help="of pruning; by default the study's")
    parser.add_argument("--pools", type=int, default=POOLS, help="0: no κ is chosen")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--name", default="equal_terms", help="of the file of results")
    arguments = parser.parse_args()
    settings = load_settings(arguments.study) if arguments.study else DIGITS
    if arguments.epochs:
        settings = replace(settings, pruning=replace(settings.pruning, epochs=arguments.epochs))
    data, rates = load_data(settings.data), arguments.rate or [0.98]
    chosen = tuple(
        method for method in methods(arguments.constraint, arguments.structure)
        if not arguments.only or method.label in arguments.only
    )  # fmt: skip
    own = f"bilevel-{arguments.constraint}"
    if arguments.study:
        pools = [(seed, inner(data)) for seed in range(arguments.pools)]
    else:
        pools = [(seed, digits_pool(seed)) for seed in range(arguments.pools)]
    tests = [(seed, data) for seed in range(arguments.seeds)]
    rows = [row for row in stored_rows(arguments.name) if row["method"] not in arguments.again]
    for where, splits in (("pool", pools), ("test", tests)):
        for row in trials(settings, splits, where, rates, chosen, arguments.jobs, [*rows]):
            rows.append(row)
            store(arguments.name, record(rows, arguments, own))
            print(*key(row), f"{row['accuracy']:.3f}", f"{row[arguments.metric]:.3f}", flush=True)
    store(arguments.name, record(rows, arguments, own))
    print(pd.DataFrame(record(rows, arguments, own)["table"]).to_string(index=False))


def record(rows: list[dict[str, Any]], arguments: argparse.Namespace, own: str) -> dict[str, Any]:
    """All that is stored."""
    table, metric = pd.DataFrame(rows), arguments.metric
    pool, test = (table[table["where"] == where] for where in ("pool", "test"))
    kappas = choice(pool, metric) if len(pool) else pd.Series(dtype=float)
    choosing = (
        f"the smallest {metric} on the pools among those within {WITHIN:.1%} of the method's best "
        "accuracy there"
    )
    return {
        "command": shlex.join(
            ["python", "benchmarks/equal_terms.py", *map(shortened, sys.argv[1:])]
        ),
        "terms": {
            "data": "train + select for every method",
            "settings tried": f"{len(KAPPAS)} a method: κ {', '.join(map(str, KAPPAS))}",
            "chosen by": choosing if len(pool) else "nothing: every κ is shown",
        },
        "table": summary(test, kappas, metric).to_dict("records"),
        "against": against(test, kappas, metric, own).to_dict("records"),
        "rows": rows,
        "versions": versions(),
        "hardware": hardware(),
    }


if __name__ == "__main__":
    main()
