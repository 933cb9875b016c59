"""What a study of many cells costs beside its cells: plan, resume, gather, write, report.

The cells are simulated: a table of 10,000 people in five groups is split in halves, one tiny dense
network is made and measured for real, and every cell gets a copy of its file and of its measures,
whose predictions are drawn anew. Then the study is run, which finds all of its cells finished, and
its report is drawn. Each stage's seconds, processor seconds and peak memory so far are stored.
Run: python benchmarks/scale.py --cells 100 300
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import hardware, store, versions

import audit
from audit.examine.measured import ModelMeasures
from audit.files import sha256
from audit.models.checkpoint import Checkpoint, Parent, save_checkpoint
from audit.study.cells import Cell, Task, cells_of
from audit.study.run import run_study
from audit.study.settings import Method, StudySettings
from audit.study.working import finish, remember

PEOPLE, GROUPS, METHODS = 10_000, 5, 3
MEBIBYTE = 2**20


def people(path: Path, number: int = PEOPLE) -> None:
    """A table of labels that follow from two numbers, and a group that nothing follows from."""
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(number, 4)).round(3)
    label = (numbers[:, 0] + numbers[:, 1] + generator.normal(size=number) > 0).astype(int)
    group = generator.choice([f"group {place}" for place in range(GROUPS)], number)
    table = pd.DataFrame(numbers, columns=list("abcd")).assign(y=label, g=group)
    table.to_csv(path, index=False)


def study(cells: int, table: Path) -> StudySettings:
    """About so many cells: three methods, ten rates, and seeds as needed."""
    rates = tuple(round(0.5 + 0.045 * place, 3) for place in range(10))
    seeds = max(1, round(cells / (1 + METHODS * len(rates))))
    once = audit.TrainingSettings(epochs=1, batch_size=512)
    return StudySettings(
        data={"dataset": "table", "file": str(table), "target": "y", "group": "g", "test": 0.5},
        model="mlp",
        arguments={"width": 4},
        methods=tuple(map(Method, ("magnitude", "random", "snip"))),
        rates=rates,
        seeds=tuple(range(seeds)),
        training=once,
        pruning=once,
        measure=audit.MeasureSettings(curvature="none", samples_per_group=20, resamples=200),
    )


def simulate(settings: StudySettings, folder: Path) -> int:
    """Write the files of every cell as if it had been worked on; how many there are."""
    data = audit.load_data(settings.data)
    settings = replace(settings, data=dict(data.spec) | {"digest": remember(data)})
    dense, pruned = cells_of(settings)
    (folder / "models").mkdir(parents=True)
    (folder / "cells").mkdir()
    for cell in (dense[0], pruned[0]):
        finish(Task(settings, cell, folder))
    generator = np.random.default_rng(0)
    for cells in (dense, pruned):
        first = _made(Task(settings, cells[0], folder))
        for cell in cells[1:]:
            _copy(Task(settings, cell, folder), *first, generator)
    return len(dense) + len(pruned)


def _made(task: Task) -> tuple[Checkpoint, ModelMeasures]:
    measures = folder_of(task)
    return audit.load_checkpoint(task.model), ModelMeasures.load(measures)


def folder_of(task: Task) -> Path:
    """Where the measures of a cell lie."""
    return task.folder / "cells" / f"{task.cell.name}-{task.measured_key}"


def _copy(
    task: Task, checkpoint: Checkpoint, measures: ModelMeasures, generator: np.random.Generator
) -> None:
    cell: Cell = task.cell
    made = checkpoint.provenance
    parent = None
    if cell.method is not None:
        dense = replace(task, cell=cell.dense).model
        parent = Parent(os.path.relpath(dense, task.model.parent), sha256(dense))
    method = "dense" if cell.method is None else cell.method.name
    provenance = replace(
        made, method=method, rate=cell.rate, seed=cell.seed, parent=parent,
        settings={**made.settings, "cell": task.key},
    )  # fmt: skip
    save_checkpoint(replace(checkpoint, provenance=provenance), task.model)
    identity = {"model": cell.name, "method": method, "rate": cell.rate, "seed": cell.seed}
    of_it = {"name": cell.name, "parent": None if parent is None else parent.sha256}
    samples = measures.samples.assign(model=cell.name)
    flipped = generator.random(len(samples)) < 0.02 * (1 + cell.rate)
    other = samples["prediction"].map({"0": "1", "1": "0"})
    samples["prediction"] = samples["prediction"].mask(flipped, other)
    drawn = replace(
        measures,
        groups=measures.groups.assign(**identity),
        layers=measures.layers.assign(model=cell.name),
        answered=samples,
        overall=[row | {"model": cell.name} for row in measures.overall],
        model=measures.model | identity | of_it,
        tables={
            name: [row | {"model": cell.name} for row in rows]
            for name, rows in measures.tables.items()
        },
    )
    file = task.model.relative_to(task.folder).as_posix()
    drawn.with_file(file, sha256(task.model)).save(folder_of(task))


def peak_memory() -> float:
    """The most memory that this process had so far, in MiB.

    Not by getrusage, whose peak a process inherits from the one that started it.
    """
    status = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


@contextmanager
def staged(stages: list[dict[str, Any]], name: str) -> Iterator[None]:
    """Seconds, processor seconds, and the peak of memory by the end of it."""
    start, before = time.perf_counter(), time.process_time()
    yield
    stages.append(
        {
            "stage": name,
            "seconds": round(time.perf_counter() - start, 2),
            "processor_seconds": round(time.process_time() - before, 2),
            "peak_mib": round(peak_memory()),
        }
    )


def work(cells: int, folder: Path) -> dict[str, Any]:
    """All stages, for a study whose cells lie finished under the folder."""
    settings = study(cells, folder / "people.csv")
    stages: list[dict[str, Any]] = []
    with staged(stages, "plan"):
        number = sum(map(len, cells_of(settings)))
    with staged(stages, "resume and gather"):
        results = run_study(settings, folder / "study", workers=1, threads=1, engine="here")
    with staged(stages, "write"):
        results.save(folder / "study")
    with staged(stages, "report"):
        page = audit.write_report(results, folder / "study")
    size = page.stat().st_size / MEBIBYTE
    return {"cells": number, "stages": stages, "report_mib": round(size, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--work", type=Path, help="internal: measure the study in this folder")
    options = parser.parse_args()
    if options.work is not None:
        print(json.dumps(work(options.cells[0], options.work)))
        return
    rows = []
    for cells in options.cells:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            people(folder / "people.csv")
            simulate(study(cells, folder / "people.csv"), folder / "study")
            command = [sys.executable, __file__, "--cells", str(cells), "--work", str(folder)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], file=sys.stderr)
    store(
        "scale",
        {
            "command": f"python benchmarks/scale.py --cells {' '.join(map(str, options.cells))}",
            "test_samples": PEOPLE // 2,
            "groups": GROUPS,
            "hardware": hardware(),
            "versions": versions("pandas", "pyarrow"),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
