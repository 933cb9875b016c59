"""Inputs on demand: peak memory of 200,000 memory-mapped images, and what fetching costs.

The images are random, 3×224×224 bytes, in five groups: 30 GB in one sparse file, of which the
500 test images are written. One process describes the whole and runs one convolution over the test
split, so little that fetching is nearly all there is; another runs the same network in a bare
PyTorch loop over the same images with a DataLoader of one worker. A third pair reads 500 JPEG files
of 256×256. Processor seconds are given beside seconds: on a shared machine they are the ones to
compare.
Run: python benchmarks/inputs.py
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import hardware, store, versions
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

import audit
from audit.data import GroupedData
from audit.data.images import ImageSettings
from audit.data.inputs import ImageFiles

SHAPE = (200_000, 3, 224, 224)
READ, BATCH, GROUPS = 500, 50, 5
MEBIBYTE = 2**20
PARTS = ("libraries", "mapped", "bare mapped", "files", "bare files")


class Pixels(Dataset[torch.Tensor]):
    """What a user writes for the bare loop."""

    def __init__(self, folder: Path, files: bool) -> None:
        self.files = sorted(folder.glob("*.jpg")) if files else []
        self.array = None if files else np.load(folder / "images.npy", mmap_mode="r")

    def __len__(self) -> int:
        return READ

    def __getitem__(self, row: int) -> torch.Tensor:
        if self.array is not None:
            return torch.from_numpy(np.array(self.array[row]))
        image = Image.open(self.files[row]).convert("RGB")
        image = image.resize((224, 224), Image.Resampling.BILINEAR, reducing_gap=3.0)
        return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def write(folder: Path) -> None:
    """The sparse array, of which the first images are written, and as many JPEG files."""
    generator = np.random.default_rng(0)
    array = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, SHAPE)
    for row in range(READ):
        array[row] = generator.integers(0, 256, SHAPE[1:], dtype=np.uint8)
        small = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((256, 256), Image.Resampling.BICUBIC)
        image.save(folder / f"{row:05d}.jpg", quality=90)
    array.flush()


def grouped(folder: Path, files: bool) -> GroupedData:
    """The same images as audited data; the others of the array are in no split."""
    generator = np.random.default_rng(1)
    number = READ if files else SHAPE[0]
    paths = sorted(folder.glob("*.jpg"))
    inputs = (
        ImageFiles(paths, ImageSettings(size=224))
        if files
        else np.load(folder / "images.npy", mmap_mode="r")
    )
    return audit.from_arrays(
        inputs,
        generator.integers(0, 10, number),
        generator.integers(0, GROUPS, number),
        scaling="image",
        splits={"test": np.arange(READ)},
    )


def forward(batches: Callable[[], Any]) -> dict[str, float]:
    """Seconds and processor seconds of one network over all batches."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 7, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    ).eval()
    begun, used = time.perf_counter(), _processor_seconds()
    seen = 0
    with torch.no_grad():
        for inputs in batches():
            seen += len(network(inputs))
    return {
        "images": seen,
        "seconds": time.perf_counter() - begun,
        "processor_seconds": _processor_seconds() - used,
    }


def _processor_seconds() -> float:
    own, workers = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime


def measured(part: str, folder: Path) -> dict[str, Any]:
    """One part, in this process, with the most memory that the process held."""
    torch.set_num_threads(1)
    files = part.endswith("files")
    found: dict[str, Any] = {"part": part}
    if part.startswith("bare"):
        loader = DataLoader(Pixels(folder, files), batch_size=BATCH, num_workers=1)
        found |= forward(lambda: (images.float() / 127.5 - 1 for images in loader))
    elif part != "libraries":
        data = grouped(folder, files)
        found["described"] = int(audit.describe_data(data).groups["all"].sum())
        rows = data.indices("test")
        found |= forward(lambda: (batch.inputs for batch in data.batches(rows, BATCH)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found | {"peak_mib": peak / MEBIBYTE}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, help="measure this, in this process")
    parser.add_argument("--folder", type=Path, help="where the images are")
    options = parser.parse_args()
    if options.part:
        print(json.dumps(measured(options.part, options.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        rows = []
        for part in PARTS:
            command = [sys.executable, __file__, "--part", part, "--folder", folder]
            ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(ran.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]))
    record = {"command": "python benchmarks/inputs.py", "shape": SHAPE, "batch_size": BATCH}
    store("inputs", record | {"rows": rows, "versions": versions(), "hardware": hardware()})


if __name__ == "__main__":
    main()
