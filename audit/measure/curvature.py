"""Both ends of the Hessian's spectrum of a group's mean loss (M6), by Lanczos with residuals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import jvp

from audit.errors import AuditError
from audit.measure.gradient import mean_gradient
from audit.measure.network import (
    Batches,
    Parameters,
    class_logits,
    evaluating,
    sample_losses,
    trainable,
)


@dataclass(frozen=True)
class CurvatureSettings:
    """When Lanczos stops.

    tolerance      an end has converged when its residual ‖Hv − λv‖ is at most so much of the
                   larger |λ| of the two ends
    max_products   Hessian products for the largest eigenvalue
    extra          further products granted to the smallest one after the largest has converged;
                   it lies in the crowded end of the spectrum and often needs many more
    """

    tolerance: float = 1e-3
    max_products: int = 60
    extra: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Eigenvalue:
    """An eigenvalue of H_a with what qualifies it (M6).

    residual   ‖Hv − λv‖ of the unit vector v: some eigenvalue lies within it of `value`
    products   Hessian products that were spent
    space      support (the surviving weights) or ambient (all coordinates)
    samples    vᵀH_i v of every sample, float64 [n]: their mean is `value`, so that a bootstrap of
               the mean gives its interval to first order; empty where it was not computed
    """

    value: float
    residual: float
    products: int
    converged: bool
    space: str
    n: int
    samples: Tensor


def hessian_product(
    model: nn.Module, batches: Batches, mask: Mapping[str, Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    """v ↦ H v for the mean loss over all samples, on flat float64 vectors [P].

    With a mask, v and H v are confined to the surviving weights. Reverse over reverse, a batch at
    a time: memory grows with the batch and not with the data.
    """
    parameters = {name: value.clone().requires_grad_() for name, value in trainable(model).items()}
    leaves = list(parameters.values())
    keep = survivors(model, mask)

    def product(vector: Tensor) -> Tensor:
        parts = unflatten(vector * keep, parameters)
        total, count = torch.zeros_like(vector), 0
        with evaluating(model):
            for inputs, labels in batches:
                loss = sample_losses(model, inputs, labels)(parameters).sum()
                gradient = torch.autograd.grad(loss, leaves, create_graph=True)
                along = torch.stack(
                    [(g * parts[name]).sum() for name, g in zip(parameters, gradient, strict=True)]
                ).sum()
                second = torch.autograd.grad(along, leaves, materialize_grads=True)
                total += flatten(dict(zip(parameters, second, strict=True)))
                count += len(labels)
        return total / count * keep

    return product


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
    """
    settings = settings or CurvatureSettings()
    gradient = mean_gradient(model, batches) if gradient is None else gradient
    keep = survivors(model, mask)
    noise = torch.randn(
        len(keep), dtype=torch.float64, generator=torch.Generator().manual_seed(settings.seed)
    )
    start = flatten(gradient)
    # A small random part, because no eigenvector may be orthogonal to the start.
    start = (start / start.norm().clamp(min=1e-30) + 0.1 * noise / noise.norm()) * keep
    product = hessian_product(model, batches, mask)
    space = "ambient" if mask is None else "support"
    found = lanczos_extremes(product, start, settings)
    return tuple(  # type: ignore[return-value]
        _with_samples(model, batches, value, vector, residual, products, tolerance, space)
        for value, vector, residual, products, tolerance in found
    )


