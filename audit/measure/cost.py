"""What a prediction costs: parameters, multiply-adds and measured latency."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from audit.measure.network import evaluating


@dataclass(frozen=True)
class Cost:
    """What one prediction costs.

    parameters      of the network, biases and normalisation included
    multiply_adds   of its convolutions and linear layers, for one sample
    latency         median seconds of a forward pass of the batch that it was measured with
    batch           the samples of that batch
    """

    parameters: int
    multiply_adds: int
    latency: float
    batch: int


def cost(model: nn.Module, example_input: Tensor, repeats: int = 20) -> Cost:
    """Parameters, multiply-adds and measured latency of a network, in evaluation mode.

    Zeros count as any number does: only a network that was shrunk costs less.
    """
    with evaluating(model), torch.no_grad():
        model(example_input)
        times = [_seconds(model, example_input) for _ in range(repeats)]
    return Cost(
        sum(parameter.numel() for parameter in model.parameters()),
        multiply_adds(model, example_input[:1]),
        median(times),
        len(example_input),
    )


def multiply_adds(model: nn.Module, example_input: Tensor) -> int:
    """Multiply-adds of the convolutions and linear layers on this input: weights × places.

    >>> multiply_adds(nn.Conv2d(3, 8, 3, padding=1), torch.zeros(1, 3, 5, 5)) == 8 * 3 * 9 * 25
    True
    """
    return sum(adds for adds, _ in _layer_multiply_adds(model, example_input))


def surviving_multiply_adds(model: nn.Module, example_input: Tensor) -> int:
    """Those multiply-adds whose weight is not exactly zero: what a sparse runtime could not skip.

    Dense kernels do all of `multiply_adds` whatever the zeros.
    """
    counts = _layer_multiply_adds(model, example_input)
    return sum(adds * int(weight.count_nonzero()) // weight.numel() for adds, weight in counts)


def _layer_multiply_adds(model: nn.Module, example_input: Tensor) -> list[tuple[int, Tensor]]:
    """The multiply-adds of every call of a convolution or linear layer, and its weight."""
    found: list[tuple[int, Tensor]] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        weight = module.get_parameter("weight")
        # weight[k] acts once on every number of channel k: of the outputs, or of the inputs.
        acts_on = inputs[0] if getattr(module, "transposed", False) else outputs
        found.append((acts_on.numel() * weight[0].numel(), weight))

    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, kinds)]
    try:
        with evaluating(model), torch.no_grad():
            model(example_input)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _seconds(model: nn.Module, example_input: Tensor) -> float:
    _wait(example_input)
    started = time.perf_counter()
    model(example_input)
    _wait(example_input)
    return time.perf_counter() - started


def _wait(tensor: Tensor) -> None:
    """Wait until a GPU has done what was asked of it."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
