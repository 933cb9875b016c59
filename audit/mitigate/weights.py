"""Weights under a mask that may still change (methods.md §5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.prune.mask import Mask, prunable_weights


class MaskedWeights:
    """θ and its mask: the network computes with z = m⊙θ, and what is removed keeps its θ.

    Any optimiser may step the network's own parameters, which hold z; `follow` then takes over
    what it did to the weights that survive. A frozen weight keeps its θ.
    """

    def __init__(self, model: nn.Module, mask: Mask) -> None:
        self.weights = prunable_weights(model)
        self.theta = {name: weight.detach().clone() for name, weight in self.weights.items()}
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

    @torch.no_grad()
    def follow(self) -> None:
        """θ of the surviving weights is what the optimiser has made of z; the others stay."""
        for name, weight in self.weights.items():
            self.theta[name] = torch.where(self.parts[name], weight, self.theta[name])
            weight.mul_(self.parts[name])

    @torch.no_grad()
    def write(self) -> None:
        """The network computes with z = m⊙θ."""
        for name, weight in self.weights.items():
            weight.copy_(self.theta[name] * self.parts[name])
