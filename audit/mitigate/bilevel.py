"""The bi-level solver: mask and weights learned together under fairness constraints (M §5).

    min over m of  L_up(m⊙θ*(m))  subject to the constraints and ‖m‖₀ ≤ k,
    where θ*(m) minimises  L_low(m⊙θ) + (γ/2)‖θ‖²  under the same constraints.

Lower batches come from the training split; upper batches and the multipliers from the select
split, which the weights have not seen. When the mask and the multipliers are frozen, the weights
settle on both splits, so that the solver has used no less and no more data than its baselines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from tqdm import tqdm

from audit.data.grouped import Batch, GroupedData
from audit.errors import AuditError
from audit.mitigate.constraints import (
    Constraint,
    GroupStatistics,
    Reference,
    fill_absent,
    group_statistics,
    loss_and_accuracy,
)
from audit.mitigate.multipliers import Multipliers
from audit.models.training import TrainingSettings, check_finite, cosine, shuffled_batches
from audit.prune.mask import Mask, check_rate, keep_largest, prunable_weights


@dataclass(frozen=True)
class BilevelSettings:
    """How the solver runs.

    weight_steps       K, the weight steps between two mask steps
    mask_step          β, in units of the mean dense weight per unit of the normalised gradient
    ridge              γ of the lower problem; the implicit term of the mask gradient is over γ
    ramp_share         share of the steps over which the rate rises along a cubic to the one asked
                       for; 0: from the first step on
    mask_share         share of the steps after which the mask and the multipliers freeze, the
                       multipliers at the mean of the second half of their path, because the
                       violations of small groups are noisy
    multiplier_step    η, multiplier per unit of violation; None: the constraint's own
    multiplier_bound   the largest value of a multiplier
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    weight_steps: int = 1
    mask_step: float = 0.05
    ridge: float = 1.0
    ramp_share: float = 0.4
    mask_share: float = 0.6
    multiplier_step: float | None = None
    multiplier_bound: float = 20.0


@dataclass(frozen=True)
class Solution:
    """What the solver found: the mask, the steps it took (forward-backward passes) and its log.

    `history` has one row per multiplier update: step, changed (share of the kept weights that the
    mask step replaced), and the group's violation and multiplier, in declared order.
    """

    mask: Mask
    steps: int
    history: list[dict[str, object]]
    notes: tuple[str, ...]


def solve(
    model: nn.Module,
    data: GroupedData,
    rate: float,
    constraint: Constraint | None,
    settings: BilevelSettings,
) -> Solution:
    """Prune the dense model in place to the rate under the constraint.

    The total of weight and mask steps equals the optimisation steps that fine-tuning takes with
    the same training settings over train + select. Raises AuditError where the rate is not in
    [0, 1) or the training diverges.
    """
    check_rate(rate)
    solver = _Solver(model, data, rate, constraint, settings)
    return solver.run()


