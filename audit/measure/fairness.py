"""Group fairness of predictions (M4): fairlearn's definitions, on counts, with noise floors.

Everything is computed from the confusion counts of each group, so that thousands of resamples cost
little; the values are fairlearn's own, which the tests assert. `metric_frame` hands the samples of
an audit to fairlearn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import AuditError
from audit.measure.uncertainty import (
    DRAWS,
    Interval,
    NoiseFloor,
    design_effects,
    largest_range_interval,
    wilson_interval,
)

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
SELECTION, TRUE_POSITIVE, FALSE_POSITIVE = (
    "selection rate",
    "true positive rate",
    "false positive rate",
)
FALSE_NEGATIVE, PRECISION = "false negative rate", "precision"
METRICS = {
    "demographic_parity_difference": (SELECTION,),
    "equal_opportunity_difference": (TRUE_POSITIVE,),
    "equalized_odds_difference": (TRUE_POSITIVE, FALSE_POSITIVE),
}


@dataclass(frozen=True)
class FairnessDifference:
    """max − min over groups of a rate, one class against the rest, at the worst class (M4).

    value               NaN where no rate of any class is known for two groups
    class_index, rate   the class and the rate whose difference is the largest
    low, high           positions of the groups with the smallest and the largest rate, if any
    without             positions of the groups that lack one of the rates, in any of the classes:
                        it is left out there, so that the difference may be larger
    interval            of the largest difference over classes and rates
    floor               what equal groups of these sizes would show, the worst class and rate chosen
                        anew in every resample
    """

    metric: str
    value: float
    class_index: int
    rate: str
    low: int | None
    high: int | None
    without: tuple[int, ...]
    interval: Interval
    floor: NoiseFloor
    n: int


def one_class_each(labels: NDArray[np.integer[Any]], groups: NDArray[np.integer[Any]]) -> bool:
    """Whether every group holds one class of several: rates by class then say nothing of people.

    labels, groups   int [n]

    >>> one_class_each(np.array([0, 0, 1]), np.array([1, 1, 0]))
    True
    """
    return len(np.unique(labels)) > 1 and all(
        len(np.unique(labels[groups == group])) <= 1 for group in np.unique(groups)
    )


def confusion_counts(
    labels: Codes, predictions: Codes, groups: Codes, number: int, classes: int
) -> NDArray[np.int64]:
    """How many samples of each group [G] have each true class and prediction: [G, C, C]."""
    flat = (groups * classes + labels) * classes + predictions
    return np.bincount(flat, minlength=number * classes**2).reshape(number, classes, classes)


def rates(confusion: NDArray[Any]) -> dict[str, Array]:
    """Selection, true positive and false positive rate of each class against the rest.

    confusion [..., G, C, C] as `confusion_counts` gives it; each rate [..., G, C], NaN where no
    sample could count.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: part / whole for name, (part, whole) in _fractions(confusion).items()}


def _fractions(confusion: NDArray[Any]) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """What counts and what could, for each rate: [..., G, C] both."""
    true, predicted = confusion.sum(-1), confusion.sum(-2)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = np.broadcast_to(true.sum(-1, keepdims=True), true.shape)
    return {
        SELECTION: (predicted, total),
        TRUE_POSITIVE: (hits, true),
        FALSE_POSITIVE: (predicted - hits, total - true),
    }


def rate_counts(confusion: NDArray[Any]) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """What counts and what could, for each rate of each class against the rest: [..., G, C] both.

    Selection, true positive, false positive and false negative rate, and precision; confusion
    [..., G, C, C] as `confusion_counts` gives it.
    """
    counts = _fractions(confusion)
    (predicted, _), (hits, true) = counts[SELECTION], counts[TRUE_POSITIVE]
    return counts | {FALSE_NEGATIVE: (true - hits, true), PRECISION: (hits, predicted)}


def rate_effects(
    labels: Codes, predictions: Codes, groups: Codes, number: int, classes: int, units: Codes | None
) -> dict[str, Array]:
    """The design effect of each rate of `rate_counts`, where units have several samples: [G, C].

    labels, predictions, groups, units   int64 [n]; all ones without units.
    """
    names = (SELECTION, TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, PRECISION)
    found = {name: np.ones((number, classes)) for name in names}
    if units is None:
        return found
    for k in range(classes):
        true, said = labels == k, predictions == k
        subsets = {
            SELECTION: (said, np.ones(len(said), bool)),
            TRUE_POSITIVE: (said, true),
            FALSE_POSITIVE: (said, ~true),
            FALSE_NEGATIVE: (~said, true),
            PRECISION: (true, said),
        }
        for name, (counted, of) in subsets.items():
            values = counted[of].astype(float)
            found[name][:, k] = design_effects(values, groups[of], number, units[of])
    return found


def fairness_differences(
    confusion: NDArray[np.int64], seed: int = 0, effects: Mapping[str, Array] | None = None
) -> tuple[FairnessDifference, ...]:
    """Demographic parity, equal opportunity and equalised odds difference, in this order (M4).

    confusion [G, C, C] of the groups that are compared. For two classes the positive one is the
    second, as fairlearn has it; for more, each is taken against the rest and the worst is named.
    A group without the samples that a rate is of, such as positives, has no such rate; fairlearn
    counts it as 0. `effects` [G, C] of each rate, as `rate_effects` gives them, where units have
    several samples.
    Raises AuditError for fewer than two groups with samples.
    """
    if (confusion.sum((1, 2)) > 0).sum() < 2:
        raise AuditError("found fewer than two groups with samples; a difference needs two")
    draws = _equal_groups(_effective(confusion, effects), np.random.default_rng(seed))
    return tuple(_difference(metric, confusion, draws[metric], effects) for metric in METRICS)


