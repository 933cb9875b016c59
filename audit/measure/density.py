"""The density of the Hessian's whole spectrum (M6), by stochastic Lanczos quadrature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.errors import AuditError
from audit.measure.hessian import Hessian
from audit.measure.lanczos import lanczos
from audit.measure.network import Batches

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


def spectral_density(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    probes: int = 4,
    steps: int = 32,
    seed: int = 0,
) -> SpectralDensity:
    """The spectral density of H_a from `probes` random directions, `steps` products each (M6).

    Lanczos from a random direction v gives the nodes and weights of a Gauss rule for the measure
    that v's coordinates in the eigenvectors put on the eigenvalues; over random directions that is
    the spectrum itself (Golub and Meurant; Ghorbani, Krishnan and Xiao 2019). The extreme nodes are
    good eigenvalues, the bulk is known as a density alone.

    Raises AuditError as `Hessian` does, or where fewer than one probe or step is asked for.
    """
    if probes < 1 or steps < 1:
        raise AuditError(f"found {probes} probes of {steps} steps; expected at least 1 of each")
    hessian = Hessian(model, batches, mask)
    dimension = int(hessian.survivors.sum())
    steps = min(steps, dimension)
    generator = torch.Generator().manual_seed(seed)
    nodes, weights = np.empty((probes, steps)), np.empty((probes, steps))
    for probe in range(probes):
        noise = torch.randn(len(hessian.survivors), dtype=torch.float64, generator=generator)
        krylov = lanczos(hessian, noise * hessian.survivors, lambda k: len(k.values) >= steps)
        nodes[probe], weights[probe] = krylov.values, krylov.coefficients[0] ** 2
    space = "ambient" if mask is None else "support"
    return SpectralDensity(nodes, weights, dimension, hessian.products, space, hessian.count)
