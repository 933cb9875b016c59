"""Fair pruning inside anybody's training loop: the bi-level solver, one batch at a time (M §5)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from audit.errors import AuditError
from audit.measure.network import called_with, class_logits, evaluating, takes_names
from audit.mitigate.bilevel import (
    BilevelSettings,
    changed_share,
    mask_gradient,
    multiplier_share,
)
from audit.mitigate.constraints import Constraint, make_constraints
from audit.mitigate.harm import HarmWatch, emptied_layers, levelled, said
from audit.mitigate.lagrangian import Lagrangian
from audit.mitigate.readings import Readings
from audit.mitigate.statistics import Reference
from audit.mitigate.weights import MaskedWeights
from audit.models.training import check_finite, trainable_parameters
from audit.prune.channels import channel_groups
from audit.prune.distillation import distilled_losses
from audit.prune.mask import Mask, check_rate, prunable_weights
from audit.prune.projection import ChannelGroup, check_pattern_rate, project
from audit.prune.schedule import cubic_rate

WINDOW = 2048
"""How many of the last samples of a stream the multipliers read."""

Inputs = Tensor | Mapping[str, Any]
Criterion = Callable[[Tensor, Tensor], Tensor]
"""(logits, labels) -> the loss [n] of every sample, in nats."""


@dataclass(frozen=True)
class Samples:
    """A batch, with what is known of it beforehand.

    dense   what the dense network makes of the samples; None: it is asked
    places  where the readings keep them; None: they take the place of the oldest
    """

    inputs: Inputs
    labels: Tensor
    groups: Tensor
    dense: Reference | None = None
    places: Tensor | None = None


class FairPruner:
    """Learns which weights of a trained network to remove while you train it in your own loop.

    Call `step` with every batch; or send back the `loss`, step your optimiser, and call
    `after_step`. Batches that the weights are not trained on may be shown to `observe`: mask and
    multipliers then follow those alone, and a constraint is held on new data. In the end `finish`
    gives the mask, and the network's removed weights are exactly zero.

    model       the dense, trained network; from now on its parameters hold m⊙θ
    rate        share of the prunable weights to remove
    constraint  a text as `make_constraints` takes it, or constraints
    groups      how many groups, or their names; a batch gives positions among them
    dense       the network that harm is measured against, and that distillation learns from;
                None: a copy of the model as it is now
    steps       how many steps will come, calls of `observe` included as long as the mask moves;
                None: not known: the rate holds from the first, mask and multipliers move to the
                last, and `finish` ends it
    optimizer   of the model's parameters, for `step`
    criterion   the loss of every sample; None: cross entropy, distilled as the settings' training
                says
    settings    as of the solver; its `training` is read for distillation alone
    window      how many of the last samples the multipliers read
    example     inputs of a batch, where whole filters go, for their connections to be traced
    lagrangian  constraints with readings of one's own, whose samples have places, in place of
                `constraint` and `window`

    Raises AuditError where the rate cannot be, a constraint is unknown, or nothing can be pruned.

    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> pruner = FairPruner(model, rate=0.5, groups=2, optimizer=optimizer, steps=20)
    >>> for _ in range(20):
    ...     labels, groups = torch.arange(32) % 2, torch.arange(32) % 3 // 2
    ...     loss = pruner.step(torch.randn(32, 4), labels, groups)
    >>> pruner.finish()
    Mask(sparsity 50.00%, 2 layers)
    """

    def __init__(
        self,
        model: nn.Module,
        rate: float,
        constraint: str | Sequence[Constraint] = "excess-accuracy",
        groups: int | Sequence[str] = 2,
        dense: nn.Module | None = None,
        *,
        steps: int | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        criterion: Criterion | None = None,
        settings: BilevelSettings | None = None,
        window: int = WINDOW,
        example: Inputs | None = None,
        lagrangian: Lagrangian | None = None,
    ) -> None:
        self.settings = settings or BilevelSettings()
        check_rate(rate)
        check_pattern_rate(self.settings.structure, rate)
        self.model, self.rate, self.steps = model, rate, steps
        self.optimizer, self.criterion, self.window = optimizer, criterion, window
        self.names = [str(n) for n in (range(groups) if isinstance(groups, int) else groups)]
        known = make_constraints(constraint) if isinstance(constraint, str) else tuple(constraint)
        self.constraints = known if lagrangian is None else lagrangian.constraints
        self.lagrangian, self.known = lagrangian, lagrangian is not None
        self.scores = {n: w.detach().abs() for n, w in prunable_weights(model).items()}
        self.parameters = tuple(trainable_parameters(model))
        self.dense = dense if dense is not None or lagrangian is not None else self._copied()
        self.channels = self._channel_groups(example)
        self.unit = float(torch.cat([s.flatten() for s in self.scores.values()]).mean())
        self.done, self.observed, self.frozen, self.settled = 0, False, False, False
        self.weights = MaskedWeights(model, self._projected())
        self.lower = {n: torch.zeros_like(s) for n, s in self.scores.items()}
        self.history: list[dict[str, Any]] = []
        self.changed = 0.0
        self._gradients = _Gradients(self.weights)
        self._watch = HarmWatch(self.names)

    @property
    def freeze_at(self) -> float:
        """The step from which on the mask stays as it is."""
        return math.inf if self.steps is None else round(self.settings.mask_share * self.steps)

    @property
    def settle_at(self) -> float:
        """The step from which on the multipliers stay too, at the mean of half of their path."""
        if self.steps is None:
            return math.inf
        share = multiplier_share(self.settings.multiplier_share, self.constraints)
        return max(self.freeze_at, round(share * self.steps))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the last readings say that must be known: levelling down, collapse; in sentences."""
        found = emptied_layers(self.weights.mask)
        if self.lagrangian is not None:
            found += (*levelled(self.lagrangian.readings.statistics(), self.names).values(),)
        return found

    def step(self, inputs: Inputs, labels: Tensor, groups: Tensor) -> Tensor:
        """Train on a batch with the optimiser that was given, and prune; the loss, detached."""
        return self.step_on(Samples(inputs, labels, groups))

    def loss(self, inputs: Inputs, labels: Tensor, groups: Tensor) -> Tensor:
        """The loss of a batch to send back: the Lagrangian under the multipliers as they are.

        It may be scaled, divided, and added up over batches before the optimiser steps.
        """
        return self.loss_on(Samples(inputs, labels, groups))

    def observe(self, inputs: Inputs, labels: Tensor, groups: Tensor) -> None:
        """Show samples that the weights are not trained on: mask and multipliers follow them.

        While the mask moves this is a step of its own; later only the multipliers read. Running
        statistics of the network are left alone.
        """
        self.observe_on(Samples(inputs, labels, groups))

    def after_step(self) -> None:
        """Take over what the optimiser has done, and move mask and multipliers if it is time."""
        self.weights.follow()
        gradient = self._gradients.take()
        turn = self.done % (self.settings.weight_steps + 1) == self.settings.weight_steps
        alone = turn and not self.observed
        if not self.frozen and gradient is not None:
            if alone:
                self._move_mask(gradient)
            else:
                self.lower = gradient
        if alone:
            self._ascend(self.done)
        self.done += 1

    def finish(self) -> Mask:
        """End it, and give the mask; the network is then an ordinary one.

        Raises AuditError where training has diverged.
        """
        mask = self.end()
        said(self.notes)
        return mask

    def end(self) -> Mask:
        """`finish`, without a word about what the last readings say."""
        self._freeze()
        self._gradients.remove()
        check_finite(self.model)
        return self.weights.mask

    def step_on(self, samples: Samples) -> Tensor:
        """`step`, of samples that may be known beforehand."""
        if self.optimizer is None:
            raise AuditError("found no optimizer; give FairPruner one, or use loss and after_step")
        self.optimizer.zero_grad()
        loss = self.loss_on(samples)
        loss.backward()
        self.optimizer.step()
        self.after_step()
        return loss.detach()

    def loss_on(self, samples: Samples) -> Tensor:
        """`loss`, of samples that may be known beforehand."""
        self._advance()
        logits = _logits(self.model, samples.inputs)
        reads = self._reads(training=True)
        loss = self._lagrangian_loss(logits, samples, self.settings.fair_weights, reads)
        self._gradients.listen(loss, wanted=not self.frozen)
        return loss

    def read_on(self, samples: Samples) -> None:
        """Let the multipliers read what the network predicts for these samples, and no more."""
        if self._reads(training=False):
            with evaluating(self.model), torch.no_grad():
                self._read(_logits(self.model, samples.inputs), samples)

    def observe_on(self, samples: Samples, read: bool = True) -> None:
        """`observe`, of samples that may be known beforehand, and need not be read."""
        self.observed = True
        if not self.frozen:
            self._advance()
        if self.frozen:
            self.read_on(samples)
            self._ascend(self.done - 1)
            return
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()} or None
        logits = _logits(self.model, samples.inputs, buffers)
        reads = read and self._reads(training=False)
        loss = self._lagrangian_loss(logits, samples, self.settings.fair_mask, reads)
        self._move_mask(self._gradients.of(loss))
        self._ascend(self.done)
        self.done += 1

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on, beside the states of the model and of its optimiser."""
        return {name: getattr(self, name) for name in _KEPT} | {
            "theta": self.weights.theta,
            "parts": self.weights.parts,
            "lagrangian": None if self.lagrangian is None else self.lagrangian.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; the model's and its optimiser's are loaded apart."""
        state = copy.deepcopy(dict(state))
        for name in _KEPT:
            setattr(self, name, state[name])
        self.weights.theta, self.weights.parts = state["theta"], state["parts"]
        self.weights.write()
        if state["lagrangian"] is not None:
            self.lagrangian = self._begun(Readings.from_state(state["lagrangian"]["readings"]))
            self.lagrangian.load_state_dict(state["lagrangian"])

    def _lagrangian_loss(self, logits: Tensor, samples: Samples, fair: bool, read: bool) -> Tensor:
        if not self.constraints and self.settings.training.distillation == 0:
            return self._losses(logits, samples.labels, None).mean()
        dense = self._reference(samples)
        if self.constraints and (self.lagrangian is None or read):
            self._read(logits, samples, dense)
        losses = self._losses(logits, samples.labels, dense)
        if self.lagrangian is None or not fair:
            return losses.mean()
        return self.lagrangian.loss(
            losses, logits, samples.labels, samples.groups, dense, self.parameters
        )

    def _losses(self, logits: Tensor, labels: Tensor, dense: Reference | None) -> Tensor:
        if self.criterion is not None:
            return self.criterion(logits, labels)
        share, temperature = self.settings.training.distillation, self.settings.training.temperature
        if dense is None:
            return functional.cross_entropy(logits, labels, reduction="none")
        return distilled_losses(logits, labels, dense.logits, share, temperature)

    def _reads(self, training: bool) -> bool:
        """Whether such samples are read: held-out ones, wherever any are shown.

        Those of a stream are read to the end, so that the notes are of the network as it ends.
        """
        held_out = self.observed and self.settings.multiplier_split == "select"
        return training != held_out and not (self.settled and self.known)

    def _read(self, logits: Tensor, samples: Samples, dense: Reference | None = None) -> None:
        """Note what the network predicts for these samples."""
        if samples.places is not None and self.lagrangian is not None:
            self.lagrangian.readings.write(samples.places, logits, samples.labels)
            return
        dense = self._reference(samples) if dense is None else dense
        if self.lagrangian is None:
            readings = Readings(self.window, len(self.names), logits.shape[1])
            readings.append(logits, samples.labels, samples.groups, dense)
            self.lagrangian = self._begun(readings)
        else:
            self.lagrangian.readings.append(logits, samples.labels, samples.groups, dense)

    def _begun(self, readings: Readings) -> Lagrangian:
        own = self.settings
        return Lagrangian(
            readings,
            self.constraints,
            own.multiplier_step,
            own.multiplier_bound,
            own.multiplier_gain,
        )

    def _move_mask(self, upper: Mapping[str, Tensor]) -> None:
        """s ← s − β (θ⊙g_up − (1/γ) g_low⊙(m⊙g_up)); then m keeps the k largest scores."""
        weights = self.weights
        gradient = mask_gradient(
            weights.theta, weights.parts, upper, self.lower, self.settings.ridge
        )
        scale = float(torch.cat([g.flatten() for g in gradient.values()]).square().mean().sqrt())
        if not math.isfinite(scale):
            return  # a loss scaled for half precision has overflowed, and the optimiser skips too
        beta = self.settings.mask_step * self.unit / max(scale, 1e-12)
        for name, part in gradient.items():
            self.scores[name] = self.scores[name] - beta * part
        before = weights.mask
        weights.set_mask(self._projected())
        self.changed = changed_share(before, weights.mask)

    def _ascend(self, step: int) -> None:
        """A step of the multipliers, and now and then a look at what they have brought about."""
        if self.settled or self.lagrangian is None or not self.constraints:
            return
        changed = 0.0 if self.frozen else self.changed
        moved = self.lagrangian.ascend()
        self.history.append({"step": step, "changed": changed, **moved})
        self._watch.look(step, self.lagrangian.last_read)

    def _advance(self) -> None:
        """Freeze the mask, and then the multipliers, when it is time."""
        if not self.frozen and self.done >= self.freeze_at:
            self._freeze()
        if not self.settled and self.done >= self.settle_at:
            self.settled = True
            if self.lagrangian is not None:
                self.lagrangian.settle()

    def _freeze(self) -> None:
        if not self.frozen:
            self.frozen = True
            self.weights.set_mask(self._projected())

    def _projected(self) -> Mask:
        """The mask of the largest scores, at the rate of the moment."""
        rate, ramp = self.rate, self.settings.ramp_share
        if self.steps and not self.frozen:
            rate = cubic_rate(rate, self.done / self.steps, ramp)
        return project(self.scores, rate, self.settings.structure, self.channels)

    def _copied(self) -> nn.Module | None:
        """The model as it is, where something will have to be asked of it later."""
        needed = self.constraints or self.settings.training.distillation > 0
        return copy.deepcopy(self.model) if needed else None

    def _reference(self, samples: Samples) -> Reference:
        if samples.dense is not None:
            return samples.dense
        assert self.dense is not None  # kept wherever something may be asked of it
        with evaluating(self.dense), torch.no_grad():
            return Reference.of(_logits(self.dense, samples.inputs), samples.labels)

    def _channel_groups(self, example: Inputs | None) -> tuple[ChannelGroup, ...] | None:
        if self.settings.structure != "filter":
            return None
        if example is None:
            raise AuditError("whole filters need an example of the inputs, to trace what they feed")
        return channel_groups(self.model, example)