def lanczos_extremes(
    product: Callable[[Tensor], Tensor], start: Tensor, settings: CurvatureSettings
) -> list[tuple[float, Tensor, float, int, float]]:
    """Largest and smallest Ritz pair of a symmetric operator, with full reorthogonalisation.

    Returns for each end (value, unit vector, residual, products, tolerance). The residual is that
    of the Ritz pair in float64, β_k|s_k|, which full reorthogonalisation keeps equal to
    ‖Hv − λv‖.
    """
    basis = [start / start.norm()]
    alphas: list[float] = []
    betas: list[float] = []
    since_largest: int | None = None
    while True:
        vector = product(basis[-1])
        products = len(basis)
        alphas.append(float(basis[-1] @ vector))
        stacked = torch.stack(basis)
        for _ in range(2):
            vector = vector - stacked.T @ (stacked @ vector)
        beta = float(vector.norm())
        values, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1))
        scale = float(max(abs(values[0]), abs(values[-1])))
        residuals = beta * abs(vectors[-1])
        limit = settings.tolerance * scale
        if residuals[-1] <= limit and since_largest is None:
            since_largest = products
        both = residuals[-1] <= limit and residuals[0] <= limit
        spent = since_largest is not None and products >= since_largest + settings.extra
        broken_down = beta <= 1e-12 * max(scale, 1e-30) or products == len(start)
        if both or spent or broken_down or products >= settings.max_products:
            break
        betas.append(beta)
        basis.append(vector / beta)
    return [
        (
            float(values[end]),
            torch.from_numpy(vectors[:, end]) @ stacked,
            float(residuals[end]),
            products,
            limit,
        )
        for end in (-1, 0)
    ]


def _with_samples(
    model: nn.Module,
    batches: Batches,
    value: float,
    vector: Tensor,
    residual: float,
    products: int,
    tolerance: float,
    space: str,
) -> Eigenvalue:
    samples = directional_curvatures(model, batches, unflatten(vector, trainable(model)))
    converged = residual <= max(tolerance, 1e-12)
    return Eigenvalue(value, residual, products, converged, space, len(samples), samples)


def directional_curvatures(model: nn.Module, batches: Batches, direction: Parameters) -> Tensor:
    """vᵀH_i v of every sample, float64 [n]: the second derivative along v, twice forward mode."""
    parameters = trainable(model)
    found = []
    with evaluating(model), torch.no_grad():
        for inputs, labels in batches:
            losses = sample_losses(model, inputs, labels)

            def slope(at: Parameters, losses: Callable[[Parameters], Tensor] = losses) -> Tensor:
                along: Tensor = jvp(losses, (at,), (direction,))[1]
                return along

            found.append(jvp(slope, (parameters,), (direction,))[1].double().cpu())
    return torch.cat(found)


def pyhessian_max_eigenvalue(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    tolerance: float = 1e-5,
    max_products: int = 500,
) -> Eigenvalue:
    """The eigenvalue of largest magnitude by PyHessian's power iteration, for comparison.

    PyHessian stops when two estimates agree, which bounds no error, so the residual is computed
    here with one more product; it works in the ambient space, so that a pruned model's value
    differs from the one in the support. Raises AuditError where PyHessian is not installed.
    """
    try:
        from pyhessian import hessian
    except ImportError as error:
        raise AuditError("PyHessian is not installed: pip install pyhessian") from error
    if mask is not None:
        raise AuditError("PyHessian measures all coordinates; use curvature 'lanczos' for support")
    pairs = list(batches)
    whole = (torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs]))

    def criterion(outputs: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(class_logits(outputs), labels)

    with evaluating(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gradients = [parameter.grad for parameter in model.parameters()]
        operator = hessian(model, criterion, data=whole, cuda=False)
        values, vectors = operator.eigenvalues(maxIter=max_products, tol=tolerance, top_n=1)
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
    value = float(values[0])
    vector = flatten(dict(enumerate(part.detach() for part in vectors[0])))
    applied = hessian_product(model, pairs)(vector)
    residual = float((applied - value * vector).norm())
    return Eigenvalue(
        value, residual, 0, residual <= 1e-2 * abs(value), "ambient", len(whole[1]), torch.empty(0)
    )


def survivors(model: nn.Module, mask: Mapping[str, Tensor] | None) -> Tensor:
    """1 where a trainable coordinate is in the space, 0 where it is removed; float64 [P]."""
    parts = [
        (torch.ones_like(value) if mask is None or name not in mask else mask[name])
        .double()
        .flatten()
        .cpu()
        for name, value in trainable(model).items()
    ]
    return torch.cat(parts)


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
