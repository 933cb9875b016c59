"""The layout of images in memory that networks train fastest in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from audit.data.grouped import GroupedData
from audit.measure.layout import image_layout, in_layout


@contextmanager
def training_layout(model: nn.Module, data: GroupedData, device: str) -> Iterator[None]:
    """On the CPU, images and kernels with the channels last: the same numbers up to rounding.

    A training step of a small residual network takes two thirds of the time so
    (benchmarks/training_layout.py). Networks that cannot read such images, as those that call
    `view` on them, or that are unsafe in that layout (`image_layout`), are trained in the ordinary
    one, whatever layout the images come in; so is a GPU, where it is not always faster. Inputs that
    are no images have none. The model is given back in the ordinary layout.
    """
    example = data.batch(data.indices("train")[:2]).inputs
    images = isinstance(example, Tensor) and example.dim() == 4
    if torch.device(device).type != "cpu" or not images:
        yield
        return
    layout = image_layout(model.to(device))
    _lay_out(model, layout)
    hook = model.register_forward_pre_hook(_Relaying(layout))
    if layout is torch.channels_last and not _runs(model, example):
        hook.remove()
        _lay_out(model, torch.contiguous_format)
        hook = model.register_forward_pre_hook(_Relaying(torch.contiguous_format))
    try:
        yield
    finally:
        hook.remove()
        _lay_out(model, torch.contiguous_format)


def _lay_out(model: nn.Module, layout: torch.memory_format) -> None:
    for parameter in model.parameters():
        if parameter.dim() == 4:
            # A copy has the strides of its layout even where a kernel of 1×1 is in both.
            parameter.data = parameter.data.clone(memory_format=layout)


class _Relaying:
    """A hook that brings a network's inputs into a layout."""

    def __init__(self, layout: torch.memory_format) -> None:
        self.layout = layout

    def __call__(self, _: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            in_layout(one, self.layout) if isinstance(one, Tensor) else one for one in arguments
        )


def _runs(model: nn.Module, example: Tensor) -> bool:
    """Whether the network as it is now takes the example."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(example)
    except RuntimeError:
        return False
    finally:
        for module, mode in modes.items():
            module.training = mode
    return True
