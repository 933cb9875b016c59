"""What every mitigation method hands back, and the samples that its multipliers read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.prune.mask import Mask


@dataclass(frozen=True)
class Solution:
    """The mask that a method found, what it spent, and its log.

    steps     optimisation steps, of the weights and of the mask: as many as fine-tuning takes
    passes    forward-backward passes over a batch
    readings  further forward passes over a batch, to see what the network predicts
    history   one row per multiplier update: its step, then the violation and the multiplier of
              every constraint, its groups in declared order; what else a method logs
    notes     sentences that a report must repeat
    """

    mask: Mask
    steps: int
    passes: int
    readings: int
    history: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def upper_samples(data: GroupedData) -> tuple[Tensor, tuple[str, ...]]:
    """Positions for the upper level and the multipliers, with what must be said about them.

    The select split; a group too small to have select samples is represented by its training
    samples, on which a constraint is easier to meet than on new data, as all are where there is no
    such split. Raises AuditError where there are no train samples either.
    """
    parts, notes = [data.indices("select")], []
    if len(parts[0]) == 0:
        train = data.indices("train")
        if len(train) == 0:
            raise AuditError("found no samples for the upper level; the data needs a train split")
        note = (
            f"there is no select split: the solver's multipliers read the {len(train):,} train "
            "samples, on which a constraint is easier to meet than on new ones"
        )
        return train, (note,)
    for group, name in enumerate(data.group_names):
        own = data.indices("train", group=group)
        if len(data.indices("select", group=group)) == 0 and len(own) > 0:
            parts.append(own)
            notes.append(
                f"group '{name}' is too small for select samples: the solver's multipliers read "
                f"its {len(own)} training samples instead"
            )
    return torch.cat(parts).sort().values, tuple(notes)


def multiplier_samples(
    data: GroupedData, split: str, trained: Tensor
) -> tuple[Tensor, tuple[str, ...]]:
    """Positions that the multipliers read: of the select split (M §5), or those trained on."""
    return upper_samples(data) if split == "select" else (trained, ())
