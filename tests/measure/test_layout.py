"""Channels last wherever it is safe, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from audit.measure.folding import folded
from audit.measure.layout import image_layout, in_layout
from audit.measure.network import pairs
from audit.models.zoo import Architecture, build_model

ORDINARY, LAST = torch.contiguous_format, torch.channels_last


class Calling(nn.Module):
    """Calls `conv2d` itself, with a stride that no module tells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(16, channels, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.conv2d(inputs, self.kernel, stride=2).mean((2, 3))


@pytest.mark.parametrize(
    ("model", "layout"),
    [
        (nn.Conv2d(8, 16, 1, stride=2), ORDINARY),
        (nn.Conv2d(4, 16, 1, stride=(1, 2)), ORDINARY),
        (nn.Conv2d(20, 32, 1, stride=2), ORDINARY),
        (nn.Conv2d(32, 32, 1, stride=2, groups=4), ORDINARY),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1, stride=2)), ORDINARY),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 16, 1, stride=2)), ORDINARY),
        (Calling(8), ORDINARY),
        (Calling(16), LAST),
        (nn.Conv2d(16, 32, 1, stride=2), LAST),
        (nn.Conv2d(8, 16, 1), LAST),
        (nn.Conv2d(8, 16, 3, stride=2), LAST),
        (nn.Linear(8, 16), LAST),
        (build_model(Architecture("resnet10", (3, 32, 32), 5, {"width": 8})), ORDINARY),
        (build_model(Architecture("resnet10", (3, 32, 32), 5, {"width": 16})), LAST),
        (build_model(Architecture("convnet", (3, 32, 32), 5, {"width": 8})), LAST),
    ],
)
def test_strided_pointwise_convolutions_of_few_channels_stay_in_the_ordinary_layout(
    model: nn.Module, layout: torch.memory_format
) -> None:
    assert image_layout(model) is layout


@pytest.mark.parametrize(("width", "layout"), [(8, ORDINARY), (16, LAST)])
@pytest.mark.parametrize("reverse", [False, True])
def test_measuring_takes_the_layout_that_is_safe(
    width: int, layout: torch.memory_format, reverse: bool
) -> None:
    model = build_model(Architecture("resnet10", (1, 8, 8), 2, {"width": width})).eval()
    with folded(model, torch.randn(3, 1, 8, 8), reverse) as found:
        assert found is layout


def test_inputs_with_their_channels_last_are_read_in_the_ordinary_layout() -> None:
    images = torch.randn(3, 8, 4, 4).contiguous(memory_format=LAST)
    ((inputs, _),) = pairs([(images, torch.zeros(3, dtype=torch.int64))])
    assert inputs.stride() == torch.empty(3, 8, 4, 4).stride()
    assert torch.equal(inputs, images)


def test_a_pointwise_kernel_has_the_strides_of_its_layout() -> None:
    kernel = torch.randn(16, 8, 1, 1)
    moved = in_layout(kernel.contiguous(memory_format=LAST), ORDINARY)
    assert moved.stride() == kernel.stride()
    assert in_layout(torch.ones(2, 3), LAST).stride() == (3, 1)
