"""What a whole measure pass costs by part, counted in gradients, beside PyHessian's.

Five networks (networks.py), pruned by magnitude to 90 %: four on UTKFace, ethnicity as label and
group, and a perceptron on Adult. A gradient is the forward and backward pass of the mean loss over
the samples that are measured, timed in the same pass as all else; processor time, so that a busy
machine changes little. Each network is stored as soon as it is measured.
Run: python benchmarks/measure_pass.py --utkface FOLDER --adult FOLDER
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from contextlib import ExitStack
from itertools import product
from typing import Any
from unittest.mock import patch

import torch
from common import RESULTS, hardware, store, versions
from networks import NETWORKS, Network

from audit import MeasureSettings, measure_model
from audit.examine import causes, error_rates, gaps, harm, subject
from audit.measure.hessian import Hessian

PARTS = (
    "predict",
    "mean_gradient",
    "gradient_norm",
    "input_distance",
    "outer_eigenvalues",
    "pyhessian_max_eigenvalue",
    "curvature_samples",
    "taylor_attribution",
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
    """Seconds of processor time spent inside each of some functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def timed(self, name: str, function: Any) -> Any:
        """The function, its seconds added to the clock under the name."""

        def run(*arguments: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[name] += time.process_time() - start
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
        for name, method in {"products": "add", "linearising": "_build"}.items():
            own = clock.timed(name, getattr(Hessian, method))
            stack.enter_context(patch.object(Hessian, method, own))
        start = time.process_time()
        measure_model(*arguments)
        seconds = time.process_time() - start
    return {"seconds": seconds, "parts": dict(clock.seconds), "calls": dict(clock.calls)}


def in_gradients(run: dict[str, Any]) -> dict[str, float]:
    """The whole pass and its parts, in gradients of all groups."""
    unit = run["parts"]["mean_gradient"]
    parts = {name: seconds / unit for name, seconds in run["parts"].items()}
    return {"whole pass": run["seconds"] / unit} | parts


def measured(network: Network, folders: dict[str, str], repeats: int) -> dict[str, Any]:
    """A network's pass with our eigenvalues and with PyHessian's, in gradients, and every run."""
    dense, pruned, data = network.made(**folders)
    found: dict[str, Any] = {
        "title": network.title,
        "parameters": sum(value.numel() for value in dense.model(network.model).parameters()),
        "groups": len(data.group_names),
        "samples_per_group": network.samples,
        "test_samples": len(data.indices("test")),
    }
    for curvature in ("lanczos", "pyhessian"):
        settings = MeasureSettings(samples_per_group=network.samples, curvature=curvature)
        runs = [
            timed_pass(pruned, dense, data, settings, "model", network.model)
            for _ in range(repeats)
        ]
        middle = sorted(map(in_gradients, runs), key=lambda run: run["whole pass"])[len(runs) // 2]
        for name, number in sorted(middle.items(), key=lambda item: -item[1]):
            print(f"{network.title:<24} {curvature:<10} {name:<26} {number:7.2f} gradients")
        found[curvature] = {"gradients": middle, "runs": runs}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utkface", help="folder of the aligned UTKFace images")
    parser.add_argument("--adult", help="folder of the UCI Adult files")
    parser.add_argument(
        "--network", action="append", choices=NETWORKS, help="by default all whose data is given"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="measure_pass", help="of the file of results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folders = {name: folder for name in ("utkface", "adult") if (folder := getattr(options, name))}
    path = RESULTS / f"{options.name}.json"
    known = json.loads(path.read_text("utf-8")).get("networks", {}) if path.is_file() else {}
    for name in options.network or NETWORKS:
        if NETWORKS[name].folder in folders:
            known[name] = measured(NETWORKS[name], folders, options.repeats)
            record = {
                "command": "python benchmarks/measure_pass.py --utkface FOLDER --adult FOLDER",
                "networks": known,
                "versions": versions("pyhessian"),
                "hardware": hardware(),
            }
            store(options.name, record)


if __name__ == "__main__":
    main()
