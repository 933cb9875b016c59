"""The gaps between groups of at least minimum size, each beside its noise floor (M2, M3)."""

from __future__ import annotations

import numpy as np

from audit.examine.found import Found, Row, floored, overall_row
from audit.examine.harm import accuracy_gaps
from audit.examine.subject import Array, Subject
from audit.measure.risk import fairness_violation
from audit.measure.uncertainty import (
    NoiseFloor,
    drop_floor,
    gap_contrasts,
    maximum_interval,
    mean_floor,
    range_interval,
    share_floor,
)


def gaps(subject: Subject) -> Found:
    """Accuracy violation, fairness violation ξ, and the range and maximum of ψ (M2, M3).

    Nothing where fewer than two groups have the minimum size.
    """
    if len(subject.large) < 2:
        return Found()
    rows = [_accuracy_violation(subject)]
    if subject.parent is not None:
        rows += _gaps_of_pruning(subject)
    return Found(overall=tuple(rows))


def _accuracy_violation(subject: Subject) -> Row:
    effects = subject.effects(subject.means.columns["accuracy"])
    counts = _effective(subject, effects)
    rights = subject.means.values["accuracy"][subject.large] * counts
    return _range(subject, "accuracy_violation", "accuracy", share_floor(rights, counts))


def _gaps_of_pruning(subject: Subject) -> list[Row]:
    means = subject.means
    drops, risk = means.columns["accuracy_drop"], means.columns.get("excess_risk")
    counts = _effective(subject, subject.effects(drops))
    rows = []
    if risk is not None:
        of_risk = _effective(subject, subject.effects(risk))
        floor = mean_floor(risk - means.values["excess_risk"][subject.codes], of_risk)
        rows.append(_range(subject, "fairness_violation", "excess_risk", floor))
    return [
        *rows,
        _range(
            subject,
            "excess_accuracy_gap_range",
            "accuracy_drop",
            drop_floor(drops, counts, fairness_violation),
        ),
        _largest_gap(subject, drop_floor(drops, counts, _largest)),
    ]


def _effective(subject: Subject, effects: Array) -> Array:
    """The judged groups' samples, divided by their design effects: what a floor is drawn for."""
    return np.maximum(1.0, np.round((subject.counts / effects)[subject.large]))


def _largest(values: Array) -> Array:
    return np.asarray(values.max(-1))


def _range(subject: Subject, metric: str, column: str, floor: NoiseFloor) -> Row:
    values = subject.means.values[column][subject.large]
    own = subject.means.intervals[column]
    interval = range_interval(values, [own[group] for group in subject.large])
    value = float(fairness_violation(values))
    return overall_row(subject, metric, value, interval) | floored(floor, value)


def _largest_gap(subject: Subject, floor: NoiseFloor) -> Row:
    """max ψ over the groups of at least minimum size; Δ is over all samples."""
    values, _ = accuracy_gaps(subject)
    large, present = subject.large, subject.present
    worst = large[int(np.argmax(values[large]))]
    contrasts = gap_contrasts(subject.counts[present].astype(float))
    interval = maximum_interval(
        contrasts[np.isin(present, large)],
        subject.means.values["accuracy_drop"][present],
        [subject.means.intervals["accuracy_drop"][group] for group in present],
    )
    value, name = float(values[worst]), subject.data.group_names[worst]
    row = overall_row(subject, "max_excess_accuracy_gap", value, interval, name)
    return row | floored(floor, value)
