"""A spectrum as quadrature rules, and what can be read off it, without torch (M6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SpectralDensity:
    """Where the eigenvalues of H_a lie, as nodes and weights of quadrature rules (M6).

    nodes, weights   float64 [probes, steps]: each probe's rule, its weights summing to 1
    dimension        coordinates of the space, and so eigenvalues
    products         Hessian products on all samples that were spent
    space            support (the surviving weights) or ambient (all coordinates)
    """

    nodes: Array
    weights: Array
    dimension: int
    products: int
    space: str
    n: int

    def moment(self, power: int) -> tuple[float, float]:
        """The mean of λ^power over all eigenvalues, and its standard error over the probes.

        The first moment is the trace over the dimension.
        """
        found = (self.weights * self.nodes**power).sum(1)
        spread = found.std(ddof=1) / len(found) ** 0.5 if len(found) > 1 else np.nan
        return float(found.mean()), float(spread)

    def share_below(self, points: Array) -> Array:
        """The share of eigenvalues at or below each of the points [m]."""
        below = self.nodes[None] <= np.asarray(points, dtype=float)[:, None, None]
        return np.asarray((self.weights[None] * below).sum(2).mean(1))

    def density(self, points: Array, width: float) -> Array:
        """The density at the points [m], each node widened to a normal of that deviation."""
        distance = (np.asarray(points, dtype=float)[:, None, None] - self.nodes[None]) / width
        normal = np.exp(-0.5 * distance**2) / (width * (2 * np.pi) ** 0.5)
        return np.asarray((self.weights[None] * normal).sum(2).mean(1))
