"""The Hessian of a group's mean loss as an operator on flat vectors (M6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from audit.errors import AuditError
from audit.measure.folding import folded
from audit.measure.layout import in_layout
from audit.measure.network import (
    Batches,
    Parameters,
    chosen,
    differentiating,
    explaining,
    pairs,
    sample_losses,
    trainable,
)
from audit.measure.ranks import Shard
from audit.measure.written_out import replaced, twice_forward_differentiable

KEPT_BYTES = 2**31
"""Memory for the graphs of gradients that are kept from one product to the next."""


class Hessian:
    """v ↦ H v for the mean loss over all samples, on flat vectors [k] (M6).

    Vectors hold the coordinates of the space alone: all P trainable ones, or with a mask the k that
    survive, so that what a search keeps of a pruned network is as small as that network.

    Reverse over reverse, a batch at a time. The graphs of the first batches' gradients are kept, as
    far as `kept_bytes` go, which saves a third of every further product; the other batches are gone
    through anew, so that memory grows with the batch and not with the data. Forward over reverse
    took as long on convolutions, twice as long on tables, and fails where a layer has no forward
    rule.

    The network's weights are read where they lie, and must stay as they are meanwhile.

    gradient   the mean gradient over all trainable parameters, from the same pass; who has read it
               and needs the memory may clear it
    survivors  whether a coordinate is in the space, and not removed by the mask, bool [P]
    dimension  how many are, k
    count      the number of samples
    products   how often the operator has been applied
    space      support where there is a mask, ambient where there is none
    dtype      the type that products are computed in

    Raises AuditError where the mask does not fit, there are no samples, a derivative is not finite,
    or PyTorch's second derivative is missing or known to be wrong.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        mask: Mapping[str, Tensor] | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        _refuse_weight_norm(model)
        self._model, self._batches, self._mask = model, batches, mask
        self._shard = Shard(batches)
        self.survivors = survivors(model, mask)
        self.dimension = int(self.survivors.sum())
        # Not copies: of a network of 10⁸ weights each vector of that size counts.
        self._parameters = trainable(model)
        self._kept: list[_Slope] = []
        self.products = 0
        self.space = "ambient" if mask is None else "support"
        self.dtype = next(iter(self._parameters.values())).dtype
        self.gradient, self.count = self._build(kept_bytes)

    def _build(self, room: float) -> tuple[Parameters, int]:
        """Go through all batches once, for the gradient and the graphs that there is room for."""
        total = {name: torch.zeros_like(value) for name, value in self._parameters.items()}
        count, self._number, sample_bytes = 0, 0, 0.0
        for slope, size in self._slopes(total):
            sample_bytes = sample_bytes or size / slope.count
            room -= sample_bytes * slope.count
            if room >= 0:
                self._kept.append(slope)
            self._number += 1
            count += slope.count
        self._shard.all_summed(total)
        count = self._shard.total(count)
        if not all(torch.isfinite(part).all() for part in total.values()):
            raise AuditError(
                "the gradient is not finite: were the weights trained without diverging?"
            )
        for part in total.values():
            part.div_(count)
        return total, count

    def __call__(self, vector: Tensor) -> Tensor:
        """H v of a vector [k], in its type."""
        return self.add(vector, torch.zeros_like(vector))

    def add(self, vector: Tensor, into: Tensor) -> Tensor:
        """`into` + H v, in place; both [k]."""
        self.products += 1
        whole = self.dimension == len(self.survivors)
        if not whole:
            total = vector.new_zeros(len(self.survivors))
        else:
            # The sum goes into `into` itself, so that one vector less is held.
            total = into.mul_(self.count) if self._shard.first else into.zero_()
        direction = unflatten(self.everywhere(vector), self._parameters)
        with explaining():
            for slope in self._kept:
                slope.add_derivative(direction, total, keep=True)
            if len(self._kept) < self._number:
                for slope, _ in self._slopes(skip=len(self._kept)):
                    slope.add_derivative(direction, total, keep=False)
        self._shard.summed(total)
        if not torch.isfinite(total).all():
            raise AuditError("a Hessian product is not finite: did the training diverge?")
        total.div_(self.count)
        return total if whole else into.add_(self.within(total))

    def within(self, vector: Tensor) -> Tensor:
        """The coordinates of the space [k] of a vector [P]."""
        return vector if self.dimension == len(vector) else vector[self.survivors]

    def everywhere(self, vector: Tensor) -> Tensor:
        """A vector of the space [k] as one of all trainable coordinates [P], the others zero."""
        if self.dimension == len(self.survivors):
            return vector
        return vector.new_zeros(len(self.survivors)).masked_scatter_(self.survivors, vector)

    def of(self, positions: Tensor) -> Hessian:
        """The Hessian of the samples at these positions, ascending, alone."""
        return Hessian(self._model, chosen(self._batches, positions), self._mask)

    def _slopes(
        self, total: Parameters | None = None, skip: int = 0
    ) -> Iterator[tuple[_Slope, int]]:
        """The graph of each batch's gradient, and the bytes that the first one has taken."""
        with second_order(self._model, self._batches, reverse=True) as layout:
            leaves = {n: in_layout(p, layout).requires_grad_() for n, p in self._parameters.items()}
            for position, (inputs, labels) in enumerate(self._shard.pairs()):
                if position < skip:
                    continue
                memory = _Memory()
                with memory if position == 0 else nullcontext():
                    losses = sample_losses(self._model, in_layout(inputs, layout), labels)
                    slope = _slope(losses, leaves, len(labels), total)
                yield slope, memory.bytes


