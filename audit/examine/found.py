"""What a measure finds, and the rows that it is written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audit.examine.subject import Part, Subject
from audit.measure.curvature import Eigenvalue
from audit.measure.uncertainty import Interval, NoiseFloor, mean_interval

Row = dict[str, Any]
UNKNOWN = Interval(float("nan"), float("nan"))


@dataclass(frozen=True)
class Contribution:
    """Each sample's part of a metric of the whole network: two models' give a paired difference.

    rows     positions of the samples in the data, int64 [n], ascending
    values   float64 [n]; NaN where a sample has none
    """

    metric: str
    rows: Tensor
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What a measure found; the finds of two measures add up.

    rows            of the table of groups
    layers          of the table of layers
    overall         numbers over all samples, and gaps between groups
    contributions   of samples
    spectra         of groups, by name
    notes           why something could not be measured, in sentences
    """

    rows: tuple[Row, ...] = ()
    layers: tuple[Row, ...] = ()
    overall: tuple[Row, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    spectra: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found(
            self.rows + other.rows,
            self.layers + other.layers,
            self.overall + other.overall,
            self.contributions + other.contributions,
            {**self.spectra, **other.spectra},
            tuple(dict.fromkeys(self.notes + other.notes)),
        )


def together(finds: Iterable[Found]) -> Found:
    """The sum of some finds."""
    return sum(finds, Found())


def identity(subject: Subject) -> Row:
    """What tells the network's rows from those of others."""
    provenance = subject.checkpoint.provenance
    return {
        "model": subject.name,
        "method": provenance.method,
        "constraint": provenance.constraint,
        "rate": provenance.rate,
        "sparsity": subject.sparsity,
        "seed": provenance.seed,
    }


def group_row(
    subject: Subject, group: int, metric: str, n: int, value: float, interval: Interval = UNKNOWN
) -> Row:
    """One number of one group."""
    count = subject.counts[group]
    small = count < subject.settings.minimum_group_size
    return identity(subject) | {
        "split": subject.settings.split,
        "attribute": subject.data.attribute,
        "group": subject.data.group_names[group],
        "n": n,
        "metric": metric,
        "value": value,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "flag": "absent" if count == 0 else "small" if small else "",
    }


def mean_found(
    subject: Subject,
    part: Part,
    metric: str,
    samples: Tensor,
    value: float | None = None,
    more: Mapping[str, Any] | None = None,
) -> Found:
    """What is a mean over the samples [n] of a part; `n` counts those that have a number.

    `value` is the group's number where it is more than that mean; `more` goes into the row.
    """
    values = samples.numpy()
    known = np.isfinite(values)
    if value is None:
        value = float(values[known].mean()) if known.any() else float("nan")
    settings = subject.settings
    units = subject.units_of(part.rows)
    interval = mean_interval(
        values[known], settings.resamples, settings.seed, None if units is None else units[known]
    )
    row = group_row(subject, part.group, metric, int(known.sum()), value, interval)
    parts = Contribution(metric, part.rows, np.where(known, values, np.nan))
    return Found(rows=(row | dict(more or {}),), contributions=(parts,) if len(values) else ())


def layer_row(
    subject: Subject, group: int, layer: str, metric: str, value: float | Eigenvalue, n: int = 0
) -> Row:
    """One number of one layer on one group."""
    row = identity(subject) | {
        "group": subject.data.group_names[group],
        "layer": layer,
        "metric": metric,
    }
    if isinstance(value, Eigenvalue):
        return row | {"value": value.value, "n": value.n} | qualified(value)
    return row | {"value": value, "n": n}


def overall_row(
    subject: Subject, metric: str, value: float, interval: Interval, group: str | None = None
) -> Row:
    """One number over all samples of the split; the row goes to JSON, which has no NaN."""
    return {
        "model": subject.name,
        "split": subject.settings.split,
        "n": len(subject.rows),
        "metric": metric,
        "group": group,
        "value": number(value),
        "ci_low": number(interval.low),
        "ci_high": number(interval.high),
        "floor_median": None,
        "floor_p95": None,
        "corrected": None,
    }


def floored(floor: NoiseFloor, value: float) -> Row:
    """What equal groups of these sizes would show, and the value less its median."""
    return {
        "floor_median": number(floor.median),
        "floor_p95": number(floor.p95),
        "corrected": number(floor.corrected(value)),
    }


def qualified(eigenvalue: Eigenvalue) -> Row:
    """What qualifies an eigenvalue."""
    return {
        "residual": eigenvalue.residual,
        "error": eigenvalue.error,
        "converged": eigenvalue.converged,
        "space": eigenvalue.space,
    }


def number(value: float) -> float | None:
    """The value, or None where it is not known."""
    return None if np.isnan(value) else value
