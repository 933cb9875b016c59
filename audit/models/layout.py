"""The layout of images in memory that networks train fastest in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from audit.data.grouped import GroupedData


@contextmanager
def training_layout(model: nn.Module, data: GroupedData, device: str) -> Iterator[None]:
    """On the CPU, images and kernels with the channels last: the same numbers up to rounding.

    A training step of a small residual network takes two thirds of the time so
    (benchmarks/training_layout.py). Networks that cannot read such images, as those that call
    `view` on them, and inputs that are no images stay as they are; so does a GPU, where it is not
    always faster. The model is given back in the ordinary layout.
    """
    example = data.batch(data.indices("train")[:2]).inputs
    if torch.device(device).type != "cpu" or example.dim() != 4:
        yield
        return
    _lay_out(model.to(device), torch.channels_last)
    hook = model.register_forward_pre_hook(_channels_last)
    if not _runs(model, example):
        hook.remove()
        _lay_out(model, torch.contiguous_format)
    try:
        yield
    finally:
        hook.remove()
        _lay_out(model, torch.contiguous_format)


def _lay_out(model: nn.Module, layout: torch.memory_format) -> None:
    model.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs ask for a device


def _channels_last(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        one.contiguous(memory_format=torch.channels_last)
        if isinstance(one, Tensor) and one.dim() == 4
        else one
        for one in arguments
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
