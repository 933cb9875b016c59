"""Whether what a network answers and what the labels say can belong together at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import AuditError
from audit.measure.distributions import normal_tail
from audit.measure.uncertainty import UNKNOWN, Interval, wilson_interval

Codes = NDArray[np.int64]
SURE = 0.99
"""Level of the interval by which most samples of a class are answered as another."""


@dataclass(frozen=True)
class Agreement:
    """How far answers go with the labels.

    observed   the share of samples answered as labelled: the accuracy
    by_chance  what it would be, were the same answers given to samples drawn by lot
    p_value    one-sided, for an accuracy as high by chance alone (Fleiss, Cohen & Everitt 1969)
    """

    observed: float
    by_chance: float
    p_value: float

    @property
    def kappa(self) -> float:
        """Cohen's κ: 1 where all agree, 0 as by chance; NaN where chance agrees always."""
        left = 1 - self.by_chance
        return (self.observed - self.by_chance) / left if left > 0 else float("nan")


def agreement(labels: Codes, predictions: Codes, classes: int, effect: float = 1.0) -> Agreement:
    """Whether answers tell more of the labels than chance: Cohen's κ against zero.

    labels, predictions  int64 [n] in 0..classes−1
    effect               the design effect by which n is divided, where samples are not independent

    With shares a_k of the labels and b_k of the answers: by_chance = Σ a_k b_k =: e; the variance
    of what is observed is (e + e² − Σ a_k b_k (a_k + b_k)) / n. NaN where one class alone is
    labelled, of which nothing can be told apart. Raises AuditError where the lengths differ.

    >>> labels = np.arange(100) % 2
    >>> agreement(labels, labels, 2).p_value < 0.001, agreement(labels, labels * 0, 2).p_value
    (True, 1.0)
    """
    _check_lengths(labels, predictions)
    n = len(labels)
    a, b = (np.bincount(one, minlength=classes) / max(1, n) for one in (labels, predictions))
    observed, expected = float((labels == predictions).mean()) if n else np.nan, float(a @ b)
    if np.count_nonzero(a) < 2:
        return Agreement(observed, expected, np.nan)
    variance = (expected + expected**2 - float(a * b @ (a + b))) * effect / n
    if variance <= 0:
        return Agreement(observed, expected, 1.0)
    return Agreement(observed, expected, float(normal_tail((observed - expected) / variance**0.5)))


def kappa_interval(found: Agreement, n: int, effect: float = 1.0, level: float = SURE) -> Interval:
    """κ's interval, from Wilson's of the share that agrees, chance taken as it is (Cohen 1960).

    >>> found = agreement(np.arange(100) % 2, np.zeros(100, int), 2)
    >>> interval = kappa_interval(found, 100)
    >>> round(interval.low, 2), round(interval.high, 2)
    (-0.25, 0.25)
    """
    left = 1 - found.by_chance
    if not left > 0:
        return UNKNOWN
    share = wilson_interval(found.observed * n, n, effect, level)
    low, high = ((end - found.by_chance) / left for end in (share.low, share.high))
    return Interval(low, high)


def renamed(labels: Codes, predictions: Codes, classes: int) -> dict[int, int]:
    """The classes that are answered as other classes throughout, as where names are in disorder.

    By class what most of its samples are answered as, where that is another class, for two classes
    or more; empty where any two classes are mostly answered alike, for then a network confuses
    them or has collapsed. 'Most' is beyond doubt: Wilson's interval of the share, at 99 %, lies
    above one half. Raises AuditError where the lengths differ.

    >>> labels = np.arange(100) % 2
    >>> renamed(labels, 1 - labels, 2), renamed(labels, labels * 0, 2)
    ({0: 1, 1: 0}, {})
    """
    _check_lengths(labels, predictions)
    answered = np.bincount(labels * classes + predictions, minlength=classes**2)
    table = answered.reshape(classes, classes)
    usual = {
        label: int(row.argmax())
        for label, row in enumerate(table)
        if wilson_interval(int(row.max()), int(row.sum()), level=SURE).low > 0.5
    }
    if len(set(usual.values())) < len(usual):
        return {}
    moved = {label: answer for label, answer in usual.items() if label != answer}
    return moved if len(moved) > 1 else {}


def _check_lengths(labels: Codes, predictions: Codes) -> None:
    if len(labels) != len(predictions):
        raise AuditError(f"found {len(labels)} labels and {len(predictions)} predictions")
