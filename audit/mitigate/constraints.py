"""Fairness constraints over any number of groups (methods.md §4).

A constraint gives a differentiable surrogate, which the weights and the mask follow, and the true
violation, which the multipliers follow and which is reported. Both are at most zero where it holds.

In a surrogate the population's own value is held constant: a group is helped by raising the group
and never by harming the rest. With the solver's normalisation the weight of group b in the loss
becomes (π_b + μ_b)/(1 + Σμ), which no multiplier can make negative.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from audit.errors import AuditError


@dataclass(frozen=True)
class GroupStatistics:
    """Means over the groups [G] and over all samples (scalar), of the network and of its parent.

    Losses in nats; accuracies as shares. On a batch `accuracy` is soft (the probability of the
    true class, which can be differentiated), on a split it is the share of right predictions.
    """

    loss: Tensor
    accuracy: Tensor
    dense_loss: Tensor
    dense_accuracy: Tensor
    overall_loss: Tensor
    overall_accuracy: Tensor
    overall_dense_loss: Tensor
    overall_dense_accuracy: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Reference:
    """What the dense parent does on every sample of the data: loss [n] and correctness [n]."""

    loss: Tensor
    correct: Tensor


def loss_and_accuracy(logits: Tensor, labels: Tensor, soft: bool) -> tuple[Tensor, Tensor]:
    """Cross entropy [n], and the probability of the true class (soft) or correctness [n]."""
    loss = functional.cross_entropy(logits, labels, reduction="none")
    if soft:
        return loss, logits.softmax(1).gather(1, labels[:, None])[:, 0]
    return loss, (logits.argmax(1) == labels).to(loss.dtype)


def group_statistics(
    loss: Tensor, accuracy: Tensor, groups: Tensor, reference: Reference, number: int
) -> GroupStatistics:
    """Statistics of `number` groups from per-sample values [n]; a group without samples is NaN."""
    values = torch.stack([loss, accuracy, reference.loss, reference.correct], 1)
    counts = torch.bincount(groups, minlength=number).to(values.dtype)
    member = functional.one_hot(groups, number).to(values.dtype)
    means = (member.T @ values) / counts.clamp(min=1)[:, None]
    means = means.masked_fill((counts == 0)[:, None], float("nan"))
    overall = values.mean(0)
    names = ("loss", "accuracy", "dense_loss", "dense_accuracy")
    by_group = dict(zip(names, means.unbind(1), strict=True))
    by_all = {f"overall_{n}": value for n, value in zip(names, overall.unbind(), strict=True)}
    return GroupStatistics(**by_group, **by_all, counts=counts)


def fill_absent(statistics: GroupStatistics, last: GroupStatistics) -> GroupStatistics:
    """The statistics with absent groups taken from the last ones seen [Hashemizadeh et al.]."""
    names = ("loss", "accuracy", "dense_loss", "dense_accuracy")
    present = statistics.counts > 0
    filled = {
        name: torch.where(present, getattr(statistics, name), getattr(last, name).detach())
        for name in names
    }
    return replace(statistics, **filled)


@dataclass(frozen=True)
class Constraint(ABC):
    """A fairness constraint; a new one needs `surrogate` alone.

    `tolerance` is in the metric's own unit: nats for losses, a share for accuracies.
    `multiplier_step` is the step of the dual ascent that suits that unit.
    """

    tolerance: float = 0.0
    multiplier_step: ClassVar[float] = 1.0

    @abstractmethod
    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """Differentiable violations [c], at most 0 where the constraint holds."""

    def violation(self, statistics: GroupStatistics) -> Tensor:
        """True violations [c]; the surrogate itself unless a constraint knows better."""
        return self.surrogate(statistics)


@dataclass(frozen=True)
class GroupLoss(Constraint):
    """No group's loss above the population's: J_a − J ≤ ε (Tran et al. 2022, eq. 7)."""

    multiplier_step: ClassVar[float] = 0.3

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """J_a − J − ε, J held constant."""
        return statistics.loss - statistics.overall_loss.detach() - self.tolerance


@dataclass(frozen=True)
class ExcessAccuracy(Constraint):
    """No group loses more accuracy than the population: ψ_a ≤ ε (M3; Hashemizadeh et al. 2024).

    The surrogate is the excess loss of the group less that of the population.
    """

    multiplier_step: ClassVar[float] = 3.0

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """(J_a − J_a(θ*)) − (J − J(θ*)) − ε, the population held constant."""
        population = (statistics.overall_loss - statistics.overall_dense_loss).detach()
        return statistics.loss - statistics.dense_loss - population - self.tolerance

    def violation(self, statistics: GroupStatistics) -> Tensor:
        """ψ_a − ε."""
        population = statistics.overall_dense_accuracy - statistics.overall_accuracy
        return statistics.dense_accuracy - statistics.accuracy - population - self.tolerance


@dataclass(frozen=True)
class EqualAccuracy(Constraint):
    """Every group's accuracy within τ of the population's: |Acc_a − Acc| ≤ τ (Dai et al., Def. 1).

    Two constraints a group: one below helps that group; one above helps the population, so that
    a gap is closed by raising the lower side.
    """

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """Acc − Acc_a − τ, then Acc_a − Acc − τ, the higher side held constant."""
        below = statistics.overall_accuracy.detach() - statistics.accuracy
        above = statistics.accuracy.detach() - statistics.overall_accuracy
        return torch.cat([below, above]) - self.tolerance


CONSTRAINTS: dict[str, type[Constraint]] = {
    "group-loss": GroupLoss,
    "excess-accuracy": ExcessAccuracy,
    "equal-accuracy": EqualAccuracy,
}


def make_constraint(name: str, tolerance: float) -> Constraint | None:
    """The constraint of that name, or None for 'none'; AuditError where the name is unknown."""
    if name == "none":
        return None
    if name not in CONSTRAINTS:
        raise AuditError(f"found constraint '{name}'; expected none, {', '.join(CONSTRAINTS)}")
    if tolerance < 0:
        raise AuditError(f"found tolerance {tolerance:g}; expected 0 or more")
    return CONSTRAINTS[name](tolerance)
