"""Means over groups that fairness constraints are made of (methods.md §4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from audit.data.grouped import GroupedData
from audit.prune.distillation import evaluated_logits

LOSS, RIGHT, DENSE_LOSS, DENSE_RIGHT = range(4)
RATES = 4
"""Columns of every table of means; the shares predicted as each class follow the first four."""


class Means(NamedTuple):
    """The means that groups and their true classes have (GroupStatistics)."""

    by_group: Tensor
    by_class: Tensor
    overall_by_class: Tensor


@dataclass(frozen=True)
class GroupStatistics:
    """Means over every group and over all samples, of the network and of its dense parent.

    sums          [G, C, 4 + C]: over a group's samples of each true class, of the loss, of right
                  predictions, of the same of the dense parent, and of predictions as each class
    class_counts  [G, C]: how many samples each sum is over
    parameters    the tensors that `loss` can be differentiated by, where it can
    known         the means that absent groups and classes have; None: NaN

    On a batch the shares are soft (mean probabilities, which can be differentiated), on a split
    they count predictions. A group, or a true class of a group, without samples is NaN. Means are
    worked out when they are asked for: `by_group` [G, 4 + C], `by_class` [G, C, 4 + C], `overall`
    [4 + C] and `overall_by_class` [C, 4 + C]. Their columns have names: `loss`, `accuracy` [G], in
    nats and as a share; `rates` [G, C]; `class_rates` [G, C, C]; `recalls` [G, C]; `dense_loss`,
    `dense_accuracy`, `dense_recalls`; and `overall_…`.
    """

    sums: Tensor
    class_counts: Tensor
    parameters: tuple[Tensor, ...] = ()
    known: Means | None = None

    @cached_property
    def complete(self) -> bool:
        """Whether every group has samples of every class."""
        return bool(self.class_counts.all())

    @cached_property
    def by_group(self) -> Tensor:
        """[G, 4 + C]: of each group."""
        found = self._means(self.sums.sum(1), self.counts)
        return found if self.known is None else _known(found, self.known.by_group, self.counts)

    @cached_property
    def by_class(self) -> Tensor:
        """[G, C, 4 + C]: of the samples of each true class of each group."""
        counts, found = self.class_counts, self._means(self.sums, self.class_counts)
        return found if self.known is None else _known(found, self.known.by_class, counts)

    @cached_property
    def overall(self) -> Tensor:
        """[4 + C]: of all samples."""
        return self.sums.sum(1).sum(0) / self.class_counts.sum()

    @cached_property
    def overall_by_class(self) -> Tensor:
        """[C, 4 + C]: of all samples of each true class."""
        counts = self.class_counts.sum(0)
        found = self._means(self.sums.sum(0), counts)
        return found if self.known is None else _known(found, self.known.overall_by_class, counts)

    @property
    def means(self) -> Means:
        """All that absent groups and classes can be filled from, without a graph."""
        found = (self.by_group, self.by_class, self.overall_by_class)
        return Means(*(mean.detach() for mean in found))

    def _means(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Sums [..., k] over counts [...]; NaN, which passes on no gradient, where none counted."""
        counts = counts[..., None]
        if self.complete:
            return sums / counts
        return (sums / counts.clamp(min=1)).masked_fill(counts == 0, float("nan"))

    @property
    def counts(self) -> Tensor:
        """The samples of each group, [G]."""
        return self.class_counts.sum(1)

    @property
    def group_shares(self) -> Tensor:
        """π: the share of the samples that each group has, [G]."""
        return self.counts / self.class_counts.sum()

    @property
    def loss(self) -> Tensor:
        """[G], in nats."""
        return self.by_group[:, LOSS]

    @property
    def accuracy(self) -> Tensor:
        """[G], a share of right predictions."""
        return self.by_group[:, RIGHT]

    @property
    def dense_loss(self) -> Tensor:
        """[G], of the dense parent."""
        return self.by_group[:, DENSE_LOSS]

    @property
    def dense_accuracy(self) -> Tensor:
        """[G], of the dense parent."""
        return self.by_group[:, DENSE_RIGHT]

    @property
    def rates(self) -> Tensor:
        """[G, C]: the share of a group's samples predicted as each class."""
        return self.by_group[:, RATES:]

    @property
    def recalls(self) -> Tensor:
        """[G, C]: the share of a group's samples of a true class that is predicted as it."""
        return self.by_class[..., RIGHT]

    @property
    def dense_recalls(self) -> Tensor:
        """[G, C], of the dense parent."""
        return self.by_class[..., DENSE_RIGHT]

    @property
    def class_rates(self) -> Tensor:
        """[G, C, C]: shares predicted as the third among those whose true class is the second."""
        return self.by_class[..., RATES:]

    @property
    def overall_loss(self) -> Tensor:
        """A scalar, in nats."""
        return self.overall[LOSS]

    @property
    def overall_accuracy(self) -> Tensor:
        """A scalar, a share."""
        return self.overall[RIGHT]

    @property
    def overall_dense_loss(self) -> Tensor:
        """A scalar, of the dense parent."""
        return self.overall[DENSE_LOSS]

    @property
    def overall_dense_accuracy(self) -> Tensor:
        """A scalar, of the dense parent."""
        return self.overall[DENSE_RIGHT]

    @property
    def overall_rates(self) -> Tensor:
        """[C]."""
        return self.overall[RATES:]

    @property
    def overall_class_rates(self) -> Tensor:
        """[C, C]."""
        return self.overall_by_class[:, RATES:]


