"""Layers whose higher derivatives PyTorch lacks or gets wrong, in operations that have theirs.

While a network is differentiated their forward passes are replaced by the same function, written
out; the model gets its own back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
Kind = TypeVar("Kind", bound=nn.Module)


@contextmanager
def replaced(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """These modules with these forward passes in the place of their own."""
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in forwards:
            vars(module).pop("forward", None)


def plain(model: nn.Module, kind: type[Kind]) -> list[Kind]:
    """Modules of exactly that kind whose forward pass nobody has replaced."""
    return [m for m in model.modules() if type(m) is kind and "forward" not in vars(m)]


def twice_differentiable(model: nn.Module) -> dict[nn.Module, Forward]:
    """Hard sigmoids, which have no second derivative in PyTorch."""
    return {one: partial(hard_sigmoid, one.inplace) for one in plain(model, nn.Hardsigmoid)}


def twice_forward_differentiable(model: nn.Module) -> dict[nn.Module, Forward]:
    """Layer norms, whose second derivative is wrong in forward mode (pytorch issue 196700)."""
    return {norm: partial(layer_norm, norm) for norm in plain(model, nn.LayerNorm)}


def hard_sigmoid(inplace: bool, inputs: Tensor) -> Tensor:
    """The line from 0 at −3 to 1 at 3, flat beyond; in the memory of the inputs if need be.

    >>> hard_sigmoid(False, torch.tensor([-4.0, 0.0, 1.5, 4.0])).tolist()
    [0.0, 0.5, 0.75, 1.0]
    """
    outputs = (inputs / 6 + 0.5).clamp(0, 1)
    return inputs.copy_(outputs) if inplace else outputs


def layer_norm(norm: nn.LayerNorm, inputs: Tensor) -> Tensor:
    """What the layer gives.

    >>> layer_norm(nn.LayerNorm(2), torch.tensor([[3.0, 5.0]])).detach().round(decimals=4).tolist()
    [[-1.0, 1.0]]
    """
    places = tuple(range(-len(norm.normalized_shape), 0))
    centred = inputs - inputs.mean(places, keepdim=True)
    outputs = centred * torch.rsqrt(centred.square().mean(places, keepdim=True) + norm.eps)
    outputs = outputs if norm.weight is None else outputs * norm.weight
    return outputs if norm.bias is None else outputs + norm.bias
