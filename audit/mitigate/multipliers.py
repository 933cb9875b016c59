"""Lagrange multipliers of the fairness constraints, kept by cooper and bounded."""

from __future__ import annotations

import torch
from cooper import Constraint as CooperConstraint
from cooper import ConstraintState, ConstraintType
from cooper.multipliers import DenseMultiplier
from cooper.optim import nuPI, nuPIInitType
from torch import Tensor


class Multipliers:
    """Dual variables of inequality constraints (methods.md §4).

    μ ← min([μ + η·(s + κ·(s − s'))]₊, bound), with s the violations and s' those before. The gain
    κ answers to what is violated now besides what has added up, and so stops multipliers of
    constraints that pull against each other from swinging (Sohrabi et al. 2024); 0: plain ascent.
    """

    def __init__(self, number: int, step: float, bound: float, gain: float = 0.0) -> None:
        multiplier = DenseMultiplier(num_constraints=number)
        self._constraint = CooperConstraint(ConstraintType.INEQUALITY, multiplier=multiplier)
        self._multiplier = multiplier
        self._optimizer = nuPI(
            multiplier.parameters(),
            lr=step,
            Kp=torch.tensor(gain),
            init_type=nuPIInitType.ZEROS,
            maximize=True,
        )
        self._bound = bound
        self._known = torch.zeros(number)
        self._path: list[Tensor] = []

    @property
    def values(self) -> Tensor:
        """The multipliers now, detached."""
        return self._multiplier.weight.detach()

    def update(self, violation: Tensor) -> None:
        """One ascent step on the true violations; one that is not finite is as last known."""
        found = violation.detach().cpu().to(self.values.dtype)
        self._known = torch.where(found.isfinite(), found, self._known)
        state = ConstraintState(self._known)
        store = self._constraint.compute_contribution_to_lagrangian(state, "dual")
        assert store is not None  # an inequality with a multiplier always contributes
        self._optimizer.zero_grad()
        store.lagrangian_contribution.backward()
        self._optimizer.step()
        self._multiplier.post_step_()
        with torch.no_grad():
            self._multiplier.weight.clamp_(max=self._bound)
        self._path.append(self.values.clone())

    @torch.no_grad()
    def settle(self) -> None:
        """Take the mean of the second half of the path, where the dual ascent has come to rest."""
        if self._path:
            half = torch.stack(self._path[len(self._path) // 2 :])
            self._multiplier.weight.copy_(half.mean(0))
