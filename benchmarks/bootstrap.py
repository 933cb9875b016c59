"""2,000 paired resamples of all group metrics and gaps, beside fairlearn's bootstrap.

Ten metrics and their squares, for the studentised intervals, of 200,000 and of a million samples in
seven groups. Target: under 2 s and under 10 s. Then what an audit of a million stored predictions
takes whole, in processor seconds by its parts: reading two tables, all metrics with their intervals
and noise floors, and the findings (J1 to J6) with their simultaneous intervals. Target of metrics
and findings: under 2 s. Run: python benchmarks/bootstrap.py
"""

from __future__ import annotations

import statistics
import time
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from common import hardware, store, versions
from fairlearn.metrics import MetricFrame, count, selection_rate
from sklearn.metrics import accuracy_score

from audit.measure.uncertainty import (
    drop_interval,
    gap_contrasts,
    group_intervals,
    maximum_interval,
    range_interval,
)
from audit.study import predictions as study

SHARES = (0.3, 0.2, 0.15, 0.13, 0.1, 0.08, 0.04)
PEER_RESAMPLES = 5


def audit(values: np.ndarray, drops: np.ndarray, groups: np.ndarray, resamples: int) -> None:
    number = len(SHARES)
    intervals = group_intervals(values, groups, number, resamples, seed=0)
    for column in range(values.shape[1]):
        means = np.array([values[groups == g, column].mean() for g in range(number)])
        range_interval(means, [own[column] for own in intervals])
    means = np.array([drops[groups == g].mean() for g in range(number)])
    own = [drop_interval(drops[groups == g]) for g in range(number)]
    maximum_interval(gap_contrasts(np.bincount(groups).astype(float)), means, own)


def seconds(function, repeats: int) -> list[float]:
    """Processor seconds of every call: a busy machine changes them less than the clock's."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return found


def stored(size: int) -> dict[str, pd.DataFrame]:
    """Scores of a dense network that is right as often as it says, and of a pruned one."""
    generator = np.random.default_rng(0)
    groups = generator.choice(len(SHARES), size, p=SHARES)
    score = generator.random(size)
    noise = np.where(groups == len(SHARES) - 1, 0.1, 0.03) * generator.normal(size=size)
    known = {"sample": np.arange(size), "label": generator.random(size) < score, "group": groups}
    frame = pd.DataFrame(known).astype({"label": int})
    return {
        "dense": frame.assign(score=score),
        "pruned": frame.assign(score=np.clip(score + noise, 0, 1)),
    }


def clocked(home: Any, name: str, spent: dict[str, float]) -> Any:
    """While this holds, the processor seconds of a function go into `spent` under its name."""
    function = getattr(home, name)

    def called(*values: Any, **named: Any) -> Any:
        start = time.process_time()
        found = function(*values, **named)
        spent[name] = time.process_time() - start
        return found

    return mock.patch.object(home, name, called)


def whole(size: int) -> dict[str, Any]:
    """Processor seconds of the audit of two networks' stored predictions, and of its parts."""
    spent: dict[str, float] = {}
    given = stored(size)
    start = time.process_time()
    with (
        clocked(study, "from_predictions", spent),
        clocked(study, "measure_models", spent),
        clocked(study, "gather", spent),
    ):
        results = study.compare_predictions(given, "group")
    seconds = time.process_time() - start
    return {
        "tool": "this project, stored predictions of two networks",
        "samples": size,
        "processor_seconds": seconds,
        "reading": spent["from_predictions"],
        "measuring": spent["measure_models"],
        "findings": spent["gather"],
        "found": len(results.record["findings"]),
        "target": 2.0,
    }


def main() -> None:
    rows = []
    for size, target in ((200_000, 2.0), (1_000_000, 10.0)):
        generator = np.random.default_rng(0)
        groups = generator.choice(len(SHARES), size, p=SHARES)
        values = generator.normal(size=(size, 10))
        drops = generator.choice([-1.0, 0.0, 1.0], size, p=[0.03, 0.9, 0.07])
        runs = seconds(lambda: audit(values, drops, groups, 2000), 3)  # noqa: B023
        rows.append({"tool": "this project", "samples": size, "resamples": 2000,
                     "seconds": statistics.median(runs), "seconds_all": runs,
                     "target": target})  # fmt: skip
        print(rows[-1])
    label, prediction = (generator.integers(0, 2, 200_000) for _ in range(2))
    groups = generator.choice(len(SHARES), 200_000, p=SHARES)
    metrics = {"accuracy": accuracy_score, "selection rate": selection_rate, "count": count}

    def peer() -> None:
        MetricFrame(metrics=metrics, y_true=label, y_pred=prediction, sensitive_features=groups,
                    n_boot=PEER_RESAMPLES, ci_quantiles=[0.025, 0.975])  # fmt: skip

    runs = [value / PEER_RESAMPLES for value in seconds(peer, 3)]
    per_resample = statistics.median(runs)
    rows.append({"tool": "fairlearn n_boot, three metrics", "samples": 200_000,
                 "resamples": PEER_RESAMPLES, "seconds_per_resample": per_resample,
                 "ratio": 2000 * per_resample / rows[0]["seconds"]})  # fmt: skip
    print(rows[-1])
    rows.append(whole(1_000_000))
    print(rows[-1])
    store("bootstrap", {"command": "python benchmarks/bootstrap.py", "rows": rows,
                        "versions": versions("fairlearn"), "hardware": hardware()})  # fmt: skip


if __name__ == "__main__":
    main()
