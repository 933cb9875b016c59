"""Means over groups that fairness constraints are made of (methods.md §4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

LOSS, RIGHT, DENSE_LOSS, DENSE_RIGHT = range(4)
RATES = 4
"""Columns of every table of means; the shares predicted as each class follow the first four."""


@dataclass(frozen=True)
class GroupStatistics:
    """Means over every group and over all samples, of the network and of its dense parent.

    by_group            [G, 4 + C]: loss, share of right predictions, the same of the dense parent,
                        and the share predicted as each class
    by_class            [G, C, 4 + C]: the same among a group's samples of each true class
    overall             [4 + C]: over all samples; overall_by_class [C, 4 + C]
    class_counts        [G, C]: how many samples each mean of `by_class` is over
    parameters          the tensors that `loss` can be differentiated by, where it can

    On a batch the shares are soft (mean probabilities, which can be differentiated), on a split
    they count predictions. A group, or a true class of a group, without samples is NaN. The columns
    have names: `loss`, `accuracy` [G], in nats and as a share; `rates` [G, C]; `class_rates`
    [G, C, C]; `recalls` [G, C]; `dense_loss`, `dense_accuracy`, `dense_recalls`; and `overall_…`.
    """

    by_group: Tensor
    by_class: Tensor
    overall: Tensor
    overall_by_class: Tensor
    class_counts: Tensor
    parameters: tuple[Tensor, ...] = ()

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
    """The means from the sums [G, C, 4 + C] over the samples of each group and true class."""
    class_counts = class_counts.to(sums.dtype)
    by_group, by_class = sums.sum(1), sums.sum(0)
    return GroupStatistics(
        by_group=_means(by_group, class_counts.sum(1)),
        by_class=_means(sums, class_counts),
        overall=by_group.sum(0) / class_counts.sum(),
        overall_by_class=_means(by_class, class_counts.sum(0)),
        class_counts=class_counts,
        parameters=parameters,
    )


def complete(statistics: GroupStatistics) -> bool:
    """Whether every group has samples of every class."""
    return bool(statistics.class_counts.all())


def fill_absent(statistics: GroupStatistics, last: GroupStatistics) -> GroupStatistics:
    """The statistics with absent groups as they were last seen (Hashemizadeh et al. 2024).

    The running buffer of a group: its last known means, which carry no gradient.
    """
    if complete(statistics):
        return statistics
    counts, class_counts = statistics.counts, statistics.class_counts
    return replace(
        statistics,
        by_group=_known(statistics.by_group, last.by_group, counts),
        by_class=_known(statistics.by_class, last.by_class, class_counts),
        overall_by_class=_known(
            statistics.overall_by_class, last.overall_by_class, class_counts.sum(0)
        ),
    )


def detached(statistics: GroupStatistics) -> GroupStatistics:
    """The same numbers, without the graph that they were computed by."""
    return GroupStatistics(
        statistics.by_group.detach(),
        statistics.by_class.detach(),
        statistics.overall.detach(),
        statistics.overall_by_class.detach(),
        statistics.class_counts,
    )


def _known(now: Tensor, last: Tensor, counts: Tensor) -> Tensor:
    return torch.where((counts > 0)[..., None], now, last.detach().to(now.device))


def _predicted(logits: Tensor, soft: bool) -> Tensor:
    if soft:
        return logits.softmax(1)
    return functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Sums [..., k] over counts [...]; NaN, which passes on no gradient, where none was counted."""
    counts = counts[..., None]
    if bool(counts.all()):
        return sums / counts
    return (sums / counts.clamp(min=1)).masked_fill(counts == 0, float("nan"))
