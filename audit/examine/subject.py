"""What every measure starts from: one network on the samples of a split, beside its parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.data.grouped import GroupedData, SampleBatches
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.measure.calibration import uncertain
from audit.measure.predictions import Outputs, predict
from audit.measure.ranks import own_device
from audit.measure.risk import excess_risk
from audit.measure.sense import agreement, renamed
from audit.measure.uncertainty import (
    Interval,
    design_effects,
    drop_interval,
    group_intervals,
    wilson_interval,
)
from audit.metrics import metric
from audit.models.abilities import Abilities, abilities
from audit.models.admission import seen_before
from audit.models.checkpoint import Checkpoint, called_pruned, check_same_data
from audit.models.outputs import declared_outputs
from audit.models.outputs_only import StoredPredictions
from audit.models.training import checked_device
from audit.prune.mask import (
    Mask,
    check_dense,
    is_pruned,
    measured_mask,
    other_weights,
    tells_weights,
    zero_head,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """What is a mean over samples, by metric.

    columns    every sample's part, float64 [n]
    values     the means of the groups, float64 [G]; NaN where a group is absent
    intervals  those of the groups [G]: Wilson, Bonett and Price, or the bootstrap
    """

    columns: Mapping[str, Array]
    values: Mapping[str, Array]
    intervals: Mapping[str, list[Interval]]


@dataclass(frozen=True)
class Subject:
    """One network under measurement: its outputs, its parent's, and one bootstrap for both.

    dense     the dense parent where it is another network, else None
    outputs   of the network on `rows`; `parent` those of its dense parent, None without one
    rows      positions of the split's samples in `data`, int64 [n], ascending
    codes     the group of each, int64 [n]; `counts` the samples of each group, int64 [G]
    mask      read off the network's tensors
    pruned    whether weights have been removed, by the same measurement
    abilities what can be asked of the network beside its outputs
    """

    name: str
    checkpoint: Checkpoint
    data: GroupedData
    settings: MeasureSettings
    network: nn.Module
    dense: nn.Module | None
    outputs: Outputs
    parent: Outputs | None
    rows: Tensor
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    mask: Mask
    pruned: bool
    abilities: Abilities
    means: Means

    @property
    def large(self) -> NDArray[np.intp]:
        """The groups of at least minimum size."""
        return np.flatnonzero(self.counts >= self.settings.minimum_group_size)

    @cached_property
    def sparsity(self) -> float:
        """The measured sparsity, counted once: every row names it, and a mask may be large."""
        return self.mask.sparsity

    @property
    def present(self) -> NDArray[np.intp]:
        """The groups that have samples in the split."""
        return np.flatnonzero(self.counts)

    @property
    def units(self) -> NDArray[np.int64] | None:
        """The person (or other unit) of each sample of the split, where it was declared: [n]."""
        return self.units_of(self.rows)

    def units_of(self, rows: Tensor) -> NDArray[np.int64] | None:
        """The unit of the samples at these positions in the data, where it was declared."""
        return None if self.data.units is None else self.data.units[rows].numpy()

    def effects(self, values: Array) -> Array:
        """The design effect of each group's mean of values [n]: 1 without units, float64 [G]."""
        return design_effects(values, self.codes, len(self.counts), self.units)

    def hessian_mask(self) -> Mapping[str, Tensor] | None:
        """The surviving weights, for a pruned network; of all layers, prunable or not."""
        if not self.pruned:
            return None
        weights = dict(self.network.named_parameters())
        others = {name: weights[name].detach().cpu() != 0 for name in other_weights(self.network)}
        return others | dict(self.mask.parts)


@dataclass(frozen=True)
class Part:
    """The samples of one group that derivatives are taken on; rows int64 [n], ascending."""

    group: int
    rows: Tensor
    batches: SampleBatches


