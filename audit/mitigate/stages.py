"""Two-stage and Lagrangian-dual baselines of the solver, at its budget (methods.md §3, §4).

A stage trains the network, dense or pruned, plainly or under constraints. Every baseline is a
short list of stages whose steps sum to those of fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from audit.checked import Count, NotNegative, Share, checked, one_of
from audit.data.grouped import Batch, GroupedData
from audit.measure.network import class_logits, evaluating
from audit.mitigate.bilevel import multiplier_share
from audit.mitigate.constraints import Constraint
from audit.mitigate.harm import HarmWatch, harm_notes
from audit.mitigate.lagrangian import Lagrangian, SplitReadings
from audit.mitigate.solution import Solution, multiplier_samples, upper_samples
from audit.mitigate.statistics import dense_reference
from audit.models.augmentation import augmented
from audit.models.layout import training_layout
from audit.models.training import (
    TrainingSettings,
    batches_per_epoch,
    check_finite,
    cosine,
    optimizer_of,
    shuffled_batches,
    train_mode,
)
from audit.prune.distillation import distilled_losses
from audit.prune.magnitude import magnitudes
from audit.prune.mask import Mask, check_rate, prunable_weights
from audit.prune.projection import check_pattern_rate, check_structure, project
from audit.prune.schedule import cubic_rate, ladder

RUNGS = 100
"""How often gradual pruning raises its rate, at most."""


@checked
class StageSettings:
    """How fair stages train.

    structure          what survives as a unit: weight, layer or N:M (see `project`)
    multiplier_step    η, multiplier per unit of violation; None: the constraint's own
    multiplier_bound   the largest multiplier; None: the constraint's own
    multiplier_gain    κ, how much the multipliers follow the violation of the moment (Multipliers);
                       None: the constraint's own
    multiplier_split   what the multipliers read: train, with the predictions of the training
                       batches themselves, of train + select; or select, which the weights then do
                       not see until the multipliers freeze
    multiplier_share   for select: share of the last fair stage after which they do; None: the
                       constraints' own, the latest of several
    reading_interval   for select: the steps between two readings of one of its batches
    once_an_epoch      whether the multipliers move once an epoch (Tran et al.) or after every
                       reading
    ramp_share         for gradual pruning, the share of the steps over which the rate rises

    Raises AuditError where a value is of another type or out of its range.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    structure: str = "weight"
    multiplier_step: NotNegative | None = None
    multiplier_bound: NotNegative | None = None
    multiplier_gain: NotNegative | None = None
    multiplier_split: Annotated[str, one_of("select", "train")] = "train"
    multiplier_share: Share | None = None
    reading_interval: Count = 4
    once_an_epoch: bool = False
    ramp_share: Share = 0.75

    def __post_init__(self) -> None:
        check_structure(self.structure)


@dataclass(frozen=True)
class Stage:
    """An equal share of the steps: under constraints or not, pruned from its start on or not.

    gradual  pruned little by little
    rounds   pruned by a fifth of what is left at a time, and trained in between
    """

    fair: bool
    pruned: bool
    gradual: bool = False
    rounds: bool = False


def run_stages(
    model: nn.Module,
    data: GroupedData,
    rate: float,
    constraints: Sequence[Constraint],
    settings: StageSettings,
    stages: Sequence[Stage],
) -> Solution:
    """Prune the dense model in place by magnitude, in stages, some of them under constraints.

    All stages together take as many steps as fine-tuning does with the same training settings;
    each, and each round of one, has a learning rate that falls to zero. Raises AuditError where the
    rate is not in [0, 1) or the training diverges.
    """
    check_rate(rate)
    check_pattern_rate(settings.structure, rate)
    runner = _Runner(model, data, rate, constraints, settings, len(stages))
    with training_layout(model, data, settings.training.device):
        for place, stage in enumerate(stages):
            runner.run(stage, place, _unseen_share(stages[place:], constraints, settings))
    return runner.solution()


def _unseen_share(
    rest: Sequence[Stage], constraints: Sequence[Constraint], settings: StageSettings
) -> float:
    """The share of the first of these stages in which the weights do not see the select split."""
    if settings.multiplier_split == "train" or not constraints:
        return 0.0
    if any(stage.fair for stage in rest[1:]):
        return 1.0
    return multiplier_share(settings.multiplier_share, constraints) if rest[0].fair else 0.0


