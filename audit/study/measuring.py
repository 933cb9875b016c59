"""Measuring one network on every group, beside its dense parent, into tidy tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from audit.data.grouped import GroupedData
from audit.files import write_atomically
from audit.measure import (
    CurvatureSettings,
    Eigenvalue,
    Interval,
    NoiseFloor,
    Outputs,
    combined_interval,
    curvature_samples,
    drop_floor,
    drop_interval,
    excess_accuracy_gap,
    excess_risk,
    fairness_differences,
    fairness_violation,
    gap_contrasts,
    gradient_norm,
    group_intervals,
    hessian_extremes,
    holm,
    input_distance,
    layer_extremes,
    logit_slopes,
    loss_bound,
    maximum_interval,
    mean_floor,
    mean_gradient,
    mean_interval,
    one_shot,
    predict,
    pyhessian_max_eigenvalue,
    range_interval,
    rest_p_values,
    share_floor,
    spectral_density,
    taylor_attribution,
    top_eigenvalues,
    wilson_interval,
)
from audit.measure.boundary import deepfool_distance
from audit.measure.calibration import (
    amplification_interval,
    calibration_error,
    calibration_floor,
    calibration_interval,
    uncertain,
)
from audit.measure.cost import multiply_adds, surviving_multiply_adds
from audit.measure.fairness import confusion_counts, rate_counts
from audit.models.checkpoint import Checkpoint
from audit.prune.mask import measured_mask
from audit.study.making import check_same_data
from audit.study.results import GROUP_COLUMNS, LAYER_COLUMNS
from audit.study.settings import MeasureSettings

MEASURES_VERSION = 1
"""Raised where what is measured changes, so that no study keeps measures of earlier code."""

SHARES = ("accuracy", "uncertainty_share", "broken", "mended")
"""Columns of zeros and ones, whose mean is a share."""

TAYLOR = ("taylor_slope", "taylor_curvature", "taylor_buffers", "taylor_remainder")
SLOPES = {
    "logit_jacobian_norm": "jacobian_norm",
    "gradient_norm_bound": "gradient_bound",
    "closeness_gradient_term": "closeness_term",
    "prediction_error_term": "error_term",
}
"""Metrics of proposition 2 and theorem 2, and the parts of LogitSlopes that they are means of."""


@dataclass(frozen=True)
class ModelMeasures:
    """All that was measured of one model.

    groups, layers and samples are the model's rows of the tables of those names, `overall` its rows
    of results.json's overall, `model` its entry among results.json's models.
    """

    groups: pd.DataFrame
    layers: pd.DataFrame
    samples: pd.DataFrame
    overall: list[dict[str, Any]]
    model: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write to a folder, which appears only when it is whole."""
        partial = folder.with_name(f".{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        self.groups.to_parquet(partial / "groups.parquet")
        self.layers.to_parquet(partial / "layers.parquet")
        self.samples.to_parquet(partial / "samples.parquet")
        record = json.dumps({"overall": self.overall, "model": self.model})
        write_atomically(partial / "model.json", record)
        partial.rename(folder)

    @staticmethod
    def load(folder: Path) -> ModelMeasures:
        """Read what `save` wrote."""
        record = json.loads((folder / "model.json").read_text("utf-8"))
        return ModelMeasures(
            pd.read_parquet(folder / "groups.parquet"),
            pd.read_parquet(folder / "layers.parquet"),
            pd.read_parquet(folder / "samples.parquet"),
            record["overall"],
            record["model"],
        )

    def with_file(self, file: str, digest: str) -> ModelMeasures:
        """The same measures, naming the checkpoint file that they are of."""
        return replace(self, model=self.model | {"file": file, "sha256": digest})

    def with_method(self, title: str) -> ModelMeasures:
        """The same measures, their method called otherwise."""
        return replace(
            self,
            groups=self.groups.assign(method=title),
            layers=self.layers.assign(method=pd.array([title] * len(self.layers), "string")),
            model=self.model | {"method": title},
        )


def measure_model(
    checkpoint: Checkpoint,
    dense: Checkpoint | None,
    data: GroupedData,
    settings: MeasureSettings | None = None,
    name: str = "model",
    factory: str | None = None,
) -> ModelMeasures:
    """Measure every group of a split under one network (M1-M9 and M13; M11 and M12 if asked for).

    `dense` is its dense parent, on the same samples; without it there is no excess risk. A dense
    network measured for itself is its own parent. Raises AuditError where the network, its parent
    and the data do not go together.
    """
    settings = settings or MeasureSettings()
    check_same_data(checkpoint, data)
    if dense is None and checkpoint.mask is None:
        dense = checkpoint
    subject = _Subject(checkpoint, dense, data, settings, name, factory)
    groups = pd.DataFrame([*subject.sample_rows(), *subject.model_rows()])
    return ModelMeasures(
        groups.reindex(columns=list(GROUP_COLUMNS)),
        _layer_table(subject.layers),
        subject.sample_table(),
        subject.overall_rows(),
        subject.record(),
    )


class _Subject:
    """One network under measurement: its outputs, its parent's, and one bootstrap for both."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        dense: Checkpoint | None,
        data: GroupedData,
        settings: MeasureSettings,
        name: str,
        factory: str | None,
    ) -> None:
        self.checkpoint, self.data, self.settings, self.name = checkpoint, data, settings, name
        self.model = checkpoint.model(factory)
        self.rows = data.indices(settings.split)
        self.codes = data.groups[self.rows].numpy()
        self.counts = np.bincount(self.codes, minlength=len(data.group_names))
        self.outputs = predict(self.model, self._batches(self.rows))
        self.parent: Outputs | None = None
        self.dense: nn.Module | None = None
        if dense is checkpoint:
            self.parent = self.outputs
        elif dense is not None:
            check_same_data(dense, data)
            self.dense = dense.model(factory)
            self.parent = predict(self.dense, self._batches(self.rows))
        self.layers: list[dict[str, Any]] = []
        self.spectra: dict[str, Any] = {}
        self.columns = self._columns()
        self.large = np.flatnonzero(self.counts >= settings.minimum_group_size)
        self.means = {name: self._group_means(column) for name, column in self.columns.items()}
        self.intervals = self._intervals()
        self.contributions: dict[str, np.ndarray] = {}
        self.provenance = checkpoint.provenance
        self.mask = measured_mask(self.model)

    def _columns(self) -> dict[str, np.ndarray]:
        """What is a mean over samples, by metric: float64 [n]."""
        found = self.outputs
        columns = {
            "loss": found.loss,
            "accuracy": found.correct,
            "boundary_closeness": found.closeness,
            "boundary_margin": found.margin,
            "uncertainty_share": torch.from_numpy(uncertain(found.confidence.numpy())),
        }
        if self.parent is not None:
            risk = excess_risk(self.parent.loss.numpy(), found.loss.numpy())
            columns["excess_risk"] = torch.from_numpy(risk)
            columns["accuracy_drop"] = self.parent.correct - found.correct
            columns["broken"] = self.parent.correct * (1 - found.correct)
            columns["mended"] = (1 - self.parent.correct) * found.correct
        return {name: column.numpy() for name, column in columns.items()}

    def _group_means(self, values: np.ndarray) -> np.ndarray:
        sums = np.bincount(self.codes, weights=values, minlength=len(self.counts))
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / self.counts)

    def _intervals(self) -> dict[str, list[Interval]]:
        """Every group's interval of every column: Wilson, Bonett and Price, or the bootstrap."""
        found: dict[str, list[Interval]] = {}
        continuous = [name for name in self.columns if name not in (*SHARES, "accuracy_drop")]
        values = np.stack([self.columns[name] for name in continuous], 1)
        drawn = group_intervals(
            values, self.codes, len(self.counts), self.settings.resamples, self.settings.seed
        )
        for position, name in enumerate(continuous):
            found[name] = [own[position] for own in drawn]
        for name in self.columns:
            own = [self.columns[name][self.codes == group] for group in range(len(self.counts))]
            if name in SHARES:
                found[name] = [wilson_interval(round(part.sum()), len(part)) for part in own]
            elif name == "accuracy_drop":
                found[name] = [drop_interval(part) for part in own]
        return found

    def _batches(self, rows: Tensor) -> _Batches:
        return _Batches(self.data, rows, self.settings.batch_size)

    def sample_rows(self) -> list[dict[str, Any]]:
        """Rows of the metrics that are means over samples, and of the gaps made from them."""
        found = []
        for metric in self.columns:
            values, intervals = self.means[metric], self.intervals[metric]
            tested = self._p_values(metric)
            if metric == "accuracy_drop":
                metric, values, intervals = "excess_accuracy_gap", *self._gaps()
            for group, count in enumerate(self.counts):
                row = self._row(group, metric, int(count), float(values[group]), intervals[group])
                found.append(row | {"p_value": tested[group]})
        found += [self._calibration_row(group) for group in range(len(self.counts))]
        return found + self._rate_rows()

    def _rate_rows(self) -> list[dict[str, Any]]:
        """Selection, error rates and precision of the second of two classes (M4), group by group.

        n counts the samples that a rate is a share of, such as the positives.
        """
        if len(self.data.classes) != 2:
            return []
        found = []
        for rate, (parts, wholes) in rate_counts(self._confusion()).items():
            for group in range(len(self.counts)):
                part, whole = int(parts[group, 1]), int(wholes[group, 1])
                value = part / whole if whole else float("nan")
                interval = wilson_interval(part, whole)
                found.append(self._row(group, rate.replace(" ", "_"), whole, value, interval))
        return found

    def _calibration_row(self, group: int) -> dict[str, Any]:
        """The expected calibration error, beside what it would be by chance (M13)."""
        own = self.codes == group
        confidence, correct = (
            part.numpy()[own] for part in (self.outputs.confidence, self.outputs.correct)
        )
        resamples, seed = self.settings.resamples // 4, self.settings.seed
        interval = calibration_interval(confidence, correct, resamples, seed)
        floor = calibration_floor(confidence, seed=seed)
        value = calibration_error(confidence, correct)
        row = self._row(group, "expected_calibration_error", int(own.sum()), value, interval)
        return row | {"floor_median": floor.median, "floor_p95": floor.p95}

    def _gaps(self) -> tuple[np.ndarray, list[Interval]]:
        """ψ of every group, with intervals, from the drops in accuracy of all groups."""
        present = np.flatnonzero(self.counts)
        drops, own = self.means["accuracy_drop"], self.intervals["accuracy_drop"]
        values = excess_accuracy_gap(drops, self.columns["accuracy_drop"].mean())
        intervals = [Interval(float("nan"), float("nan"))] * len(drops)
        contrasts = gap_contrasts(self.counts[present].astype(float))
        chosen = [own[group] for group in present]
        for group, contrast in zip(present, contrasts, strict=True):
            intervals[group] = combined_interval(contrast, drops[present], chosen)
        return values, intervals

    def _p_values(self, metric: str) -> np.ndarray:
        """Of the groups of at least minimum size against the rest, Holm-adjusted."""
        found = np.full(len(self.counts), np.nan)
        if metric in ("excess_risk", "accuracy_drop"):
            tested = rest_p_values(self.columns[metric], self.codes, len(self.counts))
            found[self.large] = holm(tested[self.large])
        return found

    def model_rows(self) -> list[dict[str, Any]]:
        """Rows of gradient norm, Hessian eigenvalues and input distance, group by group."""
        found: list[dict[str, Any]] = []
        for group in range(len(self.counts)):
            found += self._group_model_rows(group)
        return found

    def _group_model_rows(self, group: int) -> list[dict[str, Any]]:
        rows = self.data.indices(self.settings.split, group=group)
        if len(rows) == 0:
            nothing = Interval(float("nan"), float("nan"))
            return [self._row(group, metric, 0, float("nan"), nothing) for metric in self._wanted()]
        rows = self._subset(rows)
        batches = self._batches(rows)
        gradient = mean_gradient(self.model, batches)
        slopes = gradient_norm(self.model, batches, gradient)
        found = [self._mean_row(group, "gradient_norm", rows, slopes.samples, slopes.value)]
        distance = input_distance(self.model, batches)
        found.append(self._mean_row(group, "input_distance", rows, distance))
        if self.settings.deepfool:
            far = deepfool_distance(self.model, batches)
            reached = torch.where(far.converged, far.distance, torch.nan)
            found.append(self._mean_row(group, "deepfool_distance", rows, reached))
        found += self._curvature_rows(group, rows, batches)
        if self.dense is not None:
            found += self._taylor_rows(group, rows, batches, self.dense)
        if self.settings.theory:
            found += self._theory_rows(group, rows, batches)
        return found

    def _wanted(self) -> list[str]:
        """The metrics of the whole network that every group has a row of."""
        settings = self.settings
        found = ["gradient_norm", "input_distance"]
        found += ["deepfool_distance"] * settings.deepfool
        if settings.curvature != "none":
            found.append("hessian_max_eigenvalue")
        if settings.curvature == "lanczos":
            found.append("hessian_min_eigenvalue")
            found += [f"hessian_eigenvalue_{k}" for k in range(2, settings.top_eigenvalues + 1)]
        if self.dense is not None:
            found += [*TAYLOR, *(["loss_bound"] * settings.theory)]
        return found + list(SLOPES) * settings.theory

    def _mean_row(
        self, group: int, metric: str, rows: Tensor, samples: Tensor, value: float | None = None
    ) -> dict[str, Any]:
        """A row for what is a mean over these samples; `n` counts those that have a number."""
        values = samples.numpy()
        known = np.isfinite(values)
        if value is None:
            value = float(values[known].mean()) if known.any() else float("nan")
        self._contribute(metric, rows, np.where(known, values, np.nan))
        interval = self._interval(values[known])
        return self._row(group, metric, int(known.sum()), value, interval)

    def _curvature_rows(self, group: int, rows: Tensor, batches: _Batches) -> list[dict[str, Any]]:
        found = []
        for metric, eigenvalue in self._eigenvalues(batches):
            samples = curvature_samples(self.model, batches, eigenvalue)
            row = self._mean_row(group, metric, rows, samples, eigenvalue.value)
            found.append(row | _qualified(eigenvalue) | {"products": eigenvalue.products})
        mask = self._hessian_mask()
        if self.settings.layer_curvature:
            blocks = layer_extremes(self.model, batches, mask, self._lanczos())
            for layer, (largest, smallest) in blocks.items():
                self._layer(group, layer, "hessian_max_eigenvalue", largest.value, largest)
                self._layer(group, layer, "hessian_min_eigenvalue", smallest.value, smallest)
        if self.settings.spectral_density:
            density = spectral_density(self.model, batches, mask, seed=self.settings.seed)
            self.spectra[self.data.group_names[group]] = {
                "nodes": density.nodes.tolist(),
                "weights": density.weights.tolist(),
                "dimension": density.dimension,
                "products": density.products,
                "space": density.space,
                "n": density.n,
            }
        return found

    def _taylor_rows(
        self, group: int, rows: Tensor, batches: _Batches, dense: nn.Module
    ) -> list[dict[str, Any]]:
        """Excess risk as slope, curvature, running statistics and the rest (M9); the bound (M8)."""
        found = taylor_attribution(dense, self.model, batches)
        for layer, slope, curvature in zip(
            found.layers, found.slope.tolist(), found.curvature.tolist(), strict=True
        ):
            self._layer(group, layer, "taylor_slope", slope, n=found.n)
            self._layer(group, layer, "taylor_curvature", curvature, n=found.n)
        nothing = Interval(float("nan"), float("nan"))
        made = [
            self._mean_row(group, "taylor_slope", rows, found.slope_samples, found.total_slope),
            self._mean_row(
                group, "taylor_curvature", rows, found.curvature_samples, found.total_curvature
            ),
            self._row(group, "taylor_buffers", found.n, found.buffers, nothing),
            self._row(group, "taylor_remainder", found.n, found.remainder, nothing),
        ]
        if self.settings.theory:
            (largest,) = top_eigenvalues(dense, batches, settings=self._lanczos())
            safe = largest.value + largest.residual
            bound = loss_bound(safe, found, one_shot(dense, self.model))
            made.append(self._row(group, "loss_bound", found.n, bound.value, nothing))
        return made

    def _theory_rows(self, group: int, rows: Tensor, batches: _Batches) -> list[dict[str, Any]]:
        """Proposition 2's bound and theorem 2's terms (M11, M12)."""
        found = logit_slopes(self.model, batches)
        return [
            self._mean_row(group, metric, rows, getattr(found, part))
            for metric, part in SLOPES.items()
        ]

    def _layer(
        self,
        group: int,
        layer: str,
        metric: str,
        value: float,
        eigenvalue: Eigenvalue | None = None,
        n: int = 0,
    ) -> None:
        known = {} if eigenvalue is None else _qualified(eigenvalue)
        self.layers.append(
            self._identity()
            | {"group": self.data.group_names[group], "layer": layer, "metric": metric}
            | {"value": value, "n": n if eigenvalue is None else eigenvalue.n}
            | known
        )

    def _contribute(self, metric: str, rows: Tensor, values: np.ndarray) -> None:
        """Keep each sample's part of a metric: two models' parts give their paired difference."""
        if len(values):
            column = self.contributions.setdefault(metric, np.full(len(self.rows), np.nan))
            column[np.searchsorted(self.rows.numpy(), rows.numpy())] = values

    def _hessian_mask(self) -> Mapping[str, Tensor] | None:
        """The surviving weights, for a pruned network."""
        return self.checkpoint.mask and self.mask.parts

    def _lanczos(self) -> CurvatureSettings:
        return CurvatureSettings(seed=self.settings.seed)

    def _eigenvalues(self, batches: _Batches) -> list[tuple[str, Eigenvalue]]:
        if self.settings.curvature == "none":
            return []
        mask, number = self._hessian_mask(), self.settings.top_eigenvalues
        if self.settings.curvature == "pyhessian":
            found = pyhessian_max_eigenvalue(self.model, batches, mask)
            return [("hessian_max_eigenvalue", found)]
        largest, smallest = hessian_extremes(self.model, batches, mask, self._lanczos())
        ends = [("hessian_max_eigenvalue", largest), ("hessian_min_eigenvalue", smallest)]
        if number == 1:
            return ends
        more = top_eigenvalues(self.model, batches, mask, self._lanczos(), number)
        return ends + [(f"hessian_eigenvalue_{k + 1}", one) for k, one in enumerate(more) if k]

    def _subset(self, rows: Tensor) -> Tensor:
        """At most `samples_per_group` of the rows: a seeded choice, the same for every model."""
        most = self.settings.samples_per_group
        if len(rows) <= most:
            return rows
        generator = torch.Generator().manual_seed(self.settings.seed)
        return rows[torch.randperm(len(rows), generator=generator)[:most]].sort().values

    def _interval(self, samples: np.ndarray) -> Interval:
        return mean_interval(samples, self.settings.resamples, self.settings.seed)

    def _identity(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "method": self.provenance.method,
            "constraint": self.provenance.constraint,
            "rate": self.provenance.rate,
            "sparsity": self.mask.sparsity,
            "seed": self.provenance.seed,
        }

    def _row(
        self, group: int, metric: str, n: int, value: float, interval: Interval
    ) -> dict[str, Any]:
        count = self.counts[group]
        small = count < self.settings.minimum_group_size
        return self._identity() | {
            "split": self.settings.split,
            "attribute": self.data.attribute,
            "group": self.data.group_names[group],
            "n": n,
            "metric": metric,
            "value": value,
            "ci_low": interval.low,
            "ci_high": interval.high,
            "flag": "absent" if count == 0 else "small" if small else "",
        }

    def sample_table(self) -> pd.DataFrame:
        """One row per sample of the split; call it after `model_rows`, which adds columns."""
        found = self.outputs
        return pd.DataFrame(
            {
                "model": self.name,
                "sample": self.data.samples[self.rows.numpy()],
                "split": self.settings.split,
                "group": np.array(self.data.group_names)[self.codes],
                "label": np.array(self.data.classes)[found.label.numpy()],
                "prediction": np.array(self.data.classes)[found.prediction.numpy()],
                "loss": found.loss.numpy(),
                "margin": found.margin.numpy(),
                "confidence": found.confidence.numpy(),
                "boundary_closeness": found.closeness.numpy(),
            }
            | self._before()
            | self.contributions
        )

    def _before(self) -> dict[str, np.ndarray]:
        """What the dense parent of a pruned network says of each sample."""
        if self.dense is None or self.parent is None:
            return {}
        return {
            "dense_prediction": np.array(self.data.classes)[self.parent.prediction.numpy()],
            "dense_confidence": self.parent.confidence.numpy(),
        }

    def overall_rows(self) -> list[dict[str, Any]]:
        """Numbers over all samples, and the gaps between the groups of at least minimum size."""
        rows = []
        for metric in ("accuracy", "loss", "excess_risk"):
            if metric in self.columns:
                column = self.columns[metric]
                if metric == "accuracy":
                    interval = wilson_interval(round(column.sum()), len(column))
                else:
                    interval = self._interval(column)
                rows.append(self._overall(metric, float(column.mean()), interval))
        rows.append(self._amplification_row())
        if len(self.large) < 2:
            return rows
        return rows + self._gap_rows() + self._fairness_rows()

    def _gap_rows(self) -> list[dict[str, Any]]:
        counts = self.counts[self.large].astype(float)
        rights = self.means["accuracy"][self.large] * counts
        rows = [self._range("accuracy_violation", "accuracy", share_floor(rights, counts))]
        if self.parent is None:
            return rows
        risk = self.columns["excess_risk"]
        within = risk - self.means["excess_risk"][self.codes]
        drops = self.columns["accuracy_drop"]
        floor, largest = (
            drop_floor(drops, counts, gap)
            for gap in (fairness_violation, lambda gaps: gaps.max(-1))
        )
        return [
            *rows,
            self._range("fairness_violation", "excess_risk", mean_floor(within, counts)),
            self._range("excess_accuracy_gap_range", "accuracy_drop", floor),
            self._largest_gap(largest),
        ]

    def _range(self, metric: str, column: str, floor: NoiseFloor) -> dict[str, Any]:
        values = self.means[column][self.large]
        interval = range_interval(values, [self.intervals[column][g] for g in self.large])
        value = float(fairness_violation(values))
        return self._overall(metric, value, interval) | _floored(floor, value)

    def _largest_gap(self, floor: NoiseFloor) -> dict[str, Any]:
        """max ψ over the groups of at least minimum size; Δ is over all samples."""
        values, _ = self._gaps()
        worst = self.large[int(np.argmax(values[self.large]))]
        present = np.flatnonzero(self.counts)
        contrasts = gap_contrasts(self.counts[present].astype(float))
        interval = maximum_interval(
            contrasts[np.isin(present, self.large)],
            self.means["accuracy_drop"][present],
            [self.intervals["accuracy_drop"][group] for group in present],
        )
        value, name = float(values[worst]), self.data.group_names[worst]
        row = self._overall("max_excess_accuracy_gap", value, interval, name)
        return row | _floored(floor, value)

    def _confusion(self) -> np.ndarray:
        return confusion_counts(
            self.outputs.label.numpy(),
            self.outputs.prediction.numpy(),
            self.codes,
            len(self.counts),
            len(self.data.classes),
        )

    def _amplification_row(self) -> dict[str, Any]:
        """The mean bias amplification over classes (M13)."""
        settings = self.settings
        found = amplification_interval(self._confusion(), settings.resamples, settings.seed)
        return self._overall("bias_amplification", *found)

    def _fairness_rows(self) -> list[dict[str, Any]]:
        """Demographic parity, equal opportunity and equalised odds (M4)."""
        confusion = self._confusion()[self.large]
        names = [self.data.group_names[group] for group in self.large]
        return [
            self._overall(
                found.metric,
                found.value,
                found.interval,
                None if found.high is None else names[found.high],
            )
            | _floored(found.floor, found.value)
            | {
                "class": self.data.classes[found.class_index],
                "rate": found.rate,
                "lowest_group": _named(names, found.low),
                "without": [names[group] for group in found.without],
            }
            for found in fairness_differences(confusion, self.settings.seed)
        ]

    def _overall(
        self, metric: str, value: float, interval: Interval, group: str | None = None
    ) -> dict[str, Any]:
        return {
            "model": self.name,
            "split": self.settings.split,
            "n": len(self.rows),
            "metric": metric,
            "group": group,
            "value": _number(value),
            "ci_low": _number(interval.low),
            "ci_high": _number(interval.high),
            "floor_median": None,
            "floor_p95": None,
            "corrected": None,
        }

    def record(self) -> dict[str, Any]:
        """The model's entry in results.json."""
        provenance = self.provenance
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        sample = self.data.batch(self.rows[:1]).inputs
        return self._identity() | {
            "name": self.name,
            "file": None,
            "sha256": None,
            "parameters": parameters,
            "surviving_parameters": parameters - self.mask.size + self.mask.survivors,
            "multiply_adds": multiply_adds(self.model, sample),
            "surviving_multiply_adds": surviving_multiply_adds(self.model, sample),
            "layer_sparsity": self.mask.layer_sparsity(),
            "architecture": self.checkpoint.architecture.name,
            "arguments": dict(self.checkpoint.architecture.arguments),
            "input_shape": list(self.data.input_shape),
            "steps": provenance.steps,
            "settings": dict(provenance.settings),
            "notes": list(provenance.notes),
            "one_shot": self.dense is not None and one_shot(self.dense, self.model),
            "spectra": self.spectra,
            "parent": None if provenance.parent is None else provenance.parent.sha256,
        }


@dataclass(frozen=True)
class _Batches:
    """(inputs, labels) of some samples, read anew each time, so that nothing is held at once."""

    data: GroupedData
    rows: Tensor
    size: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((b.inputs, b.labels) for b in self.data.batches(self.rows, self.size))


def _qualified(eigenvalue: Eigenvalue) -> dict[str, Any]:
    return {
        "residual": eigenvalue.residual,
        "error": eigenvalue.error,
        "converged": eigenvalue.converged,
        "space": eigenvalue.space,
    }


def _layer_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(LAYER_COLUMNS))
    types: dict[str, Any] = dict.fromkeys(("value", "residual", "error"), float)
    texts = dict.fromkeys(
        ("model", "method", "constraint", "group", "layer", "metric", "space"), "string"
    )
    return table.astype(types | texts | {"converged": "boolean"})


def _named(names: list[str], position: int | None) -> str | None:
    return None if position is None else names[position]


def _floored(floor: NoiseFloor, value: float) -> dict[str, float | None]:
    """What equal groups of these sizes would show, and the value less its median."""
    return {
        "floor_median": _number(floor.median),
        "floor_p95": _number(floor.p95),
        "corrected": _number(floor.corrected(value)),
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else value
