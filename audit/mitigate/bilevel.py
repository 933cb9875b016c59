"""The bi-level solver: mask and weights learned together under fairness constraints (M §5).

    min over m of  L_up(m⊙θ*(m))  subject to the constraints and ‖m‖₀ ≤ k,
    where θ*(m) minimises  L_low(m⊙θ) + (γ/2)‖θ‖²  under the same constraints.

Lower batches come from the training split; upper batches and the multipliers from the select
split, which the weights have not seen. When the mask and the multipliers are frozen, the weights
settle on both splits, so that the solver has used no less and no more data than its baselines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call
from tqdm import tqdm

from audit.data.grouped import Batch, GroupedData
from audit.errors import AuditError
from audit.mitigate.constraints import Constraint
from audit.mitigate.lagrangian import Lagrangian
from audit.mitigate.options import check_options
from audit.mitigate.solution import Solution, multiplier_samples, upper_samples
from audit.mitigate.weights import MaskedWeights
from audit.models.augmentation import augmented
from audit.models.layout import training_layout
from audit.models.training import (
    TrainingSettings,
    batches_per_epoch,
    check_finite,
    shuffled_batches,
    train_mode,
)
from audit.prune.channels import channel_groups
from audit.prune.distillation import evaluated_logits
from audit.prune.mask import Mask, check_rate, prunable_weights
from audit.prune.projection import ChannelGroup, pattern_of, project
from audit.prune.schedule import cubic_rate


@dataclass(frozen=True)
class BilevelSettings:
    """How the solver runs.

    structure          what survives as a unit: weight, layer, filter or N:M (see `project`)
    weight_steps       K, the weight steps between two mask steps
    mask_step          β, in units of the mean dense weight per unit of the normalised gradient
    ridge              γ of the lower problem; the implicit term of the mask gradient is over γ
    ramp_share         share of the steps over which the rate rises along a cubic to the one asked
                       for; 0: from the first step on
    mask_share         share of the steps after which the mask freezes
    multiplier_share   share of the steps after which the multipliers freeze too, at the mean of the
                       second half of their path, because the violations of small groups are noisy;
                       until then the weights see the training split alone; None: the constraints'
                       own, the latest of several
    multiplier_step    η, multiplier per unit of violation; None: the constraint's own
    multiplier_bound   the largest multiplier; None: the constraint's own
    multiplier_gain    κ, how much the multipliers follow the violation of the moment (Multipliers);
                       None: the constraint's own
    multiplier_split   select, or train for an ablation: what the multipliers read
    fair_weights, fair_mask   whether the constraints are in the weight and in the mask steps; for
                       ablations (Dai et al., 5.4)

    Raises AuditError where a value is of another type or out of its range.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    structure: str = "weight"
    weight_steps: int = 1
    mask_step: float = 0.05
    ridge: float = 1.0
    ramp_share: float = 0.2
    mask_share: float = 0.4
    multiplier_share: float | None = None
    multiplier_step: float | None = None
    multiplier_bound: float | None = None
    multiplier_gain: float | None = None
    multiplier_split: str = "select"
    fair_weights: bool = True
    fair_mask: bool = True

    def __post_init__(self) -> None:
        check_options(self)


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
    """The state between two steps: weights θ, scores s, mask m, multipliers μ."""

    def __init__(
        self,
        model: nn.Module,
        data: GroupedData,
        rate: float,
        constraints: Sequence[Constraint],
        settings: BilevelSettings,
    ) -> None:
        self.data, self.rate, self.settings = data, rate, settings
        self.device = settings.training.device
        self.model = model.to(self.device)
        self.upper, notes = upper_samples(data)
        self.notes = (*settings.training.notes, *notes)
        rows, _ = multiplier_samples(data, settings.multiplier_split, data.indices("train"))
        self.lagrangian = Lagrangian(
            data,
            evaluated_logits(model, data, self.device),
            rows,
            constraints,
            settings.multiplier_step,
            settings.multiplier_bound,
            settings.multiplier_gain,
            settings.training,
        )
        self.groups = self._channel_groups()
        self.scores = {n: w.detach().abs() for n, w in prunable_weights(model).items()}
        self.unit = float(torch.cat([s.flatten() for s in self.scores.values()]).mean())
        mask = self._project(cubic_rate(rate, 0.0, settings.ramp_share))
        self.weights = MaskedWeights(model, mask, settings.training)
        self.lower_gradient = {n: torch.zeros_like(s) for n, s in self.scores.items()}
        self.settled = False
        self.passes, self.readings = 0, batches_per_epoch(len(data), settings.training.batch_size)
        self.history: list[dict[str, object]] = []

    def run(self) -> Solution:
        training = self.settings.training
        steps = training.steps(len(self.data.indices("train", "select")))
        freeze = round(self.settings.mask_share * steps)
        share = multiplier_share(self.settings.multiplier_share, self.lagrangian.constraints)
        settle = max(freeze, round(share * steps))
        generator = torch.Generator().manual_seed(training.seed)
        self.varying = torch.Generator().manual_seed(training.seed)
        lower, upper, both = (
            shuffled_batches(rows, training.batch_size, generator)
            for rows in (
                self.data.indices("train"),
                self.upper,
                self.data.indices("train", "select"),
            )
        )
        for step in tqdm(range(steps), "bi-level", leave=False, delay=2, unit="step"):
            upper_turn = step % (self.settings.weight_steps + 1) == self.settings.weight_steps
            if step == freeze:
                self.weights.set_mask(self._project(self.rate))
            if step == settle:
                self._settle()
            if step >= settle:
                self._weight_step(next(both), step, steps)
            elif step >= freeze or not upper_turn:
                self._weight_step(next(lower), step, steps)
                if upper_turn:
                    self._read(next(upper), step)
            else:
                rate = cubic_rate(self.rate, step / steps, self.settings.ramp_share)
                self._mask_step(next(upper), rate, step)
        if freeze >= steps:
            self.weights.set_mask(self._project(self.rate))
        check_finite(self.model)
        self.model.to("cpu").eval()
        mask, history = self.weights.mask, tuple(self.history)
        return Solution(mask, steps, self.passes, self.readings, history, self.notes)

    def _weight_step(self, indices: Tensor, step: int, steps: int) -> None:
        """θ ← θ − α (m⊙g_low + weight decay·θ), with momentum; the rest of the network likewise."""
        train_mode(self.model)
        batch = self.data.batch(indices, self.device)
        kind = self.settings.training.augmentation
        logits = self.model(augmented(batch.inputs, kind, self.varying))
        self._backward(logits, batch, self.settings.fair_weights)
        if self.settings.multiplier_split == "train" and not self.settled:
            self.lagrangian.remember(indices, logits)
        self.lower_gradient = {n: g.clone() for n, g in self.weights.gradients().items()}
        self.weights.step(step, steps)

    def _mask_step(self, indices: Tensor, rate: float, step: int) -> None:
        """s ← s − β (θ⊙g_up − (1/γ) g_low⊙(m⊙g_up)); then m keeps the k largest scores.

        The running statistics of batch norm are left alone: the select split must not enter them.
        """
        train_mode(self.model)
        batch = self.data.batch(indices, self.device)
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        logits = functional_call(self.model, buffers, (batch.inputs,))
        self._backward(logits, batch, self.settings.fair_mask)
        if self.settings.multiplier_split == "select":
            self.lagrangian.remember(indices, logits)
        gradient = mask_gradient(
            self.weights.theta,
            self.weights.parts,
            self.weights.gradients(),
            self.lower_gradient,
            self.settings.ridge,
        )
        scale = torch.cat([part.flatten() for part in gradient.values()]).square().mean().sqrt()
        beta = self.settings.mask_step * self.unit / max(float(scale), 1e-12)
        for name, part in gradient.items():
            self.scores[name] = self.scores[name] - beta * part
        before = self.weights.mask
        self.weights.set_mask(self._project(rate))
        self._ascend(step, changed=changed_share(before, self.weights.mask))

    def _read(self, indices: Tensor, step: int) -> None:
        """A step of the multipliers alone, under a frozen mask."""
        if self.settings.multiplier_split == "select":
            self.lagrangian.read(self.model, indices, self.device)
            self.readings += 1
        self._ascend(step, changed=0.0)

    def _settle(self) -> None:
        """Hold the multipliers."""
        self.settled = True
        self.lagrangian.settle()

    def _ascend(self, step: int, **logged: float) -> None:
        if self.lagrangian.constraints:
            self.history.append({"step": step, **logged, **self.lagrangian.ascend()})

    def _backward(self, logits: Tensor, batch: Batch, fair: bool) -> None:
        self.model.zero_grad()
        parameters = tuple(p for p in self.model.parameters() if p.requires_grad)
        self.lagrangian.loss(logits, batch, parameters, fair).backward()
        self.passes += 1

    def _project(self, rate: float) -> Mask:
        return project(self.scores, rate, self.settings.structure, self.groups)

    def _channel_groups(self) -> tuple[ChannelGroup, ...] | None:
        if self.settings.structure != "filter":
            return None
        example = self.data.batch(self.data.indices("train")[:2], self.device).inputs
        return channel_groups(self.model, example)


def multiplier_share(asked: float | None, constraints: Sequence[Constraint]) -> float:
    """The share asked for, or the latest of the constraints' own."""
    if asked is not None:
        return asked
    own = (constraint.multiplier_share for constraint in constraints)
    return max(own, default=Constraint.multiplier_share)


def check_pattern_rate(structure: str, rate: float) -> None:
    """Raise AuditError where an N:M pattern cannot have the rate."""
    if structure in ("weight", "layer", "filter"):
        return
    keep, block = pattern_of(structure)
    if not math.isclose(rate, 1 - keep / block, abs_tol=0.005):
        raise AuditError(
            f"found rate {rate:g} for the pattern {structure}, which keeps {keep} of every {block} "
            f"inputs; expected rate {1 - keep / block:g}"
        )


def changed_share(before: Mask, after: Mask) -> float:
    """The share of the weights kept after a mask step that it has replaced."""
    changed = sum(int((before.parts[n] & ~part).sum()) for n, part in after.parts.items())
    return changed / after.survivors


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
        name: theta[name] * upper[name]
        - lower[name] * (mask[name].to(upper[name].device) * upper[name]) / ridge
        for name in theta
    }
