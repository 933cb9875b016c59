"""How each group fares: loss, accuracy, what pruning cost it, and how sure the network is."""

from __future__ import annotations

import numpy as np

from audit.examine.found import UNKNOWN, Found, Row, group_row, overall_row
from audit.examine.subject import Array, Subject
from audit.measure.calibration import calibration_error, calibration_floor, calibration_interval
from audit.measure.risk import excess_accuracy_gap
from audit.measure.uncertainty import (
    Interval,
    combined_interval,
    design_effects,
    gap_contrasts,
    holm,
    mean_interval,
    rest_p_values,
    wilson_interval,
)

TESTED = ("excess_risk", "accuracy_drop")
PROBABLE = ("loss", "boundary_closeness", "boundary_margin", "uncertainty_share")
OVERALL = ("accuracy", "loss", "excess_risk")


def harm(subject: Subject) -> Found:
    """Every metric that is a mean over samples, group by group, and over all samples (M1, M3, M7).

    In place of the drop in accuracy stands the excess accuracy gap ψ, which is made from it.
    """
    rows = [row for metric in subject.means.columns for row in _metric_rows(subject, metric)]
    rows += [row for metric in _unknown(subject) for row in _unknown_rows(subject, metric)]
    overall = [_overall(subject, metric) for metric in OVERALL if metric in subject.means.columns]
    return Found(rows=tuple(rows), overall=tuple(overall))


def _metric_rows(subject: Subject, metric: str) -> list[Row]:
    values, intervals = subject.means.values[metric], subject.means.intervals[metric]
    tested, shown = _p_values(subject, metric), metric
    if metric == "accuracy_drop":
        shown = "excess_accuracy_gap"
        values, intervals = accuracy_gaps(subject)
    return [
        group_row(subject, group, shown, int(count), float(values[group]), intervals[group])
        | {"p_value": tested[group]}
        for group, count in enumerate(subject.counts)
    ]


def _unknown(subject: Subject) -> list[str]:
    """What only probabilities tell, where none are known."""
    metrics = PROBABLE if subject.parent is None else (*PROBABLE, "excess_risk")
    return [metric for metric in metrics if metric not in subject.means.columns]


def _unknown_rows(subject: Subject, metric: str) -> list[Row]:
    whose = "its" if not subject.outputs.probable else "the dense network's"
    note = f"{whose} probabilities are not known: predictions alone were given"
    return [
        group_row(subject, group, metric, 0, float("nan")) | {"note": note}
        for group in range(len(subject.counts))
    ]


def accuracy_gaps(subject: Subject) -> tuple[Array, list[Interval]]:
    """ψ of every group, with intervals, from the drops in accuracy of all groups (M3)."""
    present = subject.present
    drops = subject.means.values["accuracy_drop"]
    own = subject.means.intervals["accuracy_drop"]
    values = excess_accuracy_gap(drops, subject.means.columns["accuracy_drop"].mean())
    intervals = [UNKNOWN] * len(drops)
    contrasts = gap_contrasts(subject.counts[present].astype(float))
    chosen = [own[group] for group in present]
    for group, contrast in zip(present, contrasts, strict=True):
        intervals[group] = combined_interval(contrast, drops[present], chosen)
    return values, intervals


def _p_values(subject: Subject, metric: str) -> Array:
    """Of the groups of at least minimum size against the rest, Holm-adjusted."""
    groups = len(subject.counts)
    found = np.full(groups, np.nan)
    if metric in TESTED:
        column = subject.means.columns[metric]
        tested = rest_p_values(column, subject.codes, groups, units=subject.units)
        found[subject.large] = holm(tested[subject.large])
    return found


def _overall(subject: Subject, metric: str) -> Row:
    column, settings = subject.means.columns[metric], subject.settings
    if metric == "accuracy":
        everyone = np.zeros(len(column), dtype=np.int64)
        (effect,) = design_effects(column, everyone, 1, subject.units)
        interval = wilson_interval(round(column.sum()), len(column), effect)
    else:
        interval = mean_interval(column, settings.resamples, settings.seed, subject.units)
    return overall_row(subject, metric, float(column.mean()), interval)


def calibration(subject: Subject) -> Found:
    """The expected calibration error of every group, beside what it would be by chance (M13)."""
    if not subject.outputs.probable:
        return Found(rows=tuple(_unknown_rows(subject, "expected_calibration_error")))
    return Found(rows=tuple(_calibration_row(subject, g) for g in range(len(subject.counts))))


def _calibration_row(subject: Subject, group: int) -> Row:
    own = subject.codes == group
    confidence = subject.outputs.confidence.numpy()[own]
    correct = subject.outputs.correct.numpy()[own]
    resamples, seed = subject.settings.resamples // 4, subject.settings.seed
    units = None if subject.units is None else subject.units[own]
    interval = calibration_interval(confidence, correct, resamples, seed, units=units)
    floor = calibration_floor(confidence, seed=seed)
    value = calibration_error(confidence, correct)
    row = group_row(subject, group, "expected_calibration_error", int(own.sum()), value, interval)
    return row | {"floor_median": floor.median, "floor_p95": floor.p95}
