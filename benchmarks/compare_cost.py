"""What `audit.compare` of two live networks costs beside the forward passes that it needs.

A ResNet-10 and its pruned copy on random images in five groups, with outputs alone: curvature is
off, and so are gradients, input distances and the Taylor terms, which take passes of their own. The
forward passes are a bare PyTorch loop over the same batches. Processor seconds, so that a busy
machine changes little; the two take turns.
Run: python benchmarks/compare_cost.py [--images 3000] [--size 64] [--repeats 2]

With --small: `audit compare` of two small perceptrons on the digits instead, from the command to
its files, a process of its own each time. Target: under 4 processor seconds.
"""

from __future__ import annotations

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from common import hardware, store, versions
from torch import nn

import audit
from audit.models.zoo import Architecture, build_model
from audit.prune.magnitude import magnitude_mask

GROUPS, CLASSES, BATCH = 5, 5, 256
SETTINGS = audit.MeasureSettings(
    curvature="none", without=("gradient_norm", "input_distance", "taylor"), batch_size=BATCH
)


@torch.no_grad()
def forward(networks: list[nn.Module], data: audit.GroupedData) -> float:
    """Processor seconds of one pass of each network over all samples."""
    rows = data.indices("test").split(BATCH)
    start = time.process_time()
    for network in networks:
        for batch in rows:
            network(data.inputs[batch])
    return time.process_time() - start


def compared(dense: nn.Module, pruned: nn.Module, data: audit.GroupedData) -> float:
    """Processor seconds of the whole comparison, the findings among them."""
    start = time.process_time()
    audit.compare({"dense": dense, "pruned": pruned}, data, SETTINGS)
    return time.process_time() - start


def small(repeats: int) -> None:
    """Processor seconds of `audit compare` of two perceptrons, with and without curvature."""
    compare = [sys.executable, "-m", "audit", "compare", "dense.pt", "pruned.pt", "--out", "out"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = audit.load_data("digits")
        training = audit.TrainingSettings(epochs=5)
        dense = audit.train_model(data, "mlp", training)
        audit.save_checkpoint(dense, folder / "dense.pt")
        parent = audit.parent_of(folder / "dense.pt", folder / "pruned.pt")
        pruned = audit.prune_model(dense, data, "magnitude", 0.9, training, parent)
        audit.save_checkpoint(pruned, folder / "pruned.pt")
        record: dict[str, object] = {}
        for what, options in (("defaults", ()), ("without curvature", ("--curvature", "none"))):
            spent = []
            for _ in range(repeats):
                before = os.times()
                subprocess.run([*compare, *options], cwd=folder, check=True, capture_output=True)
                after = os.times()
                used = after.children_user + after.children_system
                spent.append(used - before.children_user - before.children_system)
            record[what] = {"median": median(spent), "processor_seconds": spent}
    print(record)
    store("compare_cost-small", {"hardware": hardware(), "versions": versions(), **record})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="two small networks, by the command")
    chosen = parser.parse_args()
    if chosen.small:
        small(chosen.repeats)
        return
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(chosen.images, 3, chosen.size, chosen.size, generator=generator)
    places = torch.arange(chosen.images)
    data = audit.from_arrays(
        inputs, places % CLASSES, places // CLASSES % GROUPS, splits={"test": places}
    )
    dense = build_model(Architecture("resnet10", data.input_shape, CLASSES, {"width": 32})).eval()
    pruned = copy.deepcopy(dense)
    magnitude_mask(pruned, 0.5).apply(pruned)
    passes, whole = [], []
    for _ in range(chosen.repeats):
        passes.append(forward([dense, pruned], data))
        whole.append(compared(dense, pruned, data))
    record = {
        "images": chosen.images,
        "size": chosen.size,
        "forward_seconds": passes,
        "compare_seconds": whole,
        "ratio": median(whole) / median(passes),
    }
    print(record)
    store("compare_cost", {"hardware": hardware(), "versions": versions(), **record})


if __name__ == "__main__":
    main()
