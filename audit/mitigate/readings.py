"""What a network was last seen to predict, sample by sample, for the multipliers to read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from audit.mitigate.statistics import GroupStatistics, Reference, statistics_of


class Readings:
    """The last known loss and prediction of so many samples, kept on the CPU.

    Every sample counts with what was last seen of it, so that no step evaluates a whole split anew.
    Samples have places: those of a split keep theirs; those of a stream without end take the next,
    and the oldest go.
    """

    def __init__(self, size: int, groups: int, classes: int) -> None:
        self.groups, self.classes = groups, classes
        self.cells, self.predicted = torch.zeros(2, size, dtype=torch.int64)
        self.values = torch.zeros(size, 3)
        self.filled, self.next = 0, 0

    def append(self, logits: Tensor, labels: Tensor, groups: Tensor, dense: Reference) -> None:
        """Samples not seen before, at the next places."""
        places = (torch.arange(len(labels)) + self.next) % len(self.cells)
        self.next = (self.next + len(labels)) % len(self.cells)
        self.filled = min(self.filled + len(labels), len(self.cells))
        self.cells[places] = (groups * self.classes + labels).cpu()
        self.values[places, 1:] = dense.columns(soft=False).detach().cpu().float()
        self.write(places, logits, labels)

    def write(self, places: Tensor, logits: Tensor, labels: Tensor) -> None:
        """What the network now predicts for the samples at these places: logits [n, C]."""
        logits = logits.detach().cpu().float()
        self.values[places, 0] = functional.cross_entropy(logits, labels.cpu(), reduction="none")
        self.predicted[places] = logits.argmax(1)

    def statistics(self) -> GroupStatistics:
        """The statistics of all samples, which count predictions."""
        number, classes, rows = self.groups, self.classes, slice(0, self.filled)
        cells, size = self.cells[rows], number * classes
        counts = torch.bincount(cells, minlength=size)
        confusion = torch.bincount(cells * classes + self.predicted[rows], minlength=size * classes)
        predicted = confusion.view(number, classes, classes).float()
        right = predicted.diagonal(dim1=1, dim2=2)
        values = torch.zeros(size, 3).index_add(0, cells, self.values[rows])
        values = values.view(number, classes, 3)
        sums = torch.cat([values[..., :1], right[..., None], values[..., 1:], predicted], -1)
        return statistics_of(sums, counts.view(number, classes))

    def state_dict(self) -> dict[str, Any]:
        """All that is kept, as tensors and numbers."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value.clone() if isinstance(value, Tensor) else value)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Readings:
        """Readings as `state_dict` gave them."""
        found = cls(len(state["cells"]), state["groups"], state["classes"])
        found.load_state_dict(state)
        return found
