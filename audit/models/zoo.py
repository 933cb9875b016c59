"""Small networks for tables and small images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.imports import imported
from audit.models.libraries import library_builder
from audit.models.outputs import check_declared, read_outputs
from audit.names import known_name


@dataclass(frozen=True)
class Architecture:
    """What builds a network: a name of the zoo or `package.module:function`, and its arguments.

    Or `torchvision:NAME`, `timm:NAME` or `hf:FOLDER` (audit.models.libraries).

    A function of your own is called as `function(input_shape, classes, **arguments)`, or without
    those of the two that it does not take, and returns a `torch.nn.Module`. `outputs` declares what
    that gives: logits [n, classes], or [n, 1] for two classes, unless it is log-probabilities or
    probabilities. None: logits that do not look like probabilities.

    Raises AuditError where that is none of them.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    outputs: str | None = None

    def __post_init__(self) -> None:
        check_declared(self.outputs)

    @property
    def in_zoo(self) -> bool:
        """Whether it is one of the toolkit's networks, and not a function to be imported."""
        return ":" not in self.name


SHAPE = ("input_shape", "shape")
CLASSES = ("classes", "num_classes", "n_classes", "number_of_classes")
"""What parameters of a function that builds a network are called."""
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def build_model(architecture: Architecture, seed: int = 0) -> nn.Module:
    """A freshly initialised network that gives logits; the same seed gives the same weights.

    One of your own gives them by `read_outputs`. Raises AuditError where the name or an argument is
    unknown, the input shape does not fit, or the function raises or gives no module.
    """
    name = architecture.name
    builder = (
        _zoo(name) if architecture.in_zoo else library_builder(name) or imported(name, "model")
    )
    shape, classes = architecture.input_shape, architecture.classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = _called(builder, shape, classes, dict(architecture.arguments))
        except AuditError:
            raise
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            raise AuditError(
                f"model '{name}' cannot be built: {reason} (a function is called with the shape of "
                "an input and the number of classes, or with what it takes of these)"
            ) from error
    if not isinstance(network, nn.Module):
        found = type(network).__name__
        raise AuditError(f"model '{name}' gave a {found}; expected a torch.nn.Module")
    if architecture.in_zoo:
        return network
    return read_outputs(network, classes, architecture.outputs)


def _called(
    builder: Callable[..., nn.Module],
    shape: tuple[int, ...],
    classes: int,
    arguments: dict[str, Any],
) -> nn.Module:
    """The network of a function that takes a shape and a number of classes, or less of these.

    One that can do without is told what it has a parameter of that name for, and nothing else.
    """
    try:
        known = [one for one in signature(builder).parameters.values() if one.name not in arguments]
    except (TypeError, ValueError):
        return builder(shape, classes, **arguments)
    given: dict[str, Any] = {one.name: shape for one in known if one.name in SHAPE}
    given |= {one.name: classes for one in known if one.name in CLASSES}
    needed = [one for one in known if one.default is Parameter.empty and one.kind in POSITIONAL]
    if any(one.name not in given for one in needed) or any(
        one.kind is Parameter.VAR_POSITIONAL for one in known
    ):
        return builder(shape, classes, **arguments)
    return builder(**given, **arguments)


def _zoo(name: str) -> Callable[..., nn.Module]:
    return ZOO[known_name(name, ZOO, "model", "package.module:function")]


def mlp(input_shape: tuple[int, ...], classes: int, width: int = 64, depth: int = 2) -> nn.Module:
    """A multilayer perceptron with `depth` hidden layers of `width` units, for tables."""
    features = int(torch.Size(input_shape).numel())
    sizes = [features] + [width] * depth
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], classes))


def convnet(input_shape: tuple[int, ...], classes: int, width: int = 32) -> nn.Module:
    """Three convolutions with batch norm and two linear layers, for images of 8×8 and up."""
    channels = _image_channels(input_shape, least=8)

    def block(inputs: int, outputs: int, *pool: nn.Module) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), *pool]

    return nn.Sequential(
        *block(channels, width, nn.MaxPool2d(2)),
        *block(width, 2 * width, nn.MaxPool2d(2)),
        *block(2 * width, 2 * width, nn.AdaptiveAvgPool2d(2)),
        nn.Flatten(),
        nn.Linear(8 * width, 4 * width),
        nn.ReLU(),
        nn.Linear(4 * width, classes),
    )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm, added to their input (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Features of the next stage."""
        hidden = torch.relu(self.first(inputs))
        return torch.relu(self.second(hidden) + self.shortcut(inputs))


def _resnet(blocks: int, input_shape: tuple[int, ...], classes: int, width: int) -> nn.Sequential:
    """Four stages of residual blocks after a 3×3 stem that keeps the size of small images."""
    channels = _image_channels(input_shape, least=8)
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    inputs = width
    for stage in range(4):
        outputs = width * 2**stage
        for block in range(blocks):
            layers.append(ResidualBlock(inputs, outputs, 2 if stage > 0 and block == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def resnet10(input_shape: tuple[int, ...], classes: int, width: int = 64) -> nn.Module:
    """ResNet-10 for small images: one residual block a stage."""
    return _resnet(1, input_shape, classes, width)


def resnet18(input_shape: tuple[int, ...], classes: int, width: int = 64) -> nn.Module:
    """ResNet-18 for small images: two residual blocks a stage."""
    return _resnet(2, input_shape, classes, width)


def _image_channels(input_shape: tuple[int, ...], least: int) -> int:
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise AuditError(
            f"found inputs of shape {tuple(input_shape)}; this model expects images "
            f"(channels, height, width) of at least {least}×{least}; tables go with 'mlp'"
        )
    return input_shape[0]


ZOO: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "convnet": convnet,
    "resnet10": resnet10,
    "resnet18": resnet18,
}
