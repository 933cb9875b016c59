"""What a step of the solver costs beside a plain training step: time and peak memory.

Every measurement has a process of its own, so that the peaks do not mix. Run:
python benchmarks/solver_cost.py
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import torch

from audit import Architecture, TrainingSettings, from_arrays
from audit.data import GroupedData
from audit.files import write_atomically
from audit.mitigate import BilevelSettings, make_constraints, solve
from audit.models import build_model, train
from audit.models.checkpoint import library_versions

TRIALS = 3
TARGETS = {"time": 2.3, "memory": 2.5}
CONSTRAINTS = ("none", "excess-accuracy", "excess-accuracy+equalised-odds")
ARCHITECTURE = Architecture("resnet10", (3, 32, 32), 5, {"width": 16})
TRAINING = TrainingSettings(epochs=1, batch_size=128)


def main() -> None:
    kinds = ("plain", *CONSTRAINTS)
    # Turn by turn, so that whatever else the machine does falls on all alike.
    trials = [{kind: measured(kind) for kind in kinds} for _ in range(TRIALS)]
    rows = []
    for kind in kinds:
        step = "plain training" if kind == "plain" else f"bilevel ({kind})"
        rows.append({"step": step} | summary([trial[kind] for trial in trials]))
    for row in rows:
        row["time_ratio"] = round(row["milliseconds"] / rows[0]["milliseconds"], 3)
        row["memory_ratio"] = round(row["megabytes"] / rows[0]["megabytes"], 3)
    record = {
        "command": "python benchmarks/solver_cost.py",
        "setting": "resnet10 of width 16 on 3×32×32 inputs, batches of 128, one thread",
        "time": "processor time of a step, the median over the trials",
        "memory": "peak resident memory above that before the first step, the median",
        "trials": TRIALS,
        "rows": rows,
        "most": TARGETS,
        "versions": library_versions(),
        "hardware": {"processor": platform.processor() or platform.machine(), "device": "cpu"},
    }
    path = Path(__file__).parent / "results" / "solver_cost.json"
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(rows, indent=1))
    print(f"wrote {path.name}", file=sys.stderr)


def summary(found: list[tuple[float, float]]) -> dict[str, float]:
    """The medians over the trials."""
    times, memory = zip(*found, strict=True)
    return {"milliseconds": round(median(times), 2), "megabytes": round(median(memory), 1)}


def measured(what: str) -> tuple[float, float]:
    """Milliseconds a step and peak megabytes of one run, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, what).result()


def _measure(what: str) -> tuple[float, float]:
    torch.set_num_threads(1)
    data = images()
    run = _run(what, data)
    before = _peak_megabytes()
    started = time.process_time()
    steps = run()
    seconds = time.process_time() - started
    return 1000 * seconds / steps, _peak_megabytes() - before


def _run(what: str, data: GroupedData) -> Callable[[], int]:
    model = build_model(ARCHITECTURE)
    both = data.indices("train", "select")
    if what == "plain":
        return lambda: train(model, data, both, TRAINING)
    constraints = make_constraints(what)
    settings = BilevelSettings(training=TRAINING)
    return lambda: solve(model, data, 0.9, constraints, settings).steps


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def images() -> GroupedData:
    """2,560 images of noise with 5 classes and 5 groups: what is in them costs nothing."""
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 256, (2560, 3, 32, 32), dtype=np.uint8)
    labels = generator.integers(0, 5, 2560)
    groups = generator.integers(0, 5, 2560)
    return from_arrays(inputs, labels, groups, name="noise")


if __name__ == "__main__":
    main()
