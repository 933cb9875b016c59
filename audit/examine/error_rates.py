"""What is counted of predictions: error rates, fairness differences, bias amplification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audit.examine.found import Found, Row, floored, group_row, overall_row
from audit.examine.subject import Subject
from audit.measure.calibration import amplification_interval
from audit.measure.fairness import (
    FairnessDifference,
    confusion_counts,
    fairness_differences,
    one_class_each,
    rate_counts,
    rate_effects,
)
from audit.measure.uncertainty import design_effects, wilson_interval

GROUPS_ARE_CLASSES = (
    "the groups are the classes: demographic parity and equalised odds compare the same class "
    "across groups, so they are not defined"
)


def confusion(subject: Subject) -> NDArray[np.int64]:
    """The samples of every group, true class and predicted class: int64 [G, C, C]."""
    return confusion_counts(
        subject.outputs.label.numpy(),
        subject.outputs.prediction.numpy(),
        subject.codes,
        len(subject.counts),
        len(subject.data.classes),
    )


def error_rates(subject: Subject) -> Found:
    """Selection, error rates and precision of the second of two classes (M4), group by group.

    n counts the samples that a rate is a share of, such as the positives. Nothing where there are
    more than two classes.
    """
    if len(subject.data.classes) != 2:
        return Found()
    counted = rate_counts(confusion(subject))
    effects = _effects(subject)
    return Found(
        rows=tuple(
            _rate_row(
                subject,
                group,
                rate,
                int(parts[group, 1]),
                int(wholes[group, 1]),
                float(effects[rate][group, 1]),
            )
            for rate, (parts, wholes) in counted.items()
            for group in range(len(subject.counts))
        )
    )


def _effects(subject: Subject) -> dict[str, NDArray[np.float64]]:
    label, said = subject.outputs.label.numpy(), subject.outputs.prediction.numpy()
    shape = len(subject.counts), len(subject.data.classes)
    return rate_effects(label, said, subject.codes, *shape, subject.units)


def _rate_row(subject: Subject, group: int, rate: str, part: int, whole: int, effect: float) -> Row:
    value = part / whole if whole else float("nan")
    interval = wilson_interval(part, whole, effect)
    return group_row(subject, group, rate.replace(" ", "_"), whole, value, interval)


def bias_amplification(subject: Subject) -> Found:
    """The mean bias amplification over classes (M13)."""
    settings = subject.settings
    right = subject.outputs.correct.numpy()
    everyone = np.zeros(len(right), dtype=np.int64)
    (effect,) = design_effects(right, everyone, 1, subject.units)
    value, interval = amplification_interval(
        confusion(subject), settings.resamples, settings.seed, float(effect)
    )
    return Found(overall=(overall_row(subject, "bias_amplification", value, interval),))


def fairness(subject: Subject) -> Found:
    """Demographic parity, equal opportunity and equalised odds (M4).

    Nothing where fewer than two groups have the minimum size, or where the groups are the classes.
    """
    large = subject.large
    if len(large) < 2:
        return Found()
    if one_class_each(subject.outputs.label.numpy(), subject.codes):
        return Found(notes=(GROUPS_ARE_CLASSES,))
    names = [subject.data.group_names[group] for group in large]
    effects = {rate: found[large] for rate, found in _effects(subject).items()}
    differences = fairness_differences(confusion(subject)[large], subject.settings.seed, effects)
    return Found(overall=tuple(_difference_row(subject, one, names) for one in differences))


def _difference_row(subject: Subject, found: FairnessDifference, names: Sequence[str]) -> Row:
    row = overall_row(subject, found.metric, found.value, found.interval, _named(names, found.high))
    return (
        row
        | floored(found.floor, found.value)
        | {
            "class": subject.data.classes[found.class_index],
            "rate": found.rate,
            "lowest_group": _named(names, found.low),
            "without": [names[group] for group in found.without],
        }
    )


def _named(names: Sequence[str], position: int | None) -> str | None:
    return None if position is None else names[position]
