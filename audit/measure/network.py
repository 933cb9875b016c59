"""Networks as functions of their parameters, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

Parameters = dict[str, Tensor]
Batches = Iterable[tuple[Tensor, Tensor]]
"""(inputs, labels) pairs that can be read more than once; the last may be smaller."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode; every part is given back in the mode it came in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes.items():
            module.training = mode


def class_logits(outputs: Tensor) -> Tensor:
    """Logits [n, C]; one logit [n] or [n, 1] is read as C = 2, p = (1 − σ(z), σ(z)) (M §1)."""
    if outputs.dim() == 1:
        outputs = outputs[:, None]
    if outputs.shape[1] == 1:
        return torch.cat([torch.zeros_like(outputs), outputs], 1)
    return outputs


def trainable(model: nn.Module) -> Parameters:
    """The trainable parameters by name, detached from any graph."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def sample_losses(
    model: nn.Module, inputs: Tensor, labels: Tensor
) -> Callable[[Parameters], Tensor]:
    """The cross entropy [n] of each sample as a function of the trainable parameters."""
    fixed = dict(model.named_buffers())
    fixed |= {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}

    def losses(parameters: Parameters) -> Tensor:
        logits = class_logits(functional_call(model, fixed | parameters, (inputs,)))
        return functional.cross_entropy(logits, labels, reduction="none")

    return losses


def inner(one: Parameters, other: Parameters) -> Tensor:
    """The inner product of two sets of parameters, summed in float64."""
    parts = [(one[name].double() * other[name].double()).sum() for name in one]
    return torch.stack(parts).sum()


def scaled(one: Parameters, factor: float | Tensor) -> Parameters:
    """A set of parameters times a number."""
    return {name: value * factor for name, value in one.items()}


def normalised(one: Parameters) -> Parameters:
    """The direction of a set of parameters; zero where it is zero."""
    norm = float(inner(one, one).sqrt())
    return scaled(one, 1.0 / norm if norm > 0 else 0.0)
