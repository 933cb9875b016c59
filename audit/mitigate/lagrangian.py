"""The Lagrangian that fair weights and masks descend, and its multipliers climb (methods.md §4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audit.data.grouped import Batch, GroupedData
from audit.measure.network import class_logits, evaluating
from audit.mitigate.constraints import Constraint
from audit.mitigate.multipliers import Multipliers
from audit.mitigate.statistics import GroupStatistics, detached, fill_absent, group_statistics
from audit.models.training import TrainingSettings
from audit.prune.distillation import distilled_losses


class Lagrangian:
    """(J + Σ μ_c v_c)/(1 + Σ μ_c) on a batch, and the multipliers μ that a split's violations move.

    dense  the logits [n, C] of the dense parent on every sample of the data
    rows   the positions that the multipliers read, ascending; every sample counts with the
           prediction last remembered of it, so that no step evaluates the whole split anew

    μ_c = scale_c·ν_c, where ν is what climbs, is bounded and logged (see Constraint.scale). Step,
    bound and gain are the constraint's own unless given; the losses are those of the training.
    """

    def __init__(
        self,
        data: GroupedData,
        dense: Tensor,
        rows: Tensor,
        constraints: Sequence[Constraint],
        step: float | None = None,
        bound: float | None = None,
        gain: float | None = None,
        training: TrainingSettings | None = None,
    ) -> None:
        self.training = training or TrainingSettings()
        self.data, self.dense, self.rows = data, dense, rows
        self.groups = len(data.group_names)
        self.constraints = tuple(constraints)
        self.seen = dense[rows].clone()
        self.last = self.split_statistics()
        self.scales = [constraint.scale(self.last) for constraint in self.constraints]
        self.on_batch = [torch.zeros(len(scale)) for scale in self.scales]
        self.multipliers = [
            Multipliers(
                len(scale),
                constraint.multiplier_step if step is None else step,
                constraint.multiplier_bound if bound is None else bound,
                constraint.multiplier_gain if gain is None else gain,
            )
            for constraint, scale in zip(self.constraints, self.scales, strict=True)
        ]

    def loss(
        self, logits: Tensor, batch: Batch, parameters: tuple[Tensor, ...] = (), fair: bool = True
    ) -> Tensor:
        """The Lagrangian of a batch; the multipliers share out the loss and never inflate it.

        parameters  those that the logits were computed with, for constraints on gradients
        fair        False: J alone, without constraints
        """
        logits = class_logits(logits)
        dense = self.dense[batch.indices].to(logits.device)
        share, temperature = self.training.distillation, self.training.temperature
        losses = distilled_losses(logits, batch.labels, dense, share, temperature)
        if not self.constraints or not fair:
            return losses.mean()
        statistics = group_statistics(
            logits, batch.labels, batch.groups, dense, self.groups, True, losses, parameters
        )
        statistics = fill_absent(statistics, self.last)
        self.last = detached(statistics)
        total, norm = losses.mean(), torch.ones((), device=logits.device)
        for place, constraint in enumerate(self.constraints):
            weights = self.weights(place).to(logits.device)
            surrogate = constraint.surrogate(statistics)
            self.on_batch[place] = surrogate.detach().cpu()
            # A group without any sample has nothing to say.
            total = total + weights @ surrogate.nan_to_num(nan=0.0)
            norm = norm + weights.sum()
        return total / norm

    def weights(self, place: int) -> Tensor:
        """μ of a constraint: its multipliers by their scales, their sum bounded."""
        weights = self.scales[place] * self.multipliers[place].values
        bound = self.constraints[place].weight_bound
        return weights * (bound / weights.sum()) if weights.sum() > bound else weights

    def remember(self, indices: Tensor, logits: Tensor) -> None:
        """Keep what the network now predicts for these samples of the rows."""
        self.seen[torch.searchsorted(self.rows, indices)] = class_logits(logits.detach()).cpu()

    def read(self, model: nn.Module, indices: Tensor, device: str) -> None:
        """Remember what a model predicts for these samples of the rows, in evaluation mode."""
        batch = self.data.batch(indices, device)
        with evaluating(model), torch.no_grad():
            self.remember(indices, model(batch.inputs))

    def ascend(self) -> dict[str, list[float]]:
        """One step of the multipliers along the true violations; returns both, for the log."""
        statistics = self.split_statistics()
        found = [
            self.on_batch[place] if constraint.on_batch else constraint.violation(statistics)
            for place, constraint in enumerate(self.constraints)
        ]
        for multipliers, violation in zip(self.multipliers, found, strict=True):
            multipliers.update(violation)
        values = [multipliers.values for multipliers in self.multipliers]
        return {"violation": torch.cat(found).tolist(), "multiplier": torch.cat(values).tolist()}

    def settle(self) -> None:
        """Hold every multiplier at the mean of the second half of its path."""
        for multipliers in self.multipliers:
            multipliers.settle()

    def split_statistics(self) -> GroupStatistics:
        """The statistics of the rows as they were last seen, which count predictions."""
        labels, groups = self.data.labels[self.rows], self.data.groups[self.rows]
        return group_statistics(
            self.seen, labels, groups, self.dense[self.rows], self.groups, soft=False
        )
