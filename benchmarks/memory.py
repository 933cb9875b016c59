"""Peak memory of a whole measure pass, for 5,000 and for 50,000 images.

The images are random, 3×32×32, in five groups; half are the test split. Every size runs in a
process of its own; what is stored is the process's peak and what it held just before measuring,
so that what measuring adds is told apart from libraries and data.
Run: python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import hardware, store, versions

SIZES = (5_000, 50_000)
GROUPS = 5
MEBIBYTE = 2**20


def resident() -> int:
    """What the process holds now, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak() -> int:
    """The most that the process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(images: int) -> dict[str, Any]:
    """A measure pass over half of so many images, in this process."""
    import torch

    import audit
    from audit.data.splits import SplitSettings
    from audit.models import Provenance, build_model, make_checkpoint

    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    data = audit.from_arrays(
        generator.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8),
        generator.integers(0, 5, images),
        generator.integers(0, GROUPS, images),
        scaling="image",
        split=SplitSettings(test=0.5),
    )
    architecture = audit.Architecture("resnet10", data.input_shape, 5, {"width": 8})
    dense = make_checkpoint(build_model(architecture, 0), architecture, data, Provenance("dense"))
    pruned = audit.prune_model(dense, data, settings=audit.TrainingSettings(epochs=0))
    before = resident()
    settings = audit.MeasureSettings(samples_per_group=100)
    measures = audit.measure_model(pruned, dense, data, settings)
    return {
        "images": images,
        "measured": len(measures.samples),
        "parameters": sum(p.numel() for p in dense.model(None).parameters()),
        "data_mib": data.inputs.numel() * data.inputs.element_size() / MEBIBYTE,
        "before_mib": before / MEBIBYTE,
        "peak_mib": peak() / MEBIBYTE,
        "added_mib": (peak() - before) / MEBIBYTE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, help="measure this many, in this process")
    options = parser.parse_args()
    if options.images:
        print(json.dumps(measured(options.images)))
        return
    rows = []
    for size in SIZES:
        command = [sys.executable, __file__, "--images", str(size)]
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(ran.stdout.splitlines()[-1]))
        row = rows[-1]
        print(
            f"{row['images']:>6} images: data {row['data_mib']:.0f} MiB, before measuring "
            f"{row['before_mib']:.0f}, peak {row['peak_mib']:.0f}, added {row['added_mib']:.0f}"
        )
    record = {
        "command": "python benchmarks/memory.py",
        "rows": rows,
        "versions": versions(),
        "hardware": hardware(),
    }
    store("memory", record)


if __name__ == "__main__":
    main()
