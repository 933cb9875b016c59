"""Peak memory of a whole measure pass, for 5,000 and for 50,000 images, or of a made table.

The images are random, 3×32×32, in five groups; half are the test split. Every size runs in a
process of its own; what is stored is the process's peak and what it held just before measuring,
so that what measuring adds is told apart from libraries and data.
Run: python benchmarks/memory.py
     [--rows 332900: a table as large as ACSIncome, and as many columns, from its file to the
     comparison of a perceptron with its pruned copy: peak and processor time]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
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


def of_table(rows: int) -> dict[str, Any]:
    """A made table is written, read, and measured on 30 % of its rows, in this process."""
    import pandas as pd
    import torch

    import audit
    from audit.models import Provenance, build_model, make_checkpoint

    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    kinds = {"kind": 8, "status": 5, "relation": 18, "origin": 9}
    columns = {name: generator.integers(1, most + 1, rows) for name, most in kinds.items()}
    columns |= {name: generator.integers(0, 99, rows) for name in ("age", "hours", "school")}
    columns["sex"] = generator.integers(1, 3, rows)
    columns["income"] = (columns["age"] + generator.integers(0, 99, rows) > 99).astype(int)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "made.parquet"
        pd.DataFrame(columns).astype(float).astype({"income": int}).to_parquet(file)
        asked = f"target=income&group=sex&categories={','.join(kinds)}&test=0.3"
        before, started = resident(), time.process_time()
        data = audit.load_data(f"table:{file}?{asked}")
        read = {"read_seconds": time.process_time() - started, "read_mib": peak() / MEBIBYTE}
        architecture = audit.Architecture("mlp", data.input_shape, 2, {"width": 64})
        dense = make_checkpoint(
            build_model(architecture, 0), architecture, data, Provenance("dense")
        )
        pruned = audit.prune_model(dense, data, settings=audit.TrainingSettings(epochs=0))
        started = time.process_time()
        measures = audit.measure_model(pruned, dense, data)
        return {
            "rows": rows,
            "measured": len(measures.samples),
            "before_mib": before / MEBIBYTE,
            **read,
            "measure_seconds": time.process_time() - started,
            "peak_mib": peak() / MEBIBYTE,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="measure a made table of so many rows")
    parser.add_argument("--images", type=int, help="measure this many, in this process")
    options = parser.parse_args()
    if options.images:
        print(json.dumps(measured(options.images)))
        return
    if options.rows:
        row = of_table(options.rows)
        print(json.dumps(row))
        command = f"python benchmarks/memory.py --rows {options.rows}"
        record = {"command": command, "rows": [row], "versions": versions()}
        store("memory-table", record | {"hardware": hardware()})
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
