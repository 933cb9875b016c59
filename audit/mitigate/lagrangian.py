"""The Lagrangian that fair weights and masks descend, and its multipliers climb (methods.md §4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from audit.data.grouped import Batch, GroupedData
from audit.measure.network import class_logits
from audit.mitigate.constraints import Constraint
from audit.mitigate.multipliers import Multipliers
from audit.mitigate.readings import Readings
from audit.mitigate.statistics import (
    GroupStatistics,
    Means,
    Reference,
    detached,
    fill_absent,
    group_statistics,
)


class Lagrangian:
    """(J + Σ μ_c v_c)/(1 + Σ μ_c) on a batch, and the multipliers μ that readings move.

    readings  what the multipliers read; it holds some samples already

    μ_c = scale_c·ν_c, where ν is what climbs, is bounded and logged (see Constraint.scale). Step,
    bound and gain are the constraint's own unless given.
    """

    def __init__(
        self,
        readings: Readings,
        constraints: Sequence[Constraint],
        step: float | None = None,
        bound: float | None = None,
        gain: float | None = None,
    ) -> None:
        self.readings, self.constraints = readings, tuple(constraints)
        self.last = self.last_read = readings.statistics()
        self.counts, self.scales = self._scaled(self.last)
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
        self._weigh()

    def loss(
        self,
        losses: Tensor,
        logits: Tensor,
        labels: Tensor,
        groups: Tensor,
        dense: Reference,
        parameters: tuple[Tensor, ...] = (),
    ) -> Tensor:
        """The Lagrangian of a batch; the multipliers share out the loss and never inflate it.

        losses      [n], what the network is trained by
        parameters  those that the logits were computed with, for constraints on gradients
        """
        if not self.constraints:
            return losses.mean()
        number = self.readings.groups
        statistics = group_statistics(
            logits, labels, groups, dense, number, True, losses, parameters
        )
        statistics = fill_absent(statistics, self.last)
        self.last = detached(statistics)
        total = losses.mean()
        for place, constraint in enumerate(self.constraints):
            if not (self.weighs[place] or constraint.on_batch):
                continue  # as long as all of its multipliers are zero
            surrogate = constraint.surrogate(statistics)
            if constraint.on_batch:
                self.on_batch[place] = surrogate.detach().cpu()
            if not statistics.complete:
                surrogate = surrogate.nan_to_num(nan=0.0)  # who has no sample has nothing to say
            total = total + self.weights[place].to(surrogate) @ surrogate
        return total / self.norm

    def ascend(self) -> dict[str, list[float]]:
        """One step of the multipliers along the true violations; returns both, for the log."""
        statistics = self.last_read = self.readings.statistics()
        found = [
            self.on_batch[place] if constraint.on_batch else constraint.violation(statistics)
            for place, constraint in enumerate(self.constraints)
        ]
        if not torch.equal(statistics.class_counts, self.counts):
            self.counts, self.scales = self._scaled(statistics)
        for multipliers, violation in zip(self.multipliers, found, strict=True):
            multipliers.update(violation)
        self._weigh()
        values = [multipliers.values for multipliers in self.multipliers]
        return {"violation": torch.cat(found).tolist(), "multiplier": torch.cat(values).tolist()}

    def settle(self) -> None:
        """Hold every multiplier at the mean of the second half of its path."""
        for multipliers in self.multipliers:
            multipliers.settle()
        self._weigh()

    def state_dict(self) -> dict[str, Any]:
        """Multipliers, readings, and what absent groups were last seen to be."""
        return {
            "multipliers": [multipliers.state_dict() for multipliers in self.multipliers],
            "readings": self.readings.state_dict(),
            "last": (self.last.sums, self.last.class_counts),
            "known": None if self.last.known is None else tuple(self.last.known),
            "scales": (self.counts, self.scales),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for multipliers, own in zip(self.multipliers, state["multipliers"], strict=True):
            multipliers.load_state_dict(own)
        self.readings.load_state_dict(state["readings"])
        known = None if state["known"] is None else Means(*state["known"])
        sums, class_counts = state["last"]
        self.last = GroupStatistics(sums, class_counts, known=known)
        self.counts, self.scales = state["scales"]
        self._weigh()

    def _scaled(self, statistics: GroupStatistics) -> tuple[Tensor, list[Tensor]]:
        """How many samples each group has, and the scales that follow from that."""
        scales = [constraint.scale(statistics) for constraint in self.constraints]
        return statistics.class_counts, scales

    def _weigh(self) -> None:
        """μ of every constraint: its multipliers by their scales, their sum bounded."""
        self.weights = []
        for constraint, scale, multipliers in zip(
            self.constraints, self.scales, self.multipliers, strict=True
        ):
            weights = scale * multipliers.values
            total = float(weights.sum())
            bound = constraint.weight_bound
            self.weights.append(weights * (bound / total) if total > bound else weights)
        sums = [float(weights.sum()) for weights in self.weights]
        self.weighs = [total > 0 for total in sums]
        self.norm = 1.0 + sum(sums)


class SplitReadings:
    """Readings of the rows of a data set, which start from what the dense parent predicts.

    rows  the positions that the multipliers read, ascending
    """

    def __init__(self, data: GroupedData, dense: Reference, rows: Tensor) -> None:
        labels, groups, own = data.labels[rows], data.groups[rows], dense.at(rows)
        classes = dense.logits.shape[1]
        self.readings = Readings(len(rows), len(data.group_names), classes)
        self.readings.append(own.logits, labels, groups, own)
        self.place = torch.full((len(data),), -1)
        self.place[rows] = torch.arange(len(rows))

    def remember(self, batch: Batch, outputs: Tensor) -> None:
        """Keep what the network now predicts for these samples of the rows."""
        self.readings.write(self.place[batch.indices], class_logits(outputs.detach()), batch.labels)
