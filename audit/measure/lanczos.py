"""Lanczos on a symmetric operator: an orthonormal basis that grows by products with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Operator = Callable[[Tensor], Tensor]


@runtime_checkable
class Adding(Protocol):
    """An operator that adds its product to a vector in place, so that one less is held."""

    def add(self, vector: Tensor, into: Tensor) -> Tensor:
        """`into` + H v, in the memory of `into`."""
        ...


def added(operator: Operator, vector: Tensor, into: Tensor) -> Tensor:
    """`into` + H v, in the memory of `into`.

    >>> added(lambda vector: 2 * vector, torch.ones(2), torch.ones(2)).tolist()
    [3.0, 3.0]
    """
    if isinstance(operator, Adding):
        return operator.add(vector, into)
    return into.add_(operator(vector))


TINY = 1e-12
"""Of the spectrum's scale: what is smaller is rounding in float64."""

PIECE = 2**20
"""Coordinates that a thick restart turns at a time."""

SUMMED = 2**14
"""Coordinates that are added up in single precision; float64 adds up what these come to."""


def dots(rows: Tensor, vector: Tensor) -> Tensor:
    """The inner products of rows [m, P] with a vector [P], float64 [m].

    PyTorch adds up float32 on a CPU in float32, where 10⁸ numbers lose a percent and more. In
    pieces they lose no more than a product of two of them does (benchmarks/sums.py), in less time
    than copies in float64 take.

    >>> dots(torch.eye(2), torch.tensor([0.5, 2.0])).tolist()
    [0.5, 2.0]
    """
    if vector.dtype == torch.float64:
        return rows @ vector
    total = torch.zeros(len(rows), dtype=torch.float64, device=vector.device)
    for own, other in zip(rows.split(SUMMED, 1), vector.split(SUMMED), strict=True):
        total += own @ other
    return total


def dot(one: Tensor, other: Tensor) -> float:
    """The inner product of two vectors [P], summed as by `dots`."""
    return float(one @ other if one.dtype == torch.float64 else dots(one[None], other))


def length(vector: Tensor) -> float:
    """The norm of a vector [P], its squares summed as by `dots`."""
    return float(vector.norm()) if vector.dtype == torch.float64 else dot(vector, vector) ** 0.5


