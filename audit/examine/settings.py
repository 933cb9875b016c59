"""How models are measured, and which measures are left out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from audit.checked import Count, Seed, checked, one_of

OPTIONAL_MEASURES = (
    "calibration",
    "error_rates",
    "bias_amplification",
    "fairness",
    "gradient_norm",
    "input_distance",
    "deepfool",
    "hessian",
    "layer_curvature",
    "spectral_density",
    "taylor",
    "logit_slopes",
)
"""What `without` can name; accuracy, loss, excess risk and their gaps are always measured."""

OF_DERIVATIVES = ("gradient_norm", "input_distance", "taylor", "logit_slopes")
"""Those, curvature aside, that take more than a network's outputs, unless they are asked for."""


@checked
class MeasureSettings:
    """How models are measured.

    curvature            lanczos (own, with residuals), pyhessian, or none
    samples_per_group    at most so many samples of a group for gradient norm, Hessian and input
                         distance (a seeded choice); the rest is measured on every sample
    curvature_samples    at most so many of these for the Hessian's eigenvalues; all, where not said
    max_products         Hessian products on all samples that may be spent on a group's eigenvalues;
                         what has not converged by then is shown as a bound
    device               where networks run: cpu, cuda, cuda:1, mps; numbers differ by rounding
    resamples            of the paired bootstrap
    minimum_group_size   a smaller group is shown and flagged, and kept out of max and min
    top_eigenvalues      how many of the largest eigenvalues to compute
    smallest_eigenvalue  whether products are spent on the smallest too, about as many again; else
                         it is what those for the largest show of it, a bound
    layer_curvature      both ends of the spectrum of every layer's block too
    spectral_density     the density of the whole spectrum too: 128 Hessian products a group
    theory               the bounds of theorem 1, proposition 2 and theorem 2 too
    deepfool             the iterated input distance too
    scores               every class's probability of every sample too, in `samples`
    without              measures that are left out, by name (OPTIONAL_MEASURES)
    measures             further measures of your own, as package.module:name (docs/extending.md)
    discover             columns kept beside the groups, in whose crossings groups that nobody named
                         are sought (M16)

    Raises AuditError where a value is of another type or out of its range.
    """

    split: Annotated[str, one_of("train", "select", "test")] = "test"
    curvature: Annotated[str, one_of("lanczos", "pyhessian", "none")] = "lanczos"
    samples_per_group: Count = 500
    curvature_samples: Count | None = None
    max_products: Count = 60
    device: str = "cpu"
    resamples: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    minimum_group_size: Count = 30
    batch_size: Count = 256
    seed: Seed = 0
    top_eigenvalues: Annotated[int, Field(ge=1, le=1000)] = 1
    smallest_eigenvalue: bool = False
    layer_curvature: bool = False
    spectral_density: bool = False
    theory: bool = False
    deepfool: bool = False
    scores: bool = False
    without: Annotated[
        tuple[Annotated[str, one_of(*OPTIONAL_MEASURES)], ...], Field(strict=False)
    ] = ()
    measures: Annotated[tuple[str, ...], Field(strict=False)] = ()
    discover: Annotated[tuple[str, ...], Field(strict=False)] = ()

    def __post_init__(self) -> None:
        if self.measures:
            # Imported here, because measures need torch and settings do not.
            from audit.examine.measure import own_measures

            own_measures(self.measures)
