"""Magnitude pruning: over all layers, layer by layer, by an N:M pattern, and step by step."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audit.data.grouped import GroupedData
from audit.models.training import TrainingSettings, train
from audit.prune.distillation import training_losses
from audit.prune.mask import Mask, keep_largest, prunable_weights
from audit.prune.projection import project
from audit.prune.schedule import cubic_rate, ladder

RAMP = 0.75
"""Share of the steps after which gradual pruning has reached its rate, and the weights settle."""

RUNGS = 100
"""How often gradual pruning raises its rate, at most."""


def magnitude_mask(model: nn.Module, rate: float, structure: str = "weight") -> Mask:
    """Keep the weights with the largest |θ| (M §3; Tran et al. 2022), by default over all layers.

    `structure` is one of `project`: 'layer' takes the same share of every layer, 'N:M' keeps the N
    largest of every M inputs.

    >>> import torch
    >>> layer = nn.Linear(4, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.1, -3.0, 2.0, 0.2]]))
    >>> magnitude_mask(layer, 0.5).parts["weight"].tolist()
    [[False, True, True, False]]
    """
    return project(magnitudes(model), rate, structure)


def magnitudes(model: nn.Module, mask: Mask | None = None) -> dict[str, Tensor]:
    """|θ| of every prunable weight; −1 where a mask has removed it, so that it stays removed."""
    weights = {name: weight.detach().abs() for name, weight in prunable_weights(model).items()}
    if mask is None:
        return weights
    return {n: w.where(mask.parts[n].to(w.device), -torch.ones_like(w)) for n, w in weights.items()}


def gradual_magnitude(
    model: nn.Module, data: GroupedData, indices: Tensor, rate: float, settings: TrainingSettings
) -> tuple[Mask, int]:
    """Prune by magnitude while training, in place; return the mask and the steps taken.

    The rate rises along s_t = s_f (1 − (1 − t/T)³) (M §3; Zhu and Gupta 2017) over the first three
    quarters of the steps, in at most 100 rungs; then the weights settle. What is removed stays
    removed.
    """
    pruner = _Gradual(rate, settings.steps(len(indices)))
    losses = training_losses(model, data, settings)
    steps = train(model, data, indices, settings, pruner, "gradual pruning", losses)
    assert pruner.mask is not None  # training takes at least one step
    return pruner.mask, steps


class _Gradual:
    """The mask between two training steps: kept, and tightened when the schedule says so."""

    def __init__(self, rate: float, steps: int) -> None:
        self.rate, self.steps, self.done = rate, steps, 0
        self.interval = max(1, round(RAMP * steps / RUNGS))
        self.mask: Mask | None = None
        self.reached = False

    def __call__(self, model: nn.Module) -> None:
        self.done += 1
        if self.mask is not None:
            self.mask.apply(model)
        at_end = self.done >= RAMP * self.steps
        if not self.reached and (at_end or self.done % self.interval == 0):
            rate = cubic_rate(self.rate, self.done / self.steps, RAMP)
            self.mask = keep_largest(magnitudes(model, self.mask), rate)
            self.mask.apply(model)
            self.reached = at_end


def lottery_ticket(
    model: nn.Module,
    data: GroupedData,
    indices: Tensor,
    rate: float,
    settings: TrainingSettings,
) -> tuple[Mask, int]:
    """Iterative magnitude pruning with weight rewinding, in place (M §3; Frankle and Carbin 2019).

    On every rung of the ladder 1 − 0.8^j: prune by magnitude, set what survives back to where it
    started, and train it. The start is the network as it is given, with its running statistics: the
    dense one, because a checkpoint holds no earlier weights. All rungs together take as many steps
    as fine-tuning does; the last has half of them, since it trains the network that is kept, and
    the others share the rest evenly. Returns the mask and the steps taken.
    """
    start, losses = copy.deepcopy(model.state_dict()), training_losses(model, data, settings)
    rates = ladder(rate)
    mask: Mask | None = None
    taken = 0
    budget = rung_steps(settings.steps(len(indices)), len(rates))
    for rung, (rung_rate, steps) in enumerate(zip(rates, budget, strict=True)):
        mask = keep_largest(magnitudes(model, mask), rung_rate)
        model.load_state_dict(start)
        model.to(settings.device)
        mask.apply(model)
        if steps:
            # Another order of the samples on every rung: a rung may be shorter than a pass.
            values = {**vars(settings), "seed": 1000 * settings.seed + rung}
            fixed = _FixedSteps(**values, fixed=steps)
            title = f"rung {rung_rate:.0%}"
            taken += train(model, data, indices, fixed, mask.apply, title, losses)
    assert mask is not None  # a ladder has at least one rung
    return mask, taken


@dataclass(frozen=True)
class _FixedSteps(TrainingSettings):
    """Training for so many steps, not epochs."""

    fixed: int = 1

    def steps(self, samples: int) -> int:
        """The number that was fixed."""
        return self.fixed


def rung_steps(steps: int, rungs: int) -> list[int]:
    """The steps of every rung: half for the last, the rest shared evenly; their sum is `steps`.

    >>> rung_steps(10, 3)
    [3, 2, 5]
    """
    if rungs == 1:
        return [steps]
    share, left = divmod(steps // 2, rungs - 1)
    return [share + (rung < left) for rung in range(rungs - 1)] + [steps - steps // 2]
