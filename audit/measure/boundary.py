"""Distance to the decision boundary in input space (M7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.measure.network import Batches, class_logits, evaluating, pairs


def input_distance(model: nn.Module, batches: Batches) -> Tensor:
    """min over k≠y of (z_y − z_k)/‖∇_x(z_y − z_k)‖₂ of every sample, float64 [n] (M7).

    The signed length, in units of the input, of the step that a linear model of the network needs
    to reach the boundary (the first step of DeepFool, Moosavi-Dezfooli et al. 2016). Positive: how
    far the nearest other class is. Negative, where the sample is misclassified: how far back it is
    to the boundary with the class that claims it most deeply. ±∞ where the difference is flat.

    In evaluation mode a sample's logits depend on that sample alone, so that C − 1 backward passes
    serve the whole batch. Raises AuditError where the inputs are not floating-point numbers.
    """
    found = []
    with evaluating(model):
        for inputs, labels in pairs(batches):
            if not inputs.is_floating_point():
                raise AuditError(
                    f"found inputs of type {inputs.dtype}; an input distance needs real numbers"
                )
            found.append(_batch_distance(model, inputs, labels))
    return torch.cat(found)


def _batch_distance(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    inputs = inputs.requires_grad_()
    # A copy, so that a first layer that works in place does not write on a leaf.
    logits = class_logits(model(inputs.clone()))
    count = logits.shape[1]
    own = logits.gather(1, labels[:, None])[:, 0]
    distances = []
    for step in range(1, count):
        gap = own - logits.gather(1, (labels[:, None] + step) % count)[:, 0]
        (slope,) = torch.autograd.grad(gap.sum(), inputs, retain_graph=step + 1 < count)
        distances.append(_ratio(gap.detach().double(), slope.double().flatten(1).norm(dim=1)))
    return torch.stack(distances, 1).amin(1).cpu()


def _ratio(gap: Tensor, norm: Tensor) -> Tensor:
    """Gap/norm; a flat difference never crosses the boundary: it is ±∞ far, on the gap's side."""
    return torch.where(norm > 0, gap / norm, torch.copysign(norm + torch.inf, gap))
