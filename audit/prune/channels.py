"""Which channels of a network can only be removed together, and the network without them."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.measure.network import evaluating
from audit.prune.mask import Mask, prunable_weights
from audit.prune.projection import ChannelGroup, Slices


def channel_groups(model: nn.Module, example_input: Tensor) -> tuple[ChannelGroup, ...]:
    """The channels that can be removed only together (DepGraph; Fang et al., CVPR 2023).

    example_input   one batch [1 or more, ...], to trace the network with

    Found by torch-pruning's dependency graph. Channels stay whole, and are in no group, where they
    are the network's output, or pass through a layer that mixes them: a layer norm, an attention,
    or a grouped convolution that is not depthwise.
    """
    return tuple(group for group, _ in _traced(model, example_input)[1])


def shrink(model: nn.Module, mask: Mask, example_input: Tensor) -> nn.Module:
    """A smaller copy of the model without the channels that the mask removes, with equal logits.

    A channel goes where the mask removes all that read it; whatever it computes is then lost, its
    bias and batch norm with it. The other removed weights are zero in the copy. Raises AuditError
    where the mask was made for another architecture, or the copy's logits of the example differ by
    more than rounding.
    """
    # On the CPU: a GPU may round convolutions to fewer digits than the comparison needs.
    smaller, example = copy.deepcopy(model).cpu(), example_input.cpu()
    mask.apply(smaller)
    expected = _logits(smaller, example)
    graph, groups = _traced(smaller, example)
    for group, root in groups:
        idle = _unread(mask, group)
        if bool(idle.all()):
            idle[0] = False
        if bool(idle.any()):
            remove = graph.get_pruner_of_module(root).prune_out_channels
            graph.get_pruning_group(root, remove, torch.nonzero(idle).flatten().tolist()).prune()
    difference = float((_logits(smaller, example) - expected).abs().max())
    if not difference <= 1e-5 * max(1.0, float(expected.abs().max())):
        raise AuditError(
            f"the smaller network's logits differ by {difference:.3g} from the masked one's; "
            "expected the same: this architecture cannot be shrunk, keep the masked network"
        )
    return smaller.to(example_input.device)


def _logits(model: nn.Module, example_input: Tensor) -> Tensor:
    with evaluating(model), torch.no_grad():
        outputs: Tensor = model(example_input)
    return outputs


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


def _unread(mask: Mask, group: ChannelGroup) -> Tensor:
    """Which channels of a group nothing reads: bool [size]."""
    read = torch.zeros(group.size, dtype=torch.bool)
    for part in group.inputs:
        columns = mask.parts[part.layer].movedim(1, 0).flatten(1).any(1)
        read[part.channels[columns[part.positions]]] = True
    return ~read


def _traced(
    model: nn.Module, example_input: Tensor
) -> tuple[Any, list[tuple[ChannelGroup, nn.Module]]]:
    """The dependency graph, and every shrinkable group with the layer that it was found from."""
    # Imported here, because it imports timm where that is installed, which takes seconds.
    import torch_pruning

    with evaluating(model), torch.enable_grad():
        model.requires_grad_(True)
        graph = torch_pruning.DependencyGraph().build_dependency(
            model, (example_input,), verbose=False
        )
    layers = {model.get_submodule(n.rpartition(".")[0]): n for n in prunable_weights(model)}
    found = []
    for traced in list(graph.get_all_groups()):
        if _can_shrink(traced):
            group = _channel_group(graph, traced, layers)
            # What no layer reads are the logits.
            if group.inputs and group.size > 1:
                found.append((group, traced[0].dep.target.module))
    return graph, found


def _can_shrink(traced: Any) -> bool:
    """Whether every layer of the group can lose a channel without changing the others.

    A norm over channels (layer norm, group norm) cannot, nor an attention, whose heads must stay
    of one size, nor what the graph does not know.
    """
    from torch_pruning import ops

    shrinkable = (
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.Linear,
        nn.modules.batchnorm._BatchNorm,
        nn.PReLU,
        ops._ConcatOp,
        ops._SplitOp,
        ops._SliceOp,
        ops._ReshapeOp,
        ops._ElementWiseOp,
    )
    modules = [item.dep.target.module for item in traced]
    return all(isinstance(module, shrinkable) and not _mixes(module) for module in modules)


def _mixes(module: nn.Module) -> bool:
    groups = getattr(module, "groups", 1)
    return groups > 1 and not _depthwise(module)


def _depthwise(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.modules.conv._ConvNd)
        and module.groups == module.in_channels == module.out_channels
        and module.groups > 1
    )


def _channel_group(graph: Any, traced: Any, layers: dict[nn.Module, str]) -> ChannelGroup:
    outputs: list[Slices] = []
    inputs: list[Slices] = []
    for item in traced:
        module = item.dep.target.module
        if module not in layers:
            continue
        slices = Slices(layers[module], torch.tensor(item.idxs), torch.tensor(item.root_idxs))
        reads = graph.is_in_channel_pruning_fn(item.dep.handler) and not _depthwise(module)
        (inputs if reads else outputs).append(slices)
    return ChannelGroup(len(traced[0].idxs), tuple(outputs), tuple(inputs))
