"""Lanczos on a symmetric operator: extreme eigenvalues with residuals, and quadrature nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Operator = Callable[[Tensor], Tensor]
Ratios = tuple[float | None, float | None]


@dataclass(frozen=True)
class RitzPair:
    """An approximate eigenvalue and its unit vector [P].

    residual   ‖Hv − λv‖: some eigenvalue lies within it of `value`
    error      the estimated distance to that eigenvalue, see Krylov.errors
    """

    value: float
    vector: Tensor
    residual: float
    error: float


@dataclass(frozen=True)
class Krylov:
    """The space that Lanczos has built, and the operator's Ritz values in it, ascending [k].

    coefficients   [k, k], the Ritz vectors as columns in the basis
    outside        the length of the part of the last product that lies outside the space
    rounding       the largest part of a product that exact arithmetic would not have
    """

    basis: list[Tensor]
    values: Array
    coefficients: Array
    outside: float
    rounding: float

    @property
    def residuals(self) -> Array:
        """‖Hv − λv‖ of every Ritz pair: what is outside the space, and the products' rounding."""
        return np.asarray(np.hypot(self.outside * self.coefficients[-1], self.rounding))

    def errors(self, ratios: Ratios = (None, None)) -> Array:
        """The estimated distance of every Ritz value to an eigenvalue (Kato and Temple).

        residual²/gap where the next eigenvalue is more than two residuals away, and the residual
        itself where it is not. A small space puts the next eigenvalue too far away: the gap counts
        as half of that to the next Ritz value, and half of |λ| at most. `ratios` says better what
        is next to the smallest and to the largest: estimates from elsewhere of the second to the
        first eigenvalue at either end.
        """
        between = np.diff(self.values) / 2
        gaps = abs(self.values) / 2
        gaps[1:] = np.minimum(gaps[1:], between)
        gaps[:-1] = np.minimum(gaps[:-1], between)
        for end, ratio in zip((0, -1), ratios, strict=True):
            if ratio is not None and len(between):
                size = abs(self.values[end])
                gaps[end] = min(size / 2, 2 * between[end], (1 - ratio) * size)
        apart = gaps > 2 * self.residuals
        return np.where(apart, self.residuals**2 / np.where(apart, gaps, 1.0), self.residuals)

    def pair(self, index: int, ratios: Ratios = (None, None)) -> RitzPair:
        """One Ritz pair; index −1 is the largest."""
        vector = torch.zeros_like(self.basis[0])
        for weight, direction in zip(self.coefficients[:, index].tolist(), self.basis, strict=True):
            vector += weight * direction
        return RitzPair(
            float(self.values[index]),
            vector / vector.norm(),
            float(self.residuals[index]),
            float(self.errors(ratios)[index]),
        )


def lanczos(operator: Operator, start: Tensor, stop: Callable[[Krylov], bool]) -> Krylov:
    """Grow a Krylov space from `start` [P] until `stop` is content, or nothing is left to find.

    Full reorthogonalisation in float64. Where the space is invariant before `stop` is content, a
    random direction goes on from it, so that eigenvalues of higher multiplicity are found.
    Coordinates that are zero in `start` stay zero.
    """
    free = start != 0
    generator = torch.Generator().manual_seed(0)
    basis, alphas, betas, rounding = [start / start.norm()], [], [0.0], 0.0
    while True:
        vector = operator(basis[-1])
        inside = torch.stack(basis) @ vector
        alphas.append(float(inside[-1]))
        rounding = max(rounding, _asymmetry(inside, betas[-1]))
        vector = orthogonalised(vector, basis)
        beta = float(vector.norm())
        values, coefficients = np.linalg.eigh(
            np.diag(alphas) + np.diag(betas[1:], 1) + np.diag(betas[1:], -1)
        )
        invariant = beta <= max(1e-12 * float(abs(values).max()), rounding)
        krylov = Krylov(basis, values, coefficients, 0.0 if invariant else beta, rounding)
        if stop(krylov) or len(basis) >= int(free.sum()):
            return krylov
        if invariant:
            noise = torch.randn(len(start), dtype=start.dtype, generator=generator)
            vector, beta = orthogonalised(noise * free, basis), 0.0
        betas.append(beta)
        basis = [*basis, vector / vector.norm()]


def _asymmetry(inside: Tensor, beta: float) -> float:
    """How far a product's part inside the space is from what symmetry says it must be."""
    expected = torch.zeros_like(inside[:-1])
    expected[-1:] = beta
    return float((inside[:-1] - expected).norm())


def orthogonalised(vector: Tensor, basis: list[Tensor]) -> Tensor:
    """The part of the vector orthogonal to the basis; done twice, since once loses digits."""
    for _ in range(2):
        for known in basis:
            vector = vector - (known @ vector) * known
    return vector
