"""The columns of the tidy tables, told once for those who write them and those who read them."""

from __future__ import annotations

GROUP_COLUMNS = (
    "model",
    "method",
    "constraint",
    "rate",
    "sparsity",
    "seed",
    "split",
    "attribute",
    "group",
    "n",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "p_value",
    "floor_median",
    "floor_p95",
    "residual",
    "error",
    "products",
    "converged",
    "space",
    "flag",
    "note",
)
LAYER_COLUMNS = (
    "model",
    "method",
    "constraint",
    "rate",
    "sparsity",
    "seed",
    "group",
    "layer",
    "n",
    "metric",
    "value",
    "residual",
    "error",
    "converged",
    "space",
)
SAMPLE_COLUMNS = (
    "model",
    "sample",
    "split",
    "group",
    "label",
    "prediction",
    "loss",
    "margin",
    "confidence",
    "boundary_closeness",
)
DENSE_COLUMNS = (
    "dense_prediction",
    "dense_confidence",
    "dense_loss",
    "dense_margin",
    "divergence",
)
"""What the dense parent of a pruned network says of each sample; NaN for a network without one."""

SCORE = "score_"
"""Before the name of a class: the probability that the network gives it."""