def _effective(
    confusion: NDArray[np.int64], effects: Mapping[str, Array] | None
) -> NDArray[np.int64]:
    """The counts divided by each group's largest design effect; whole, and never fewer than one."""
    if effects is None:
        return confusion
    largest = np.max([own.max(1) for own in effects.values()], 0)[:, None, None]
    shrunk = np.round(confusion / largest).astype(np.int64)
    return np.asarray(np.maximum(shrunk, np.minimum(confusion, 1)))


def _difference(
    metric: str,
    confusion: NDArray[np.int64],
    draws: NDArray[np.int64],
    effects: Mapping[str, Array] | None,
) -> FairnessDifference:
    found = _chosen(rates(confusion), metric)
    gaps = _gaps(found)
    worst = int(np.argmax(np.where(np.isnan(gaps), -1.0, gaps)))
    rate, position = divmod(worst, gaps.shape[-1])
    column = found[rate, :, position]
    known = np.flatnonzero(np.isfinite(column))
    order = known[np.argsort(column[known], kind="stable")]
    compared = len(known) > 1
    return FairnessDifference(
        metric,
        float(gaps[rate, position]),
        position + _first(confusion),
        METRICS[metric][rate],
        int(order[0]) if compared else None,
        int(order[-1]) if compared else None,
        tuple(np.flatnonzero(~np.isfinite(found).all((0, 2))).tolist()),
        _interval(confusion, metric, effects),
        _floor(metric, draws) if compared else NoiseFloor(float("nan"), float("nan")),
        int(confusion.sum()),
    )


def _first(confusion: NDArray[np.int64]) -> int:
    """The first class that is compared: of two, the second alone is the positive one."""
    return 1 if confusion.shape[-1] == 2 else 0


def _chosen(found: dict[str, Array], metric: str) -> Array:
    """The metric's rates of the classes that are compared: [rates, ..., G, C]."""
    values = np.stack([found[rate] for rate in METRICS[metric]])
    return values[..., 1:] if values.shape[-1] == 2 else values


def _gaps(values: Array) -> Array:
    """max − min over groups [..., G, C], class by class; NaN where fewer than two have the rate."""
    known = np.isfinite(values)
    high = np.where(known, values, -np.inf).max(-2)
    low = np.where(known, values, np.inf).min(-2)
    return np.where(known.sum(-2) > 1, high - low, np.nan)


def _floor(metric: str, draws: NDArray[np.int64]) -> NoiseFloor:
    """Of the largest gap over classes and rates, in counts [B, G, C, C] of equal groups."""
    gaps = np.nan_to_num(_gaps(_chosen(rates(draws), metric))).max((0, -1))
    return NoiseFloor(float(np.median(gaps)), float(np.quantile(gaps, 0.95)))


def _interval(
    confusion: NDArray[np.int64], metric: str, effects: Mapping[str, Array] | None
) -> Interval:
    """Of the largest range of any class and rate, from Wilson's interval of every group."""
    families = []
    for rate in METRICS[metric]:
        parts, wholes = _fractions(confusion)[rate]
        for index in range(_first(confusion), confusion.shape[-1]):
            known = wholes[:, index] > 0
            part, whole = parts[known, index], wholes[known, index]
            effect = np.ones(len(part)) if effects is None else effects[rate][known, index]
            own = [wilson_interval(*counted) for counted in zip(part, whole, effect, strict=True)]
            families.append((part / whole, own))
    return largest_range_interval(families)


def _equal_groups(
    confusion: NDArray[np.int64], generator: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Resampled counts [B, G, C, C] under the equality that each metric is about.

    Parity: every group's predictions from the pooled shares. The other two: within each true class,
    from that class's pooled shares.
    """
    draws = DRAWS // 4
    groups, classes, _ = confusion.shape
    conditional = np.zeros((draws, groups, classes, classes), dtype=np.int64)
    for label in range(classes):
        pooled = confusion[:, label].sum(0)
        if pooled.sum():
            counts = confusion[:, label].sum(1)
            shares = pooled / pooled.sum()
            conditional[:, :, label] = generator.multinomial(counts, shares, (draws, groups))
    overall = confusion.sum((0, 1)) / confusion.sum()
    parity = np.zeros_like(conditional)
    parity[:, :, 0] = generator.multinomial(confusion.sum((1, 2)), overall, (draws, groups))
    return {
        metric: parity if metric == "demographic_parity_difference" else conditional
        for metric in METRICS
    }


def metric_frame(samples: pd.DataFrame, positive: Any | None = None) -> Any:
    """The samples of one model as fairlearn's MetricFrame, for its own tools and plots.

    samples   a model's rows of an audit's `samples`: group, label, prediction
    positive  a class: its selection, true positive and false positive rate are added

    Raises AuditError where rows of several models are given.
    """
    from fairlearn.metrics import (
        MetricFrame,
        count,
        false_positive_rate,
        selection_rate,
        true_positive_rate,
    )
    from sklearn.metrics import accuracy_score

    if samples["model"].nunique() > 1:
        names = ", ".join(map(str, samples["model"].unique()))
        raise AuditError(f"found samples of several models ({names}); expected those of one")
    metrics: dict[str, Any] = {"accuracy": accuracy_score, "count": count}
    labels, predictions = samples["label"], samples["prediction"]
    if positive is not None:
        labels, predictions = labels == positive, predictions == positive
        metrics |= {
            SELECTION: selection_rate,
            TRUE_POSITIVE: true_positive_rate,
            FALSE_POSITIVE: false_positive_rate,
        }
    return MetricFrame(
        metrics=metrics, y_true=labels, y_pred=predictions, sensitive_features=samples["group"]
    )