class Space:
    """An orthonormal basis B [m, P], the operator in it, and what leads out of it.

    H B = B M + L C: M [m, m] is the operator in the basis, L the vectors that are pending (one of
    each way of growing, orthogonal to B), C what of them each basis vector leads to. Grown one way
    alone from its start this is Lanczos with full reorthogonalisation, M tridiagonal.

    capacity    vectors that the basis can hold
    rounding    the largest part of a product that exact arithmetic would not have

    >>> space = Space(torch.ones(2).double(), capacity=2)
    >>> _ = [space.grow(lambda v: torch.tensor([1.0, 3.0]) * v, way=0) for _ in range(2)]
    >>> space.ritz[0].round(6).tolist()
    [1.0, 3.0]
    """

    def __init__(self, start: Tensor, capacity: int) -> None:
        self.dimension, self.capacity = len(start), min(capacity, len(start))
        # Memory that is not written yet costs nothing.
        self._rows = start.new_empty(self.capacity, self.dimension)
        self.matrix: Array = np.empty((0, 0))
        self.pending = [start]
        self.coupling: Array = np.empty((0, 1))
        self.rounding = 0.0
        self._decomposed: tuple[Array, Array] | None = None

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def basis(self) -> Tensor:
        """B, [m, P]."""
        return self._rows[: len(self)]

    @property
    def ritz(self) -> tuple[Array, Array]:
        """Ritz values, ascending [m], and vectors in the basis, as columns [m, m]."""
        if self._decomposed is None:
            values, vectors = np.linalg.eigh(self.matrix)
            self._decomposed = values, vectors
        return self._decomposed

    @property
    def scale(self) -> float:
        """The larger |Ritz value| of the two ends."""
        return float(np.abs(self.ritz[0][[0, -1]]).max()) if len(self) else 0.0

    def outside(self, vector: Tensor) -> Tensor:
        """The vector without its part in the basis, in place.

        It is taken out twice, since once loses digits.
        """
        for _ in range(2 if len(self) else 0):
            vector.addmv_(self.basis.T, dots(self.basis, vector).to(vector), alpha=-1)
        return vector

    def offer(self, vector: Tensor) -> int:
        """Make a vector pending, of which no basis vector holds a part; gives its position."""
        self.pending.append(self.outside(vector))
        self.coupling = np.column_stack([self.coupling, np.zeros(len(self))])
        return len(self.pending) - 1

    def spare(self, place: int) -> Tensor:
        """A vector [P] of the room that the basis has not taken yet, to work in meanwhile."""
        return self._rows[len(self) + place]

    def grow(self, operator: Operator, way: int) -> float:
        """Take a pending vector into the basis; gives the length of the one that follows it."""
        size, vector = len(self), self.pending[way]
        reach = length(vector)
        # In place, and its memory given back before the product is made: there may be room for few.
        self.outside(vector.div_(reach))
        self._rows[size] = vector.div_(length(vector))
        vector, self.pending[way] = self._rows[size], vector.new_empty(0)
        column = self.coupling[:, way] * reach
        for other, waiting in enumerate(self.pending):
            if other != way:
                part = dot(waiting, vector)
                column = column + self.coupling[:, other] * part
                waiting.sub_(vector, alpha=part)
        product = operator(vector)
        inside = dots(self.basis, product).cpu().numpy()
        self.rounding = max(self.rounding, float(np.linalg.norm(inside - column)))
        own = dot(vector, product)
        matrix = np.empty((size + 1, size + 1))
        matrix[:size, :size] = self.matrix
        matrix[size, :size] = matrix[:size, size] = column
        matrix[size, size] = own
        coupling = np.zeros((size + 1, len(self.pending)))
        coupling[:size] = self.coupling
        coupling[:, way] = 0.0
        coupling[size, way] = 1.0
        self.matrix, self.coupling = matrix, coupling
        self._decomposed = None
        self.pending[way] = self.outside(product)
        following = length(self.pending[way])
        if following <= max(TINY * self.scale, self.rounding):
            self.pending[way].zero_()
            return 0.0
        return following

    def can_grow(self, way: int) -> bool:
        """Whether anything is pending there that is not in the basis yet."""
        return len(self) < self.dimension and bool(self.pending[way].any())

    def couplings(self) -> Array:
        """What each Ritz vector [m] leads to of the pending ones, in orthonormal directions."""
        gram = np.array([[dot(a, b) for b in self.pending] for a in self.pending])
        values, vectors = np.linalg.eigh(gram)
        root = vectors * np.sqrt(np.clip(values, 0.0, None))
        return np.asarray(self.ritz[1].T @ self.coupling @ root)

    def vector(self, index: int) -> Tensor:
        """The Ritz vector at this position of the ascending values, [P]."""
        found = self._sum(torch.from_numpy(self.ritz[1][:, index].copy()).to(self._rows))
        return found.div_(length(found))

    def _sum(self, weights: Tensor) -> Tensor:
        found: Tensor = weights @ self.basis
        return found

    def shrink(self, kept: Array) -> None:
        """Keep these Ritz vectors alone (thick restart; Wu and Simon 2000)."""
        values, vectors = self.ritz
        turned = torch.from_numpy(vectors[:, kept].T.copy()).to(self._rows)
        # In pieces, since all Ritz vectors at once would double the memory.
        for start in range(0, self._rows.shape[1], PIECE):
            piece = slice(start, start + PIECE)
            self._rows[: len(kept), piece] = turned @ self._rows[: len(self), piece]
        self.coupling = vectors[:, kept].T @ self.coupling
        self.matrix = np.diag(values[kept])
        self._decomposed = values[kept], np.eye(len(kept))
