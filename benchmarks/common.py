"""What the benchmarks share: where results go, and what they were measured with."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from audit.files import write_atomically

RESULTS = Path(__file__).parent / "results"


def hardware(device: str = "cpu") -> dict[str, Any]:
    """The machine in words: processor, cores, threads, and the accelerator if one is used."""
    name = platform.processor() or platform.machine()
    processors = Path("/proc/cpuinfo")
    if processors.is_file():
        models = [li for li in processors.read_text("utf-8").splitlines() if "model name" in li]
        name = models[0].split(":")[1].strip() if models else name
    found = {"processor": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if device != "cpu":
        found["accelerator"] = torch.cuda.get_device_name(device)
    return found | {"device": device}


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of the packages; those that are missing are left out."""
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", *packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def store(name: str, record: dict[str, Any]) -> None:
    """Write results/NAME.json."""
    path = RESULTS / f"{name}.json"
    write_atomically(path, json.dumps(record, indent=1) + "\n")
    print(f"wrote {path.name}", file=sys.stderr)
