"""Fairness constraints over any number of groups (methods.md §4).

A constraint gives a differentiable surrogate, which the weights and the mask follow, and the true
violation, which the multipliers follow and which is reported. Both are at most zero where it holds.

In a surrogate of losses the population's own value is held constant: a group is helped by raising
the group and never by harming the rest. With the Lagrangian's normalisation the weight of group b
in the loss becomes (π_b + μ_b)/(1 + Σμ), which no multiplier can make negative.

Your own constraint is a class with one method:

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class MostLoss(Constraint):
...     '''No group's loss above the tolerance.'''
...     def surrogate(self, statistics):
...         return statistics.loss - self.tolerance

It is named on the command line and in a study as `your.module:MostLoss`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from audit.errors import AuditError
from audit.imports import imported, is_imported
from audit.mitigate.statistics import GroupStatistics
from audit.names import known_name, shown

POWER_STEPS = 8
"""Power iterations for an eigenvalue within a step; each is a Hessian product."""


@dataclass(frozen=True)
class Constraint(ABC):
    """A fairness constraint; a new one needs `surrogate` alone.

    tolerance        in the metric's own unit: nats for losses, a share for accuracies and rates
    multiplier_step  η of the dual ascent that suits that unit
    multiplier_bound  the largest value of a multiplier
    multiplier_gain  κ of the dual ascent: above 0 where constraints pull against each other, and
                     plain ascent would swing from one to the other
    multiplier_share  share of the solver's steps after which its multipliers freeze
    weight_bound     the most that all its multipliers may weigh together, beside the loss itself;
                     finite where a surrogate is no loss, and meeting it alone would be learned at
                     the price of every right prediction
    beside           constraints that stand beside it unless they are left out by name: NAME=none
    of_shares        whether the tolerance is one of shares, in points and no nats: at most 1
    on_batch         whether the multipliers read the batches' statistics, because the violation
                     needs a gradient, and not those of a split
    """

    tolerance: float = 0.0
    multiplier_step: ClassVar[float] = 1.0
    multiplier_bound: ClassVar[float] = 20.0
    multiplier_gain: ClassVar[float] = 0.0
    multiplier_share: ClassVar[float] = 0.4
    weight_bound: ClassVar[float] = math.inf
    beside: ClassVar[tuple[str, ...]] = ()
    of_shares: ClassVar[bool] = False
    on_batch: ClassVar[bool] = False

    @abstractmethod
    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """Differentiable violations [c], at most 0 where the constraint holds."""

    def dual_settings(self) -> dict[str, Any]:
        """How its multipliers move unless a method's settings say otherwise: plain values."""
        names = ("step", "bound", "gain", "share")
        found = {f"multiplier_{name}": getattr(self, f"multiplier_{name}") for name in names}
        kind = f"{type(self).__module__}:{type(self).__qualname__}"
        return {"constraint": kind, **found, "weight_bound": self.weight_bound}

    def violation(self, statistics: GroupStatistics) -> Tensor:
        """True violations [c]; the surrogate itself unless a constraint knows better."""
        return self.surrogate(statistics)

    def scale(self, statistics: GroupStatistics) -> Tensor:
        """What a multiplier of 1 weighs in the Lagrangian, [c].

        By default the share π_a of the group: the multipliers ν_a then say how many times more its
        samples count, μ_a = π_a·ν_a, and groups of all sizes respond alike.
        """
        number, shares = len(self.violation(statistics)), statistics.group_shares
        repeats, rest = divmod(number, len(shares))
        return shares.new_ones(number) if rest else shares.repeat(repeats)


@dataclass(frozen=True)
class GroupLoss(Constraint):
    """No group's loss above the population's: J_a − J ≤ ε (Tran et al. 2022, eq. 7).

    With ε = 0 all losses are then equal, because the population's is their weighted mean.
    """

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """J_a − J − ε, J held constant."""
        return statistics.loss - statistics.overall_loss.detach() - self.tolerance


@dataclass(frozen=True)
class ExcessLoss(Constraint):
    """No group's excess risk above the population's: R(a) − R ≤ ε (M1)."""

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """(J_a − J_a(θ*)) − (J − J(θ*)) − ε, the population held constant."""
        population = (statistics.overall_loss - statistics.overall_dense_loss).detach()
        return statistics.loss - statistics.dense_loss - population - self.tolerance


