"""Lagrange multipliers of the fairness constraints: projected, bounded, and damped by a gain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Multipliers:
    """Dual variables of inequality constraints (methods.md §4).

    μ ← min([μ + η·(s + κ·(s − s'))]₊, bound), with s the violations and s' those before. The gain
    κ answers to what is violated now besides what has added up, and so stops multipliers of
    constraints that pull against each other from swinging (Sohrabi et al. 2024); 0: plain ascent.
    """

    def __init__(self, number: int, step: float, bound: float, gain: float = 0.0) -> None:
        self.step, self.bound, self.gain = step, bound, gain
        self.values = torch.zeros(number)
        self.last = torch.zeros(number)
        self.path: list[Tensor] = []

    def update(self, violation: Tensor) -> None:
        """One ascent step on the true violations; one that is not finite is as last known."""
        found = violation.detach().cpu().to(self.values.dtype)
        now = torch.where(found.isfinite(), found, self.last)
        ascent = now + self.gain * (now - self.last)
        self.values = (self.values + self.step * ascent).clamp(0.0, self.bound)
        self.last = now
        self.path.append(self.values)

    def settle(self) -> None:
        """Take the mean of the second half of the path, where the dual ascent has come to rest."""
        if self.path:
            self.values = torch.stack(self.path[len(self.path) // 2 :]).mean(0)

    def state_dict(self) -> dict[str, Any]:
        """The multipliers, the last violations, and the path so far."""
        path = torch.stack(self.path) if self.path else self.values.new_zeros(0, len(self.values))
        return {"values": self.values, "last": self.last, "path": path}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.values, self.last = state["values"].clone(), state["last"].clone()
        self.path = list(state["path"].clone())
