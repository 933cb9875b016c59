"""How much sooner one network is measured when two processes divide its samples.

Random images, 3×32×32, in five groups; a ResNet-10 pruned in one shot beside its dense parent, all
default measures, one thread a process. Runs of one and of two processes alternate, and each pair
gives a ratio; imports and data are not timed. Every number of the two is compared.
Run: python benchmarks/ranks.py --pairs 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import hardware, store, versions

IMAGES, GROUPS, CLASSES = 2_000, 5, 5
SAMPLES, WIDTH = 100, 16


def worked(out: Path) -> None:
    """Measure in this process or rank; the first writes its table and seconds."""
    import torch

    import audit
    from audit.data.splits import SplitSettings
    from audit.measure.ranks import across_ranks
    from audit.models import Provenance, build_model, make_checkpoint

    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    data = audit.from_arrays(
        generator.integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8),
        generator.integers(0, CLASSES, IMAGES),
        generator.integers(0, GROUPS, IMAGES),
        scaling="image",
        split=SplitSettings(test=0.5),
    )
    named = {"width": WIDTH}
    architecture = audit.Architecture("resnet10", data.input_shape, CLASSES, named)
    dense = make_checkpoint(build_model(architecture, 0), architecture, data, Provenance("dense"))
    pruned = audit.prune_model(dense, data, settings=audit.TrainingSettings(epochs=0))
    settings = audit.MeasureSettings(samples_per_group=SAMPLES)
    with across_ranks() as ranks:
        start = time.perf_counter()
        found = audit.measure_model(pruned, dense, data, settings)
        seconds = time.perf_counter() - start
        if ranks.rank == 0:
            found.groups.to_parquet(out.with_suffix(".parquet"))
            out.write_text(json.dumps(seconds))


def run(ranks: int, folder: Path) -> tuple[float, pd.Series]:
    """Seconds and values of a measurement by so many processes."""
    out = folder / f"{ranks}.json"
    start = [sys.executable]
    if ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    subprocess.run([*start, __file__, "--out", str(out)], check=True)
    table = pd.read_parquet(out.with_suffix(".parquet"))
    return json.loads(out.read_text()), table.set_index(["group", "metric"])["value"]


def difference(one: pd.Series, other: pd.Series) -> float:
    """The largest difference of two columns, relative to the size of the values."""
    apart = (one - other).abs() / one.abs().clip(lower=1e-3)
    return float(apart.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.out:
        worked(arguments.out)
        return
    pairs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.pairs):
            (alone, values), (divided, others) = (run(ranks, Path(folder)) for ranks in (1, 2))
            pairs.append(
                {
                    "one_process_s": alone,
                    "two_processes_s": divided,
                    "ratio": alone / divided,
                    "largest_relative_difference": difference(values, others),
                }
            )
            print(pairs[-1])
    record = {
        "images": IMAGES // 2,
        "samples_per_group": SAMPLES,
        "width": WIDTH,
        "pairs": pairs,
        "median_ratio": statistics.median(pair["ratio"] for pair in pairs),
        "target_ratio": 1.8,
        "hardware": hardware(),
        "versions": versions(),
    }
    store("ranks", record)
    print(f"two processes: {record['median_ratio']:.2f} times as fast (target 1.8)")


if __name__ == "__main__":
    main()
