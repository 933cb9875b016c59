"""Distance to the decision boundary in input space (M7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.measure.network import Batches, class_logits, evaluating


def input_distance(model: nn.Module, batches: Batches) -> Tensor:
    """min over k≠y of (z_y − z_k)/‖∇_x(z_y − z_k)‖₂ of every sample, float64 [n] (M7).

    The signed length, in units of the input, of the step that a linear model of the network needs
    to reach the boundary (the first step of DeepFool, Moosavi-Dezfooli et al. 2016); negative where
    the sample is misclassified. In evaluation mode a sample's logits depend on that sample alone,
    so one backward pass a class serves the whole batch.
    """
    found = []
    with evaluating(model):
        for inputs, labels in batches:
            found.append(_batch_distance(model, inputs, labels))
    return torch.cat(found)


def _batch_distance(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    inputs = inputs.detach().clone().requires_grad_()
    logits = class_logits(model(inputs))
    gaps = logits.gather(1, labels[:, None]) - logits
    distances = torch.full(gaps.shape, torch.inf, dtype=torch.float64)
    for other in range(gaps.shape[1]):
        (slope,) = torch.autograd.grad(gaps[:, other].sum(), inputs, retain_graph=True)
        norm = slope.flatten(1).norm(dim=1).double().cpu()
        gap = gaps[:, other].detach().double().cpu()
        # A flat difference never crosses the boundary: infinitely far on the side where it is.
        distances[:, other] = torch.where(
            norm > 0, gap / norm, torch.copysign(norm + torch.inf, gap)
        )
    distances.scatter_(1, labels[:, None].cpu(), torch.inf)
    return distances.amin(1)
