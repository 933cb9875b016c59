"""What has to hold of a study's folder after any fault, and which processes a test has started."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.examine.measured import read_whole
from audit.files import sha256
from audit.findings.results import load_results

MARK = "AUDIT_FAULTS"
"""In the environment of the processes that a test starts, and so of all that they start."""


def marked(mark: str) -> dict[int, str]:
    """The living processes with the mark, each with its environment."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment = (place / "environ").read_bytes().decode(errors="replace")
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"{MARK}={mark}\0" in environment and state not in "ZX":
            found[int(place.name)] = environment
    return found


def tell(kind: str, **counts: Any) -> None:
    """Say what was injected and survived; AUDIT_FOUND names a file that keeps it, a line each."""
    line = json.dumps({"kind": kind, **counts})
    print(line)
    if "AUDIT_FOUND" in os.environ:
        with Path(os.environ["AUDIT_FOUND"]).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def people(path: Path) -> None:
    """Write a table of 240 rows of two groups."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(240, 2)).round(3), columns=["one", "two"])
    frame["group"] = np.where(np.arange(240) % 3 == 0, "few", "many")
    frame["target"] = np.where(frame["one"] + 0.4 * generator.normal(size=240) > 0, "yes", "no")
    frame.to_csv(path, index=False)


def finished(out: Path) -> dict[str, str]:
    """The digests of all files of finished cells, each of which is whole."""
    found: dict[str, str] = {}
    for cell in sorted(out.glob("cells/[!.]*")):
        record = read_whole(cell)
        network = out / record["model"]["file"]
        assert sha256(network) == record["model"]["sha256"], cell.name
        found |= {str(path): sha256(path) for path in (network, *sorted(cell.iterdir()))}
    return found


def numbers(out: Path) -> dict[str, Any]:
    """All that was found, and the bytes of every network."""
    results = load_results(out)
    kept = ("models", "overall", "tables", "findings", "verdict", "missing")
    return {name: results.record[name] for name in kept} | {
        name: table.to_csv(float_format="%.17g")
        for name, table in (("groups", results.groups), ("samples", results.samples))
    }


def check_numbers(out: Path, undisturbed: Path) -> None:
    """Everything is what it is where nothing happened, to the last digit."""
    found, wanted = numbers(out), numbers(undisturbed)
    for name, value in wanted.items():
        assert found[name] == value, name
