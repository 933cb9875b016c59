"""Scores by derivatives: SNIP, GraSP, SynFlow. Here they prune a network that has been trained."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.measure.gradient import mean_gradient
from audit.measure.hessian import Hessian, flatten, unflatten
from audit.measure.network import Batches, Parameters, evaluating, trainable
from audit.prune.mask import Mask, check_rate, keep_largest, prunable_weights

SYNFLOW_ROUNDS = 100


def snip_mask(model: nn.Module, batches: Batches, rate: float) -> Mask:
    """Keep the weights with the largest |g⊙θ| over all layers, g = ∇J (M §3; Lee et al. 2019).

    To first order, that is how much the mean loss over the samples changes when a weight goes.
    """
    gradient = of_weights(model, mean_gradient(model, batches))
    weights = prunable_weights(model)
    return keep_largest({n: (g * weights[n].detach()).abs() for n, g in gradient.items()}, rate)


def grasp_mask(model: nn.Module, batches: Batches, rate: float) -> Mask:
    """Keep the weights with the largest θ⊙Hg over all layers (M §3; Wang et al. 2020).

    To first order the gradient flow ‖g‖² changes by −2 θ_i (Hg)_i when weight i goes: first those
    go whose loss raises it most, then those that lower it least. g and H are those of the mean loss
    over all trainable parameters.
    """
    return keep_largest(grasp_scores(model, batches), rate)


def grasp_scores(model: nn.Module, batches: Batches) -> Parameters:
    """θ⊙Hg of every prunable weight, by name."""
    hessian = Hessian(model, batches)
    product = hessian(flatten(hessian.gradient))
    curved = of_weights(model, unflatten(product, trainable(model)))
    weights = prunable_weights(model)
    return {name: weights[name].detach() * part for name, part in curved.items()}


def of_weights(model: nn.Module, parameters: Parameters) -> Parameters:
    """The entries of the prunable weights among those of all trainable parameters.

    Raises AuditError where a prunable weight is frozen, and so not among them.
    """
    names = prunable_weights(model)
    for name in names:
        if name not in parameters:
            raise AuditError(
                f"'{name}' is frozen: it has no gradient to score it by; prune by magnitude "
                "instead, or unfreeze it before the checkpoint is made"
            )
    return {name: parameters[name] for name in names}


def synflow_mask(
    model: nn.Module, input_shape: tuple[int, ...], rate: float, rounds: int = SYNFLOW_ROUNDS
) -> Mask:
    """Keep the weights with the largest synaptic flow over all layers (M §3; Tanaka et al. 2020).

    The flow of a weight is |θ|·∂R/∂|θ|, where R is the sum of the logits that the network of
    absolute weights gives an image of ones. Batch norms and biases are left out of it, so that the
    flow into a layer equals the flow out of it. Scored and pruned in `rounds` rounds, the share
    that is kept falling exponentially, (1 − rate)^(k/rounds), which is what keeps layers from
    collapsing. No data is read.
    """
    check_rate(rate)
    positive = positive_copy(model)
    example = torch.ones(1, *input_shape, dtype=torch.float64)
    for k in range(1, rounds + 1):
        mask = keep_largest(flows(positive, example), 1.0 - (1.0 - rate) ** (k / rounds))
        mask.apply(positive)
    return mask


def positive_copy(model: nn.Module) -> nn.Module:
    """The network of absolute weights in float64, without biases and batch norms, on the CPU.

    float64, because flows multiply over the layers of a deep network.
    """
    positive = copy.deepcopy(model).cpu().double().eval()
    batch_norms = [
        name
        for name, module in positive.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    for name in batch_norms:
        positive.set_submodule(name, nn.Identity())
    with torch.no_grad():
        for name, parameter in positive.named_parameters():
            parameter.requires_grad_(True)
            parameter.zero_() if name.rpartition(".")[2] == "bias" else parameter.abs_()
    return positive


def flows(positive: nn.Module, example: Tensor) -> Parameters:
    """|θ|·∂R/∂|θ| of every prunable weight of a positive network, by name."""
    weights = prunable_weights(positive)
    with evaluating(positive), torch.enable_grad():
        total = positive(example).sum()
        found = torch.autograd.grad(total, list(weights.values()), materialize_grads=True)
    return {name: (w * g).detach() for (name, w), g in zip(weights.items(), found, strict=True)}
