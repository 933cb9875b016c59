"""Means over groups that fairness constraints are made of (methods.md §4)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class GroupStatistics:
    """Means over every group and over all samples, of the network and of its dense parent.

    loss, accuracy            [G]: nats; a share of right predictions
    rates                     [G, C]: the share of a group's samples predicted as each class
    class_rates               [G, C, C]: the same among the samples whose true class is the second
    dense_loss, dense_accuracy  [G]: of the dense parent
    overall_*                 the same over all samples, without the dimension of the groups
    counts, class_counts      [G], [G, C]: how many samples each mean is over
    parameters                the tensors that `loss` can be differentiated by, where it can

    On a batch `accuracy` and the rates are soft (mean probabilities, which can be differentiated),
    on a split they count predictions. A group, or a true class of a group, without samples is NaN.
    """

    loss: Tensor
    accuracy: Tensor
    rates: Tensor
    class_rates: Tensor
    dense_loss: Tensor
    dense_accuracy: Tensor
    overall_loss: Tensor
    overall_accuracy: Tensor
    overall_rates: Tensor
    overall_class_rates: Tensor
    overall_dense_loss: Tensor
    overall_dense_accuracy: Tensor
    counts: Tensor
    class_counts: Tensor
    parameters: tuple[Tensor, ...] = ()

    @property
    def group_shares(self) -> Tensor:
        """π: the share of the samples that each group has, [G]."""
        return self.counts / self.counts.sum()


BY_GROUP = ("loss", "accuracy", "rates", "class_rates", "dense_loss", "dense_accuracy")


def group_statistics(
    logits: Tensor,
    labels: Tensor,
    groups: Tensor,
    dense_logits: Tensor,
    number: int,
    soft: bool,
    loss: Tensor | None = None,
    parameters: tuple[Tensor, ...] = (),
) -> GroupStatistics:
    """Statistics of `number` groups from the logits [n, C] of the network and of its parent.

    soft   count probabilities (differentiable) instead of predictions
    loss   [n], what the network is trained by where that is not the cross entropy

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    >>> labels, groups = torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1])
    >>> group_statistics(logits, labels, groups, logits, 2, soft=False).accuracy.tolist()
    [0.5, 1.0]
    """
    classes = logits.shape[1]
    counts = torch.bincount(groups, minlength=number).to(logits.dtype)
    cells = groups * classes + labels
    class_counts = torch.bincount(cells, minlength=number * classes).to(logits.dtype)
    own, dense = (_sample_values(one, labels, soft) for one in (logits, dense_logits))
    stacked = torch.stack([own[0] if loss is None else loss, own[1], *dense], 1)
    means = _means(_sums(stacked, groups, number), counts)
    predicted = _predicted(logits, soft)
    cell_sums = _sums(predicted, cells, number * classes).view(number, classes, classes)
    class_counts = class_counts.view(number, classes)
    names = ("loss", "accuracy", "dense_loss", "dense_accuracy")
    overall = {f"overall_{n}": v for n, v in zip(names, stacked.mean(0).unbind(), strict=True)}
    return GroupStatistics(
        **dict(zip(names, means.unbind(1), strict=True)),
        **overall,
        rates=_means(cell_sums.sum(1), counts),
        class_rates=_means(cell_sums, class_counts),
        overall_rates=predicted.mean(0),
        overall_class_rates=_means(cell_sums.sum(0), class_counts.sum(0)),
        counts=counts,
        class_counts=class_counts,
        parameters=parameters,
    )


def fill_absent(statistics: GroupStatistics, last: GroupStatistics) -> GroupStatistics:
    """The statistics with absent groups as they were last seen (Hashemizadeh et al. 2024).

    The running buffer of a group: its last known means, which carry no gradient.
    """
    device = statistics.loss.device
    filled: dict[str, Any] = {}
    for name in BY_GROUP:
        present = statistics.class_counts > 0 if name == "class_rates" else statistics.counts > 0
        now, before = getattr(statistics, name), getattr(last, name).detach().to(device)
        present = present.view(present.shape + (1,) * (now.dim() - present.dim()))
        filled[name] = torch.where(present, now, before)
    now, before = statistics.overall_class_rates, last.overall_class_rates.detach().to(device)
    filled["overall_class_rates"] = torch.where(now.isnan(), before, now)
    return replace(statistics, **filled)


def detached(statistics: GroupStatistics) -> GroupStatistics:
    """The same numbers, without the graph that they were computed by."""
    values = {
        entry.name: getattr(statistics, entry.name).detach()
        for entry in fields(statistics)
        if entry.name != "parameters"
    }
    return GroupStatistics(**values)


def _sample_values(logits: Tensor, labels: Tensor, soft: bool) -> tuple[Tensor, Tensor]:
    """Cross entropy [n], and the probability of the true class (soft) or correctness [n]."""
    loss = functional.cross_entropy(logits, labels, reduction="none")
    return loss, _predicted(logits, soft).gather(1, labels[:, None])[:, 0]


def _predicted(logits: Tensor, soft: bool) -> Tensor:
    if soft:
        return logits.softmax(1)
    return functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)


def _sums(values: Tensor, owners: Tensor, number: int) -> Tensor:
    """Sums [number, …] of the rows of values by their owner."""
    return values.new_zeros(number, values.shape[1]).index_add(0, owners, values)


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Sums over counts; NaN, which passes on no gradient, where nothing was counted."""
    counts = counts[..., None] if sums.dim() > counts.dim() else counts
    return (sums / counts.clamp(min=1)).masked_fill(counts == 0, float("nan"))
