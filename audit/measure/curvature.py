"""Both ends of the Hessian's spectrum of a group's mean loss (M6), by Lanczos with residuals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from audit.errors import AuditError
from audit.measure.gradient import mean_gradient
from audit.measure.network import (
    Batches,
    Parameters,
    class_logits,
    differentiating,
    directional_derivative,
    inner,
    pairs,
    sample_losses,
    trainable,
)

PROBES = 4
"""Per-sample curvatures that are computed a second, safer way."""

NUMBERS_AT_ONCE = 2**26


@dataclass(frozen=True)
class CurvatureSettings:
    """When Lanczos stops.

    tolerance      an end has converged when its residual ‖Hv − λv‖ is at most so much of the
                   larger |λ| of the two ends
    max_products   Hessian products for the Krylov space of both ends; each end costs one more,
                   which certifies it
    extra          further products granted to the smallest eigenvalue after the largest has
                   converged; it lies in the crowded end of the spectrum and often needs many more
    seed           of the random part of the start
    """

    tolerance: float = 1e-3
    max_products: int = 60
    extra: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Eigenvalue:
    """An eigenvalue of H_a with what qualifies it (M6).

    value      vᵀHv of the unit vector v that was found
    residual   ‖Hv − λv‖, from a product at v itself: some eigenvalue lies within it of `value`
    products   Hessian products that were spent: those of the Krylov space, which both ends share,
               and the one that certifies this end
    space      support (the surviving weights) or ambient (all coordinates)
    samples    vᵀH_i v of every sample, float64 [n]: their mean is `value`, so that a bootstrap of
               the mean gives its interval to first order
    """

    value: float
    residual: float
    products: int
    converged: bool
    space: str
    n: int
    samples: Tensor


@dataclass(frozen=True)
class RitzPair:
    """An eigenvalue by Lanczos, its unit vector, and the estimate β|s_k| of its residual."""

    value: float
    vector: Tensor
    residual: float


def hessian_product(
    model: nn.Module, batches: Batches, mask: Mapping[str, Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    """v ↦ H v for the mean loss over all samples, on flat float64 vectors [P].

    With a mask, v and H v are confined to the surviving weights. Reverse over reverse, a batch at
    a time: memory grows with the batch and not with the data. Forward over reverse took as long on
    convolutions, twice as long on tables, and fails where a layer has no forward rule.

    Raises AuditError where the mask does not fit, or PyTorch's second derivative is missing or
    known to be wrong.
    """
    _refuse_weight_norm(model)
    parameters = {name: value.clone().requires_grad_() for name, value in trainable(model).items()}
    keep = survivors(model, mask)

    def product(vector: Tensor) -> Tensor:
        direction = unflatten(vector * keep, parameters)
        total, count = torch.zeros_like(vector), 0
        with differentiating(model):
            for inputs, labels in pairs(batches):
                losses = sample_losses(model, inputs, labels)
                total += flatten(_summed_product(losses, parameters, direction))
                count += len(labels)
        return total / count * keep

    return product


def _summed_product(
    losses: Callable[[Parameters], Tensor], parameters: Parameters, direction: Parameters
) -> Parameters:
    leaves = list(parameters.values())
    gradient = torch.autograd.grad(
        losses(parameters).sum(), leaves, create_graph=True, materialize_grads=True
    )
    along = [(g * v).sum() for g, v in zip(gradient, direction.values(), strict=True)]
    second = torch.autograd.grad(torch.stack(along).sum(), leaves, materialize_grads=True)
    return dict(zip(parameters, second, strict=True))


def hessian_extremes(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    settings: CurvatureSettings | None = None,
    gradient: Parameters | None = None,
) -> tuple[Eigenvalue, Eigenvalue]:
    """The algebraically largest and smallest eigenvalue of H_a (M6; Tran et al. 2022).

    mask       the surviving weights, for the space 'support'; None for 'ambient'
    gradient   the group's mean gradient where it is known already: Lanczos starts from it, since
               it lies close to the leading eigenvectors

    Unlike power iteration, this does not mistake a large negative eigenvalue for the largest one.
    Raises AuditError as `hessian_product` does, and where a number is not finite.
    """
    settings = settings or CurvatureSettings()
    product = hessian_product(model, batches, mask)
    gradient = mean_gradient(model, batches) if gradient is None else gradient
    start = _start(flatten(gradient), survivors(model, mask), settings.seed)
    *ends, spent = lanczos_extremes(product, start, settings)
    limit = settings.tolerance * max(abs(end.value) for end in ends)
    space = "ambient" if mask is None else "support"
    largest, smallest = (
        _certified(model, batches, product, end.vector, spent, limit, space) for end in ends
    )
    return largest, smallest


def _start(gradient: Tensor, keep: Tensor, seed: int) -> Tensor:
    """The gradient's direction and a small random part: no eigenvector may be orthogonal to it."""
    if not keep.any():
        raise AuditError(
            "the mask removes every trainable weight; no coordinate is left to measure"
        )
    generator = torch.Generator().manual_seed(seed)
    noise = keep * torch.randn(len(keep), dtype=torch.float64, generator=generator)
    slope = keep * gradient
    start: Tensor = slope / slope.norm().clamp(min=1e-30) + 0.1 * noise / noise.norm()
    return start


