"""Size and time of a report: 5 methods × 6 rates × 10 groups, drawn anew from stored results.

A study of the digits makes the results, with one epoch a network: what is measured is the report,
not the networks. Then `audit report DIR` runs in a process of its own, without and with --pdf.
Wall time depends on what else the machine does, so the processor's time stands beside it.
Run: python benchmarks/report.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import hardware, store, versions

import audit

METHODS = (
    audit.Method("magnitude"),
    audit.Method("random"),
    audit.Method("bilevel"),
    audit.Method("bilevel", "excess-accuracy"),
    audit.Method("bilevel", "group-loss"),
)
RATES = (0.5, 0.6, 0.8, 0.9, 0.95, 0.98)
MEBIBYTE = 2**20


def make_results(folder: Path) -> dict[str, Any]:
    """Results of 31 networks under the folder; returns the study's settings."""
    once = audit.TrainingSettings(epochs=1, batch_size=64)
    settings = audit.StudySettings(
        data={"dataset": "digits"},
        model="convnet",
        methods=METHODS,
        rates=RATES,
        training=once,
        pruning=once,
        measure=audit.MeasureSettings(samples_per_group=20),
    )
    audit.run_study(settings, folder).save(folder)
    return asdict(settings)


def drawn(folder: Path, *options: str) -> dict[str, float]:
    """Seconds of `audit report`: on the clock, and of the processor."""
    command = [sys.executable, "-m", "audit.cli", "report", str(folder), *options]
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": used - before.children_user - before.children_system,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="use, or keep, the study's results here")
    parser.add_argument("--runs", type=int, default=3, help="the fastest run is reported")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.results or Path(temporary)
        settings = make_results(folder)
        html = [drawn(folder) for _ in range(options.runs)]
        both = [drawn(folder, "--pdf") for _ in range(options.runs)]
        sizes = {kind: (folder / f"report.{kind}").stat().st_size for kind in ("html", "pdf")}
    record = {
        "command": "python benchmarks/report.py",
        "networks": 1 + len(METHODS) * len(RATES),
        "groups": 10,
        "html_mib": sizes["html"] / MEBIBYTE,
        "pdf_mib": sizes["pdf"] / MEBIBYTE,
        "html": {key: min(run[key] for run in html) for key in html[0]},
        "html_and_pdf": {key: min(run[key] for run in both) for key in both[0]},
        "runs": {"html": html, "html_and_pdf": both},
        "load_average": os.getloadavg()[0],
        "settings": settings,
        "versions": versions("matplotlib", "jinja2", "weasyprint"),
        "hardware": hardware(),
    }
    print({key: record[key] for key in ("html_mib", "pdf_mib", "html", "html_and_pdf")})
    store("report", record)


if __name__ == "__main__":
    main()
