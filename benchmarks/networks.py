"""The networks that measuring is timed on: residual ones, a small transformer, a perceptron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from audit import Method, TrainingSettings
from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.models.checkpoint import Checkpoint
from audit.study.making import prune_model, train_model


@dataclass(frozen=True)
class Network:
    """A network with its data, and how much of these a benchmark takes.

    data     what `load_data` takes, with the folder of the data in braces
    trained  samples that it is trained on; None for all
    tested   test samples of a group that predictions are measured on; None for all
    samples  of a group, for what needs derivatives
    method   that prunes it; after few steps the deep layers of a large network still hold the
             smallest weights, and magnitude over all layers would leave none of them
    """

    title: str
    data: str
    model: str
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    trained: int | None = None
    tested: int | None = None
    samples: int = 200
    method: str = "magnitude"

    @property
    def folder(self) -> str:
        """Which folder of data it needs."""
        return self.data.partition("{")[2].partition("}")[0]

    def dense(self, **folders: str) -> tuple[Checkpoint, GroupedData]:
        """The dense network, and the data that it is measured on."""
        data = load_data(self.data.format(**folders))
        data = data.take(self._rows(data))
        training = TrainingSettings(epochs=2, batch_size=128)
        return train_model(data, self.model, training, dict(self.arguments)), data

    def made(self, **folders: str) -> tuple[Checkpoint, Checkpoint, GroupedData]:
        """The dense network, 10 % of it, and the data that both are measured on."""
        dense, data = self.dense(**folders)
        tuning = TrainingSettings(epochs=1, batch_size=128)
        method = Method(self.method)
        return dense, prune_model(dense, data, method, 0.9, tuning, factory=self.model), data

    def _rows(self, data: GroupedData) -> Tensor:
        """The first rows of each part, as many as are taken."""
        test = [
            data.indices("test", group=group)[: self.tested]
            for group in range(len(data.group_names))
        ]
        parts = [data.indices("train")[: self.trained], data.indices("select")[: self.trained]]
        return torch.cat([*parts, *test]).sort().values


FACES = "utkface:{utkface}?target=ethnicity&group=ethnicity&size="
NETWORKS = {
    "resnet10": Network("ResNet-10 of width 8", f"{FACES}32", "resnet10", {"width": 8}),
    "wide": Network(
        "ResNet-10 of width 64", f"{FACES}32", "resnet10", {"width": 64}, 2560, 100, 40
    ),
    "resnet18": Network(
        "ResNet-18 at 64×64",
        f"{FACES}64",
        "resnet18",
        {},
        1280,
        30,
        10,
        method="magnitude-layerwise",
    ),
    "transformer": Network(
        "small ViT", f"{FACES}32", "networks:small_transformer", {}, 5120, 200, 100
    ),
    "perceptron": Network("perceptron, Adult", "adult:{adult}?group=sex,race", "mlp"),
}


class Patches(nn.Module):
    """Images cut into patches, each one a token with its place."""

    def __init__(self, shape: tuple[int, ...], patch: int, width: int) -> None:
        super().__init__()
        self.cut = nn.Conv2d(shape[0], width, patch, patch)
        tokens = (shape[1] // patch) * (shape[2] // patch)
        self.place = nn.Parameter(torch.randn(1, tokens, width) * 0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens [n, places, width]."""
        tokens: Tensor = self.cut(images).flatten(2).transpose(1, 2) + self.place
        return tokens


class Mean(nn.Module):
    """The mean over places."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Features [n, width]."""
        return tokens.mean(1)


def small_transformer(
    input_shape: tuple[int, ...], classes: int, width: int = 96, depth: int = 4
) -> nn.Module:
    """A vision transformer of 4×4 patches, a third of a million parameters or so."""
    layers = [
        nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(depth)
    ]
    head = [nn.LayerNorm(width), Mean(), nn.Linear(width, classes)]
    return nn.Sequential(Patches(input_shape, 4, width), *layers, *head)
