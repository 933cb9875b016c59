"""ResNet-50 and ViT-B/16 at 224×224 through `audit compare`, curvature included: time and memory.

Random weights and images in five groups, with a pruned copy whose smallest half of weights is zero.
What a P-vector is: as many numbers as the network has parameters, in single precision. Each network
runs in a process of its own; its peak is told beside what it held before curvature began.
torchvision builds both: run it in the environment of `make test-extras`.
Run: python benchmarks/at_size.py [--images 500] [--curvature-samples 4] [--max-products 20]
     [--threads 2]
     [--alone: λ_max of one group of the dense network, without the comparison]
     [--quick: that of a ResNet-18 and of a transformer of 11 million parameters each, without
     torchvision, in less room than their vectors need: how many of these are held at once]
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, hardware, store, versions
from torch import Tensor, nn

NETWORKS = ("torchvision:resnet50", "torchvision:vit_b_16")
SMALLER = ("resnet18", "at_size:small_transformer")
"""Of --quick, with as many activations a parameter as those of 224×224."""

SIZES = {"resnet18": 64, "at_size:small_transformer": 160}
GROUPS, CLASSES, SIZE = 5, 5, 224


class SmallTransformer(nn.Module):
    """Patches of 16×16, six layers of width 384."""

    def __init__(self, pixels: int, classes: int, width: int = 384) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.places = nn.Parameter(0.02 * torch.randn(1, (pixels // 16) ** 2, width))
        layer = nn.TransformerEncoderLayer(
            width, 12, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, classes] of images [n, 3, pixels, pixels]."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        found: Tensor = self.head(self.layers(patches + self.places).mean(1))
        return found


def small_transformer(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A vision transformer of 11 million parameters."""
    return SmallTransformer(input_shape[1], classes)


def resident() -> int:
    """What the process holds now, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Peak:
    """The most that the process holds from now on, looked at fifty times a second."""

    def __enter__(self) -> Peak:
        self.bytes, self._over = resident(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.bytes = max(self.bytes, resident())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def measured(
    name: str, images: int, samples: int, products: int, threads: int, alone: bool
) -> dict[str, Any]:
    """One network and its pruned copy, compared as a user would, in this process."""
    import audit
    from audit.measure.curvature import CurvatureSettings, top_eigenvalues
    from audit.measure.gradient import mean_gradient
    from audit.models.zoo import Architecture, build_model
    from audit.prune.magnitude import magnitude_mask

    torch.set_num_threads(threads)
    generator, size = np.random.default_rng(0), SIZES.get(name, SIZE)
    data = audit.from_arrays(
        generator.normal(size=(images, 3, size, size)).astype(np.float32),
        np.arange(images) % CLASSES,
        (np.arange(images) // CLASSES) % GROUPS,
        splits={"test": np.arange(images)},
    )
    dense = build_model(Architecture(name, data.input_shape, CLASSES)).eval()
    parameters = sum(p.numel() for p in dense.parameters())
    rows = data.indices("test", group=0)[:samples]
    batch = data.batch(rows)
    pairs = [(batch.inputs, batch.labels)]
    with Peak() as gradient:
        before = resident()
        mean_gradient(dense, pairs)
    held = gradient.bytes - before
    started = time.perf_counter()
    settings = CurvatureSettings(max_products=products)
    if name in SMALLER:
        settings = CurvatureSettings(max_products=products, basis_bytes=0)
    with Peak() as curvature:
        before = resident()
        (largest,) = top_eigenvalues(dense, pairs, settings=settings)
    seconds = time.perf_counter() - started
    result = {
        "network": name,
        "parameters": parameters,
        "samples": samples,
        "threads": threads,
        "gradient_bytes": held,
        "curvature_bytes": curvature.bytes - before,
        "vectors_beside_gradient": (curvature.bytes - before - held) / (4 * parameters),
        "seconds_a_product": seconds / largest.products,
        "products": largest.products,
        "max_products": products,
        "converged": largest.converged,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result), file=sys.stderr, flush=True)
    if alone:
        return result
    pruned = copy.deepcopy(dense)
    magnitude_mask(pruned, 0.5).apply(pruned)
    chosen = audit.MeasureSettings(
        samples_per_group=samples, max_products=products, batch_size=16, resamples=200
    )
    started = time.perf_counter()
    found = audit.compare({"dense": dense, "pruned": pruned}, data, chosen)
    largest_rows = found.groups[found.groups["metric"] == "hessian_max_eigenvalue"]
    return result | {
        "images": images,
        "compare_seconds": time.perf_counter() - started,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "eigenvalues": int(largest_rows["value"].notna().sum()),
        "eigenvalues_converged": int(largest_rows["converged"].fillna(False).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--curvature-samples", type=int, default=4)
    parser.add_argument("--max-products", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=(*NETWORKS, *SMALLER))
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    numbers = (chosen.images, chosen.curvature_samples, chosen.max_products, chosen.threads)
    if chosen.into is not None:
        chosen.into.write_text(json.dumps(measured(chosen.only, *numbers, chosen.alone)))
        return
    networks, alone = (SMALLER, True) if chosen.quick else (NETWORKS, chosen.alone)
    record = "at_size-quick" if chosen.quick else "at_size"
    file = RESULTS / f"{record}.json"
    kept = json.loads(file.read_text())["networks"] if file.is_file() and chosen.only else []
    rows = [row for row in kept if row["network"] != chosen.only]
    for name in [chosen.only] if chosen.only else networks:
        with tempfile.TemporaryDirectory() as folder:
            into = Path(folder) / "found.json"
            flags = ["--images", "--curvature-samples", "--max-products", "--threads"]
            given = [part for pair in zip(flags, map(str, numbers), strict=True) for part in pair]
            command = [sys.executable, __file__, *given, "--only", name, "--into", str(into)]
            subprocess.run([*command, *["--alone"] * alone], check=True)
            rows.append(json.loads(into.read_text()))
            print(json.dumps(rows[-1]), flush=True)
    store(record, {"hardware": hardware(), "versions": versions(), "networks": rows})


if __name__ == "__main__":
    main()
