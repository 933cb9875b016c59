"""Does a constraint on rates make groups alike by making them worse off, and does no-harm stop it?

Magnitude pruning, the solver under equalised odds and demographic parity alone, and with `no-harm`
beside them as by default, from the same dense networks: the gap, what it costs in balanced
accuracy, and how much of the test split is predicted as one class.

Run: python benchmarks/levelling.py (a made table of 6,000 rows, 92 % of them of one class)
     python benchmarks/levelling.py --study benchmarks/studies/adult-sex.toml --name levelling-adult
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from choosing import dense_model, outcome, shortened
from common import RESULTS, hardware, store, versions
from joblib import Parallel, delayed

from audit import Method, StudySettings, TrainingSettings, from_arrays
from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.measure.predictions import predict
from audit.models.checkpoint import Checkpoint
from audit.study.making import prune_model
from audit.study.settings import load_settings

METHODS = (
    Method("magnitude"),
    Method("bilevel", "demographic-parity+no-harm=none"),
    Method("bilevel", "demographic-parity"),
    Method("bilevel", "equalised-odds+no-harm=none"),
    Method("bilevel", "equalised-odds"),
    Method("bilevel", "equalised-odds+no-harm=0"),
)


def made_table(seed: int = 0) -> GroupedData:
    """Two groups of a fifth and four fifths, whose rates of the common class are 78 and 96 %."""
    generator = np.random.default_rng(seed)
    groups = (generator.random(6000) < 0.8).astype(int)
    labels = (generator.random(6000) < np.where(groups == 1, 0.96, 0.78)).astype(int)
    inputs = generator.standard_normal((6000, 8)).astype(np.float32)
    inputs[:, 0] += 0.7 * (2 * labels - 1)
    inputs[:, 1] += 2 * groups - 1
    inputs[:, 2] += 0.4 * (2 * labels - 1)
    return from_arrays(inputs, labels, groups, attribute="group", name="made table")


MADE = StudySettings(
    data={},
    model="mlp",
    arguments={"width": 32},
    methods=METHODS,
    rates=(0.9,),
    training=TrainingSettings(epochs=10),
    pruning=TrainingSettings(epochs=10),
)


def row(made: Checkpoint, data: GroupedData, method: str, seed: int) -> dict[str, Any]:
    """What a network does on the test split."""
    rows = data.indices("test")
    found = predict(made.model(None), [(b.inputs, b.labels) for b in data.batches(rows)])
    accuracy, _, more = outcome(made, data)
    shares = torch.bincount(found.prediction, minlength=len(data.classes)) / len(rows)
    return {
        "method": method,
        "seed": seed,
        "accuracy": accuracy,
        "most_predicted": float(shares.max()),
        "notes": list(made.provenance.notes),
        **more,
    }


def trials(
    settings: StudySettings,
    data: GroupedData,
    rate: float,
    seed: int,
    methods: Sequence[Method] = METHODS,
) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    dense = dense_model(settings, data, seed)
    found = [row(dense, data, "dense", seed)]
    for method in methods:
        made = prune_model(dense, data, method, rate, replace(settings.pruning, seed=seed))
        found.append(row(made, data, method.label, seed))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", help="TOML file whose data, model and training are taken")
    parser.add_argument("--rate", type=float, default=0.9)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--name", default="levelling", help="of the file of results")
    parser.add_argument(
        "--only", nargs="+", help="labels of the methods to run; the others' rows stay as stored"
    )
    arguments = parser.parse_args()
    settings = load_settings(arguments.study) if arguments.study else MADE
    data = load_data(settings.data) if arguments.study else made_table()
    pool = Parallel(n_jobs=arguments.jobs)
    seeds = range(arguments.seeds)
    methods = [m for m in METHODS if not arguments.only or m.label in arguments.only]
    found = pool(delayed(trials)(settings, data, arguments.rate, seed, methods) for seed in seeds)
    rows = [row for own in found for row in own]
    if arguments.only:
        stored = json.loads((RESULTS / f"{arguments.name}.json").read_text("utf-8"))["rows"]
        again = {method.label for method in methods}
        new = [row for row in rows if row["method"] in again]
        rows = [*(row for row in stored if row["method"] not in again), *new]
    table = pd.DataFrame(rows).drop(columns=["notes", "seed"])
    shown = table.groupby("method", sort=False).agg(["mean", "std"])
    print((100 * shown).round(1).to_string())
    record = {
        "command": shlex.join(["python", "benchmarks/levelling.py", *map(shortened, sys.argv[1:])]),
        "rate": arguments.rate,
        "rows": rows,
        "versions": versions(),
        "hardware": hardware(),
    }
    store(arguments.name, record)


if __name__ == "__main__":
    main()
