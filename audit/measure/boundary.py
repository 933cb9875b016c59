"""Distance to the decision boundary in input space (M7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.measure.network import Batches, Inputs, class_logits, evaluating
from audit.measure.ranks import Shard


def input_distance(model: nn.Module, batches: Batches) -> Tensor:
    """min over k≠y of (z_y − z_k)/‖∇_x(z_y − z_k)‖₂ of every sample, float64 [n] (M7).

    The signed length, in units of the input, of the step that a linear model of the network needs
    to reach the boundary (the first step of DeepFool, Moosavi-Dezfooli et al. 2016). Positive: how
    far the nearest other class is. Negative, where the sample is misclassified: how far back it is
    to the boundary with the class that claims it most deeply. ±∞ where the difference is flat.

    In evaluation mode a sample's logits depend on that sample alone, so that C − 1 backward passes
    serve the whole batch. Raises AuditError where the logits have no gradient by the inputs, as
    codes that are looked up in a table have none.
    """
    shard, found = Shard(batches), []
    with evaluating(model):
        for inputs, labels in shard.pairs():
            _check_real(inputs)
            found.append(_batch_distance(model, inputs, labels))
    return shard.joined(found)


def _batch_distance(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    inputs = inputs.requires_grad_()
    # A copy, so that a first layer that works in place does not write on a leaf.
    logits = class_logits(model(inputs.clone()))
    count = logits.shape[1]
    own = logits.gather(1, labels[:, None])[:, 0]
    distances = []
    for step in range(1, count):
        gap = own - logits.gather(1, (labels[:, None] + step) % count)[:, 0]
        slope = _slope(gap, inputs, keep=step + 1 < count)
        distances.append(_ratio(gap.detach().double(), slope.double().flatten(1).norm(dim=1)))
    return torch.stack(distances, 1).amin(1).cpu()


def _ratio(gap: Tensor, norm: Tensor) -> Tensor:
    """Gap/norm; a flat difference never crosses the boundary: it is ±∞ far, on the gap's side."""
    return torch.where(norm > 0, gap / norm, torch.copysign(norm + torch.inf, gap))


def _slope(gap: Tensor, inputs: Tensor, keep: bool) -> Tensor:
    """∇_x of every sample's gap."""
    slope: Tensor | None = None
    if gap.requires_grad:
        (slope,) = torch.autograd.grad(gap.sum(), inputs, retain_graph=keep, allow_unused=True)
    if slope is None:
        raise AuditError(
            "the logits have no gradient by the inputs, as codes that are looked up in a table "
            "have none: there is no distance in input space"
        )
    return slope


def _check_real(inputs: Inputs) -> None:
    if not isinstance(inputs, Tensor):
        raise AuditError("found inputs of several parts; an input distance needs real numbers")
    if not inputs.is_floating_point():
        raise AuditError(
            f"found inputs of type {inputs.dtype}; an input distance needs real numbers"
        )


OVERSHOOT = 1.02
BISECTIONS = 24


@dataclass(frozen=True)
class DeepFool:
    """How far each sample is from the nearest change of its prediction, float64 [n] (M7).

    distance    in units of the input; negative where the prediction is wrong; ±∞ where none was
                found. The point at that distance lies on the boundary, so that it is an upper bound
                of the shortest way.
    converged   whether a change was found
    steps       linear steps taken, int64 [n]
    """

    distance: Tensor
    converged: Tensor
    steps: Tensor


def deepfool_distance(model: nn.Module, batches: Batches, max_steps: int = 50) -> DeepFool:
    """The iterated L2 distance of DeepFool (M7; Moosavi-Dezfooli et al. 2016).

    Linear steps to the nearest boundary of the class that is predicted, 2 % too far each, until the
    prediction changes; then a bisection back along the whole way. All samples of a batch step
    together, and those that have arrived rest. Raises AuditError where the logits have no gradient
    by the inputs.
    """
    shard, parts = Shard(batches), []
    with evaluating(model):
        for inputs, labels in shard.pairs():
            _check_real(inputs)
            parts.append(_batch_deepfool(model, inputs, labels, max_steps))
    return DeepFool(*(shard.joined(columns).cpu() for columns in zip(*parts, strict=True)))


def _batch_deepfool(
    model: nn.Module, inputs: Tensor, labels: Tensor, max_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    predicted = _predicted(model, inputs)
    way = torch.zeros_like(inputs)
    steps = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    active = torch.arange(len(inputs), device=inputs.device)
    for _ in range(max_steps):
        points = inputs[active] + OVERSHOOT * way[active]
        way[active] += _linear_step(model, points, predicted[active])
        steps[active] += 1
        reached = _predicted(model, inputs[active] + OVERSHOOT * way[active]) != predicted[active]
        active = active[~reached]
        if len(active) == 0:
            break
    converged = torch.ones(len(inputs), dtype=torch.bool, device=inputs.device)
    converged[active] = False
    share = _bisected(model, inputs, OVERSHOOT * way, predicted)
    distance = share * (OVERSHOOT * way).double().flatten(1).norm(dim=1)
    distance = torch.where(converged, distance, torch.inf)
    return torch.where(predicted == labels, distance, -distance), converged, steps


@torch.no_grad()
def _predicted(model: nn.Module, points: Tensor) -> Tensor:
    # A copy, since a first layer may work in place.
    return class_logits(model(points.clone())).argmax(1)


def _linear_step(model: nn.Module, points: Tensor, predicted: Tensor) -> Tensor:
    """The shortest step that a linear model of the network needs to leave the predicted class."""
    points = points.detach().requires_grad_()
    logits = class_logits(model(points.clone()))
    count = logits.shape[1]
    own = logits.gather(1, predicted[:, None])[:, 0]
    best = torch.full_like(own, torch.inf)
    step = torch.zeros_like(points)
    for other in range(1, count):
        gap = own - logits.gather(1, (predicted[:, None] + other) % count)[:, 0]
        slope = _slope(gap, points, keep=other + 1 < count)
        norm = slope.flatten(1).norm(dim=1)
        length = torch.where(norm > 0, gap.detach() / norm, torch.inf)
        nearer = length < best
        best = torch.where(nearer, length, best)
        shape = (-1,) + (1,) * (points.dim() - 1)
        move = -(length / norm.clamp(min=1e-30)).view(shape) * slope
        step = torch.where((nearer & (norm > 0)).view(shape), move, step)
    return step.detach()


def _bisected(model: nn.Module, inputs: Tensor, way: Tensor, predicted: Tensor) -> Tensor:
    """The smallest share of the way at which the prediction has changed, float64 [n]."""
    low = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
    high = torch.ones_like(low)
    shape = (-1,) + (1,) * (inputs.dim() - 1)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        changed = _predicted(model, inputs + middle.to(way.dtype).view(shape) * way) != predicted
        low, high = torch.where(changed, low, middle), torch.where(changed, middle, high)
    return high
