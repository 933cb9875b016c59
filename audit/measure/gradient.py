"""Gradients of a group's mean loss (M5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.measure.hessian import second_order
from audit.measure.layout import in_layout
from audit.measure.network import (
    Batches,
    Parameters,
    differentiating,
    directional_derivative,
    inner,
    normalised,
    sample_losses,
    scaled,
    trainable,
)
from audit.measure.ranks import Shard

CUT_OFF = "its outputs are cut off from its parameters, as by no_grad, detach or NumPy in forward"
"""Why a network has no gradient."""


@dataclass(frozen=True)
class GradientNorm:
    """‖g_a‖ (M5), and g_iᵀg_a/‖g_a‖ of every sample: their mean is the norm itself.

    A bootstrap of that mean gives the norm's interval to first order (the delta method). The mean
    is the norm to the precision of the model's type; samples is float64 [n].
    """

    value: float
    n: int
    samples: Tensor


def mean_gradient(
    model: nn.Module, batches: Batches, mask: Mapping[str, Tensor] | None = None
) -> Parameters:
    """∇_θ J, the gradient of the mean loss over all samples, by parameter name (M5).

    mask   True where a weight survives: the slope by removed weights counts as zero

    A mean over samples, whatever the batches. The parameters' own `.grad` is left alone. Raises
    AuditError where there are no samples, or the gradient is not finite.
    """
    parameters = {
        name: in_layout(value.clone(), torch.contiguous_format).requires_grad_()
        for name, value in trainable(model).items()
    }
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    shard, count = Shard(batches), 0
    with differentiating(model):
        for inputs, labels in shard.pairs():
            loss = sample_losses(model, inputs, labels)(parameters).sum()
            parts = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for name, part in zip(parameters, parts, strict=True):
                if part is not None:
                    total[name] += part
            count += len(labels)
    shard.all_summed(total)
    count = shard.total(count)
    if not all(torch.isfinite(part).all() for part in total.values()):
        raise AuditError("the gradient is not finite: were the weights trained without diverging?")
    for name, part in (mask or {}).items():
        if name in total:
            total[name] *= part.to(total[name].device)
    return scaled(total, 1.0 / count)


def gradient_norm(
    model: nn.Module, batches: Batches, gradient: Parameters | None = None
) -> GradientNorm:
    """The norm of the mean gradient over all trainable parameters (M5; Tran et al. 2022).

    `gradient` is the mean gradient where it is known already; that of a pruned network is confined
    to its surviving weights (`mean_gradient`), for a removed channel has a batch norm of variance
    near zero, and the slope by its weights is thousands of times the rest.
    """
    gradient = mean_gradient(model, batches) if gradient is None else gradient
    samples = directional_derivatives(model, batches, normalised(gradient))
    return GradientNorm(float(inner(gradient, gradient).sqrt()), len(samples), samples)


def directional_derivatives(model: nn.Module, batches: Batches, direction: Parameters) -> Tensor:
    """g_iᵀv of every sample, float64 [n], by forward mode: no gradient of a sample is stored."""
    parameters = trainable(model)
    shard, found = Shard(batches), []
    with second_order(model, batches) as layout, torch.no_grad():
        for inputs, labels in shard.pairs():
            losses = sample_losses(model, in_layout(inputs, layout), labels)
            slopes = directional_derivative(losses, parameters, direction)
            found.append(slopes.double().cpu())
    return shard.joined(found)
