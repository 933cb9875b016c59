"""Networks of which only the outputs can be asked: stored predictions, and programs in files."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audit.data.predictions import Predicted
from audit.measure.predictions import Outputs
from audit.models.outputs import log_probabilities


class OutputsOnly(nn.Module):
    """A network that gives outputs and nothing else.

    kind     what it is, in the place of its architecture
    reason   why nothing else can be asked of it, in a sentence
    weights  of its convolutions and linear layers, by name, where its file tells them
    """

    kind = "a network"
    reason = "only its outputs can be asked"
    weights: Mapping[str, Tensor] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> OutputsOnly:
        """A module with hooks of its own, which shares what computes: that has no other state."""
        made = copy.copy(self)
        made.__dict__ = {
            name: copy.copy(value) if isinstance(value, dict) else value
            for name, value in self.__dict__.items()
        }
        return made


class StoredPredictions(OutputsOnly):
    """What a network said of samples, looked up by their positions.

    It gives log-probabilities, which are logits; of decisions alone it gives what decides so.
    """

    kind = "stored predictions"
    reason = "only its predictions were given, and not the network"

    def __init__(self, predicted: Predicted, classes: Sequence[str]) -> None:
        super().__init__()
        self.decisions = torch.from_numpy(predicted.decisions)
        self.probable = predicted.probabilities is not None
        self.logits = (
            nn.functional.one_hot(self.decisions, len(classes)).double() - 1.0
            if predicted.probabilities is None
            else log_probabilities(torch.from_numpy(predicted.probabilities))
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Logits [n, classes] of the samples at these positions [n]."""
        return self.logits[rows.cpu()]

    def told(self, found: Outputs, rows: Tensor) -> Outputs:
        """What was read of these logits, with the decisions as they were stored.

        What only probabilities tell is NaN where none were given.
        """
        found = found.deciding(self.decisions[rows.cpu()])
        return found if self.probable else found.without_probabilities()