@dataclass(frozen=True)
class ExcessAccuracy(Constraint):
    """No group loses more accuracy than the population: ψ_a ≤ ε (M3; Hashemizadeh et al. 2024).

    The surrogate is the excess loss of the group less that of the population.
    """

    of_shares: ClassVar[bool] = True

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """(J_a − J_a(θ*)) − (J − J(θ*)) − ε, the population held constant."""
        return ExcessLoss(self.tolerance).surrogate(statistics)

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

    of_shares: ClassVar[bool] = True

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """Acc − Acc_a − τ, then Acc_a − Acc − τ, the higher side held constant."""
        below = statistics.overall_accuracy.detach() - statistics.accuracy
        above = statistics.accuracy.detach() - statistics.overall_accuracy
        return torch.cat([below, above]) - self.tolerance


@dataclass(frozen=True)
class DemographicParity(Constraint):
    """Groups are predicted as every class at like rates: they differ by at most τ (M4).

    Held by keeping each group within τ/2 of the population, from above and from below. That alone
    can be met by predicting one class for everybody: hence `no-harm` beside it.
    """

    of_shares: ClassVar[bool] = True
    weight_bound: ClassVar[float] = 1.0
    beside: ClassVar[tuple[str, ...]] = ("no-harm",)

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """±(rate_a − rate) − τ/2 of every class and group, the population held constant."""
        return _both_sides(statistics.rates, statistics.overall_rates, self.tolerance)


@dataclass(frozen=True)
class EqualisedOdds(Constraint):
    """Groups have like true and false positive rates, every class against the rest (M4).

    No two groups' rates differ by more than τ: each group keeps within τ/2 of the population.
    Raising a group's true positives raises its false ones: hence the gain, and multipliers that
    stay free for longer. That alone can be met by lowering everybody's: hence `no-harm` beside it.
    """

    of_shares: ClassVar[bool] = True
    multiplier_gain: ClassVar[float] = 30.0
    multiplier_share: ClassVar[float] = 0.9
    weight_bound: ClassVar[float] = 1.0
    beside: ClassVar[tuple[str, ...]] = ("no-harm",)

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """±(rate_a − rate) − τ/2: true positive rates of every class, then false ones."""
        population = statistics.overall_class_rates.detach()[None]
        counts = statistics.class_counts
        odds = _odds(
            torch.cat([statistics.class_rates, population]),
            torch.cat([counts, counts.sum(0, keepdim=True)]),
        )
        gaps = (odds[:, :-1] - odds[:, -1:]).transpose(1, 2).flatten(1)
        both = torch.cat([gaps, -gaps], 1).flatten()
        return both - 0.5 * self.tolerance if self.tolerance else both


@dataclass(frozen=True)
class NoHarm(Constraint):
    """No group's balanced accuracy below the dense network's by more than τ (methods.md §4).

    Balanced: the mean over a group's true classes of the share that it gets right. Beside a
    constraint on rates it forbids levelling down; by class, and not rate by rate, because groups
    along one ROC curve can have like rates only where some rates fall and others rise.
    """

    of_shares: ClassVar[bool] = True
    tolerance: float = 0.02
    multiplier_gain: ClassVar[float] = 30.0
    multiplier_share: ClassVar[float] = 0.9
    weight_bound: ClassVar[float] = 1.0

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """The mean over true classes of (dense recall − recall), less τ; soft on a batch."""
        falls = statistics.dense_recalls - statistics.recalls
        return (falls.mean(1) if statistics.complete else falls.nanmean(1)) - self.tolerance


@dataclass(frozen=True)
class WorstGroup(Constraint):
    """Minimise the worst group's loss: max_a J(a) ≤ ε, with ε = 0 out of reach (M §4).

    One multiplier, which grows to its bound as long as the worst loss is above the tolerance.
    """

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """max_a J_a − ε."""
        return statistics.loss.nan_to_num(nan=-math.inf).max()[None] - self.tolerance


