"""The layout in memory that images and kernels are computed in on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LANES = 16
"""Single-precision numbers in a vector register of AVX-512."""


def image_layout(model: nn.Module) -> torch.memory_format:
    """Channels last, which is faster; the ordinary layout where oneDNN's code for it is unsafe.

    With channels last, oneDNN's kernels for AVX-512 write past their memory in the gradient of a
    strided 1×1 convolution whose channels do not fill a register (torch 2.13.0 and 2.14.1): a
    crash some steps later, or wrong numbers before it. The answer is the same on every processor,
    so that numbers do not depend on it.

    >>> image_layout(nn.Conv2d(8, 16, 1, stride=2))
    torch.contiguous_format
    >>> image_layout(nn.Conv2d(16, 32, 1, stride=2))
    torch.channels_last
    """
    strides = {
        id(parameter): module.stride
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        for parameter in module.parameters()
    }
    unsafe = any(_unfilled(p) and strides.get(id(p)) != (1, 1) for p in model.parameters())
    return torch.contiguous_format if unsafe else torch.channels_last


def _unfilled(weight: Tensor) -> bool:
    """Whether it may be the weight of a 1×1 convolution that leaves lanes of a register empty.

    Whose stride nobody tells, as where a network calls `conv2d` itself, counts as strided.
    """
    shape = weight.shape
    return len(shape) == 4 and shape[2:] == (1, 1) and any(size % LANES for size in shape[:2])


def in_layout(value: Any, layout: torch.memory_format) -> Any:
    """The tensor in that layout; only images and the weights of convolutions have one.

    What is no tensor, as inputs of several parts, stays as it is.
    """
    if not isinstance(value, Tensor) or value.dim() != 4:
        return value
    if layout is torch.contiguous_format and value.is_contiguous(memory_format=torch.channels_last):
        # It may be in both layouts, as a 1×1 kernel is: only its strides tell them apart, and
        # torch goes by them.
        return value.clone(memory_format=layout)
    return value.contiguous(memory_format=layout)