def make_subject(
    checkpoint: Checkpoint,
    dense: Checkpoint | None,
    data: GroupedData,
    settings: MeasureSettings,
    name: str,
    factory: str | None = None,
    before: Outputs | None = None,
) -> Subject:
    """Run the network, and its dense parent, over the samples of the split.

    `before` is what the dense parent says of them, where that is known already.

    Without a dense parent, a network that is seen to be dense, and is not called pruned, is its
    own. Raises AuditError where the network, its parent and the data do not go together, or the
    parent is pruned.
    """
    check_same_data(checkpoint, data)
    settings = replace(settings, device=checked_device(own_device(settings.device)))
    network, other = checkpoint.model(factory), None
    pruned = is_pruned(network, checkpoint.mask)
    if dense is checkpoint and zero_head(network, checkpoint.mask) is not None:
        pruned = False
    rows = data.indices(settings.split)
    outputs, data = _passed(network, data, settings)
    unseen = dense is None and not tells_weights(network)
    parent = None if pruned or unseen or called_pruned(checkpoint) else outputs
    if dense is checkpoint:
        check_dense(network, checkpoint.mask)
    elif dense is not None:
        check_same_data(dense, data)
        other = dense.model(factory)
        check_dense(other, dense.mask)
        parent = before or _passed(other, data, settings)[0]
        other.to(settings.device)
    check_order(outputs, parent, data.classes, name)
    codes = data.groups[rows].numpy()
    counts = np.bincount(codes, minlength=len(data.group_names))
    units = None if data.units is None else data.units[rows].numpy()
    means = group_means(sample_columns(outputs, parent), codes, len(counts), settings, units)
    return Subject(
        name,
        checkpoint,
        data,
        settings,
        network,
        other,
        outputs,
        parent,
        rows,
        codes,
        counts,
        measured_mask(network),
        pruned,
        abilities(network, other),
        means_of_its_own_parent(means)
        if dense is checkpoint or _is_dense(outputs, parent, pruned)
        else means,
    )


RECOVERED = 0.5
"""Of what the dense network knows of the labels (κ), a network with its classes renamed must know
this share before their order is doubted: far less is no order but harm."""


def check_order(
    outputs: Outputs, parent: Outputs | None, classes: Sequence[str], name: str
) -> None:
    """Raise AuditError where classes stand in another order than the network's outputs.

    So the dense network does where it answers most samples of two classes or more as other classes
    (`audit.measure.sense.renamed`). Pruning too may bring a network to that; its classes are in
    another order where, in that order, it still knows half of what the dense one knows.
    """
    if parent is None:
        return
    number = len(classes)
    known = agreement(parent.label.numpy(), parent.prediction.numpy(), number)
    for own, whose in ((parent, "the dense network"), (outputs, f"'{name}'")):
        labels, answers = own.label.numpy(), own.prediction.numpy()
        moved = renamed(labels, answers, number)
        there = np.arange(number)
        there[list(moved)] = list(moved.values())
        found = agreement(there[labels], answers, number)
        if moved and (own is parent or found.kappa >= RECOVERED * known.kappa):
            label, answer = next(iter(moved.items()))
            raise AuditError(
                f"{whose} answers most samples of '{classes[label]}' as '{classes[answer]}', and "
                f"so for {len(moved)} classes; in that order it is right on {found.observed:.1%} "
                f"instead of {float(own.correct.mean()):.1%}: the data's classes seem not to be in "
                "the order of its outputs; declare them in that order (classes)"
            )


def _passed(
    network: nn.Module, data: GroupedData, settings: MeasureSettings
) -> tuple[Outputs, GroupedData]:
    """What the network says of the split, and the data in the type that it takes, on its device."""
    device = settings.device
    data, seen = seen_before(network, data, settings.split)
    rows = data.indices(settings.split)
    found = outputs_of(network.to(device), SampleBatches(data, rows, settings.batch_size, device))
    if torch.device(device).type == "cpu":
        # A GPU rounds otherwise than the CPU, which was asked before.
        seen.check(found, rows)
    return found, data


LOOKED_UP = 2**15
"""Stored predictions a batch: no layer needs memory for them."""


def outputs_of(network: nn.Module, batches: SampleBatches) -> Outputs:
    """What the network says of the samples, or what was stored of that."""
    if isinstance(network, StoredPredictions):
        found = predict(network, replace(batches, size=LOOKED_UP))
        return network.told(found, batches.data.batch(batches.rows).inputs)
    found = predict(network, batches)
    if declared_outputs(network) == "probabilities" and found.certain:
        return found.without_probabilities()
    return found


