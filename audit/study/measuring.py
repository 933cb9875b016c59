"""Measuring one network on every group, beside its dense parent, into tidy tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.data.grouped import GroupedData
from audit.files import write_atomically
from audit.measure import (
    CurvatureSettings,
    Eigenvalue,
    Interval,
    Outputs,
    curvature_samples,
    excess_accuracy_gap,
    excess_risk,
    fairness_violation,
    gradient_norm,
    group_resamples,
    hessian_extremes,
    input_distance,
    mean_gradient,
    mean_interval,
    percentile_interval,
    predict,
    pyhessian_max_eigenvalue,
    wilson_interval,
)
from audit.models.checkpoint import Checkpoint
from audit.prune.mask import measured_mask
from audit.study.making import check_same_data
from audit.study.results import GROUP_COLUMNS
from audit.study.settings import MeasureSettings


@dataclass(frozen=True)
class ModelMeasures:
    """All that was measured of one model.

    groups and samples are the model's rows of groups.parquet and samples.parquet, `overall` its
    rows of results.json's overall, `model` its entry among results.json's models.
    """

    groups: pd.DataFrame
    samples: pd.DataFrame
    overall: list[dict[str, Any]]
    model: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write to a folder, which appears only when it is whole."""
        partial = folder.with_name(f".{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        self.groups.to_parquet(partial / "groups.parquet")
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
            pd.read_parquet(folder / "samples.parquet"),
            record["overall"],
            record["model"],
        )

    def with_file(self, file: str, digest: str) -> ModelMeasures:
        """The same measures, naming the checkpoint file that they are of."""
        return replace(self, model=self.model | {"file": file, "sha256": digest})


