"""Which of the networks that a run passes through is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

WITHIN = 0.005
"""Accuracy that may be given up for a smaller violation: half a point."""


@dataclass(frozen=True)
class Candidate:
    """A network on the way, as samples that it was not trained on show it.

    violation  the largest of all constraints, at least 0
    accuracy   a share
    state      its parameters and buffers
    """

    step: int
    violation: float
    accuracy: float
    state: Mapping[str, Tensor]

    def beats(self, other: Candidate) -> bool:
        """Whether it is as fair and as accurate, and better in one of the two."""
        one = (self.violation, -self.accuracy)
        two = (other.violation, -other.accuracy)
        return one != two and one[0] <= two[0] and one[1] <= two[1]


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other beats; of equal ones the last."""
    found: list[Candidate] = []
    for candidate in reversed(candidates):
        same = any(
            (one.violation, one.accuracy) == (candidate.violation, candidate.accuracy)
            for one in found
        )
        if not same and not any(other.beats(candidate) for other in candidates):
            found.append(candidate)
    return found[::-1]


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The fairest of those nearly as accurate as the most accurate; the later of equal ones."""
    most = max(candidate.accuracy for candidate in candidates)
    near = [one for one in front(candidates) if one.accuracy >= most - WITHIN]
    return min(reversed(near), key=lambda one: one.violation)
