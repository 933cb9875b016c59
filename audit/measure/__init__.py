"""Pure functions of tensors: every number of the audit (M1-M7)."""

from audit.measure.boundary import input_distance
from audit.measure.curvature import (
    CurvatureSettings,
    Eigenvalue,
    curvature_samples,
    hessian_extremes,
    layer_extremes,
    pyhessian_max_eigenvalue,
    top_eigenvalues,
)
from audit.measure.gradient import GradientNorm, gradient_norm, mean_gradient
from audit.measure.predictions import Outputs, predict
from audit.measure.risk import excess_accuracy_gap, excess_risk, fairness_violation
from audit.measure.uncertainty import (
    Interval,
    group_resamples,
    mean_interval,
    percentile_interval,
    wilson_interval,
)

__all__ = [
    "CurvatureSettings",
    "Eigenvalue",
    "GradientNorm",
    "Interval",
    "Outputs",
    "curvature_samples",
    "excess_accuracy_gap",
    "excess_risk",
    "fairness_violation",
    "gradient_norm",
    "group_resamples",
    "hessian_extremes",
    "input_distance",
    "layer_extremes",
    "mean_gradient",
    "mean_interval",
    "percentile_interval",
    "predict",
    "pyhessian_max_eigenvalue",
    "top_eigenvalues",
    "wilson_interval",
]
