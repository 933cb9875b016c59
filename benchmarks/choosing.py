"""Choosing the solver's settings for a study without its test split.

The train split of the study is divided again into train and select, and its select split stands
for test; its test split takes no part. Run, from the folder that the study's data lies in:
python benchmarks/choosing.py STUDY.toml --rate 0.98 'mask_share=0.6' 'multiplier_step=3'
For the digits, whose pool is divided anew by every seed:
python benchmarks/choosing.py digits --rate 0.98 'multiplier_share=0.9'
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import hardware, store, versions
from joblib import Parallel, delayed
from sklearn.model_selection import train_test_split

from audit import TrainingSettings
from audit.data import load_data
from audit.data.digits import DIGITS_TAIL, load_digits
from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings, split_samples
from audit.measure.fairness import METRICS, confusion_counts, fairness_differences
from audit.measure.predictions import predict
from audit.models.checkpoint import Checkpoint
from audit.study.making import prune_model, train_model
from audit.study.settings import Method, StudySettings, load_settings, parse_options


def inner(data: GroupedData, share: float = 0.2) -> GroupedData:
    """The data without its test split: select stands for test, train is divided again."""
    rows = data.indices("train").numpy()
    strata = (data.groups[rows] * len(data.classes) + data.labels[rows]).numpy()
    kept = [count for count in range(len(strata)) if (strata == strata[count]).sum() > 1]
    train, select = train_test_split(
        rows[kept], test_size=share, stratify=strata[kept], random_state=0
    )
    splits = {"train": train, "select": select, "test": data.indices("select").numpy()}
    chosen = {name: torch.as_tensor(part).sort().values for name, part in splits.items()}
    return replace(data, splits=chosen)


def digits_pool(seed: int) -> GroupedData:
    """The digits without the images of the study's test split, divided again by the seed.

    Half of them stand for test; of the others the classes of the tail keep as few as in the study.
    """
    whole = load_digits(tail={})
    rows = whole.indices("train", "select").numpy()
    labels = whole.labels[rows].numpy()
    rest, test = train_test_split(rows, test_size=0.5, stratify=labels, random_state=seed)
    rest = np.random.default_rng(seed).permutation(rest)
    own = whole.labels[rest].numpy()
    kept = np.concatenate([rest[own == k][: DIGITS_TAIL.get(str(k))] for k in range(10)])
    parts = split_samples(whole.labels[kept].numpy(), SplitSettings(test=0.0, seed=seed))
    splits = {name: torch.as_tensor(kept[parts[name].numpy()]) for name in ("train", "select")}
    splits["test"] = torch.as_tensor(test)
    return replace(whole, splits={name: part.sort().values for name, part in splits.items()})


def outcome(
    model: Checkpoint, data: GroupedData, minimum: int = 30
) -> tuple[float, np.ndarray, dict[str, float]]:
    """Accuracy, that of every group of 30 or more [groups], and by name more of all those groups.

    Their gaps of M4, and their balanced accuracy. All on the split that stands for test.
    """
    rows = data.indices("test")
    found = predict(model.model(None), [(b.inputs, b.labels) for b in data.batches(rows)])
    correct, groups = found.correct.numpy(), data.groups[rows].numpy()
    number = len(data.group_names)
    large = np.flatnonzero(np.bincount(groups, minlength=number) >= minimum)
    own = np.array([correct[groups == group].mean() for group in large])
    counts = confusion_counts(
        data.labels[rows].numpy(), found.prediction.numpy(), groups, number, len(data.classes)
    )[large]
    gaps = {one.metric: float(one.value) for one in fairness_differences(counts)}
    by_class = counts.sum(0)
    gaps["balanced_accuracy"] = float((np.diag(by_class) / by_class.sum(1)).mean())
    return float(correct.mean()), own, gaps


def trial(
    settings: StudySettings, data: GroupedData, dense: Checkpoint, seed: int, rate: float,
    method: Method,
) -> dict[str, Any]:  # fmt: skip
    torch.set_num_threads(1)
    training = replace(settings.pruning, seed=seed)
    made = prune_model(dense, data, method, rate, training, factory=settings.model)
    before, after = outcome(dense, data), outcome(made, data)
    gaps = (before[1] - after[1]) - (before[0] - after[0])
    return {
        "method": method.label,
        "options": dict(method.options),
        "rate": rate,
        "seed": seed,
        "accuracy": after[0],
        "max_gap": float(gaps.max()),
        **after[2],
    }


def dense_model(settings: StudySettings, data: GroupedData, seed: int) -> Checkpoint:
    torch.set_num_threads(1)
    training: TrainingSettings = replace(settings.training, seed=seed)
    return train_model(data, settings.model, training, settings.arguments)


def parsed(text: str) -> dict[str, Any]:
    """'mask_share=0.6,multiplier_split=train' as options."""
    return parse_options([part for part in text.split(",") if part])


def divided(study: str, seeds: Sequence[int]) -> tuple[StudySettings, dict[int, GroupedData]]:
    """A study's settings, and for every seed its data without the test split."""
    if study == "digits":
        from steps import DIGITS  # which imports this file

        return DIGITS, {seed: digits_pool(seed) for seed in seeds}
    settings = load_settings(study)
    data = inner(load_data(settings.data))
    return settings, dict.fromkeys(seeds, data)


def shortened(argument: str) -> str:
    """A study's file by its place in this project, wherever that lies."""
    return f"benchmarks/studies/{Path(argument).name}" if argument.endswith(".toml") else argument


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", help="TOML file of the study, or digits")
    parser.add_argument("options", nargs="*", help="settings of the solver to try")
    parser.add_argument("--rate", type=float, action="append", required=True)
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--constraint", default="excess-accuracy")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--name", default="choosing", help="of the file of results")
    arguments = parser.parse_intermixed_args()
    seeds = arguments.seed or [0, 1]
    settings, data = divided(arguments.study, seeds)
    pool = Parallel(n_jobs=arguments.jobs)
    made = pool(delayed(dense_model)(settings, data[seed], seed) for seed in seeds)
    dense = dict(zip(seeds, made, strict=True))
    methods = [Method("magnitude"), Method("bilevel", arguments.constraint)]
    methods += [
        Method("bilevel", arguments.constraint, options=parsed(text)) for text in arguments.options
    ]
    rows = pool(
        delayed(trial)(settings, data[seed], dense[seed], seed, rate, method)
        for rate in arguments.rate
        for method in methods
        for seed in seeds
    )
    for rate in arguments.rate:
        for method in methods:
            options = dict(method.options)
            own = [r for r in rows if (r["rate"], r["method"], r["options"])
                   == (rate, method.label, options)]  # fmt: skip
            text = " ".join(f"{key}={value}" for key, value in options.items())
            print(
                f"{rate:g} {method.label:<26} {text:<40} "
                f"{100 * statistics.mean(r['accuracy'] for r in own):6.2f} % "
                f"{100 * statistics.mean(r['max_gap'] for r in own):6.2f} points "
                + " ".join(f"{name.split('_difference')[0]} "
                           f"{statistics.mean(r[name] for r in own):.3f}" for name in METRICS)
            )  # fmt: skip
    command = shlex.join(["python", "benchmarks/choosing.py", *map(shortened, sys.argv[1:])])
    record = {"command": command, "rows": rows, "versions": versions(), "hardware": hardware()}
    store(arguments.name, record)


if __name__ == "__main__":
    main()
