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
    and the oldest go. `fresh` counts those that came since `renew`.
    """

    def __init__(self, size: int, groups: int, classes: int) -> None:
        self.groups, self.classes = groups, classes
        self.cells, self.predicted = torch.zeros(2, size, dtype=torch.int64)
        self.losses, self.dense = torch.zeros(size), torch.zeros(size, 2)
        self.filled, self.next, self.fresh = 0, 0, 0
        self._settle()

    def append(self, logits: Tensor, labels: Tensor, groups: Tensor, dense: Reference) -> None:
        """Samples not seen before, at the next places; of too many the last."""
        last = slice(max(0, len(labels) - len(self.cells)), None)
        logits, labels, groups = logits[last], labels[last], groups[last]
        dense = Reference(dense.logits[last], dense.values[last])
        places = (torch.arange(len(labels)) + self.next) % len(self.cells)
        self.next = (self.next + len(labels)) % len(self.cells)
        self.filled = min(self.filled + len(labels), len(self.cells))
        self.fresh = min(self.fresh + len(labels), len(self.cells))
        self.cells[places] = (groups * self.classes + labels).cpu()
        self.dense[places] = dense.columns(soft=False).detach().cpu().float()
        self.losses[places], self.predicted[places] = self._seen(logits, labels)
        self._settle()

    def write(self, places: Tensor, logits: Tensor, labels: Tensor) -> None:
        """What the network now predicts for the samples at these places: logits [n, C]."""
        cells = self.cells[places] * self.classes
        size = len(self.confusion)
        self.confusion -= torch.bincount(cells + self.predicted[places], minlength=size)
        self.losses[places], predicted = self._seen(logits, labels)
        self.predicted[places] = predicted
        self.confusion += torch.bincount(cells + predicted, minlength=size)

    def forget(self) -> None:
        """Begin anew."""
        self.filled, self.next, self.fresh = 0, 0, 0
        self._settle()

    def renew(self) -> None:
        """What was read so far is of a network that has become another."""
        self.fresh = 0

    def newest(self) -> Readings:
        """The samples that came since `renew` alone."""
        found = Readings(self.fresh, self.groups, self.classes)
        places = (torch.arange(self.fresh) + self.next - self.fresh) % len(self.cells)
        for name in ("cells", "predicted", "losses", "dense"):
            setattr(found, name, getattr(self, name)[places])
        found.filled = self.fresh
        found._settle()
        return found

    def statistics(self) -> GroupStatistics:
        """The statistics of all samples, which count predictions."""
        shape = (self.groups, self.classes)
        predicted = self.confusion.view(*shape, self.classes).float()
        right = predicted.diagonal(dim1=1, dim2=2)
        rows = slice(0, self.filled)
        losses = torch.zeros(self.counts.numel()).index_add(0, self.cells[rows], self.losses[rows])
        sums = [losses.view(*shape, 1), right[..., None], self.dense_sums, predicted]
        return statistics_of(torch.cat(sums, -1), self.counts)

    def _seen(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the predicted class of every sample, [n] each."""
        logits = logits.detach().cpu().float()
        losses = functional.cross_entropy(logits, labels.cpu(), reduction="none")
        return losses, logits.argmax(1)

    def _settle(self) -> None:
        """Count anew what changes only with the samples, and their predictions."""
        rows, size = slice(0, self.filled), self.groups * self.classes
        cells, shape = self.cells[rows], (self.groups, self.classes, 2)
        self.counts = torch.bincount(cells, minlength=size).view(shape[:2])
        self.dense_sums = torch.zeros(size, 2).index_add(0, cells, self.dense[rows]).view(shape)
        places = cells * self.classes + self.predicted[rows]
        self.confusion = torch.bincount(places, minlength=size * self.classes)

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
