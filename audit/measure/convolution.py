"""Convolution with derivatives of every order by the fast kernels.

PyTorch's second derivative of a convolution finds the part of the weights by a convolution whose
kernel is as large as the image, which takes about twice as long as the kernel that its first
derivative uses. A convolution is linear in each of its arguments, so its three maps are each
other's derivatives, and the fast kernels serve at every order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

OptionalTensor = Tensor | None


@dataclass(frozen=True)
class Geometry:
    """Stride, padding, dilation and groups of a two-dimensional convolution."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @staticmethod
    def of(module: nn.Conv2d) -> Geometry | None:
        """That of a module; None where its padding is more than zeros on both sides."""
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            return None
        return Geometry(module.stride, module.padding, module.dilation, module.groups)


def convolve(inputs: Tensor, weight: Tensor, bias: OptionalTensor, geometry: Geometry) -> Tensor:
    """The convolution y = x ∗ w + b, to be differentiated in reverse any number of times."""
    found: Tensor = _Outputs.apply(inputs, weight, bias, geometry)
    return found


class _Outputs(Function):
    """(x, w, b) ↦ x ∗ w + b."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: OptionalTensor, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.geometry = g = geometry
        return torch.convolution(
            inputs, weight, bias, g.stride, g.padding, g.dilation, False, (0, 0), g.groups
        )

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[OptionalTensor, ...]:
        inputs, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            _Inputs.apply(slope, weight, inputs.detach(), ctx.geometry) if needs[0] else None,
            _Weight.apply(slope, inputs, weight.detach(), ctx.geometry) if needs[1] else None,
            slope.sum((0, 2, 3)) if needs[2] else None,
            None,
        )


class _Inputs(Function):
    """(slope of y, w) ↦ slope of x; `inputs` give only their shape and layout."""

    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, weight: Tensor, inputs: Tensor, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(slope, weight)
        ctx.geometry = geometry
        return _backward(slope, inputs, weight, geometry, (True, False, False))[0]

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[OptionalTensor, ...]:
        slope, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            _Outputs.apply(change, weight, None, ctx.geometry) if needs[0] else None,
            _Weight.apply(slope, change, weight.detach(), ctx.geometry) if needs[1] else None,
            None,
            None,
        )


class _Weight(Function):
    """(slope of y, x) ↦ slope of w; `weight` gives only its shape and layout."""

    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, inputs: Tensor, weight: Tensor, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(slope, inputs)
        ctx.geometry = geometry
        return _backward(slope, inputs, weight, geometry, (False, True, False))[1]

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[OptionalTensor, ...]:
        slope, inputs = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            _Outputs.apply(inputs, change, None, ctx.geometry) if needs[0] else None,
            _Inputs.apply(slope, change, inputs.detach(), ctx.geometry) if needs[1] else None,
            None,
            None,
        )


def _backward(
    slope: Tensor, inputs: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, ...]
) -> tuple[Tensor, ...]:
    g = geometry
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        slope,
        inputs,
        weight,
        None,
        g.stride,
        g.padding,
        g.dilation,
        False,
        (0, 0),
        g.groups,
        wanted,
    )
    return found
