"""Which channels of a network can only be removed together, and the network without them."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from audit.errors import AuditError
from audit.measure.network import Inputs, evaluating, fed
from audit.prune.mask import Mask, prunable_layers, prunable_weights
from audit.prune.projection import ChannelGroup, Slices


def channel_groups(model: nn.Module, example_input: Inputs) -> tuple[ChannelGroup, ...]:
    """The channels that can be removed only together (DepGraph; Fang et al., CVPR 2023).

    example_input   one batch [1 or more, ...], to trace the network with

    Found by torch-pruning's dependency graph. Channels stay whole, and are in no group, where they
    are the network's output, pass through a layer that mixes them (a layer norm, an attention, or a
    grouped convolution that is not depthwise), or through one that shares its weight with another
    or is called twice in a pass.
    """
    return tuple(group for group, _ in _traced(model, example_input)[1])


def shrink(model: nn.Module, mask: Mask, example_input: Inputs) -> nn.Module:
    """A smaller copy of the model without the channels that the mask removes, with equal logits.

    A channel goes where the mask removes all that read it; whatever it computes is then lost, its
    bias and batch norm with it. The other removed weights are zero in the copy. Raises AuditError
    where the mask was made for another architecture, or the copy's logits of the example differ by
    more than rounding.
    """
    # On the CPU: a GPU may round convolutions to fewer digits than the comparison needs.
    smaller, example = copy.deepcopy(model).cpu(), tree_map_only(Tensor, Tensor.cpu, example_input)
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
    return smaller.to(next(model.parameters()).device)


def _logits(model: nn.Module, example_input: Inputs) -> Tensor:
    with evaluating(model), torch.no_grad():
        outputs: Tensor = fed(model, example_input)
    return outputs


def _unread(mask: Mask, group: ChannelGroup) -> Tensor:
    """Which channels of a group nothing reads: bool [size]."""
    read = torch.zeros(group.size, dtype=torch.bool)
    for part in group.inputs:
        columns = mask.parts[part.layer].movedim(1, 0).flatten(1).any(1)
        read[part.channels[columns[part.positions]]] = True
    return ~read


def _traced(
    model: nn.Module, example_input: Inputs
) -> tuple[Any, list[tuple[ChannelGroup, nn.Module]]]:
    """The dependency graph, and every shrinkable group with the layer that it was found from."""
    # Imported here, because it imports timm where that is installed, which takes seconds.
    import torch_pruning

    with evaluating(model), torch.enable_grad():
        model.requires_grad_(True)
        graph = torch_pruning.DependencyGraph().build_dependency(
            model, (example_input,), forward_fn=_all_outputs, verbose=False
        )
    names = {id(weight): name for name, weight in prunable_weights(model).items()}
    layers: dict[nn.Module, str] = {
        module: names[id(module.weight)] for module in prunable_layers(model).values()
    }
    shared = _sharing(model) | _repeated(model, example_input)
    found = []
    for traced in list(graph.get_all_groups()):
        if _can_shrink(traced) and not any(item.dep.target.module in shared for item in traced):
            group = _channel_group(graph, traced, layers)
            # What no layer reads are the logits.
            if group.inputs and group.size > 1:
                found.append((group, traced[0].dep.target.module))
    return graph, found


def _all_outputs(model: nn.Module, inputs: tuple[Inputs, ...]) -> list[Tensor]:
    """All that the network's own code gives, and not its logits alone.

    A further head reads channels too, and could not do without one that goes.
    """
    given: list[Any] = []
    hook = model.register_forward_hook(lambda _, __, outputs: given.append(outputs), prepend=True)
    try:
        logits = fed(model, *inputs)
    finally:
        hook.remove()
    own = [one for one in tree_leaves(given) if isinstance(one, Tensor) and one.requires_grad]
    return own or [logits]


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


def _sharing(model: nn.Module) -> set[nn.Module]:
    """The modules that share a parameter with another one."""
    owned = [(m, id(p)) for m in model.modules() for p in m._parameters.values() if p is not None]
    owners = Counter(parameter for _, parameter in owned)
    return {module for module, parameter in owned if owners[parameter] > 1}


def _repeated(model: nn.Module, example_input: Inputs) -> set[nn.Module]:
    """The prunable layers that a pass calls more than once."""
    calls: Counter[nn.Module] = Counter()
    hooks = [
        module.register_forward_hook(lambda one, _, __: calls.update([one]))
        for module in prunable_layers(model).values()
    ]
    try:
        _logits(model, example_input)
    finally:
        for hook in hooks:
            hook.remove()
    return {module for module, times in calls.items() if times > 1}


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