@dataclass(frozen=True)
class Reference:
    """What the dense parent makes of some samples: logits [n, C], and three columns of `values`.

    values  [n, 3]: cross entropy, probability of the true class, and whether it is predicted
    """

    logits: Tensor
    values: Tensor

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> Reference:
        """From the dense parent's logits [n, C]."""
        loss = functional.cross_entropy(logits, labels, reduction="none")
        soft, hard = (_predicted(logits, s).gather(1, labels[:, None])[:, 0] for s in (True, False))
        return cls(logits, torch.stack([loss, soft, hard], 1))

    def at(self, places: Tensor, device: torch.device | str = "cpu") -> Reference:
        """The same of the samples at these places."""
        return Reference(self.logits[places].to(device), self.values[places].to(device))

    def columns(self, soft: bool) -> Tensor:
        """Loss and share of right predictions, [n, 2]: soft, or counted."""
        return self.values[:, :2] if soft else self.values[:, ::2]


def dense_reference(
    model: nn.Module, data: GroupedData, device: str, rows: Tensor | None = None
) -> Reference:
    """What a dense network makes of all samples, or of those at some rows and zeros elsewhere."""
    logits = evaluated_logits(model, data, device, rows)
    if rows is not None:
        logits = logits.new_zeros(len(data), logits.shape[1]).index_copy(0, rows, logits)
    return Reference.of(logits, data.labels)


def group_statistics(
    logits: Tensor,
    labels: Tensor,
    groups: Tensor,
    dense: Reference | Tensor,
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
    if isinstance(dense, Tensor):
        dense = Reference.of(dense, labels)
    if loss is None:
        loss = functional.cross_entropy(logits, labels, reduction="none")
    classes = logits.shape[1]
    cells = groups * classes + labels
    predicted = _predicted(logits, soft)
    right = predicted.gather(1, labels[:, None])
    columns = torch.cat([loss[:, None], right, dense.columns(soft), predicted], 1)
    sums = columns.new_zeros(number * classes, columns.shape[1]).index_add(0, cells, columns)
    counts = torch.bincount(cells, minlength=number * classes)
    shape = (number, classes)
    return statistics_of(sums.view(*shape, -1), counts.view(shape), parameters)


def statistics_of(
    sums: Tensor, class_counts: Tensor, parameters: tuple[Tensor, ...] = ()
) -> GroupStatistics:
    """Statistics from the sums [G, C, 4 + C] over the samples of each group and true class."""
    return GroupStatistics(sums, class_counts.to(sums.dtype), parameters)


def fill_absent(statistics: GroupStatistics, last: GroupStatistics) -> GroupStatistics:
    """The statistics with absent groups as they were last seen (Hashemizadeh et al. 2024).

    The running buffer of a group: its last known means, which carry no gradient.
    """
    return statistics if statistics.complete else replace(statistics, known=last.means)


def detached(statistics: GroupStatistics) -> GroupStatistics:
    """The same numbers, without the graph that they were computed by."""
    return GroupStatistics(
        statistics.sums.detach(), statistics.class_counts, known=statistics.known
    )


def _known(now: Tensor, last: Tensor, counts: Tensor) -> Tensor:
    return torch.where((counts > 0)[..., None], now, last.detach().to(now.device))


def _predicted(logits: Tensor, soft: bool) -> Tensor:
    if soft:
        return logits.softmax(1)
    return functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