@dataclass(frozen=True)
class GradientCurvature(Constraint):
    """Like gradient norms and curvatures: ‖g_a‖ = ‖g‖ and λ(H_a) = λ(H) (Tran et al. 2022, eq. 6).

    Both as shares of the population's, so that one tolerance fits: 0.1 lets a group's be 10 %
    larger. Groups need samples in a batch; it is for small networks, because every step
    differentiates a gradient and some Hessian products once more.
    """

    multiplier_step: ClassVar[float] = 0.1
    weight_bound: ClassVar[float] = 0.1
    on_batch: ClassVar[bool] = True

    def surrogate(self, statistics: GroupStatistics) -> Tensor:
        """‖g_a‖/‖g‖ − 1 − ε of the groups, then λ(H_a)/λ(H) − 1 − ε, the population's constant."""
        if not statistics.parameters:
            raise AuditError(
                "gradient-curvature needs statistics of a batch, which know the parameters of "
                "their loss; found those of a split"
            )
        whole = _slope_and_curvature(statistics.overall_loss, statistics.parameters)
        slope, curvature = (value.detach().clamp(min=1e-8) for value in whole)
        shares = [
            (one / slope, other / curvature)
            for one, other in (
                _slope_and_curvature(loss, statistics.parameters) for loss in statistics.loss
            )
        ]
        ratios = torch.stack([part for side in zip(*shares, strict=True) for part in side])
        return ratios - 1.0 - self.tolerance

    def scale(self, statistics: GroupStatistics) -> Tensor:
        """The shares of the groups, for their slopes and for their curvatures."""
        return statistics.group_shares.repeat(2)


CONSTRAINTS: dict[str, type[Constraint]] = {
    "group-loss": GroupLoss,
    "excess-loss": ExcessLoss,
    "excess-accuracy": ExcessAccuracy,
    "equal-accuracy": EqualAccuracy,
    "demographic-parity": DemographicParity,
    "equalised-odds": EqualisedOdds,
    "no-harm": NoHarm,
    "worst-group": WorstGroup,
    "gradient-curvature": GradientCurvature,
}


def make_constraints(text: str, tolerance: float = 0.0) -> tuple[Constraint, ...]:
    """The constraints of a text such as 'excess-accuracy=0.01+equalised-odds'; none of 'none'.

    Names are those of CONSTRAINTS, or `package.module:Class` for your own. One without a tolerance
    has its own (`no-harm`: 0.02), or else the given one. What stands beside a constraint is added,
    unless it is named too, or left out as 'no-harm=none'. Raises AuditError where a name is
    unknown, stands twice, or a tolerance is not a number from 0 on.

    >>> make_constraints("excess-accuracy=0.01+group-loss", 0.2)
    (ExcessAccuracy(tolerance=0.01), GroupLoss(tolerance=0.2))
    >>> make_constraints("equalised-odds")
    (EqualisedOdds(tolerance=0.0), NoHarm(tolerance=0.02))
    >>> make_constraints("equalised-odds+no-harm=none")
    (EqualisedOdds(tolerance=0.0),)
    """
    if text == "none":
        return ()
    text = constraint_names(text)
    asked = {name: value for name, _, value in (_divided(part) for part in text.split("+"))}
    kinds = {name: _kind(name) for name in asked}
    if len(set(kinds.values())) != len(text.split("+")):
        raise AuditError(f"found a constraint twice in {shown(text)}; each may stand once")
    wanted = [name for name, value in asked.items() if value != "none"]
    beside = [name for one in wanted for name in kinds[one].beside if name not in asked]
    return (
        *(_made(kinds[name], name, asked[name], tolerance) for name in wanted),
        *(CONSTRAINTS[name]() for name in dict.fromkeys(beside)),
    )


def constraint_names(text: str) -> str:
    """The same text with every constraint under the toolkit's own spelling of its name.

    >>> constraint_names("equalized_odds=0.05+group-loss")
    'equalised-odds=0.05+group-loss'
    """
    parts = [part.strip().partition("=") for part in text.split("+")]
    return "+".join(
        (name if is_imported(name) else _known(name)) + equals + value
        for name, equals, value in parts
    )


