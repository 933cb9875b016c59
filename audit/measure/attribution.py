"""Which layer's pruning hurt which group, and whether by slope or by curvature (M9)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from audit.errors import AuditError
from audit.measure.curvature import layers, samples_along
from audit.measure.hessian import Hessian, flatten
from audit.measure.network import (
    Batches,
    Parameters,
    called_with,
    class_logits,
    evaluating,
    trainable,
)
from audit.measure.ranks import Shard


@dataclass(frozen=True)
class Attribution:
    """R(a) = slope + curvature + buffers + remainder, the first two layer by layer (M9), in nats.

    layers              the modules that own parameters, in the network's order [L]
    slope, curvature    g_lᵀδ_l and ½ δ_lᵀ(Hδ)_l of every layer, float64 [L]
    excess_risk         R(a) = J(θ̄) − J(θ*)
    buffers             what the pruned network's running statistics add, at its own weights
    remainder           what is left: the terms of third order and beyond
    gradient_norm       ‖g_a‖ of the dense network
    distance            ‖δ‖
    slope_samples       g_iᵀδ of every sample, float64 [n]: their mean is the total slope
    curvature_samples   ½ δᵀH_iδ of every sample, float64 [n]
    """

    layers: tuple[str, ...]
    slope: Tensor
    curvature: Tensor
    excess_risk: float
    buffers: float
    remainder: float
    gradient_norm: float
    distance: float
    n: int
    slope_samples: Tensor
    curvature_samples: Tensor

    @property
    def total_slope(self) -> float:
        """gᵀδ."""
        return float(self.slope.sum())

    @property
    def total_curvature(self) -> float:
        """½ δᵀHδ."""
        return float(self.curvature.sum())


def taylor_terms(
    gradient: Tensor, applied: Tensor, delta: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor]:
    """g_lᵀδ_l and ½ δ_lᵀ(Hδ)_l of consecutive blocks of the coordinates (M9).

    gradient, applied = Hδ and delta are flat [P]; `sizes` are the blocks' lengths. Both results
    are [L] and add up to gᵀδ and ½ δᵀHδ exactly, for cross terms are shared by halves.

    >>> one = torch.tensor([1.0, 2.0])
    >>> slope, curvature = taylor_terms(one, torch.tensor([4.0, 0.0]), one, [1, 1])
    >>> slope.tolist(), curvature.tolist()
    ([1.0, 4.0], [2.0, 0.0])
    """
    blocks = zip(gradient.split(sizes), applied.split(sizes), delta.split(sizes), strict=True)
    found = torch.stack([torch.stack([g @ d, 0.5 * (d @ h)]) for g, h, d in blocks])
    return found[:, 0], found[:, 1]


def taylor_attribution(dense: nn.Module, pruned: nn.Module, batches: Batches) -> Attribution:
    """Excess risk as slope and curvature of every layer, at the dense network's weights (M9).

    δ = θ̄ − θ* over the dense network's trainable parameters; one Hessian product. `buffers`, the
    change of loss by batch norm's running statistics alone, is J(θ̄, pruned buffers) − J(θ̄, dense
    buffers): fine-tuning moves them, and they have no part in a Taylor series in θ.

    Raises AuditError where the networks differ in their parameters, and as `Hessian` does.
    """
    at = trainable(dense)
    delta = _difference(at, dict(pruned.named_parameters()))
    hessian = Hessian(dense, batches)
    way = flatten(delta)
    applied, gradient, count = hessian(way), flatten(hessian.gradient), hessian.count
    del hessian  # and the graphs that it keeps
    owners = layers(at)
    sizes = [sum(at[name].numel() for name in names) for names in owners.values()]
    slope, curvature = taylor_terms(gradient, applied, way, sizes)
    weights, buffers = dict(pruned.named_parameters()), dict(pruned.named_buffers())
    before = _mean_loss(dense, batches, {}, {})
    moved = after = _mean_loss(dense, batches, weights, buffers)
    own = {name: value for name, value in dense.named_buffers() if name in buffers}
    if any(not torch.equal(value, buffers[name]) for name, value in own.items()):
        moved = _mean_loss(dense, batches, weights, {})
    explained = float(slope.sum() + curvature.sum())
    return Attribution(
        tuple(owners),
        slope,
        curvature,
        after - before,
        after - moved,
        moved - before - explained,
        float(gradient.norm()),
        float(way.norm()),
        count,
        *_samples(dense, batches, delta, float(way @ applied)),
    )


def _samples(
    dense: nn.Module, batches: Batches, delta: Parameters, curvature: float
) -> tuple[Tensor, Tensor]:
    """Each sample's slope and half curvature along δ."""
    slopes, curvatures = samples_along(dense, batches, delta, curvature)
    return slopes, 0.5 * curvatures


def _difference(at: Parameters, pruned: dict[str, nn.Parameter]) -> Parameters:
    for name, value in at.items():
        if name not in pruned or pruned[name].shape != value.shape:
            has = tuple(pruned[name].shape) if name in pruned else "no such parameter"
            raise AuditError(
                f"the pruned network has {has} for '{name}', the dense one {tuple(value.shape)}; "
                "expected two networks of one architecture"
            )
    return {name: pruned[name].detach() - value for name, value in at.items()}


@torch.no_grad()
def _mean_loss(
    model: nn.Module,
    batches: Batches,
    parameters: dict[str, nn.Parameter],
    buffers: dict[str, Tensor],
) -> float:
    """The mean loss over samples with these parameters and buffers in place of the model's."""
    shard = Shard(batches)
    total, count = torch.zeros((), dtype=torch.float64), 0
    with evaluating(model):
        for inputs, labels in shard.pairs():
            logits = class_logits(called_with(model, parameters | buffers, inputs)).double()
            total += functional.cross_entropy(logits, labels, reduction="sum").cpu()
            count += len(labels)
    return float(shard.summed(total)) / shard.total(count)


def one_shot(dense: nn.Module, pruned: nn.Module) -> bool:
    """Whether the pruned network is the dense one with weights set to zero and nothing else moved.

    Theorem 1 of Tran et al. holds for such networks alone (M8): read off the tensors.
    """
    before, after = dense.state_dict(), pruned.state_dict()
    # Of stored predictions and programs nothing is read off.
    return (
        bool(before)
        and before.keys() == after.keys()
        and all(
            after[name].shape == value.shape
            and bool(((after[name] == value) | (after[name] == 0)).all())
            for name, value in before.items()
        )
    )


@dataclass(frozen=True)
class LossBound:
    """B(a) = ‖g_a‖·‖δ‖ + ½ λ_max(H_a)·‖δ‖² (M8; Tran et al. 2022, theorem 1), in nats.

    slack     B(a) − R(a): how much the bound leaves
    applies   whether the network was pruned in one shot; else the theorem is silent
    """

    value: float
    slope: float
    curvature: float
    slack: float
    applies: bool


def loss_bound(largest: float, attribution: Attribution, applies: bool) -> LossBound:
    """The bound on excess risk from the dense network's gradient and largest eigenvalue (M8).

    `largest` is λ_max in all coordinates with its error added: the safe side; infinite where
    nothing is known of it, and so is the bound. It holds up to the third order in ‖δ‖, which the
    remainder of the attribution measures.
    """
    slope = attribution.gradient_norm * attribution.distance
    curvature = 0.5 * largest * attribution.distance**2
    value = slope + curvature
    return LossBound(value, slope, curvature, value - attribution.excess_risk, applies)