class _Solver:
    """The state between two steps: weights θ, scores s, mask m, multipliers μ, last statistics."""

    def __init__(
        self,
        model: nn.Module,
        data: GroupedData,
        rate: float,
        constraint: Constraint | None,
        settings: BilevelSettings,
    ) -> None:
        self.device = settings.training.device
        self.model = model.to(self.device)
        self.data, self.rate, self.constraint, self.settings = data, rate, constraint, settings
        self.upper, self.notes = upper_samples(data)
        self.reference = dense_reference(model, data, self.device)
        self.weights = prunable_weights(model)
        self.theta = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.scores = {name: weight.abs() for name, weight in self.theta.items()}
        self.unit = float(torch.cat([s.flatten() for s in self.scores.values()]).mean())
        self.mask = keep_largest(self.scores, cubic_rate(rate, 0.0, settings.ramp_share))
        self.lower_gradient: Mapping[str, Tensor] = {}
        self.seen_loss = self.reference.loss[self.upper].to(self.device)
        self.seen_correct = self.reference.correct[self.upper].to(self.device)
        self.last = self._seen_statistics()
        self.multipliers: Multipliers | None = None
        if constraint is not None:
            number = len(constraint.violation(self.last))
            step = settings.multiplier_step
            step = constraint.multiplier_step if step is None else step
            self.multipliers = Multipliers(number, step, settings.multiplier_bound)
        self.history: list[dict[str, object]] = []

    def run(self) -> Solution:
        training = self.settings.training
        both = self.data.indices("train", "select")
        steps = training.steps(len(both))
        freeze = round(self.settings.mask_share * steps)
        generator = torch.Generator().manual_seed(training.seed)
        train = self.data.indices("train")
        lower = shuffled_batches(train, training.batch_size, generator)
        upper = shuffled_batches(self.upper, training.batch_size, generator)
        settle = shuffled_batches(both, training.batch_size, generator)
        optimizer = self._optimizer()
        self._write_weights()
        for step in tqdm(range(steps), "bi-level", leave=False, delay=2, unit="step"):
            optimizer.param_groups[0]["lr"] = cosine(training.learning_rate, step, steps)
            optimizer.param_groups[1]["lr"] = cosine(training.learning_rate, step, steps)
            if step == freeze and self.multipliers is not None:
                self.multipliers.settle()
            if step >= freeze:
                self._weight_step(next(settle), optimizer)
            elif step % (self.settings.weight_steps + 1) < self.settings.weight_steps:
                self._weight_step(next(lower), optimizer)
            else:
                rate = cubic_rate(self.rate, step / steps, self.settings.ramp_share)
                changed = self._mask_step(next(upper), rate)
                self._multiplier_step(step, changed)
        check_finite(self.model)
        self.model.to("cpu").eval()
        return Solution(self.mask, steps, self.history, self.notes)

    def _optimizer(self) -> torch.optim.SGD:
        """Momentum over θ (all prunable weights, kept or not) and over the other parameters."""
        training = self.settings.training
        prunable = {id(weight) for weight in self.weights.values()}
        others = [p for p in self.model.parameters() if id(p) not in prunable]
        for tensor in self.theta.values():
            tensor.requires_grad_(True)
        return torch.optim.SGD(
            [dict[str, Any](params=list(self.theta.values())), dict[str, Any](params=others)],
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
        )

    def _weight_step(self, indices: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """θ ← θ − α (m⊙g_low + weight decay·θ), with momentum; the rest of the network likewise."""
        self.model.train()
        self.model.zero_grad()
        batch = self.data.batch(indices, self.device)
        self._lagrangian(self.model(batch.inputs), batch).backward()
        self.lower_gradient = {n: _gradient(w).clone() for n, w in self.weights.items()}
        for name, tensor in self.theta.items():
            tensor.grad = self.mask.parts[name].to(self.device) * self.lower_gradient[name]
        optimizer.step()
        self._write_weights()

    def _mask_step(self, indices: Tensor, rate: float) -> float:
        """s ← s − β (θ⊙g_up − (1/γ) g_low⊙(m⊙g_up)); then m keeps the k largest scores.

        The running statistics of batch norm are left alone: the select split must not enter them.
        Returns the share of the kept weights that changed.
        """
        self.model.train()
        self.model.zero_grad()
        batch = self.data.batch(indices, self.device)
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        logits = functional_call(self.model, buffers, (batch.inputs,))
        self._remember(indices, logits.detach(), batch.labels)
        self._lagrangian(logits, batch).backward()
        upper = {name: _gradient(weight) for name, weight in self.weights.items()}
        gradient = mask_gradient(
            self.theta, self.mask.parts, upper, self.lower_gradient, self.settings.ridge
        )
        scale = torch.cat([part.flatten() for part in gradient.values()]).square().mean().sqrt()
        beta = self.settings.mask_step * self.unit / max(float(scale), 1e-12)
        for name, part in gradient.items():
            self.scores[name] = self.scores[name] - beta * part
        before, self.mask = self.mask, keep_largest(self.scores, rate)
        self._write_weights()
        changed = sum(int((before.parts[n] & ~m).sum()) for n, m in self.mask.parts.items())
        return changed / self.mask.survivors

    def _lagrangian(self, logits: Tensor, batch: Batch) -> Tensor:
        """(J + Σ μ_c v_c) / (1 + Σ μ_c): the multipliers share out the loss, never inflate it."""
        loss = functional.cross_entropy(logits, batch.labels)
        if self.constraint is None or self.multipliers is None:
            return loss
        losses, accuracy = loss_and_accuracy(logits, batch.labels, soft=True)
        statistics = self._statistics(losses, accuracy, batch.groups, batch.indices)
        self.last = statistics = fill_absent(statistics, self.last)
        weights = self.multipliers.values.to(self.device)
        surrogate = self.constraint.surrogate(statistics)
        return (loss + weights @ surrogate) / (1.0 + weights.sum())

    def _multiplier_step(self, step: int, changed: float) -> None:
        """Update the multipliers from the true violation over the select split.

        Every sample counts with its last prediction, made when a mask step last read it: one pass
        over the split refreshes them all, and no step evaluates it anew.
        """
        if self.constraint is None or self.multipliers is None:
            return
        violation = self.constraint.violation(self._seen_statistics())
        self.multipliers.update(violation)
        self.history.append(
            {
                "step": step,
                "changed": changed,
                "violation": violation.tolist(),
                "multiplier": self.multipliers.values.tolist(),
            }
        )

    def _statistics(
        self, loss: Tensor, accuracy: Tensor, groups: Tensor, rows: Tensor
    ) -> GroupStatistics:
        reference = Reference(
            self.reference.loss[rows].to(self.device), self.reference.correct[rows].to(self.device)
        )
        return group_statistics(loss, accuracy, groups, reference, len(self.data.group_names))

    def _seen_statistics(self) -> GroupStatistics:
        groups = self.data.groups[self.upper].to(self.device)
        return self._statistics(self.seen_loss, self.seen_correct, groups, self.upper)

    def _remember(self, indices: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Keep what the network now predicts for these samples of the upper level."""
        places = torch.searchsorted(self.upper, indices).to(self.device)
        loss, correct = loss_and_accuracy(logits, labels, soft=False)
        self.seen_loss[places], self.seen_correct[places] = loss, correct

    @torch.no_grad()
    def _write_weights(self) -> None:
        """The network computes with z = m⊙θ."""
        for name, weight in self.weights.items():
            weight.copy_(self.theta[name] * self.mask.parts[name].to(self.device))


def cubic_rate(rate: float, progress: float, ramp: float) -> float:
    """The rate at a share of the way: rate·(1 − (1 − progress/ramp)³), then the rate (M §3)."""
    if progress >= ramp:
        return rate
    return rate * (1.0 - (1.0 - progress / ramp) ** 3)


def mask_gradient(
    theta: Mapping[str, Tensor],
    mask: Mapping[str, Tensor],
    upper: Mapping[str, Tensor],
    lower: Mapping[str, Tensor],
    ridge: float,
) -> dict[str, Tensor]:
    """Gradient of the upper loss by the mask, with the implicit term (M §5; Zhang et al. 2022).

    θ⊙g_up − (1/γ) g_low⊙(m⊙g_up), where dθ*/dm = −(1/γ) diag(g_low); g_up and g_low are the
    gradients by z = m⊙θ on upper and lower batches. One tensor a layer, shaped as its weight.
    """
    return {
        name: theta[name].detach() * upper[name]
        - lower[name] * (mask[name].to(upper[name].device) * upper[name]) / ridge
        for name in theta
    }


def upper_samples(data: GroupedData) -> tuple[Tensor, tuple[str, ...]]:
    """Positions for the upper level and the multipliers, with what must be said about them.

    The select split; a group too small to have select samples is represented by its training
    samples, on which a constraint is easier to meet than on new data.
    """
    parts, notes = [data.indices("select")], []
    for group, name in enumerate(data.group_names):
        own = data.indices("train", group=group)
        if len(data.indices("select", group=group)) == 0 and len(own) > 0:
            parts.append(own)
            notes.append(
                f"group '{name}' is too small for select samples: the solver's multipliers read "
                f"its {len(own)} training samples instead"
            )
    upper = torch.cat(parts).sort().values
    if len(upper) == 0:
        raise AuditError("found no samples for the upper level; the data needs a train split")
    return upper, tuple(notes)


@torch.no_grad()
def dense_reference(model: nn.Module, data: GroupedData, device: str) -> Reference:
    """Loss and correctness of the dense parent on every sample of the data, in evaluation mode."""
    model.eval()
    losses, correct = [], []
    for batch in data.batches(torch.arange(len(data)), 512, device):
        logits = model(batch.inputs)
        losses.append(functional.cross_entropy(logits, batch.labels, reduction="none").cpu())
        correct.append((logits.argmax(1) == batch.labels).float().cpu())
    return Reference(torch.cat(losses), torch.cat(correct))


def _gradient(weight: nn.Parameter) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