def lanczos_extremes(
    product: Callable[[Tensor], Tensor], start: Tensor, settings: CurvatureSettings
) -> tuple[RitzPair, RitzPair, int]:
    """Largest and smallest Ritz pair of a symmetric operator, and the products they took.

    Lanczos with full reorthogonalisation in float64, from `start` [P]. It stops when both ends
    have converged by their estimated residuals, or as `settings` say, or when the Krylov space is
    invariant: then its Ritz pairs are exact.
    """
    basis = [start / start.norm()]
    alphas: list[float] = []
    betas: list[float] = []
    allowed = settings.max_products
    while True:
        vector = product(basis[-1])
        if not torch.isfinite(vector).all():
            raise AuditError("a Hessian product is not finite: did the training diverge?")
        alphas.append(float(basis[-1] @ vector))
        vector = _orthogonalised(vector, basis)
        beta = float(vector.norm())
        values, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1))
        scale = float(abs(values[[0, -1]]).max())
        residuals = beta * abs(vectors[-1])
        done = residuals <= settings.tolerance * scale
        if done[-1]:
            allowed = min(allowed, len(basis) + settings.extra)
        invariant = beta <= 1e-12 * scale or len(basis) == len(start)
        if (done[-1] and done[0]) or invariant or len(basis) >= allowed:
            break
        betas.append(beta)
        basis.append(vector / beta)
    largest, smallest = (
        RitzPair(float(values[end]), _combined(vectors[:, end], basis), float(residuals[end]))
        for end in (-1, 0)
    )
    return largest, smallest, len(basis)


def _orthogonalised(vector: Tensor, basis: list[Tensor]) -> Tensor:
    """The part of the vector orthogonal to the basis; done twice, since once loses digits."""
    for _ in range(2):
        for known in basis:
            vector = vector - (known @ vector) * known
    return vector


def _combined(weights: Any, basis: list[Tensor]) -> Tensor:
    vector = torch.zeros_like(basis[0])
    for weight, known in zip(weights.tolist(), basis, strict=True):
        vector += weight * known
    unit: Tensor = vector / vector.norm()
    return unit


def _certified(
    model: nn.Module,
    batches: Batches,
    product: Callable[[Tensor], Tensor],
    vector: Tensor,
    spent: int,
    limit: float,
    space: str,
) -> Eigenvalue:
    """What one more product says of the vector, whatever the way it was found."""
    applied = product(vector)
    value = float(vector @ applied)
    residual = float((applied - value * vector).norm())
    direction = unflatten(vector, trainable(model))
    samples = curvature_samples(model, batches, direction, value)
    return Eigenvalue(
        value, residual, spent + 1, residual <= max(limit, 1e-12), space, len(samples), samples
    )


def curvature_samples(
    model: nn.Module, batches: Batches, direction: Parameters, curvature: float
) -> Tensor:
    """vᵀH_i v of every sample, float64 [n], whose mean is known to be `curvature` = vᵀHv.

    Differentiating twice along v costs a few forward passes, but PyTorch's rules of third order
    are missing for some layers (SiLU) and silently wrong for others (layer norm:
    github.com/pytorch/pytorch/issues/196700). So the mean is checked, and so are the largest
    samples, since errors can cancel in the mean; where they are off, or a rule is missing, each
    sample is given a Hessian product of its own.
    """
    try:
        samples = _curvatures_along(model, batches, direction)
    except NotImplementedError:
        return _curvatures_by_sample(model, batches, direction)
    largest = samples.abs().topk(min(PROBES, len(samples))).indices.sort().values
    probes = _curvatures_by_sample(model, _chosen(batches, largest), direction)
    limit = 10 * torch.finfo(next(iter(direction.values())).dtype).eps ** 0.5
    agree = abs(samples.mean() - curvature) <= limit * samples.abs().mean() and torch.all(
        (samples[largest] - probes).abs() <= limit * probes.abs().max()
    )
    return samples if agree else _curvatures_by_sample(model, batches, direction)