def measure_model(
    checkpoint: Checkpoint,
    dense: Checkpoint | None,
    data: GroupedData,
    settings: MeasureSettings | None = None,
    name: str = "model",
    factory: str | None = None,
) -> ModelMeasures:
    """Measure every group of a split under one network (M1-M3, M5-M7).

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
        if dense is not None:
            check_same_data(dense, data)
            same = dense is checkpoint
            self.parent = (
                self.outputs if same else predict(dense.model(factory), self._batches(self.rows))
            )
        self.columns, self.values = self._columns()
        self.draws = group_resamples(
            self.values, self.codes, len(self.counts), settings.resamples, settings.seed
        )
        with np.errstate(invalid="ignore"):
            sums = np.array([self.values[self.codes == g].sum(0) for g in range(len(self.counts))])
            self.means = sums / self.counts[:, None]
        shares = self.counts / self.counts.sum()
        self.overall = self.values.mean(0)
        self.overall_draws = np.einsum("g,bgm->bm", shares, np.nan_to_num(self.draws))
        self.contributions: dict[str, np.ndarray] = {}
        self.provenance = checkpoint.provenance
        self.mask = measured_mask(self.model)

    def _columns(self) -> tuple[list[str], np.ndarray]:
        """What is a mean over samples, one column a metric: [n, M]."""
        found = self.outputs
        columns = {
            "loss": found.loss,
            "accuracy": found.correct,
            "boundary_closeness": found.closeness,
            "boundary_margin": found.margin,
        }
        if self.parent is not None:
            risk = excess_risk(self.parent.loss.numpy(), found.loss.numpy())
            columns["excess_risk"] = torch.from_numpy(risk)
            columns["accuracy_drop"] = self.parent.correct - found.correct
        return list(columns), torch.stack(list(columns.values()), 1).numpy()

    def _batches(self, rows: Tensor) -> _Batches:
        return _Batches(self.data, rows, self.settings.batch_size)

    def sample_rows(self) -> list[dict[str, Any]]:
        """Rows of the metrics that are means over samples, and of the gaps made from them."""
        found = []
        for column, metric in enumerate(self.columns):
            if metric == "accuracy_drop":
                values, draws = self._gaps(column)
                metric = "excess_accuracy_gap"
            else:
                values, draws = self.means[:, column], self.draws[:, :, column]
            for group, count in enumerate(self.counts):
                interval = percentile_interval(draws[:, group], int(count))
                if metric == "accuracy" and count:
                    interval = wilson_interval(round(values[group] * count), int(count))
                found.append(self._row(group, metric, int(count), float(values[group]), interval))
        return found

    def _gaps(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """ψ of every group and its resamples, from the drops in accuracy."""
        values = excess_accuracy_gap(self.means[:, column], self.overall[column])
        return values, excess_accuracy_gap(self.draws[:, :, column], self.overall_draws[:, column])

    def model_rows(self) -> list[dict[str, Any]]:
        """Rows of gradient norm, Hessian eigenvalues and input distance, group by group."""
        found: list[dict[str, Any]] = []
        for group in range(len(self.counts)):
            found += self._group_model_rows(group)
        return found

    def _group_model_rows(self, group: int) -> list[dict[str, Any]]:
        rows = self.data.indices(self.settings.split, group=group)
        metrics = ["gradient_norm", "input_distance"]
        if self.settings.curvature != "none":
            metrics += ["hessian_max_eigenvalue", "hessian_min_eigenvalue"]
        if len(rows) == 0:
            nothing = Interval(float("nan"), float("nan"))
            return [self._row(group, metric, 0, float("nan"), nothing) for metric in metrics]
        rows = self._subset(rows)
        batches, n = self._batches(rows), len(rows)
        gradient = mean_gradient(self.model, batches)
        norm = gradient_norm(self.model, batches, gradient)
        distance = input_distance(self.model, batches).numpy()
        # Where the network is flat there is no boundary to first order; n says how many counted.
        near = np.isfinite(distance)
        mean = float(distance[near].mean()) if near.any() else float("nan")
        slopes = norm.samples.numpy()
        found = [
            self._row(group, "gradient_norm", n, norm.value, self._interval(slopes)),
            self._row(
                group, "input_distance", int(near.sum()), mean, self._interval(distance[near])
            ),
        ]
        self._contribute("gradient_norm", rows, slopes)
        self._contribute("input_distance", rows, np.where(near, distance, np.nan))
        for metric, eigenvalue in self._eigenvalues(batches, gradient):
            qualified = {
                "residual": eigenvalue.residual,
                "products": eigenvalue.products,
                "converged": eigenvalue.converged,
                "space": eigenvalue.space,
            }
            samples = curvature_samples(self.model, batches, eigenvalue).numpy()
            self._contribute(metric, rows, samples)
            interval = self._interval(samples)
            found.append(self._row(group, metric, n, eigenvalue.value, interval) | qualified)
        return found

    def _contribute(self, metric: str, rows: Tensor, values: np.ndarray) -> None:
        """Keep each sample's part of a metric: two models' parts give their paired difference."""
        if len(values):
            column = self.contributions.setdefault(metric, np.full(len(self.rows), np.nan))
            column[np.searchsorted(self.rows.numpy(), rows.numpy())] = values

    def _eigenvalues(
        self, batches: _Batches, gradient: dict[str, Tensor]
    ) -> list[tuple[str, Eigenvalue]]:
        if self.settings.curvature == "none":
            return []
        mask = self.checkpoint.mask and self.mask.parts
        if self.settings.curvature == "pyhessian":
            found = pyhessian_max_eigenvalue(self.model, batches, mask)
            return [("hessian_max_eigenvalue", found)]
        settings = CurvatureSettings(seed=self.settings.seed)
        largest, smallest = hessian_extremes(self.model, batches, mask, settings)
        return [("hessian_max_eigenvalue", largest), ("hessian_min_eigenvalue", smallest)]

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
            | self.contributions
        )

    def overall_rows(self) -> list[dict[str, Any]]:
        """Numbers over all samples, and the gaps between the groups of at least minimum size."""
        n = len(self.rows)
        rows = []
        for metric in ("accuracy", "loss", "excess_risk"):
            if metric in self.columns:
                column = self.columns.index(metric)
                interval = percentile_interval(self.overall_draws[:, column], n)
                if metric == "accuracy":
                    interval = wilson_interval(round(self.overall[column] * n), n)
                rows.append(self._overall(metric, float(self.overall[column]), interval))
        large = np.flatnonzero(self.counts >= self.settings.minimum_group_size)
        if len(large) < 2:
            return rows
        return rows + self._gap_rows(large)

    def _gap_rows(self, large: np.ndarray) -> list[dict[str, Any]]:
        accuracy = self.columns.index("accuracy")
        rows = [
            self._spread("accuracy_violation", self.means[:, accuracy],
                         self.draws[:, :, accuracy], large)
        ]  # fmt: skip
        if self.parent is None:
            return rows
        risk = self.columns.index("excess_risk")
        values, draws = self._gaps(self.columns.index("accuracy_drop"))
        worst = large[int(np.argmax(values[large]))]
        interval = percentile_interval(draws[:, large].max(1), len(self.rows))
        return [
            *rows,
            self._spread("fairness_violation", self.means[:, risk], self.draws[:, :, risk], large),
            self._spread("excess_accuracy_gap_range", values, draws, large),
            self._overall(
                "max_excess_accuracy_gap",
                float(values[worst]),
                interval,
                self.data.group_names[worst],
            ),
        ]

    def _spread(
        self, metric: str, values: np.ndarray, draws: np.ndarray, large: np.ndarray
    ) -> dict[str, Any]:
        interval = percentile_interval(fairness_violation(draws[:, large]), len(self.rows))
        return self._overall(metric, float(fairness_violation(values[large])), interval)

    def _overall(
        self, metric: str, value: float, interval: Interval, group: str | None = None
    ) -> dict[str, Any]:
        return {
            "model": self.name,
            "split": self.settings.split,
            "n": len(self.rows),
            "metric": metric,
            "group": group,
            "value": value,
            "ci_low": _number(interval.low),
            "ci_high": _number(interval.high),
        }

    def record(self) -> dict[str, Any]:
        """The model's entry in results.json."""
        provenance = self.provenance
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return self._identity() | {
            "name": self.name,
            "file": None,
            "sha256": None,
            "parameters": parameters,
            "surviving_parameters": parameters - self.mask.size + self.mask.survivors,
            "layer_sparsity": self.mask.layer_sparsity(),
            "architecture": self.checkpoint.architecture.name,
            "arguments": dict(self.checkpoint.architecture.arguments),
            "steps": provenance.steps,
            "settings": dict(provenance.settings),
            "notes": list(provenance.notes),
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


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else value
