"""How models are measured, and which measures are left out."""

from __future__ import annotations

from dataclasses import dataclass

from audit.errors import AuditError

CURVATURES = ("lanczos", "pyhessian", "none")
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


@dataclass(frozen=True)
class MeasureSettings:
    """How models are measured.

    curvature            lanczos (own, with residuals), pyhessian, or none
    samples_per_group    at most so many samples of a group for gradient norm, Hessian and input
                         distance (a seeded choice); the rest is measured on every sample
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
    """

    split: str = "test"
    curvature: str = "lanczos"
    samples_per_group: int = 500
    resamples: int = 2000
    minimum_group_size: int = 30
    batch_size: int = 256
    seed: int = 0
    top_eigenvalues: int = 1
    smallest_eigenvalue: bool = False
    layer_curvature: bool = False
    spectral_density: bool = False
    theory: bool = False
    deepfool: bool = False
    scores: bool = False
    without: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.top_eigenvalues < 1:
            raise AuditError(f"found top_eigenvalues {self.top_eigenvalues}; expected at least 1")
        if self.curvature not in CURVATURES:
            raise AuditError(
                f"found curvature '{self.curvature}'; expected one of {', '.join(CURVATURES)}"
            )
        for name in self.without:
            if name not in OPTIONAL_MEASURES:
                raise AuditError(
                    f"found '{name}' among the measures to leave out; "
                    f"expected any of {', '.join(OPTIONAL_MEASURES)}"
                )
        if self.measures:
            # Imported here, because measures need torch and settings do not.
            from audit.examine.measure import own_measures

            own_measures(self.measures)
