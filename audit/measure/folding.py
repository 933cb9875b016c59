"""The same network in evaluation mode, faster to differentiate twice.

In evaluation mode a batch norm is an affine map with fixed statistics. Behind a convolution it is
part of that convolution's weights, so that it need not touch the activations, nor their first and
second derivatives; where the weights are more numbers than a batch's activations, these are scaled
instead. The derivatives with respect to the norm's own parameters stay the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from audit.measure.convolution import Geometry, convolve
from audit.measure.layout import image_layout, in_layout
from audit.measure.network import Inputs, rows_of
from audit.measure.written_out import Forward, plain, replaced

AGREEMENT = 1e-4
"""Largest difference of the outputs, relative to their size, that counts as the same network."""


@contextmanager
def folded(
    model: nn.Module, inputs: Inputs, reverse: bool = False
) -> Iterator[torch.memory_format]:
    """The model with its batch norms folded; yields the layout that its tensors are best in.

    The model is in evaluation mode and gets its own forward passes back. `reverse`: it will be
    differentiated in reverse alone, which allows faster convolutions. Whether the network is still
    the same is tried on two of the inputs [n, …]: where it is not, as where the output of a
    convolution goes to others than its norm, or where a layer needs contiguous memory, the model
    is left as it is.
    """
    sample = rows_of(inputs, slice(2))
    forwards: dict[nn.Module, Forward] = {}
    layout = torch.contiguous_format
    if isinstance(sample, Tensor) and sample.dim() == 4 and plain(model, nn.Conv2d):
        with torch.no_grad():
            expected = model(sample.clone())
            forwards = _forwards(model, sample.clone(), reverse)
        layout = _best_layout(model, forwards, sample, expected)
    with replaced(forwards):
        yield layout


def _best_layout(
    model: nn.Module, forwards: dict[nn.Module, Forward], sample: Tensor, expected: Tensor
) -> torch.memory_format:
    """Channels last where the network takes it; empties `forwards` where they do not fit it."""
    for layout in dict.fromkeys((image_layout(model), torch.contiguous_format)):
        with replaced(forwards):
            if _agrees(model, in_layout(sample.clone(), layout), expected):
                return layout
    forwards.clear()
    return torch.contiguous_format


def _agrees(model: nn.Module, sample: Tensor, expected: Tensor) -> bool:
    try:
        with torch.no_grad():
            found = model(sample)
    except RuntimeError:
        # For instance `view` of a tensor that is not contiguous.
        return False
    limit = AGREEMENT * max(1.0, float(expected.abs().max()))
    return bool(torch.isfinite(found).all() and (found - expected).abs().max() <= limit)


def _forwards(model: nn.Module, inputs: Tensor, reverse: bool) -> dict[nn.Module, Forward]:
    """The forward passes that take the place of the modules' own."""
    norms = _norms(model, inputs)
    convolutions = [m for m in plain(model, nn.Conv2d) if reverse or m in norms]
    found = {module: _convolution(module, norms.get(module), reverse) for module in convolutions}
    return found | dict.fromkeys(norms.values(), _identity)


def _norms(model: nn.Module, inputs: Tensor) -> dict[nn.Conv2d, nn.BatchNorm2d]:
    """The batch norm that reads a convolution's output, where each is used once in a pass."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    uses: Counter[nn.Module] = Counter()
    found: dict[nn.Conv2d, nn.BatchNorm2d] = {}

    def remember(module: nn.Conv2d, _: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[id(output)] = (module, output)
        uses[module] += 1

    def match(module: nn.BatchNorm2d, arguments: tuple[Tensor, ...]) -> None:
        uses[module] += 1
        if id(arguments[0]) in outputs:
            found[outputs[id(arguments[0])][0]] = module

    hooks = [m.register_forward_hook(remember) for m in plain(model, nn.Conv2d)]
    hooks += [
        m.register_forward_pre_hook(match)
        for m in plain(model, nn.BatchNorm2d)
        if m.running_var is not None
    ]
    try:
        model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {one: norm for one, norm in found.items() if uses[one] == uses[norm] == 1}


def _convolution(module: nn.Conv2d, norm: nn.BatchNorm2d | None, reverse: bool) -> Forward:
    """The convolution, and its norm with it; parameters are read anew in every pass."""
    geometry = Geometry.of(module) if reverse else None

    def forward(inputs: Tensor) -> Tensor:
        weight, bias = module.weight, module.bias
        within = norm is not None and weight.numel() <= _outputs(module, inputs)
        if norm is not None and within:
            scale, shift = _affine(norm, bias)
            weight, bias = weight * scale[:, None, None, None], shift
        if geometry is None:
            outputs: Tensor = module._conv_forward(inputs, weight, bias)
        else:
            outputs = convolve(inputs, weight, bias, geometry)
        if norm is None or within:
            return outputs
        scale, shift = _affine(norm)
        return outputs * scale[:, None, None] + shift[:, None, None]

    return forward


def _outputs(module: nn.Conv2d, inputs: Tensor) -> int:
    """How many numbers the convolution gives, but for its edges."""
    samples, _, height, width = inputs.shape
    return samples * module.out_channels * height * width // math.prod(module.stride)


def _affine(norm: nn.BatchNorm2d, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The norm as outputs·scale + shift, where the outputs still lack that bias."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean if bias is None else bias - norm.running_mean
    shift = shift * scale if norm.bias is None else shift * scale + norm.bias
    return scale, shift


def _identity(inputs: Tensor) -> Tensor:
    return inputs
