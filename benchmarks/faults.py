"""Whether a study survives what is done to it, and keeps its size while its cells fail.

Small cells are worked on by processes, as in any study; of every hundred, seeded, some have an
error in making or measuring them and one takes its process down. After each outcome the memory
that the parent holds is read from /proc. Run: python benchmarks/faults.py --cells 500

`make faults` kills processes at random moments and at every write, takes rights away, and sends
Ctrl-C in each phase; its tests write what each survived into a file, a line each. To store these
counts beside: python benchmarks/faults.py --found FILE
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from common import RESULTS, hardware, store, versions
from scale import METHODS, people, study

import audit
from audit.study.cells import Task, cells_of
from audit.study.engines import in_processes
from audit.study.working import Outcome, finish, remember

WORKERS, DEATHS, ERRORS = 2, 0.01, 0.08
MEBIBYTE = 2**20


def faulty(task: Task) -> Outcome:
    """Work on a cell, unless it was drawn to fail: the same cells whoever works on them."""
    drawn = random.Random(task.cell.name).random()
    if task.cell.method is not None and drawn < DEATHS:
        os.kill(os.getpid(), signal.SIGKILL)
    if task.cell.method is None or drawn >= DEATHS + ERRORS:
        return finish(task)
    place, error = random.Random(task.cell.name + "?").choice(
        [("_make", ValueError("drawn to fail")), ("_measure", MemoryError("drawn to fail"))]
    )
    with mock.patch(f"audit.study.working.{place}", side_effect=error):
        return finish(task)


def held() -> float:
    """The memory of this process that is in use now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def outcomes(cells: int, folder: Path) -> Iterator[Outcome]:
    """Of dense cells first, as in any study."""
    settings = study(cells, folder / "people.csv")
    data = audit.load_data(settings.data)
    settings = replace(settings, data=dict(data.spec) | {"digest": remember(data)})
    settings = replace(settings, measure=replace(settings.measure, resamples=20))
    for own in cells_of(settings):
        yield from in_processes([Task(settings, cell, folder) for cell in own], WORKERS, faulty)


def injected(file: Path) -> dict[str, dict[str, Any]]:
    """What was done and survived, by kind; of a kind that was tried several times, the sums."""
    found: dict[str, dict[str, Any]] = {}
    for line in file.read_text("utf-8").splitlines():
        counts = json.loads(line)
        own = found.setdefault(counts.pop("kind"), {})
        own["tests"] = own.get("tests", 0) + 1
        for name in ("kills", "commands"):
            if name in counts:
                own[name] = own.get(name, 0) + counts[name]
    return found


def stored() -> dict[str, Any]:
    """What is stored so far."""
    path = RESULTS / "faults.json"
    record: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--found", type=Path, help="what the tests of make faults survived")
    options = parser.parse_args()
    if options.found is not None:
        store("faults", stored() | {"injected": injected(options.found)})
        return
    sizes, ends, start = [], Counter[str](), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        people(Path(name) / "people.csv", 500)
        for outcome in outcomes(options.cells, Path(name)):
            sizes.append(held())
            failed = "process died" if "process died" in outcome.reason else "error"
            ends["finished" if outcome.measures else failed] += 1
    places = np.arange(len(sizes))
    later = places >= len(sizes) // 5
    slope = float(np.polyfit(places[later], np.array(sizes)[later], 1)[0])
    store(
        "faults",
        {
            "command": f"python benchmarks/faults.py --cells {options.cells}",
            "cells": len(sizes),
            "methods": METHODS,
            "workers": WORKERS,
            "ends": dict(ends),
            "seconds": round(time.perf_counter() - start),
            "parent_mib_after": {
                str(place + 1): round(sizes[place], 1)
                for place in range(0, len(sizes), max(1, len(sizes) // 10))
            }
            | {str(len(sizes)): round(sizes[-1], 1)},
            "parent_mib_most": round(max(sizes), 1),
            "parent_kib_a_further_cell": round(1024 * slope, 2),
            "injected": stored().get("injected", {}),
            "hardware": hardware(),
            "versions": versions("joblib", "pyarrow"),
        },
    )


if __name__ == "__main__":
    main()