@dataclass(frozen=True)
class _Slope:
    """The graph that leads from the leaves to a batch's summed gradient, without the gradient.

    edges   where the graph gives each leaf's part; None where it does not depend on any leaf
    """

    leaves: Parameters
    edges: tuple[GradientEdge | None, ...]
    count: int

    def add_derivative(self, direction: Parameters, total: Tensor, keep: bool) -> None:
        """Add its derivative in that direction to a flat vector; the graph is freed or kept."""
        pairs = zip(self.edges, direction.values(), strict=True)
        parts = [(edge, along) for edge, along in pairs if edge is not None]
        if not parts:
            return
        edges, along = zip(*parts, strict=True)
        leaves = list(self.leaves.values())
        with _moved_into(total, leaves):
            torch.autograd.grad(edges, leaves, along, retain_graph=keep, allow_unused=True)


def _slope(
    losses: Callable[[Parameters], Tensor],
    leaves: Parameters,
    count: int,
    total: Parameters | None,
) -> _Slope:
    """The graph of a batch's gradient; the gradient itself is added to `total`, and given up."""
    gradient = torch.autograd.grad(
        losses(leaves).sum(), list(leaves.values()), create_graph=True, materialize_grads=True
    )
    if total is not None:
        for own, part in zip(total.values(), gradient, strict=True):
            own += part.detach()
    return _Slope(leaves, tuple(map(_edge, gradient)), count)


def _edge(part: Tensor) -> GradientEdge | None:
    """Where a graph gives this part of a gradient; its numbers need not be kept for it."""
    # By way of a view: before torch 2.8 a function of our own does not outlive what it gave.
    return get_gradient_edge(part.view_as(part)) if part.requires_grad else None


@contextmanager
def _moved_into(total: Tensor, leaves: Sequence[Tensor]) -> Iterator[None]:
    """Leaves' gradients are added to a flat vector one by one as they come, and given up.

    What `torch.autograd.grad` then gathers of them are zeros that take no memory. (`backward` takes
    no edges before torch 2.7.)
    """

    def moved(part: Tensor, piece: Tensor) -> Tensor:
        piece += part.flatten().to(piece.device)
        return part.new_zeros(()).expand_as(part)

    pieces = total.split([leaf.numel() for leaf in leaves])
    hooks = [
        leaf.register_hook(partial(moved, piece=piece))
        for leaf, piece in zip(leaves, pieces, strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Memory(TorchDispatchMode):
    """Counts the bytes of the tensors that are made: a rough bound of what a graph holds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sizes: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        return sum(self._sizes.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._sizes[storage.data_ptr()] = storage.nbytes()
        return found


@contextmanager
def second_order(
    model: nn.Module, batches: Batches, reverse: bool = False
) -> Iterator[torch.memory_format]:
    """`differentiating`, with batch norms folded; yields the layout that tensors are best in."""
    with differentiating(model):
        inputs, _ = next(pairs(batches))
        forwards = {} if reverse else twice_forward_differentiable(model)
        with replaced(forwards), folded(model, inputs, reverse) as layout:
            yield layout


def _refuse_weight_norm(model: nn.Module) -> None:
    hooks = [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]
    if any(
        type(part).__name__ in ("_WeightNorm", "WeightNorm") for part in [*model.modules(), *hooks]
    ):
        raise AuditError(
            "the network uses weight_norm, whose second derivative is wrong in PyTorch; bake the "
            "weights in (torch.nn.utils.parametrize.remove_parametrizations, or "
            "torch.nn.utils.remove_weight_norm) or measure it without curvature"
        )


def survivors(model: nn.Module, mask: Mapping[str, Tensor] | None) -> Tensor:
    """Whether a trainable coordinate is in the space, and not removed; bool [P].

    Raises AuditError where the mask names no parameter of the network, or has another shape, or
    leaves no coordinate.
    """
    mask, weights = mask or {}, dict(model.named_parameters())
    for name, part in mask.items():
        if name not in weights or weights[name].shape != part.shape:
            has = tuple(weights[name].shape) if name in weights else "no such parameter"
            raise AuditError(
                f"found a mask of shape {tuple(part.shape)} for '{name}'; the network has {has}"
            )
    found = torch.cat(
        [
            mask.get(name, torch.ones_like(value)).bool().flatten().cpu()
            for name, value in trainable(model).items()
        ]
    )
    if not found.any():
        raise AuditError(
            "the mask removes every trainable weight; no coordinate is left to measure"
        )
    return found


def flatten(parameters: Mapping[Any, Tensor], dtype: torch.dtype = torch.float64) -> Tensor:
    """Parameters as one vector [P] of that type, on the CPU."""
    return torch.cat([value.to(dtype).flatten().cpu() for value in parameters.values()])


def unflatten(vector: Tensor, like: Parameters) -> Parameters:
    """A flat vector cut into the shapes, types and devices of the parameters."""
    pieces = vector.split([value.numel() for value in like.values()])
    return {
        name: piece.view_as(value).to(value.dtype).to(value.device)
        for (name, value), piece in zip(like.items(), pieces, strict=True)
    }