def _known(name: str) -> str:
    return known_name(name, [*CONSTRAINTS, "none"], "constraint", "package.module:Class")


def _divided(part: str) -> tuple[str, str, str]:
    """Name and tolerance of 'NAME=TOLERANCE'; an empty tolerance where none is given."""
    name, equals, value = part.strip().partition("=")
    if equals and not value:
        raise AuditError(f"found no tolerance after '{name}='; expected a number, or none")
    return name, equals, value


def _made(kind: type[Constraint], name: str, value: str, tolerance: float) -> Constraint:
    try:
        allowed = float(value) if value else kind.tolerance or tolerance
    except ValueError as error:
        raise AuditError(f"found tolerance {shown(value)} of {name}; expected a number") from error
    if not 0 <= allowed < math.inf:
        raise AuditError(f"found tolerance {allowed:g} of {name}; expected 0 or more")
    if kind.of_shares and allowed > 1:
        raise AuditError(
            f"found tolerance {allowed:g} of {name}, which is a share; expected at most 1, such as "
            "0.02 for two points"
        )
    return kind(allowed)


def _kind(name: str) -> type[Constraint]:
    return _imported(name) if ":" in name else _named(name)


def _named(name: str) -> type[Constraint]:
    if name not in CONSTRAINTS:
        raise AuditError(f"found constraint '{name}' beside others; expected it alone")
    return CONSTRAINTS[name]


def _imported(name: str) -> type[Constraint]:
    found = imported(name, "constraint")
    if not (isinstance(found, type) and issubclass(found, Constraint)):
        raise AuditError(f"'{name}' is no constraint; expected a class derived from Constraint")
    return found


def _both_sides(groups: Tensor, population: Tensor, tolerance: float) -> Tensor:
    """±(group − population) − τ/2 of [G, C] against [C], every class's groups one after another.

    The population is held constant.
    """
    gap = (groups - population.detach()).T.flatten()
    return torch.cat([gap, -gap]) - 0.5 * tolerance


def _odds(class_rates: Tensor, counts: Tensor) -> Tensor:
    """True and false positive rates [2, G, C] of every class against the rest.

    class_rates  [G, C, C]: predicted as the third among those whose true class is the second
    counts       [G, C]: how many samples have that true class
    """
    right = class_rates.diagonal(dim1=1, dim2=2)
    others = counts.sum(1, keepdim=True) - counts
    # A class of a group without samples adds nothing; with no sample of any other class, NaN.
    full = bool(counts.all())
    predicted = (class_rates if full else class_rates.nan_to_num(nan=0.0)) * counts[:, :, None]
    wrong = predicted.sum(1) - predicted.diagonal(dim1=1, dim2=2)
    if full:
        return torch.stack([right, wrong / others])
    return torch.stack([right, (wrong / others.clamp(min=1)).masked_fill(others == 0, math.nan)])


def _slope_and_curvature(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """‖g‖ and the eigenvalue λ of H that is largest in magnitude, both differentiable.

    λ = vᵀHv, v found by power iteration and held constant: its gradient is exact where v is.
    NaN where the loss is, for want of samples.
    """
    if not torch.isfinite(loss) or not loss.requires_grad:
        return loss.new_tensor(math.nan), loss.new_tensor(math.nan)
    gradient = torch.autograd.grad(
        # A head that the loss does not read has no slope.
        loss,
        parameters,
        create_graph=True,
        materialize_grads=True,
    )
    slope = torch.cat([part.flatten() for part in gradient])
    direction = slope.detach()
    for _ in range(POWER_STEPS):
        direction = direction / direction.norm().clamp(min=1e-12)
        direction = _product(slope, parameters, direction, graph=False)
    direction = direction / direction.norm().clamp(min=1e-12)
    curvature = direction @ _product(slope, parameters, direction, graph=True)
    return slope.norm(), curvature


def _product(slope: Tensor, parameters: Sequence[Tensor], direction: Tensor, graph: bool) -> Tensor:
    """H·direction, from the gradient with its graph."""
    parts = torch.autograd.grad(
        slope @ direction,
        parameters,
        retain_graph=True,
        create_graph=graph,
        materialize_grads=True,
    )
    return torch.cat([part.flatten() for part in parts])
