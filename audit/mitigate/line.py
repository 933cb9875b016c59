"""The loss on the line between two solutions (Dai et al., Fig. 8)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.mitigate.statistics import group_statistics
from audit.prune.distillation import evaluated_logits


@dataclass(frozen=True)
class LossLine:
    """Loss and accuracy at points of the line, float64: over all samples [p], of groups [p, G].

    positions  [p]: 0 is the first network, 1 the second
    counts     [G]: the samples of each group; a group without any is NaN
    """

    positions: Tensor
    loss: Tensor
    accuracy: Tensor
    group_loss: Tensor
    group_accuracy: Tensor
    counts: Tensor

    @property
    def barrier(self) -> float:
        """The highest loss above the straight line between the ends, in nats; 0 at the least."""
        straight = torch.lerp(self.loss[0], self.loss[-1], self.positions)
        return float((self.loss - straight).max())


def loss_on_line(
    model_a: nn.Module,
    model_b: nn.Module,
    data: GroupedData,
    points: int = 21,
    split: str = "test",
) -> LossLine:
    """The loss at (1 − t)·θ_a + t·θ_b, t from 0 to 1, on a split (Dai et al., Fig. 8).

    Running statistics are interpolated as parameters are. The networks are left as they are.
    Raises AuditError where their parameters differ in name or shape, or points are fewer than two.
    """
    if points < 2:
        raise AuditError(f"found {points} points; a line needs its two ends at least")
    first, second = model_a.state_dict(), model_b.state_dict()
    shapes = [{name: value.shape for name, value in one.items()} for one in (first, second)]
    if shapes[0] != shapes[1]:
        raise AuditError("the two networks differ in their parameters; expected one architecture")
    between = copy.deepcopy(model_a)
    rows = data.indices(split)
    labels, groups = data.labels[rows], data.groups[rows]
    positions = torch.linspace(0, 1, points, dtype=torch.float64)
    found = []
    for position in positions.tolist():
        between.load_state_dict(
            {name: _between(value, second[name], position) for name, value in first.items()}
        )
        logits = evaluated_logits(between, data, rows=rows).double()
        found.append(
            group_statistics(logits, labels, groups, logits, len(data.group_names), soft=False)
        )
    return LossLine(
        positions,
        torch.stack([one.overall_loss for one in found]),
        torch.stack([one.overall_accuracy for one in found]),
        torch.stack([one.loss for one in found]),
        torch.stack([one.accuracy for one in found]),
        found[0].counts.long(),
    )


def _between(one: Tensor, other: Tensor, position: float) -> Tensor:
    return torch.lerp(one, other, position) if one.is_floating_point() else one
