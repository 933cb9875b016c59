"""Extreme eigenvalues of a symmetric operator with a bound on what was not found (M6).

A Ritz value is an eigenvalue's inner bound: the largest lies below λ_max, whatever the space. How
far below cannot be told from the space alone, for a start that is poor in the first eigenvector
settles on the second. So a random vector, drawn after the space, is sent through the rest: if
Lanczos from it shows nothing large there, nothing large is likely to be there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from audit.measure.lanczos import TINY, Operator, Space, added, dot, length

Array = NDArray[np.float64]

MOST_PROBES = 3
NEARLY = 0.8
"""A probe that finds what is nearly as large as the value cannot bound the rest well below it. In
a crowd every probe does, so that the third goes on."""

PROBE_ROOM = 6
"""Steps that a probe mostly needs; where the space has less room it is restarted before."""

LONG_PROBE = 32
"""Steps that a probe may need in a crowd. A restart ends it, so that where the space has less room
than that it goes on aside from the beginning."""

ASIDE = -1
"""In the place of a pending vector: a probe that the space does not keep."""

LATER_SHARE = 0.1
"""Of the risk, for all probes after the first: half of it for the second, and so on."""


@dataclass(frozen=True)
class Goal:
    """Which eigenvalues are wanted, how well, and with what chance of a wrong claim.

    largest, smallest   how many at either end
    tolerance           of an eigenvalue's own |λ|
    floor               of the spectrum's larger |λ|: an error so small is small enough
    risk                the chance, at most, that a bound does not hold
    """

    largest: int
    smallest: int
    tolerance: float
    floor: float
    risk: float


@dataclass(frozen=True)
class Extreme:
    """An eigenvalue's inner bound and how far beyond it the eigenvalue can be.

    value      vᵀHv of its Ritz vector v; λ lies at it or outside of it
    residual   ‖Hv − λv‖
    error      λ lies within this of `value`, up to the goal's risk
    enough     whether that is what the goal asks for
    """

    value: float
    residual: float
    error: float
    enough: bool
    vector: Tensor


def tail(dimension: int, risk: float) -> float:
    """|⟨q, u⟩| is less than this with that chance at most, for u uniform on the unit sphere.

    The density of the inner product is largest at zero, where it is 1/B(½, (d − 1)/2), from three
    dimensions on; in two it is known in full.

    >>> round(tail(3, 0.01), 9)
    0.01
    """
    if dimension <= 1:
        return 1.0
    if dimension == 2:
        return math.sin(risk * math.pi / 2)
    halves = math.lgamma((dimension - 1) / 2) - math.lgamma(dimension / 2)
    return 0.5 * risk * math.sqrt(math.pi) * math.exp(halves)


def outer_bound(alphas: Array, betas: Array, component: float) -> float:
    """An upper bound of λ_max from Lanczos, where the start's part along it is at least so large.

    Lanczos' j-th vector is p_j(H)u of length 1, so that component · p_j(λ) ≤ 1, and p_j grows to
    the right of its zeros, the Ritz values: λ is at most where it reaches 1/component (van
    Dorsselaer, Hochstenbach and van der Vorst 2001). alphas, betas [j]: the diagonal, and the
    lengths of the vectors that follow each.

    >>> 5.0 <= outer_bound(np.array([0.0]), np.array([0.5]), 0.1) < 5.01  # t / 0.5 = 1 / 0.1
    True
    """
    matrix = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
    zeros = np.linalg.eigvalsh(matrix)
    scale = max(float(np.abs(zeros).max()), float(betas.max()), 1e-300)
    level = float(np.log(np.maximum(betas, TINY * scale)).sum()) - math.log(component)

    def excess(step: float) -> float:
        return float(np.log(zeros[-1] - zeros + np.exp(step)).sum()) - level

    # Each factor is at least the step, so that at this step the product has reached the level.
    high = level / len(zeros)
    low = min(high, np.log(TINY * scale)) - 1.0
    if excess(low) >= 0:
        return float(zeros[-1]) + math.exp(low)
    root = float(brentq(excess, low, high + 1e-9, xtol=1e-3))
    # On the safe side of the root's own tolerance.
    return float(zeros[-1]) + math.exp(root + 1e-3)


def bordered(values: Array, couplings: Array, rest: float) -> Array:
    """The eigenvalues, ascending, of diag(values) coupled [m, l] to l dimensions where H is `rest`.

    >>> bordered(np.array([2.0]), np.array([[1.0]]), 2.0).tolist()
    [1.0, 3.0]
    """
    size, more = couplings.shape
    matrix = np.zeros((size + more, size + more))
    matrix[range(size + more), range(size + more)] = [*values, *[rest] * more]
    matrix[:size, size:] = couplings
    matrix[size:, :size] = couplings.T
    return np.asarray(np.linalg.eigvalsh(matrix))


class Search:
    """Grows a space until the wanted extremes are bounded, one product at a time.

    First from the start, until the Ritz values look right; then from a random vector, until
    nothing that it shows can lie beyond them; then by whichever vector the Ritz vectors still lead
    to most. Where the space is full it is restarted from its ends. Where it has no room for a probe
    beside those, the probe goes on aside and keeps its last two vectors alone.
    """

    def __init__(
        self, start: Tensor, goal: Goal, capacity: int, generator: torch.Generator
    ) -> None:
        self.goal, self._generator = goal, generator
        self._aside = capacity < min(self._least() + LONG_PROBE, len(start))
        self.space = Space(start, self._least() + 2 if self._aside else capacity)
        self._outer = dict.fromkeys((1, -1), np.inf)
        self._probe: _Probe | None = None
        self._probes = 0
        self._seen: dict[int, tuple[Array, Array, Array]] = {}

    def step(self, operator: Operator) -> None:
        """One product, where it helps most."""
        space = self.space
        if len(space) == space.capacity < space.dimension:
            self._restart()
        way = self._way()
        following = space.grow(operator, way) if way != ASIDE else 0.0
        self._seen = {}
        if self._probe is not None and way != self._probe.way:
            self._probe = None
        elif self._probe is not None:
            if isinstance(self._probe, _Aside):
                self._probe.step(operator)
            else:
                self._probe.follow(float(space.matrix[-1, -1]), following)
            for side in (1, -1):
                self._outer[side] = min(self._outer[side], self._probe.bound(side, space.scale))

    def extremes(self, side: int, number: int) -> list[Extreme]:
        """So many at the upper (1) or lower (−1) end, from the outside in."""
        values, bounds, couplings = self._bounded(side)
        residuals = np.hypot(couplings, self.space.rounding)
        limits = self._limits(values)
        found = []
        for position in range(min(number, len(values))):
            error = float(bounds[position] - values[position]) + self.space.rounding
            found.append(
                Extreme(
                    side * float(values[position]),
                    float(residuals[position]),
                    error,
                    error <= limits[position],
                    self.space.vector(-1 - position if side == 1 else position),
                )
            )
        return found

    @property
    def finished(self) -> bool:
        """Whether every wanted extreme is bounded as tightly as the goal asks for."""
        return all(self._first_unmet(side) is None for side in (1, -1))

    def met(self, side: int) -> bool:
        """Whether those of one end are."""
        return self._first_unmet(side) is None

    def _bounded(self, side: int) -> tuple[Array, Array, Array]:
        """Ritz values seen from that side, descending; bounds; the lengths that lead out of them.

        H is at most the matrix that has the bound of the rest in place of the rest, and so is each
        of its eigenvalues.
        """
        if side not in self._seen:
            space, outer = self.space, self._outer[side]
            values, couplings = side * space.ritz[0][::-side], space.couplings()[::-side]
            if len(space) == space.dimension:
                bounds = values
            elif np.isfinite(outer):
                bounds = np.maximum(
                    bordered(values, couplings, outer)[-1 : -1 - len(values) : -1], outer
                )
            else:
                bounds = np.full(len(values), np.inf)
            self._seen[side] = values, bounds, np.linalg.norm(couplings, axis=1)
        return self._seen[side]

    def _limits(self, values: Array) -> Array:
        scale = self.space.scale
        floor = max(self.goal.floor * scale, TINY)
        return np.maximum(self.goal.tolerance * np.abs(values), floor)

    def _first_unmet(self, side: int) -> int | None:
        """The position, from the outside in, of the first wanted one that is not bounded yet."""
        wanted = self.goal.largest if side == 1 else self.goal.smallest
        wanted = min(wanted, self.space.dimension)
        if wanted > len(self.space):
            return len(self.space)
        if not wanted:
            return None
        values, bounds, _ = self._bounded(side)
        errors = bounds - values + self.space.rounding
        unmet = np.flatnonzero(~(errors[:wanted] <= self._limits(values)[:wanted]))
        return int(unmet[0]) if len(unmet) else None

    def _way(self) -> int:
        """Which pending vector to take."""
        space = self.space
        if not len(space):
            return 0
        for side in (1, -1):
            position = self._first_unmet(side)
            if position is not None:
                return self._usable(self._wish(side, position))
        return self._usable(0)

    def _wish(self, side: int, position: int) -> int | None:
        """The pending vector that this extreme needs; None for a new random one."""
        space = self.space
        if position >= len(space):
            return 0
        values, _, residuals = self._bounded(side)
        outer, value = self._outer[side], values[position]
        further = values[position + 1] if position + 1 < len(values) else -np.inf
        near = self._limits(values)[position] / 2
        if not _lower(outer, value, further, near):
            if isinstance(self._probe, _Aside) and self._probe.largest(side) > value:
                return self.space.offer(self._probe.vector.clone())
            if self._probe is not None and not self._overtaken(self._probe, side, value):
                return self._probe.way
            gap, residual = min(value - further, abs(value)) / 2, residuals[position]
            guess = residual**2 / gap if gap > residual else residual
            if guess <= near:
                return None
        index = -1 - position if side == 1 else position
        leads = np.abs(space.ritz[1][:, index] @ space.coupling)
        return int(np.argmax(leads * [length(one) for one in space.pending]))

    def _overtaken(self, probe: _Probe, side: int, value: float) -> bool:
        """Whether the probe has found what is nearly as large: better a new one without that."""
        again = self._probes < MOST_PROBES and not isinstance(probe, _Aside)
        return again and probe.largest(side) > NEARLY * value

    def _usable(self, way: int | None) -> int:
        """That pending vector, or else a new random one."""
        space = self.space
        if way is not None and (way == ASIDE or space.can_grow(way)):
            return way
        if self._aside:
            return self._draw_aside()
        if space.capacity - len(space) < PROBE_ROOM and len(space) > self._least():
            self._restart()
        dtype = space.basis.dtype
        way = space.offer(torch.randn(space.dimension, dtype=dtype, generator=self._generator))
        self._probe = _Probe(way, self._component())
        self._probes += 1
        return way

    def _draw_aside(self) -> int:
        """A new probe in the room that a restart leaves."""
        if self.space.capacity - len(self.space) < 2:
            self._restart()
        self.space.spare(0).normal_(generator=self._generator)
        self._probe = _Aside(self.space, self._component())
        self._probes += 1
        return ASIDE

    def _component(self) -> float:
        """How large a part of a new probe lies along any direction outside of the space."""
        first, later = 1 - LATER_SHARE, LATER_SHARE * 0.5**self._probes
        share = self.goal.risk * (later if self._probes else first)
        return tail(self.space.dimension - len(self.space), share)

    def _least(self) -> int:
        """How many Ritz vectors a restart keeps: those wanted and one more, at either end."""
        return sum(wanted + 1 for wanted in (self.goal.largest, self.goal.smallest) if wanted)

    def _restart(self) -> None:
        """Keep the ends of the space; the bound of the rest then holds for what is given up too."""
        size, kept = len(self.space), set()
        values, couplings = self.space.ritz[0], self.space.couplings()
        for side, wanted in ((1, self.goal.largest), (-1, self.goal.smallest)):
            share = min(wanted + 1, size) if wanted else 0
            kept |= set(range(size - share, size) if side == 1 else range(share))
        given_up = np.array(sorted(set(range(size)) - kept))
        for side in (1, -1):
            if np.isfinite(self._outer[side]) and len(given_up):
                joined = bordered(side * values[given_up], couplings[given_up], self._outer[side])
                self._outer[side] = float(joined[-1])
        self.space.shrink(np.array(sorted(kept)))
        self._probe, self._seen = None, {}


def _lower(outer: float, value: float, further: float, near: float) -> bool:
    """Whether the rest is bounded so far below the value that a better bound would help little."""
    return (
        outer - value <= near
        if value - further <= near
        else (value - outer >= (value - further) / 2)
    )


class _Probe:
    """Lanczos from a random vector in what was not in the space when it was drawn."""

    def __init__(self, way: int, component: float) -> None:
        self.way, self._component = way, component
        self._alphas: list[float] = []
        self._betas: list[float] = []

    def follow(self, alpha: float, beta: float) -> None:
        self._alphas.append(alpha)
        self._betas.append(beta)

    def largest(self, side: int) -> float:
        """The largest Ritz value that it has found, seen from that side."""
        if not self._alphas:
            return -np.inf
        off = np.diag(self._betas[:-1], 1)
        values = np.linalg.eigvalsh(side * (np.diag(self._alphas) + off + off.T))
        return float(values[-1])

    def bound(self, side: int, scale: float) -> float:
        """What nothing there lies beyond, seen from that side."""
        betas = np.maximum(self._betas, TINY * max(scale, TINY))
        return outer_bound(side * np.array(self._alphas), betas, self._component)


class _Aside(_Probe):
    """A probe of the rest alone that keeps its last two vectors, in the space's spare room.

    Lanczos of the operator between projections out of the space, whose basis stays as it is.
    """

    def __init__(self, space: Space, component: float) -> None:
        super().__init__(ASIDE, component)
        self._space, self._before, self.vector = space, space.spare(1), space.spare(0)
        space.outside(self.vector)
        self.vector.div_(length(self.vector))
        self._before.zero_()

    def step(self, operator: Operator) -> None:
        """One product."""
        scale = -self._betas[-1] if self._betas else 0.0
        product = added(operator, self.vector, self._before.mul_(scale))
        alpha = dot(self.vector, product)
        product.sub_(self.vector, alpha=alpha)
        # Last, so that what rounding leaves of the space does not grow from step to step.
        self._space.outside(product)
        beta = length(product)
        self.follow(alpha, beta)
        product.div_(max(beta, TINY))
        self._before, self.vector = self.vector, product
