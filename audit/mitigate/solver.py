"""The bi-level solver on data of one's own splits: `FairPruner` in the loop that suits it (M §5).

Lower batches come from the training split; upper batches and the multipliers from the select
split, which the weights have not seen. When the mask and the multipliers are frozen, the weights
settle on both splits, so that the solver has used no less and no more data than its baselines.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from audit.data.grouped import GroupedData
from audit.mitigate.bilevel import BilevelSettings, check_pattern_rate
from audit.mitigate.constraints import Constraint
from audit.mitigate.lagrangian import Lagrangian, SplitReadings
from audit.mitigate.pruner import FairPruner, Samples
from audit.mitigate.solution import Solution, multiplier_samples, upper_samples
from audit.mitigate.statistics import Reference
from audit.models.augmentation import augmented
from audit.models.layout import training_layout
from audit.models.training import (
    batches_per_epoch,
    cosine,
    optimizer_of,
    shuffled_batches,
    train_mode,
)
from audit.prune.distillation import evaluated_logits
from audit.prune.mask import check_rate


def solve(
    model: nn.Module,
    data: GroupedData,
    rate: float,
    constraints: Sequence[Constraint],
    settings: BilevelSettings,
) -> Solution:
    """Prune the dense model in place to the rate under the constraints.

    The total of weight and mask steps equals the optimisation steps that fine-tuning takes with
    the same training settings over train + select. Raises AuditError where the rate is not in
    [0, 1) or out of the structure's reach, or the training diverges.
    """
    check_rate(rate)
    check_pattern_rate(settings.structure, rate)
    with training_layout(model, data, settings.training.device):
        return _Solver(model, data, rate, constraints, settings).run()


class _Solver:
    """A pruner, and what it is shown when."""

    def __init__(
        self,
        model: nn.Module,
        data: GroupedData,
        rate: float,
        constraints: Sequence[Constraint],
        settings: BilevelSettings,
    ) -> None:
        training = settings.training
        self.data, self.settings, self.device = data, settings, training.device
        self.model = model.to(self.device)
        self.upper, notes = upper_samples(data)
        self.notes = (*training.notes, *notes)
        rows, _ = multiplier_samples(data, settings.multiplier_split, data.indices("train"))
        logits = evaluated_logits(model, data, self.device)
        self.dense = Reference.of(logits, data.labels)
        self.split = SplitReadings(data, self.dense, rows)
        self.steps = training.steps(len(data.indices("train", "select")))
        self.optimizer = optimizer_of(model, training)
        self.pruner = FairPruner(
            model,
            rate,
            constraints,
            data.group_names,
            steps=self.steps,
            optimizer=self.optimizer,
            settings=settings,
            example=data.batch(data.indices("train")[:2], self.device).inputs,
            lagrangian=Lagrangian(
                self.split.readings,
                constraints,
                settings.multiplier_step,
                settings.multiplier_bound,
                settings.multiplier_gain,
            ),
        )
        self.pruner.observed = True

    def run(self) -> Solution:
        training, pruner = self.settings.training, self.pruner
        generator = torch.Generator().manual_seed(training.seed)
        self.varying = torch.Generator().manual_seed(training.seed)
        lower, upper, both = (
            shuffled_batches(rows, training.batch_size, generator)
            for rows in (
                self.data.indices("train"),
                self.upper,
                self.data.indices("train", "select"),
            )
        )
        train_mode(self.model)
        readings = batches_per_epoch(len(self.data), training.batch_size)
        for step in tqdm(range(self.steps), "bi-level", leave=False, delay=2, unit="step"):
            for group in self.optimizer.param_groups:
                group["lr"] = cosine(training.learning_rate, step, self.steps)
            turn = step % (self.settings.weight_steps + 1) == self.settings.weight_steps
            if turn and step < pruner.freeze_at:
                pruner.observe_on(self._samples(next(upper)))
                continue
            settled = step >= pruner.settle_at
            pruner.step_on(self._samples(next(both if settled else lower), varied=True))
            if turn and not settled:
                pruner.observe_on(self._samples(next(upper)))
                readings += self.settings.multiplier_split == "select"
        mask = pruner.finish()
        self.model.to("cpu").eval()
        notes = (*self.notes, *pruner.notes)
        return Solution(mask, self.steps, self.steps, readings, tuple(pruner.history), notes)

    def _samples(self, indices: Tensor, varied: bool = False) -> Samples:
        batch = self.data.batch(indices, self.device)
        kind = self.settings.training.augmentation if varied else "none"
        inputs = augmented(batch.inputs, kind, self.varying)
        dense = self.dense.at(indices, self.device)
        return Samples(inputs, batch.labels, batch.groups, dense, self.split.place[indices])