_KEPT = ("scores", "unit", "lower", "done", "observed", "frozen", "settled", "history", "changed")


class _Gradients:
    """The gradients by z of all prunable weights, the removed ones too, of the loss as it is.

    What the optimiser finds is masked, so that no clipping or moment counts removed weights. A loss
    that is sent back scaled, in parts, or both, is brought back to its own scale.
    """

    def __init__(self, weights: MaskedWeights) -> None:
        self.weights = weights
        self.wanted = False
        self.factor: Tensor | float = 1.0
        self.parts = 0
        self.sums: dict[str, Tensor] = {}
        self.handles = [
            weight.register_hook(self._hook(name))
            for name, weight in weights.weights.items()
            if weight.requires_grad
        ]

    def listen(self, loss: Tensor, wanted: bool) -> None:
        """Note the gradients that this loss will send back."""
        self.wanted = wanted
        loss.register_hook(self._sent)

    def take(self) -> dict[str, Tensor] | None:
        """Their mean over the losses sent back since the last time; None where there was none."""
        found, parts = self.sums, self.parts
        self.sums, self.parts, self.wanted = {}, 0, False
        if not parts:
            return None
        return {
            name: found[name] / parts if name in found else torch.zeros_like(theta)
            for name, theta in self.weights.theta.items()
        }

    def of(self, loss: Tensor) -> dict[str, Tensor]:
        """Those of a loss that no optimiser steps by."""
        moved = {name: w for name, w in self.weights.weights.items() if w.requires_grad}
        found = torch.autograd.grad(loss, list(moved.values()), allow_unused=True)
        known = dict(zip(moved, found, strict=True))
        return {
            name: torch.zeros_like(theta) if known.get(name) is None else known[name]
            for name, theta in self.weights.theta.items()
        }

    def remove(self) -> None:
        """Leave the network's backward passes as they were."""
        for handle in self.handles:
            handle.remove()

    def _sent(self, gradient: Tensor) -> None:
        self.factor = gradient
        self.parts += 1

    def _hook(self, name: str) -> Callable[[Tensor], Tensor | None]:
        def seen(gradient: Tensor) -> Tensor | None:
            if not self.parts:
                return None  # not of a loss of ours
            if self.wanted:
                own = gradient / self.factor
                self.sums[name] = self.sums[name] + own if name in self.sums else own
            return gradient * self.weights.parts[name]

        return seen


def _logits(model: nn.Module, inputs: Inputs, buffers: dict[str, Tensor] | None = None) -> Tensor:
    """Logits [n, C] in at least single precision; keywords and `.logits` as transformers have."""
    by_name = takes_names(model, inputs)
    positional, named = ((), dict(inputs)) if by_name else ((inputs,), {})
    if buffers is None:
        found = model(*positional, **named)
    else:
        found = called_with(model, buffers, *positional, **named)
    logits = class_logits(getattr(found, "logits", found))
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
