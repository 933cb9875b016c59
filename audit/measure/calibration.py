"""Confidence: calibration error per group, uncertainty, and bias amplification (M13)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.measure.uncertainty import (
    TAIL,
    UNKNOWN,
    Interval,
    NoiseFloor,
    resample_means,
    unit_rows,
)

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
BINS = 15
FLOOR_DRAWS = 500
NUMBERS_AT_ONCE = 2**22
MANY = 100.0
"""From this variance on, a count of right answers is drawn as a normal variable."""
UNCERTAIN = 0.9


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in equal-width bins of confidence: [bins] each, NaN if empty."""

    n: Codes
    confidence: Array
    accuracy: Array


def reliability(confidence: Array, correct: Array, bins: int = BINS) -> Reliability:
    """The reliability table of samples [n] by their largest probability (M13)."""
    place = _places(confidence, bins)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            count,
            np.bincount(place, weights=confidence, minlength=bins) / count,
            np.bincount(place, weights=correct, minlength=bins) / count,
        )


def calibration_error(confidence: Array, correct: Array, bins: int = BINS) -> float:
    """The expected calibration error Σ_b n_b/n·|accuracy_b − confidence_b| (M13; Iofinova et al.).

    Of the label with the largest probability, in equal-width bins; NaN without samples.

    >>> calibration_error(np.array([0.8, 0.8]), np.array([1.0, 0.0]))
    0.3
    """
    if len(confidence) == 0:
        return float("nan")
    gap = np.bincount(_places(confidence, bins), weights=correct - confidence, minlength=bins)
    return float(np.round(abs(gap).sum() / len(confidence), 15))


def calibration_floor(confidence: Array, bins: int = BINS, seed: int = 0) -> NoiseFloor:
    """What the calibration error would be if every confidence were right (M13).

    It is an average of absolute gaps, so that a small group looks badly calibrated by chance: right
    answers are drawn with the stated confidences, 500 times. In bins of many samples their number
    is drawn, as the normal variable that it is nearly.
    """
    if len(confidence) == 0:
        return NoiseFloor(float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    place = _places(confidence, bins)
    variance = np.bincount(place, weights=confidence * (1 - confidence), minlength=bins)
    many = variance >= MANY
    few = ~many[place]
    own, member = confidence[few], np.eye(bins)[place[few]]
    # Some draws at a time: all at once would be 500 numbers a sample, twice.
    some = max(1, NUMBERS_AT_ONCE // max(1, len(own)))
    gaps = [
        _floor_gaps(generator, min(some, FLOOR_DRAWS - start), own, member)
        for start in range(0, FLOOR_DRAWS, some)
    ]
    drawn = generator.normal(size=(FLOOR_DRAWS, int(many.sum()))) * np.sqrt(variance[many])
    errors = (np.concatenate(gaps) + abs(drawn).sum(1)) / len(confidence)
    return NoiseFloor(float(np.median(errors)), float(np.quantile(errors, 0.95)))


def _floor_gaps(
    generator: np.random.Generator, number: int, confidence: Array, member: Array
) -> Array:
    """Σ over bins of |right answers − confidences| of so many draws, [number]."""
    draws = generator.random((number, len(confidence))) < confidence
    return np.asarray(abs((draws - confidence) @ member).sum(1))


def calibration_interval(
    confidence: Array,
    correct: Array,
    resamples: int,
    seed: int,
    bins: int = BINS,
    units: Codes | None = None,
) -> Interval:
    """The interval of the calibration error: the basic bootstrap, 2·value − its quantiles.

    A resample adds its own noise to an average of absolute gaps; the reflection takes that noise
    off again. With units [n] these are resampled. Unknown for fewer than two of either.
    """
    gaps = (correct - confidence)[:, None] * np.eye(bins)[_places(confidence, bins)]
    rows = unit_rows(gaps, units)
    if len(rows) < 2:
        return UNKNOWN
    draws = abs(resample_means(rows, resamples, np.random.default_rng(seed))).sum(1)
    value = calibration_error(confidence, correct, bins)
    low, high = 2 * value - np.quantile(draws, [1 - TAIL, TAIL])
    return Interval(float(max(0.0, low)), float(max(0.0, high)))


def _places(confidence: Array, bins: int) -> Codes:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def uncertain(confidence: Array) -> Array:
    """1 where the largest probability is below 0.9, else 0: [n] (M13; Iofinova et al.).

    For two classes that is |p − ½| < 0.4.
    """
    return (confidence < UNCERTAIN).astype(np.float64)


def bias_amplification(confusion: NDArray[np.int64]) -> Array:
    """How much more each class is tied to groups in predictions than in labels, [..., C] (M13).

    Σ_a [P(a | ŷ = k) − P(a | y = k)] over the groups a that class k has more of than all samples
    have (P(a | y = k) > P(a)), as Zhao et al. (2017) weigh them. Above zero: the network
    exaggerates what the labels show. From counts [..., G, C, C] of group, label and prediction;
    NaN for a class without labels or predictions.
    """
    labels, predictions = confusion.sum(-1), confusion.sum(-2)
    share = labels.sum(-1, keepdims=True) / labels.sum((-1, -2), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        true = labels / labels.sum(-2, keepdims=True)
        told = predictions / predictions.sum(-2, keepdims=True)
    return np.asarray(np.where(true > share, told - true, 0.0 * (told + true)).sum(-2))


def amplification_interval(
    confusion: NDArray[np.int64], resamples: int, seed: int, effect: float = 1.0
) -> tuple[float, Interval]:
    """The mean bias amplification over the classes, with its percentile bootstrap interval.

    Classes without labels or predictions are left out; resamples are multinomial draws of the
    counts [G, C, C], of as many samples as there are, divided by the design effect.
    """
    generator = np.random.default_rng(seed)
    total = int(confusion.sum())
    drawn = max(1, round(total / effect))
    draws = generator.multinomial(drawn, confusion.ravel() / total, resamples)
    draws = draws.reshape(resamples, *confusion.shape)
    known = np.isfinite(bias_amplification(confusion))
    if not known.any():
        return float("nan"), UNKNOWN
    means = np.nan_to_num(bias_amplification(draws)[:, known]).mean(1)
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    value = float(bias_amplification(confusion)[known].mean())
    return value, Interval(float(low), float(high))
