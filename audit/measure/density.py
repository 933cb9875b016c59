"""The density of the Hessian's whole spectrum (M6), by stochastic Lanczos quadrature."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.measure.hessian import Hessian
from audit.measure.lanczos import Space
from audit.measure.network import Batches
from audit.measure.spectrum import SpectralDensity


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
    dimension = hessian.dimension
    steps = min(steps, dimension)
    generator = torch.Generator().manual_seed(seed)
    nodes, weights = np.zeros((probes, steps)), np.zeros((probes, steps))
    for probe in range(probes):
        noise = torch.randn(dimension, dtype=torch.float64, generator=generator)
        krylov = Space(noise, steps)
        # A space that is invariant before has all nodes that have a weight.
        while len(krylov) < steps and krylov.can_grow(0):
            krylov.grow(hessian, 0)
        values, vectors = krylov.ritz
        nodes[probe, : len(krylov)], weights[probe, : len(krylov)] = values, vectors[0] ** 2
    return SpectralDensity(
        nodes, weights, dimension, hessian.products, hessian.space, hessian.count
    )
