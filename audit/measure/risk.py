"""Harm of pruning, from means over groups (M1-M3).

Arrays hold one value a group on their last axis; leading axes, if any, are resamples, so that the
same function gives a value and its bootstrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audit.errors import AuditError

Array = NDArray[np.float64]


def excess_risk(dense_loss: Array, pruned_loss: Array) -> Array:
    """ℓ(θ̄; x, y) − ℓ(θ*; x, y), sample by sample (M1; Tran et al. 2022, eq. 2).

    Both float [n], in nats, of the same samples in the same order; its mean over a group is R(a).
    Raises AuditError where the shapes differ or a loss is not finite.
    """
    if dense_loss.shape != pruned_loss.shape:
        raise AuditError(
            f"found losses of {dense_loss.shape} and {pruned_loss.shape} samples; a pair of models "
            "is compared on the same samples"
        )
    difference = np.asarray(pruned_loss - dense_loss, dtype=float)
    if not np.isfinite(difference).all():
        raise AuditError("found a loss that is not finite")
    return difference


def excess_accuracy_gap(group_drop: Array, overall_drop: Array) -> Array:
    """ψ_a = Δ_a − Δ: how much more accuracy a group lost than all samples did (M3).

    group_drop [..., G], overall_drop [...]; Hashemizadeh et al. 2024.

    >>> excess_accuracy_gap(np.array([0.3, 0.0]), np.array(0.1)).round(2).tolist()
    [0.2, -0.1]
    """
    return np.asarray(group_drop - overall_drop[..., None])


def fairness_violation(excess: Array) -> Array:
    """ξ = max_{a,a'} |R(a) − R(a')| over the last axis (M2; Tran et al. 2022, eq. 3).

    excess [..., G]. NaN where a group is absent: the caller leaves it out, by name.
    """
    return np.asarray(excess.max(-1) - excess.min(-1))
