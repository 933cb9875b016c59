"""What a step of the solver costs beside a plain training step: time and peak memory.

Every measurement has a process of its own, so that the peaks do not mix. Run:
python benchmarks/solver_cost.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
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
CONSTRAINTS = ("none", "excess-accuracy", "equalised-odds+no-harm=none", "equalised-odds")


@dataclass(frozen=True)
class Case:
    """A network and its training.

    most  what a step of the solver may cost, in plain steps: without a constraint, and under one
    """

    architecture: Architecture
    training: TrainingSettings
    samples: int
    groups: int
    most: tuple[float, float]


CASES = {
    "images": Case(
        Architecture("resnet10", (3, 32, 32), 5, {"width": 16}),
        TrainingSettings(epochs=1, batch_size=128), 2560, 5, (1.5, 1.5),
    ),
    "table": Case(
        Architecture("mlp", (104,), 2, {"width": 64}),
        TrainingSettings(epochs=1, batch_size=64), 32561, 2, (2.0, 3.0),
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--trials", type=int, default=TRIALS)
    arguments = parser.parse_args()
    chosen, number = arguments.case, arguments.trials
    kinds = ("plain", *CONSTRAINTS)
    path = Path(__file__).parent / "results" / "solver_cost.json"
    stored = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []
    rows = [row for row in stored if row.get("case") in set(CASES) - set(chosen)]
    for case in chosen:
        # Turn by turn, so that whatever else the machine does falls on all alike.
        trials = [{kind: measured(case, kind) for kind in kinds} for _ in range(number)]
        plain = summary([trial["plain"] for trial in trials])
        for kind in kinds:
            step = "plain training" if kind == "plain" else f"bilevel ({kind})"
            own = summary([trial[kind] for trial in trials])
            rows.append({
                "case": case, "step": step, **own,
                "time_ratio": round(own["milliseconds"] / plain["milliseconds"], 2),
                "memory_ratio": _share(own["megabytes"], plain["megabytes"]),
            })  # fmt: skip
    record = {
        "command": "python benchmarks/solver_cost.py",
        "setting": {
            "images": "resnet10 of width 16 on 3×32×32 inputs, batches of 128, one thread",
            "table": "perceptron of width 64, 104 columns, 32,561 rows, batches of 64, one thread",
        },
        "time": "processor time of a step, the median over the trials",
        "memory": "peak resident memory above that before the first step, the median",
        "trials": number,
        "rows": rows,
        "most": {case: own.most for case, own in CASES.items()},
        "versions": library_versions(),
        "hardware": {"processor": platform.processor() or platform.machine(), "device": "cpu"},
    }
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(rows, indent=1))
    print(f"wrote {path.name}", file=sys.stderr)


def _share(one: float, plain: float) -> float | None:
    """One over the other; None where a plain step adds too little to tell."""
    return round(one / plain, 2) if plain >= 1 else None


def summary(found: list[tuple[float, float]]) -> dict[str, float]:
    """The medians over the trials."""
    times, memory = zip(*found, strict=True)
    return {"milliseconds": round(median(times), 2), "megabytes": round(median(memory), 1)}


def measured(case: str, what: str) -> tuple[float, float]:
    """Milliseconds a step and peak megabytes of one run, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, case, what).result()


def _measure(name: str, what: str) -> tuple[float, float]:
    torch.set_num_threads(1)
    case = CASES[name]
    # What is loaded on first use belongs to no step.
    _run(replace(case, samples=4 * case.training.batch_size), what)()
    run = _run(case, what)
    before = _peak_megabytes()
    started = time.process_time()
    steps = run()
    seconds = time.process_time() - started
    return 1000 * seconds / steps, _peak_megabytes() - before


def _run(case: Case, what: str) -> Callable[[], int]:
    model, data = build_model(case.architecture), noise(case)
    both = data.indices("train", "select")
    if what == "plain":
        return lambda: train(model, data, both, case.training)
    constraints = make_constraints(what)
    settings = BilevelSettings(training=case.training)
    return lambda: solve(model, data, 0.9, constraints, settings).steps


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def noise(case: Case) -> GroupedData:
    """Samples of noise: what is in them costs nothing."""
    generator = np.random.default_rng(0)
    shape = (case.samples, *case.architecture.input_shape)
    if len(shape) == 4:
        inputs = generator.integers(0, 256, shape, dtype=np.uint8)
    else:
        inputs = generator.standard_normal(shape).astype(np.float32)
    labels = generator.integers(0, case.architecture.classes, case.samples)
    groups = generator.integers(0, case.groups, case.samples)
    scaling = "image" if len(shape) == 4 else None
    return from_arrays(inputs, labels, groups, name="noise", scaling=scaling)


if __name__ == "__main__":
    main()
