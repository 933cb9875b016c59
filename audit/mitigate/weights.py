"""Weights under a mask that may still change (methods.md §5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.models.training import TrainingSettings, cosine, trainable_parameters
from audit.prune.mask import Mask, prunable_weights


class MaskedWeights:
    """θ and its mask: the network computes with z = m⊙θ, and what is removed keeps its θ.

    The optimiser is plain training's: momentum and weight decay over θ and all other parameters.
    A frozen weight keeps its θ, and so does every other frozen parameter.
    """

    def __init__(self, model: nn.Module, mask: Mask, training: TrainingSettings) -> None:
        self.training = training
        self.weights = prunable_weights(model)
        self.theta = {name: weight.detach().clone() for name, weight in self.weights.items()}
        prunable = {id(weight) for weight in self.weights.values()}
        others = [p for p in trainable_parameters(model) if id(p) not in prunable]
        moved = [theta for name, theta in self.theta.items() if self.weights[name].requires_grad]
        self.optimizer = torch.optim.SGD(
            [dict[str, Any](params=moved), dict[str, Any](params=others)],
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
        )
        self.set_mask(mask)

    @property
    def mask(self) -> Mask:
        """Which weights the network computes with."""
        return Mask({name: part.cpu() for name, part in self.parts.items()})

    def set_mask(self, mask: Mask) -> None:
        """Compute with another mask from now on."""
        self.parts = {n: mask.parts[n].to(theta.device) for n, theta in self.theta.items()}
        self.write()

    def gradients(self) -> dict[str, Tensor]:
        """The gradient by z of every prunable weight, as the last backward pass left it."""
        return {
            name: torch.zeros_like(w) if w.grad is None else w.grad
            for name, w in self.weights.items()
        }

    def step(self, step: int, steps: int) -> None:
        """θ ← θ − α (m⊙g + weight decay·θ), with momentum; α falls along half a cosine."""
        for group in self.optimizer.param_groups:
            group["lr"] = cosine(self.training.learning_rate, step, steps)
        for name, gradient in self.gradients().items():
            self.theta[name].grad = self.parts[name] * gradient
        self.optimizer.step()
        self.write()

    @torch.no_grad()
    def write(self) -> None:
        """The network computes with z = m⊙θ."""
        for name, weight in self.weights.items():
            weight.copy_(self.theta[name] * self.parts[name])