def _chosen(batches: Batches, positions: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The samples at these positions, ascending, of all the batches together."""
    found, start = [], 0
    for inputs, labels in pairs(batches):
        own = positions[(positions >= start) & (positions < start + len(labels))] - start
        if len(own):
            found.append((inputs[own], labels[own]))
        start += len(labels)
    return found


def _curvatures_along(model: nn.Module, batches: Batches, direction: Parameters) -> Tensor:
    """d²/dt² of each sample's loss at θ + tv."""
    parameters = trainable(model)
    found = []
    with differentiating(model), torch.no_grad():
        for inputs, labels in pairs(batches):
            losses = sample_losses(model, inputs, labels)

            def slopes(at: Parameters, losses: Callable[[Parameters], Tensor] = losses) -> Tensor:
                return directional_derivative(losses, at, direction)

            found.append(directional_derivative(slopes, parameters, direction).double().cpu())
    return torch.cat(found)


def _curvatures_by_sample(model: nn.Module, batches: Batches, direction: Parameters) -> Tensor:
    """A Hessian product a sample: derivatives of second order alone, some samples at a time."""
    parameters = trainable(model)
    at_once = max(1, NUMBERS_AT_ONCE // sum(value.numel() for value in parameters.values()))

    def curvature(one: Tensor, label: Tensor) -> Tensor:
        losses = sample_losses(model, one[None], label[None])
        gradient = grad(lambda at: losses(at).sum())
        second = grad(lambda at: inner(gradient(at), direction))(parameters)
        return inner(second, direction)

    found = []
    with differentiating(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        for inputs, labels in pairs(batches):
            try:
                values = vmap(curvature, chunk_size=at_once)(inputs, labels)
            except RuntimeError:
                # Some layers, such as an LSTM, cannot be batched over samples.
                values = torch.stack([curvature(x, y) for x, y in zip(inputs, labels, strict=True)])
            found.append(values.detach().cpu())
    return torch.cat(found)


def pyhessian_max_eigenvalue(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    tolerance: float = 1e-5,
    max_products: int = 500,
    seed: int = 0,
) -> Eigenvalue:
    """The eigenvalue of largest MAGNITUDE by PyHessian's power iteration, for comparison.

    The whole group is one batch, since PyHessian keeps the graph of one. With a mask the network
    is measured as a function of the masked weights: the space 'support'. PyHessian stops when two
    estimates agree within `tolerance`, which bounds no error; one more product gives the residual.
    `converged`: the residual is within 1 % of the value, and the value is not negative, for a
    negative one is the other end of the spectrum and not λ_max.

    Raises AuditError where PyHessian is not installed.
    """
    try:
        from pyhessian import hessian
    except ImportError as error:
        raise AuditError("PyHessian is not installed: pip install pyhessian") from error
    found = list(pairs(batches))
    whole = (torch.cat([x for x, _ in found]), torch.cat([y for _, y in found]))
    product = hessian_product(model, found, mask)
    devices = [whole[0].device] if whole[0].is_cuda else []
    used: list[int] = []
    with differentiating(model), torch.random.fork_rng(devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model.zero_grad()
        operator = hessian(_Masked(model, mask or {}), _mean_loss, data=whole, cuda=bool(devices))
        operator.gradsH[0].register_hook(lambda _: used.append(1))
        values, vectors = operator.eigenvalues(maxIter=max_products, tol=tolerance, top_n=1)
    vector = flatten(dict(enumerate(part.detach() for part in vectors[0])))
    value, space = float(values[0]), "ambient" if mask is None else "support"
    found_at = _certified(model, found, product, vector / vector.norm(), len(used), 0.0, space)
    # Hv − λv and v are orthogonal where λ = vᵀHv, so that another λ adds its distance.
    residual = float(np.hypot(found_at.residual, found_at.value - value))
    # Of the signed value: no negative one passes.
    converged = residual <= 1e-2 * value
    return replace(found_at, value=value, residual=residual, converged=converged)


class _Masked(nn.Module):
    """A network as a function of its masked weights, so that removed ones have no derivative."""

    def __init__(self, model: nn.Module, mask: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.mask = model, mask

    def forward(self, inputs: Tensor) -> Tensor:
        weights = dict(self.model.named_parameters())
        kept = {name: weights[name] * mask for name, mask in self.mask.items()}
        outputs: Tensor = functional_call(self.model, kept, (inputs,))
        return outputs


def _mean_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(class_logits(outputs), labels)


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
    """1 where a trainable coordinate is in the space, 0 where it is removed; float64 [P].

    Raises AuditError where the mask names no parameter of the network, or has another shape.
    """
    mask, weights = mask or {}, dict(model.named_parameters())
    for name, part in mask.items():
        if name not in weights or weights[name].shape != part.shape:
            has = tuple(weights[name].shape) if name in weights else "no such parameter"
            raise AuditError(
                f"found a mask of shape {tuple(part.shape)} for '{name}'; the network has {has}"
            )
    return flatten(
        {name: mask.get(name, torch.ones_like(value)) for name, value in trainable(model).items()}
    )


def flatten(parameters: Mapping[Any, Tensor]) -> Tensor:
    """Parameters as one float64 vector [P], on the CPU."""
    return torch.cat([value.double().flatten().cpu() for value in parameters.values()])


def unflatten(vector: Tensor, like: Parameters) -> Parameters:
    """A flat vector cut into the shapes, types and devices of the parameters."""
    pieces = vector.split([value.numel() for value in like.values()])
    return {
        name: piece.view_as(value).to(value.dtype).to(value.device)
        for (name, value), piece in zip(like.items(), pieces, strict=True)
    }
