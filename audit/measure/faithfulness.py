"""How far a pruned network still says what its dense network said, group by group (M15)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from audit.errors import AuditError

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Faithfulness:
    """What became of each group's predictions (M15): counts of samples, int64 [G] each.

    agree     predicted as by the dense network, right or wrong
    broken    right → wrong
    mended    wrong → right
    moved     one wrong class → another; the four add up to n
    p_value   McNemar's exact test, float [G]: if pruning breaks and mends equally often, how likely
              is so uneven a split of broken and mended. 1 where none is either; NaN without samples
    """

    n: Codes
    agree: Codes
    broken: Codes
    mended: Codes
    moved: Codes
    p_value: Array


def faithfulness(
    label: NDArray[np.generic],
    dense: NDArray[np.generic],
    pruned: NDArray[np.generic],
    groups: Codes,
    number: int,
) -> Faithfulness:
    """The agreement of a pruned network's predictions with its dense network's (M15; McNemar 1947).

    label, dense, pruned   classes [n], as numbers or names; groups int64 [n] in 0..number−1

    Raises AuditError where their lengths differ.

    >>> label, dense = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    >>> found = faithfulness(label, dense, np.array([0, 1, 0, 0]), np.zeros(4, int), 1)
    >>> found.agree.tolist(), found.broken.tolist(), found.p_value.tolist()
    ([2], [2], [0.5])
    """
    if not len(label) == len(dense) == len(pruned) == len(groups):
        raise AuditError(
            f"found {len(label)} labels, {len(dense)} and {len(pruned)} predictions, "
            f"{len(groups)} groups; expected one of each per sample"
        )
    was, stays = dense == label, pruned == label

    def count(chosen: NDArray[np.bool_]) -> Codes:
        return np.bincount(groups[chosen], minlength=number)

    n, broken, mended = count(np.full(len(label), True)), count(was & ~stays), count(~was & stays)
    moved = count(~was & ~stays & (dense != pruned))
    tested = [_mcnemar(int(b), int(m)) for b, m in zip(broken, mended, strict=True)]
    p_value = np.where(n > 0, tested, np.nan)
    return Faithfulness(n, n - broken - mended - moved, broken, mended, moved, p_value)


def _mcnemar(broken: int, mended: int) -> float:
    """Two-sided: the smaller of the two is binomial of their sum at one half."""
    if broken + mended == 0:
        return 1.0
    return float(binomtest(broken, broken + mended, 0.5).pvalue)


def divergence(dense: Array, pruned: Array) -> Array:
    """KL(p* ‖ p̄) of each sample in nats, [n], of log-probabilities [n, C] (M15).

    p* are the dense network's. Each class gives p*·(log p* − log p̄) − p* + p̄: the last two add up
    to zero over the classes, and make every part at least zero whatever the rounding. ∞ where the
    pruned network rules out what the dense one does not. Raises AuditError where the shapes differ.

    >>> divergence(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])).round(4).tolist()
    [0.1438]
    """
    if dense.shape != pruned.shape:
        raise AuditError(
            f"found log-probabilities of shapes {dense.shape} and {pruned.shape}; expected the "
            "same samples and classes"
        )
    first, second = np.exp(dense), np.exp(pruned)
    with np.errstate(invalid="ignore"):
        ratio = np.where(first > 0, first * (dense - pruned), 0.0)
    return np.asarray(np.maximum(ratio - first + second, 0.0).sum(1))