def sample_columns(outputs: Outputs, parent: Outputs | None) -> dict[str, Array]:
    """What is a mean over samples, by metric: float64 [n]; some need the dense parent's outputs.

    What needs probabilities is left out where only decisions are known.
    """
    columns = {"accuracy": outputs.correct}
    if outputs.probable:
        columns = {
            "loss": outputs.loss,
            "accuracy": outputs.correct,
            "boundary_closeness": outputs.closeness,
            "boundary_margin": outputs.margin,
            "uncertainty_share": torch.from_numpy(uncertain(outputs.confidence.numpy())),
        }
    if parent is not None:
        if outputs.probable and parent.probable:
            risk = excess_risk(parent.loss.numpy(), outputs.loss.numpy())
            columns["excess_risk"] = torch.from_numpy(risk)
        columns["accuracy_drop"] = parent.correct - outputs.correct
        columns["broken"] = parent.correct * (1 - outputs.correct)
        columns["mended"] = (1 - parent.correct) * outputs.correct
    return {name: column.numpy() for name, column in columns.items()}


def group_means(
    columns: Mapping[str, Array],
    codes: NDArray[np.int64],
    groups: int,
    settings: MeasureSettings,
    units: NDArray[np.int64] | None = None,
) -> Means:
    """The mean of every column over every group, with its interval; one resample for them all.

    units   int64 [n], where samples of one unit are not independent of each other
    """
    intervals: dict[str, list[Interval]] = {}
    # Shares are means of columns of zeros and ones.
    shares = [name for name in columns if metric(name).unit == "share"]
    continuous = [name for name in columns if name not in (*shares, "accuracy_drop")]
    # None at all where only decisions are known.
    matrix = np.array([columns[name] for name in continuous]).reshape(len(continuous), len(codes)).T
    drawn = group_intervals(matrix, codes, groups, settings.resamples, settings.seed, units)
    for position, name in enumerate(continuous):
        intervals[name] = [own[position] for own in drawn]
    for name, column in columns.items():
        if name not in shares and name != "accuracy_drop":
            continue
        own = [column[codes == group] for group in range(groups)]
        effects = design_effects(column, codes, groups, units)
        if name in shares:
            intervals[name] = [
                wilson_interval(round(part.sum()), len(part), effect)
                for part, effect in zip(own, effects, strict=True)
            ]
        else:
            intervals[name] = [
                drop_interval(part, effect) for part, effect in zip(own, effects, strict=True)
            ]
    counts = np.bincount(codes, minlength=groups)
    with np.errstate(invalid="ignore"):
        values = {
            name: np.asarray(np.bincount(codes, weights=column, minlength=groups) / counts)
            for name, column in columns.items()
        }
    return Means(columns, values, intervals)


def _is_dense(outputs: Outputs, parent: Outputs | None, pruned: bool) -> bool:
    """Whether a network is its own dense parent, or one that says the same to the last digit."""
    if parent is None or pruned:
        return False
    return torch.equal(outputs.log_probabilities, parent.log_probabilities)


AGAINST_PARENT = ("accuracy_drop", "broken", "mended")
"""Shares of what a network says otherwise than its dense parent, and their difference."""


def means_of_its_own_parent(means: Means) -> Means:
    """Of a dense network: it differs from itself nowhere, by definition and not by chance."""
    none = {
        name: [
            Interval(0.0, 0.0) if known else own
            for own, known in zip(
                means.intervals[name], np.isfinite(means.values[name]), strict=True
            )
        ]
        for name in AGAINST_PARENT
    }
    return replace(means, intervals={**means.intervals, **none})


def part_of(subject: Subject, group: int, most: int | None = None) -> Part:
    """At most `samples_per_group` of a group, and at most `most` of these.

    A seeded choice, the same for every model.
    """
    settings = subject.settings
    rows = subject.data.indices(settings.split, group=group)
    most = min(settings.samples_per_group, most or settings.samples_per_group)
    if len(rows) > most:
        generator = torch.Generator().manual_seed(settings.seed)
        order = torch.randperm(len(rows), generator=generator)[:most]
        rows = rows[order].sort().values
    batches = SampleBatches(subject.data, rows, settings.batch_size, settings.device)
    return Part(group, rows, batches)
