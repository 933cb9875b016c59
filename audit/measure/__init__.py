"""Pure functions of tensors: every number of the audit (M1-M7)."""

from audit.measure.association import RankCorrelation, explained_shares, rank_correlation
from audit.measure.attribution import (
    Attribution,
    LossBound,
    loss_bound,
    one_shot,
    taylor_attribution,
)
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
from audit.measure.density import SpectralDensity, spectral_density
from audit.measure.fairness import FairnessDifference, fairness_differences, metric_frame
from audit.measure.gradient import GradientNorm, gradient_norm, mean_gradient
from audit.measure.predictions import Outputs, predict
from audit.measure.risk import excess_accuracy_gap, excess_risk, fairness_violation
from audit.measure.theory import LogitSlopes, logit_slopes
from audit.measure.uncertainty import (
    Interval,
    NoiseFloor,
    combined_interval,
    drop_floor,
    drop_interval,
    gap_contrasts,
    group_intervals,
    holm,
    maximum_interval,
    mean_floor,
    mean_interval,
    range_interval,
    rest_p_values,
    share_floor,
    wilson_interval,
)

__all__ = [
    "Attribution",
    "CurvatureSettings",
    "Eigenvalue",
    "FairnessDifference",
    "GradientNorm",
    "Interval",
    "LogitSlopes",
    "LossBound",
    "NoiseFloor",
    "Outputs",
    "RankCorrelation",
    "SpectralDensity",
    "combined_interval",
    "curvature_samples",
    "drop_floor",
    "drop_interval",
    "excess_accuracy_gap",
    "excess_risk",
    "explained_shares",
    "fairness_differences",
    "fairness_violation",
    "gap_contrasts",
    "gradient_norm",
    "group_intervals",
    "hessian_extremes",
    "holm",
    "input_distance",
    "layer_extremes",
    "logit_slopes",
    "loss_bound",
    "maximum_interval",
    "mean_floor",
    "mean_gradient",
    "mean_interval",
    "metric_frame",
    "one_shot",
    "predict",
    "pyhessian_max_eigenvalue",
    "range_interval",
    "rank_correlation",
    "rest_p_values",
    "share_floor",
    "spectral_density",
    "taylor_attribution",
    "top_eigenvalues",
    "wilson_interval",
]
