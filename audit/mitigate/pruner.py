"""Fair pruning inside anybody's training loop: the bi-level solver, one batch at a time (M §5)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from audit.checked import plain
from audit.errors import AuditError
from audit.measure.network import called_with, class_logits, evaluating, takes_names
from audit.mitigate.bilevel import (
    BilevelSettings,
    changed_share,
    mask_gradient,
    multiplier_share,
)
from audit.mitigate.constraints import Constraint
from audit.mitigate.harm import HarmWatch, levelled, mask_notes, said
from audit.mitigate.lagrangian import Lagrangian
from audit.mitigate.readings import Readings
from audit.mitigate.samples import (
    Inputs,
    Kind,
    Samples,
    check_classes,
    check_parent,
    constraints_of,
    group_names,
    samples_of,
)
from audit.mitigate.statistics import Reference
from audit.mitigate.weights import MaskedWeights
from audit.models.outputs import log_probabilities
from audit.models.training import check_finite, check_slope, trainable_parameters
from audit.names import shown
from audit.prune.channels import channel_groups
from audit.prune.distillation import distilled_losses
from audit.prune.mask import Mask, check_dense, check_rate, prunable_weights
from audit.prune.projection import ChannelGroup, check_pattern_rate, project
from audit.prune.schedule import cubic_rate

WINDOW = 2048
"""How many of the last samples of a stream the multipliers read."""

Criterion = Callable[[Tensor, Tensor], Tensor]
"""(logits, labels) -> the loss [n] of every sample, in nats."""


TAKEN_OVER = "a newer FairPruner has taken over its network"


class FairPruner:
    """Learns which weights of a trained network to remove while you train it in your own loop.

    Call `step` with every batch; or send back the `loss`, step your optimiser, and call
    `after_step`. Batches that the weights are not trained on may be shown to `observe`: mask and
    multipliers then follow those alone, and a constraint is held on new data. In the end `finish`
    gives the mask, and the network's removed weights are exactly zero.

    model       the dense, trained network; from now on its parameters hold m⊙θ
    rate        share of the prunable weights to remove
    constraint  a text as `make_constraints` takes it, several, or constraints
    groups      how many groups, or their names; a batch gives positions among them
    dense       the network that harm is measured against, and that distillation learns from;
                None: a copy of the model as it is now
    steps       how many steps will come, calls of `observe` included as long as the mask moves;
                None: not known: the rate holds from the first, mask and multipliers move to the
                last, and `finish` ends it
    optimizer   of the model's parameters, for `step`
    criterion   the loss of every sample, from its logits [n, C], where one logit has become two,
                and the labels as they are given; None: cross entropy, distilled as the settings'
                training says
    settings    as of the solver; its `training` is read for distillation alone
    window      how many of the last samples the multipliers read
    example     inputs of a batch, where whole filters go, for their connections to be traced
    lagrangian  constraints with readings of one's own, whose samples have places, in place of
                `constraint` and `window`
    outputs     what the network gives, where that is no logits: log-probabilities or probabilities;
                'logits' where they are, though they lie within [0, 1]. None: logits, and what looks
                otherwise is refused

    What the multipliers read is what the network predicts in evaluation mode: where dropout or
    batch norm make a difference, that takes another forward pass over every batch.

    A network has one pruner: a new one takes over, and the one before it has ended. Copies go on by
    themselves. Raises AuditError where the rate cannot be, a constraint is unknown, nothing can be
    pruned, the dense network is pruned itself, or a batch cannot be what it should.

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
        outputs: str | None = None,
    ) -> None:
        self.settings = settings or BilevelSettings()
        rate, steps, window = plain(rate), plain(steps), plain(window)
        _check_kinds(self.settings, dense, optimizer, criterion)
        check_rate(rate)
        check_pattern_rate(self.settings.structure, rate)
        self.kind = Kind(plain(outputs))
        self.model, self.rate = model, rate
        self.steps = None if steps is None else _count("steps", steps)
        self.optimizer, self.criterion = optimizer, criterion
        self.window = _count("window", window)
        self.names = group_names(groups)
        known = constraints_of(constraint) if lagrangian is None else lagrangian.constraints
        self.constraints = known
        self.lagrangian, self.known = lagrangian, lagrangian is not None
        self.scores = {n: w.detach().abs() for n, w in prunable_weights(model).items()}
        self.parameters = tuple(trainable_parameters(model))
        self.channels = self._channel_groups(example)
        self.dense = self._parent(dense)
        self.unit = float(torch.cat([s.flatten() for s in self.scores.values()]).mean())
        self.done, self.observed, self.frozen, self.settled = 0, False, False, False
        self.weights = MaskedWeights(model, self._projected())
        self.lower = {n: torch.zeros_like(s) for n, s in self.scores.items()}
        self.history: list[dict[str, Any]] = []
        self.changed = 0.0
        self._alike: bool | None = None
        self._gradients = _Gradients(self.weights)
        self._watch = HarmWatch(self.names)

    def __deepcopy__(self, memo: dict[int, Any]) -> FairPruner:
        found = type(self).__new__(type(self))
        memo[id(self)] = found
        for name, value in vars(self).items():
            if name != "_gradients":
                setattr(found, name, copy.deepcopy(value, memo))
        # Copies of weights send their gradients to nobody.
        found._gradients = self._gradients.copied(found.weights)
        return found

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
        """What the last readings say that must be known: levelling down, collapse; in sentences.

        Of a stream they are those of the network at its rate; where there is none, that is said.
        """
        found = (*mask_notes(self.model, self.weights.mask), *self.kind.notes)
        if self.lagrangian is not None and self.known:
            seen = levelled(self.lagrangian.readings.statistics(), self.names)
            return (*found, *seen.values())
        if self.lagrangian is None or not self.lagrangian.readings.fresh:
            of = "" if self.steps is None else f" of {self.steps:,}"
            return (
                *found,
                f"not known: whom this network harms. After {self.done:,}{of} steps no sample has "
                f"been read of it at rate {self.rate:g}; measure it before it is used",
            )
        statistics = self.lagrangian.readings.newest().statistics()
        seen = levelled(statistics, self.names)
        if not self.constraints:  # nobody asked for groups
            seen.pop("groups", None)
            return (*found, *seen.values())
        unseen = [n for n, count in zip(self.names, statistics.counts, strict=True) if not count]
        if unseen:
            seen["unseen"] = (
                f"not known: whether it harms {', '.join(unseen)}, of whom no sample has been read "
                "under this mask"
            )
        return (*found, *seen.values())

    def step(self, inputs: Inputs, labels: Tensor, groups: Tensor) -> Tensor:
        """Train on a batch with the optimiser that was given, and prune; the loss, detached."""
        return self.step_on(self._taken(inputs, labels, groups))

    def loss(self, inputs: Inputs, labels: Tensor, groups: Tensor) -> Tensor:
        """The loss of a batch to send back: the Lagrangian under the multipliers as they are.

        It may be scaled, divided, and added up over batches before the optimiser steps.
        """
        return self.loss_on(self._taken(inputs, labels, groups))

    @torch.inference_mode(False)
    @torch.enable_grad()
    def observe(self, inputs: Inputs, labels: Tensor, groups: Tensor) -> None:
        """Show samples that the weights are not trained on: mask and multipliers follow them.

        While the mask moves this is a step of its own; later only the multipliers read. Running
        statistics of the network are left alone.
        """
        self.observe_on(self._taken(inputs, labels, groups))

    def after_step(self) -> None:
        """Take over what the optimiser has done, and move mask and multipliers if it is time."""
        self._check_open()
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
        ended = self._gradients.ended
        mask = self.end()
        if not ended:
            said(self.notes)
        return mask

    def end(self) -> Mask:
        """`finish`, without a word about what the last readings say."""
        if self._gradients.ended != TAKEN_OVER:
            self._freeze()
            self._gradients.end("it has finished")
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
        if not torch.is_grad_enabled():
            raise AuditError(
                "found no gradients recorded (torch.no_grad or inference_mode); `loss` is of "
                "samples that are trained on, others are shown to `observe`"
            )
        self._advance()
        logits = self._outputs(samples)
        reads = self._reads(training=True)
        loss = self._lagrangian_loss(logits, samples, self.settings.fair_weights, reads)
        check_slope(loss)
        self._gradients.listen(loss, wanted=not self.frozen)
        return loss

    def read_on(self, samples: Samples) -> None:
        """Let the multipliers read what the network predicts for these samples, and no more."""
        if self._reads(training=False):
            with evaluating(self.model), torch.no_grad():
                self._read(self._outputs(samples), samples)

    def observe_on(self, samples: Samples, read: bool = True) -> None:
        """`observe`, of samples that may be known beforehand, and need not be read."""
        if not self.observed and self.settings.multiplier_split == "select":
            self._forget()
        self.observed = True
        if not self.frozen:
            self._advance()
        if self.frozen:
            self.read_on(samples)
            self._ascend(self.done - 1)
            return
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()} or None
        logits = self._outputs(samples, buffers)
        reads = read and self._reads(training=False)
        loss = self._lagrangian_loss(logits, samples, self.settings.fair_mask, reads)
        self._move_mask(self._gradients.of(loss))
        self._ascend(self.done)
        self.done += 1

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on, beside the states of the model and of its optimiser."""
        state = {name: getattr(self, name) for name in _KEPT} | {
            "theta": self.weights.theta,
            "parts": self.weights.parts,
            "lagrangian": None if self.lagrangian is None else self.lagrangian.state_dict(),
            "about": self._about(),
        }
        return copy.deepcopy(state)  # what comes after is no part of it

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; the model's and its optimiser's are loaded apart.

        Raises AuditError where it is of other weights, groups, constraints or of another structure.
        """
        self._check_open()
        self._check_state(state)
        state = copy.deepcopy(dict(state))
        for name in _KEPT:
            setattr(self, name, state[name])
        self.weights.theta, self.weights.parts = state["theta"], state["parts"]
        self.weights.write()
        if state["lagrangian"] is not None:
            self.lagrangian = self._begun(Readings.from_state(state["lagrangian"]["readings"]))
            self.lagrangian.load_state_dict(state["lagrangian"])

    def _taken(self, inputs: Inputs, labels: Any, groups: Any) -> Samples:
        """A batch of the loop; without constraints nobody asks for its groups."""
        self._check_open()
        return samples_of(inputs, labels, groups, self.names if self.constraints else None)

    def _check_open(self) -> None:
        if self._gradients.ended:
            raise AuditError(
                f"this pruner is not at work any more: {self._gradients.ended}; make a new one, or "
                "call finish later"
            )

    def _about(self) -> dict[str, Any]:
        """What a state belongs to."""
        return {
            "groups": list(self.names),
            "constraints": [type(one).__qualname__ for one in self.constraints],
            "structure": self.settings.structure,
            "weights": {name: list(score.shape) for name, score in self.scores.items()},
        }

    def _check_state(self, state: Mapping[str, Any]) -> None:
        missing = {*_KEPT, "theta", "parts", "lagrangian"} - set(state)
        if missing:
            raise AuditError(
                f"found a state without {', '.join(sorted(missing))}; expected one that "
                "FairPruner.state_dict gave"
            )
        for what, own in self._about().items():
            other = state.get("about", {}).get(what, own)
            if other != own:
                raise AuditError(
                    f"found a state of other {what}: {shown(other)}; this pruner has {shown(own)}"
                )

    def _outputs(self, samples: Samples, buffers: dict[str, Tensor] | None = None) -> Tensor:
        """The network's logits of these samples, which have a column for every label."""
        logits = _logits(self.model, samples.inputs, self.kind.declared, buffers)
        if not self.known:
            check_classes(logits, samples.labels)
        return logits

    def _lagrangian_loss(self, logits: Tensor, samples: Samples, fair: bool, read: bool) -> Tensor:
        needed = self.constraints or self.settings.training.distillation > 0
        dense = self._reference(samples, logits) if needed else None
        if (read and (self.constraints or not self.known)) or self.lagrangian is None:
            self._read(logits, samples, dense)
        losses = self._losses(logits, samples, dense)
        if self.lagrangian is None or dense is None or not fair:
            return losses.mean()
        return self.lagrangian.loss(
            losses, logits, samples.labels, samples.groups, dense, self.parameters
        )

    def _losses(self, logits: Tensor, samples: Samples, dense: Reference | None) -> Tensor:
        labels = samples.labels
        if self.criterion is not None:
            found = self.criterion(logits, labels if samples.given is None else samples.given)
            if found.shape != (len(logits),):
                raise AuditError(
                    f"the criterion gives a loss of shape {tuple(found.shape)} for {len(logits)} "
                    f"samples; expected one for each, ({len(logits)},), as reduction='none' gives"
                )
            return found
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
        if dense is None and self.constraints:
            dense = self._reference(samples, logits)
        logits = self._evaluated(logits, samples)
        if dense is None:  # without it a collapse is seen, and no fall
            dense = Reference.of(logits.detach(), samples.labels)
        self.kind.look(dense.logits)
        begun = self.lagrangian
        if begun is None:
            readings = Readings(self.window, len(self.names), logits.shape[1])
        else:
            readings = begun.readings
        readings.append(logits, samples.labels, samples.groups, dense)
        if self._rate() < self.rate:
            readings.renew()
        self.lagrangian = self._begun(readings) if begun is None else begun

    def _forget(self) -> None:
        """What was read of training so far does not stand beside samples that are held out."""
        if self.lagrangian is not None and not self.known:
            self.lagrangian.readings.forget()

    def _evaluated(self, logits: Tensor, samples: Samples) -> Tensor:
        """The logits that the network gives in evaluation mode, where those are others."""
        if self._alike or not self.model.training:
            return logits
        with evaluating(self.model), torch.no_grad():
            found = _logits(self.model, samples.inputs, self.kind.declared)
        if self._alike is None:
            self._alike = torch.allclose(found, logits, rtol=1e-3, atol=1e-5)
        return found

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
            before = self.weights.parts
            self.frozen = True
            self.weights.set_mask(self._projected())
            same = all(torch.equal(before[n], part) for n, part in self.weights.parts.items())
            if not (same or self.known or self.lagrangian is None):
                self.lagrangian.readings.renew()

    def _rate(self) -> float:
        """The rate of the moment."""
        if self.steps is None or self.frozen:
            return self.rate
        return cubic_rate(self.rate, self.done / self.steps, self.settings.ramp_share)

    def _projected(self) -> Mask:
        """The mask of the largest scores, at the rate of the moment."""
        return project(self.scores, self._rate(), self.settings.structure, self.channels)

    def _parent(self, dense: nn.Module | None) -> nn.Module | None:
        """The dense network, where something will have to be asked of it, as it is now."""
        if self.known or not (self.constraints or self.settings.training.distillation > 0):
            return dense
        if dense is None or _share_parameters(dense, self.model):
            dense = copy.deepcopy(self.model if dense is None else dense)
        check_dense(dense)
        return dense

    def _reference(self, samples: Samples, logits: Tensor) -> Reference:
        if samples.dense is not None:
            return samples.dense
        assert self.dense is not None  # kept wherever something may be asked of it
        with evaluating(self.dense), torch.no_grad():
            found = _logits(self.dense, samples.inputs, self.kind.declared)
        check_parent(found, logits)
        return Reference.of(found, samples.labels)

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
        self.ended = ""
        for weight in weights.weights.values():
            for hook in (weight._backward_hooks or {}).values():
                if isinstance(hook, _Hook):
                    hook.owner.ended = TAKEN_OVER
        self.handles = [
            weight.register_hook(_Hook(self, name))
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

    def end(self, reason: str) -> None:
        """Leave the network's backward passes as they were."""
        self.ended = reason
        for handle in self.handles:
            handle.remove()

    def copied(self, weights: MaskedWeights) -> _Gradients:
        """The same of the copies of all weights."""
        found = _Gradients(weights)
        found.wanted, found.factor, found.parts = self.wanted, self.factor, self.parts
        found.sums = {name: part.clone() for name, part in self.sums.items()}
        if self.ended:
            found.end(self.ended)
        return found

    def _sent(self, gradient: Tensor) -> None:
        self.factor = gradient
        self.parts += 1

    def seen(self, name: str, gradient: Tensor) -> Tensor | None:
        """Note the gradient of a weight, and give back the part of it that survives."""
        if not self.parts:
            return None  # not of a loss of ours
        if self.wanted:
            own = gradient / self.factor
            self.sums[name] = self.sums[name] + own if name in self.sums else own
        return gradient * self.weights.parts[name]


class _Hook:
    """What a weight calls with its gradient."""

    def __init__(self, owner: _Gradients, name: str) -> None:
        self.owner, self.name = owner, name

    def __call__(self, gradient: Tensor) -> Tensor | None:
        return self.owner.seen(self.name, gradient)


def _check_kinds(settings: Any, dense: Any, optimizer: Any, criterion: Any) -> None:
    """Raise AuditError where one of these is something else than it should be."""
    for what, given, fits, expected in (
        ("settings", settings, isinstance(settings, BilevelSettings), "BilevelSettings"),
        ("dense", dense, isinstance(dense, nn.Module), "the dense network"),
        ("optimizer", optimizer, callable(getattr(optimizer, "step", None)), "an optimiser"),
        ("criterion", criterion, callable(criterion), "a function of logits and labels"),
    ):
        if given is not None and not fits:
            raise AuditError(f"found {what} {shown(given)}; expected {expected}")


def _count(what: str, number: Any) -> int:
    whole = isinstance(number, int | float) and not isinstance(number, bool)
    if not whole or number != number // 1 or not 1 <= number < math.inf:
        raise AuditError(f"found {what} {shown(number)}; expected a whole number from 1 on")
    return int(number)


def _share_parameters(one: nn.Module, other: nn.Module) -> bool:
    return not {id(p) for p in one.parameters()}.isdisjoint(id(p) for p in other.parameters())


def _logits(
    model: nn.Module,
    inputs: Inputs,
    declared: str | None = None,
    buffers: dict[str, Tensor] | None = None,
) -> Tensor:
    """Logits [n, C] in at least single precision; keywords and `.logits` as transformers have.

    `declared` is what the model gives. Of a copy of the inputs: a first layer may work in place.
    """
    inputs = tree_map_only(Tensor, Tensor.clone, inputs)
    by_name = takes_names(model, inputs)
    positional, named = ((), dict(inputs)) if by_name else ((inputs,), {})
    if buffers is None:
        found = model(*positional, **named)
    else:
        found = called_with(model, buffers, *positional, **named)
    if isinstance(found, Mapping):
        found = found.get("logits", found)
    found = getattr(found, "logits", found)
    logits = class_logits(found)
    if declared == "probabilities":
        logits = log_probabilities(found if found.dim() > 1 else found[:, None])
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
