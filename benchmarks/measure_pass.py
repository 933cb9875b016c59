"""What a whole measure pass costs, beside its Hessian products alone.

ResNet-10 of width 8 on UTKFace at 32×32, ethnicity as label and group, pruned by magnitude to
90 %. The products are timed as they happen inside the pass, so both are of one run.
Run: python benchmarks/measure_pass.py --utkface FOLDER
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from itertools import product
from typing import Any
from unittest.mock import patch

import torch
from common import hardware, store, versions

from audit import MeasureSettings, Method, TrainingSettings, measure_model
from audit.data import load_data
from audit.examine import causes, error_rates, gaps, harm, subject
from audit.measure.hessian import Hessian
from audit.study.making import prune_model, train_model

PARTS = (
    "predict",
    "mean_gradient",
    "gradient_norm",
    "input_distance",
    "hessian_extremes",
    "curvature_samples",
    "taylor_attribution",
    "top_eigenvalues",
    "group_intervals",
    "fairness_differences",
    "calibration_interval",
    "calibration_floor",
    "maximum_interval",
    "range_interval",
    "drop_floor",
)
"""Functions of the measure room that the pass calls, timed by name where it looks them up."""
ROOMS = (subject, harm, gaps, error_rates, causes)


class Clock:
    """Seconds spent inside each of some functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def timed(self, name: str, function: Any) -> Any:
        """The function, its seconds added to the clock under the name."""

        def run(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[name] += time.perf_counter() - start
                self.calls[name] += 1

        return run


def timed_pass(*arguments: Any) -> dict[str, Any]:
    """One measure pass: its seconds, those of its parts, and those of the products inside."""
    clock = Clock()
    with ExitStack() as stack:
        for room, name in product(ROOMS, PARTS):
            if hasattr(room, name):
                own = clock.timed(name, getattr(room, name))
                stack.enter_context(patch.object(room, name, own))
        for name, method in {"products": "__call__", "linearising": "_build"}.items():
            own = clock.timed(name, getattr(Hessian, method))
            stack.enter_context(patch.object(Hessian, method, own))
        start = time.perf_counter()
        measure_model(*arguments)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "parts": dict(clock.seconds), "calls": dict(clock.calls)}


def products(run: dict[str, Any]) -> float:
    """Seconds of all Hessian products, with the first gradient that they are derivatives of."""
    return float(run["parts"]["products"] + run["parts"]["linearising"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utkface", required=True, help="folder of the aligned UTKFace images")
    parser.add_argument("--samples", type=int, default=200, help="of a group")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_data(f"utkface:{options.utkface}?target=ethnicity&group=ethnicity&size=32")
    dense = train_model(data, "resnet10", TrainingSettings(epochs=2, batch_size=128), {"width": 8})
    tuning = TrainingSettings(epochs=1, batch_size=128)
    pruned = prune_model(dense, data, Method("magnitude"), 0.9, tuning)
    settings = MeasureSettings(samples_per_group=options.samples)
    runs = [timed_pass(pruned, dense, data, settings) for _ in range(options.repeats)]
    ratios = [run["seconds"] / products(run) for run in runs]
    middle = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
    ratio = statistics.median(ratios)
    print(f"whole pass {middle['seconds']:.1f} s, {ratio:.2f} times its products")
    for name, seconds in sorted(middle["parts"].items(), key=lambda item: -item[1]):
        print(f"  {name:<24} {seconds:7.2f} s in {middle['calls'][name]} calls")
    record = {
        "command": "python benchmarks/measure_pass.py --utkface FOLDER",
        "samples_per_group": options.samples,
        "test_images": len(data.indices("test")),
        "ratio_to_products": ratio,
        "ratios": ratios,
        "runs": runs,
        "versions": versions(),
        "hardware": hardware(),
    }
    store("measure_pass", record)


if __name__ == "__main__":
    main()
