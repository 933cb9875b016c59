"""What test_ranks.py starts by torchrun: measure a small network with all measures on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from audit.data.grouped import GroupedData, SampleBatches
from audit.examine.measuring import measure_model
from audit.examine.settings import MeasureSettings
from audit.measure.ranks import Shard, across_ranks
from audit.models.checkpoint import Provenance
from audit.models.live import live

SIZES = (40, 7, 2, 0)
"""Samples of the groups: fewer than ranks, ragged, and none."""


def data() -> GroupedData:
    """Images of four groups, one of which has no test samples."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.cat([torch.full((size,), place) for place, size in enumerate(SIZES)])
    groups = torch.cat([groups, torch.tensor([3, 3, 0])])
    n = len(groups)
    inputs = torch.randn(n, 1, 6, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (n,), generator=generator)
    order = torch.randperm(n - 3, generator=generator)
    return GroupedData(
        name="ragged",
        inputs=inputs,
        labels=labels,
        groups=groups,
        classes=("a", "b", "c"),
        group_names=("many", "few", "two", "none"),
        attribute="size",
        samples=np.array([f"{place:03d}" for place in range(n)]),
        splits={
            "train": torch.arange(n - 3, n),
            "select": torch.arange(0),
            "test": order.sort().values,
        },
    )


def batches(data: GroupedData) -> SampleBatches:
    """The test samples."""
    return SampleBatches(data, data.indices("test"), 16)


def network(seed: int) -> nn.Module:
    """A convolution, its norm and two layers, in double precision."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(48, 4),
        nn.Softplus(),
        nn.Linear(4, 3),
    ).double()


def measured(folder: Path | None) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame] | None:
    """Tables of groups, layers and samples, from all ranks; the first one writes them."""
    with across_ranks() as ranks:
        dense = network(0)
        pruned = network(0)
        with torch.no_grad():
            for layer in (pruned[0], pruned[4]):
                layer.weight[layer.weight.abs() < 0.1] = 0
        settings = MeasureSettings(
            batch_size=16,
            resamples=50,
            minimum_group_size=2,
            smallest_eigenvalue=True,
            theory=True,
            deepfool=True,
            max_products=20,
            top_eigenvalues=2,
        )
        before = live(dense, data(), Provenance("dense"))
        after = live(pruned, data(), Provenance("magnitude"))
        found = measure_model(after, before, data(), settings)
        tables = (found.groups, found.layers, found.samples)
        own = sum(len(labels) for _, labels in Shard(batches(data())).pairs())
    if folder is not None:
        (folder / f"{ranks.rank}-of-{ranks.size}").write_text(str(own))
    if folder is not None and ranks.rank == 0:
        for name, table in zip(("groups", "layers", "samples"), tables, strict=True):
            table.to_parquet(folder / f"{name}.parquet")
    return tables


if __name__ == "__main__":
    measured(Path(sys.argv[1]))