class _Runner:
    """The state between two stages: the network, its mask, the multipliers, and what was spent."""

    def __init__(
        self,
        model: nn.Module,
        data: GroupedData,
        rate: float,
        constraints: Sequence[Constraint],
        settings: StageSettings,
        stages: int,
    ) -> None:
        self.model, self.data, self.rate, self.settings = model, data, rate, settings
        both = data.indices("train", "select")
        rows, notes = multiplier_samples(data, settings.multiplier_split, both)
        training = settings.training
        self.notes = (*training.notes, *notes)
        epoch = batches_per_epoch(len(both), training.batch_size)
        self.interval = settings.reading_interval if settings.multiplier_split == "select" else 1
        self.ascent_interval = epoch if settings.once_an_epoch else self.interval
        self.rows = rows
        self.dense = dense_reference(model, data, training.device)
        self.split = SplitReadings(data, self.dense, rows)
        self.lagrangian = Lagrangian(
            self.split.readings,
            constraints,
            settings.multiplier_step,
            settings.multiplier_bound,
            settings.multiplier_gain,
        )
        self.watch = HarmWatch(data.group_names)
        self.mask = whole_mask(model)
        self.shares = even(training.steps(len(both)), stages)
        self.steps, self.passes = 0, 0
        self.readings = batches_per_epoch(len(data), training.batch_size)
        self.history: list[dict[str, Any]] = []

    def run(self, stage: Stage, number: int, unseen_share: float) -> None:
        """Train for the stage's share of the steps, the first of them without the select split."""
        training, steps = self.settings.training, self.shares[number]
        self.model.to(training.device)
        self.generator = torch.Generator().manual_seed(1000 * training.seed + number)
        self.train, self.both, self.to_read = (
            shuffled_batches(rows, training.batch_size, self.generator)
            for rows in (
                self.data.indices("train"),
                self.data.indices("train", "select"),
                self.rows,
            )
        )
        rates = ladder(self.rate) if stage.rounds else (self.rate,)
        for rate, share in zip(rates, even(steps, len(rates)), strict=True):
            if stage.rounds or (stage.pruned and not stage.gradual and self.mask.sparsity == 0):
                self._prune(rate)
            self._round(stage, share, round(unseen_share * share))

    def _round(self, stage: Stage, steps: int, settle: int) -> None:
        """Train with a learning rate that falls to zero, at first without the select split."""
        training = self.settings.training
        self.mask.apply(self.model)
        optimizer = optimizer_of(self.model, training)
        for step in tqdm(range(steps), "fair training", leave=False, delay=2, unit="step"):
            if 0 < step == settle:
                self.lagrangian.settle()
            for group in optimizer.param_groups:
                group["lr"] = cosine(training.learning_rate, step, steps)
            rows = next(self.train if step < settle else self.both)
            self._weight_step(rows, stage.fair, optimizer)
            if stage.gradual:
                self._tighten(step / steps)
            watched = self.settings.multiplier_split == "train" or step < settle
            if stage.fair and watched and self.lagrangian.constraints:
                self._watch(self.to_read)

    def solution(self) -> Solution:
        check_finite(self.model)
        rows, _ = upper_samples(self.data)
        found = harm_notes(self.model, self.mask, self.data, rows, self.dense)
        self.model.to("cpu").eval()
        history, notes = tuple(self.history), (*self.notes, *found)
        return Solution(self.mask, self.steps, self.passes, self.readings, history, notes)

    def _weight_step(self, indices: Tensor, fair: bool, optimizer: torch.optim.SGD) -> None:
        train_mode(self.model)
        batch = self.data.batch(indices, self.settings.training.device)
        kind = self.settings.training.augmentation
        logits = self.model(augmented(batch.inputs, kind, self.generator))
        optimizer.zero_grad()
        self._loss(logits, batch, fair).backward()
        optimizer.step()
        self.mask.apply(self.model)
        self.steps, self.passes = self.steps + 1, self.passes + 1
        if fair and self.settings.multiplier_split == "train":
            self.split.remember(batch, logits)

    def _loss(self, outputs: Tensor, batch: Batch, fair: bool) -> Tensor:
        logits, training = class_logits(outputs), self.settings.training
        dense = self.dense.at(batch.indices, training.device)
        losses = distilled_losses(
            logits, batch.labels, dense.logits, training.distillation, training.temperature
        )
        if not fair:
            return losses.mean()
        parameters = tuple(p for p in self.model.parameters() if p.requires_grad)
        return self.lagrangian.loss(losses, logits, batch.labels, batch.groups, dense, parameters)

    def _watch(self, readings: Iterator[Tensor]) -> None:
        """See what the network now predicts, and move the multipliers by it, when it is time."""
        if self.settings.multiplier_split == "select" and self.steps % self.interval == 0:
            batch = self.data.batch(next(readings), self.settings.training.device)
            with evaluating(self.model), torch.no_grad():
                self.split.remember(batch, self.model(batch.inputs))
            self.readings += 1
        if self.steps % self.ascent_interval == 0:
            self.history.append({"step": self.steps, **self.lagrangian.ascend()})
            self.watch.look(self.steps, self.lagrangian.last_read)

    def _prune(self, rate: float) -> None:
        """Remove the weights that are now the smallest; what was removed before stays removed."""
        self.mask = project(magnitudes(self.model, self.mask), rate, self.settings.structure)

    def _tighten(self, progress: float) -> None:
        """Follow the cubic schedule, in at most RUNGS steps."""
        rate = cubic_rate(self.rate, progress, self.settings.ramp_share)
        if rate == self.rate or rate - self.mask.sparsity >= self.rate / RUNGS:
            self._prune(rate)
            self.mask.apply(self.model)


def even(steps: int, parts: int) -> list[int]:
    """The steps of every part, as even as can be, the first of them longer.

    >>> even(10, 3)
    [4, 3, 3]
    """
    share, rest = divmod(steps, parts)
    return [share + (place < rest) for place in range(parts)]


def whole_mask(model: nn.Module) -> Mask:
    """The mask that keeps every weight."""
    weights = prunable_weights(model)
    return Mask({name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()})
