"""How soon the command answers: help, the import of the package, and what is refused at once.

Every command is a process of its own, started again and again in turn with all others; given are
the median and the least of its seconds, and of its processor seconds, which a busy machine changes
less. Run: python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import hardware, store, versions

AUDIT = (sys.executable, "-m", "audit")
TARGETS = {"help": 0.3, "import": 0.1, "unknown method": 0.3, "unknown data": 0.3,
           "missing file": 0.3, "unknown constraint in a study": 0.3}  # fmt: skip
STUDY = """
[data]
dataset = "digits"
[model]
name = "mlp"
[study]
rates = [0.9]
methods = [{ method = "bilevel", constraint = "equalized-ods" }]
"""


def commands(folder: Path) -> dict[str, tuple[str, ...]]:
    """What is started, by its name; an empty interpreter to compare with."""
    (folder / "study.toml").write_text(STUDY)
    pruned = ("--rate", "0.9", "--out", "pruned.pt")
    return {
        "python alone": (sys.executable, "-c", ""),
        "import": (sys.executable, "-c", "import audit"),
        "help": (*AUDIT, "--help"),
        "unknown method": (*AUDIT, "prune", "dense.pt", *pruned, "--method", "magnitud"),
        "unknown data": (*AUDIT, "data", "tabel:incomes.csv"),
        "missing file": (*AUDIT, "measure", "missing.pt"),
        "unknown constraint in a study": (*AUDIT, "run", "study.toml"),
    }


def started(command: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Seconds, and processor seconds, of one start."""
    # Compiled modules are kept, as pip keeps them for an installed package.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    seconds, after = time.perf_counter() - start, os.times()
    spent = after.children_user + after.children_system
    return seconds, spent - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=21)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = commands(folder)
        times: dict[str, list[tuple[float, float]]] = {what: [] for what in found}
        for command in found.values():
            started(command, folder)
        for _ in range(arguments.trials):
            for what, command in found.items():
                times[what].append(started(command, folder))
    rows = [
        {
            "command": what,
            "seconds": round(median(wall for wall, _ in own), 3),
            "least": round(min(wall for wall, _ in own), 3),
            "processor_seconds": round(median(spent for _, spent in own), 3),
            "target": TARGETS.get(what),
        }
        for what, own in times.items()
    ]
    store(
        "startup",
        {
            "command": "python benchmarks/startup.py",
            "hardware": hardware(),
            "versions": versions("typer", "pydantic"),
            "trials": arguments.trials,
            "rows": rows,
        },
    )
    for row in rows:
        print(f"{row['command']:32}{row['seconds']:8.3f} s{row['least']:8.3f} s")


if __name__ == "__main__":
    main()
