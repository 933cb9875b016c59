"""The bi-level solver on data of one's own splits: `FairPruner` in the loop that suits it (M §5).

Lower batches come from the training split; upper batches and the multipliers from the select
split, which the weights have not seen. When the mask and the multipliers are frozen, the weights
settle on both splits, so that the solver has used no less and no more data than its baselines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from audit.data.grouped import GroupedData
from audit.mitigate.bilevel import BilevelSettings
from audit.mitigate.constraints import Constraint
from audit.mitigate.harm import harm_notes
from audit.mitigate.keeping import Candidate, best, front
from audit.mitigate.lagrangian import Lagrangian, SplitReadings
from audit.mitigate.pruner import FairPruner
from audit.mitigate.samples import Samples
from audit.mitigate.solution import Solution, multiplier_samples, upper_samples
from audit.mitigate.statistics import dense_reference, group_statistics
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
from audit.prune.projection import check_pattern_rate


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
        asked = constraints or training.distillation > 0
        self.dense = dense_reference(model, data, self.device, None if asked else self.upper)
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
        self.candidates: list[Candidate] = []

    def run(self) -> Solution:
        training, pruner, settings = self.settings.training, self.pruner, self.settings
        generator = torch.Generator().manual_seed(training.seed)
        self.varying = torch.Generator().manual_seed(training.seed)
        train = self.data.indices("train")
        both = self.data.indices("train", "select") if settings.settle_split == "both" else train
        lower, upper, read, late = (
            shuffled_batches(rows, training.batch_size, generator)
            for rows in (train, train if settings.mask_split == "train" else self.upper,
                         self.upper, both)
        )  # fmt: skip
        train_mode(self.model)
        self.readings = batches_per_epoch(len(self.data), training.batch_size)
        epoch = batches_per_epoch(len(train), training.batch_size)
        for step in tqdm(range(self.steps), "bi-level", leave=False, delay=2, unit="step"):
            for group in self.optimizer.param_groups:
                group["lr"] = cosine(training.learning_rate, step, self.steps)
            turn = step % (settings.weight_steps + 1) == settings.weight_steps
            if turn and step < pruner.freeze_at:
                self._mask_step(next(upper), read)
                continue
            settled = step >= pruner.settle_at
            pruner.step_on(self._samples(next(late if settled else lower), varied=True))
            if turn and not settled:
                pruner.observe_on(self._samples(next(read)))
                self.readings += settings.multiplier_split == "select"
            left = self.steps - 1 - step
            if settings.settle_split == "train" and pruner.frozen and left % epoch == 0:
                self._consider(step)
        mask = pruner.end()
        self._keep()
        notes = (*self.notes, *harm_notes(self.model, mask, self.data, self.upper, self.dense))
        self.model.to("cpu").eval()
        return Solution(mask, self.steps, self.steps, self.readings, tuple(pruner.history), notes)

    def _mask_step(self, indices: Tensor, read: Iterator[Tensor]) -> None:
        """A step of the mask; where it reads training samples, the multipliers read others."""
        apart = self.settings.mask_split == "train" and self.settings.multiplier_split == "select"
        samples = self._samples(indices)
        if apart:
            self.pruner.read_on(self._samples(next(read)))
            self.readings += 1
        self.pruner.observe_on(samples, read=not apart)

    def _consider(self, step: int) -> None:
        """Look at the network as it is now, on the samples of the upper level."""
        labels, groups = self.data.labels[self.upper], self.data.groups[self.upper]
        logits = evaluated_logits(self.model, self.data, self.device, self.upper)
        dense, number = self.dense.at(self.upper), len(self.data.group_names)
        found = group_statistics(logits, labels, groups, dense, number, soft=False)
        violations = [
            constraint.violation(found).nan_to_num(nan=0.0).max()
            for constraint in self.pruner.constraints
            if not constraint.on_batch
        ]
        worst = max((float(one) for one in violations), default=0.0)
        state = {name: value.clone() for name, value in self.model.state_dict().items()}
        own = Candidate(step, max(worst, 0.0), float(found.overall_accuracy), state)
        self.candidates = front([*self.candidates, own])
        self.readings += batches_per_epoch(len(self.upper), self.settings.training.batch_size)

    def _keep(self) -> None:
        """Keep the best of the candidates, where there are any."""
        if self.candidates:
            kept = best(self.candidates)
            self.model.load_state_dict(kept.state)
            self.notes += (
                f"of the networks on the way the one after {kept.step + 1:,} of {self.steps:,} "
                f"steps was kept, the best on {self._upper_is}",
            )

    @property
    def _upper_is(self) -> str:
        if len(self.data.indices("select")) == 0:
            return "the train split, for want of a select split"
        return "the select split, which no weight was trained on"

    def _samples(self, indices: Tensor, varied: bool = False) -> Samples:
        batch = self.data.batch(indices, self.device)
        kind = self.settings.training.augmentation if varied else "none"
        inputs = augmented(batch.inputs, kind, self.varying)
        dense = self.dense.at(indices, self.device)
        return Samples(inputs, batch.labels, batch.groups, dense, self.split.place[indices])
