"""Signs that a constraint is met by making everybody worse off (methods.md J6)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audit.data.grouped import GroupedData
from audit.mitigate.statistics import (
    DENSE_RIGHT,
    RIGHT,
    GroupStatistics,
    Reference,
    group_statistics,
)
from audit.prune.distillation import evaluated_logits
from audit.prune.mask import Mask, beside_the_prunable

ALL = 0.99
"""A class predicted for so many samples, or more, is predicted for all."""

TOLERANCE = 0.02
"""A fall of balanced accuracy up to here is borne: the tolerance of `no-harm`."""

LOOK_EVERY = 25
"""Multiplier steps between two looks for harm."""

log = logging.getLogger("audit")


def levelled(
    statistics: GroupStatistics,
    groups: Sequence[str],
    where: str = "the samples that the multipliers read",
) -> dict[str, str]:
    """Sentences about a collapse to one class, and about falls of balanced accuracy, by kind.

    statistics  of predictions that are counted
    where       the samples that they are of, in words
    """
    found = {}
    rates, shares = statistics.overall_rates, statistics.class_counts.sum(0)
    shares = shares / shares.sum()
    top = int(rates.argmax())
    if rates[top] >= ALL and shares[top] < ALL:
        found["collapse"] = (
            f"collapse: one class is predicted for {float(rates[top]):.1%} of {where}, and "
            f"{float(shares[top]):.1%} are of it"
        )
    whole = statistics.overall_by_class
    fall = float((whole[:, DENSE_RIGHT] - whole[:, RIGHT]).nanmean())
    if fall > TOLERANCE:
        found["all"] = (
            f"balanced accuracy is {100 * fall:.1f} points below the dense network's on {where}; "
            "a gap that narrows so may be levelling down"
        )
    falls = (statistics.dense_recalls - statistics.recalls).nanmean(1)
    beyond = falls > TOLERANCE + 2 * _standard_errors(statistics)
    if beyond.any():
        said = ", ".join(
            f"{name} by {100 * float(one):.1f} points"
            for name, one, harmed in zip(groups, falls, beyond, strict=True)
            if harmed
        )
        found["groups"] = (
            f"balanced accuracy of groups fell below the dense network's on {where}: {said}"
        )
    return found


class HarmWatch:
    """Looks for harm while a run goes on, and says each kind once."""

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups, self.looks = groups, 0
        self.said: set[str] = set()

    def look(self, step: int, statistics: GroupStatistics) -> None:
        """A look every LOOK_EVERY calls, at what the multipliers read."""
        self.looks += 1
        if self.looks % LOOK_EVERY:
            return
        for kind, sentence in levelled(statistics, self.groups).items():
            if kind not in self.said:
                self.said.add(kind)
                log.warning("step %d: %s", step, sentence)


def harm_notes(
    model: nn.Module, mask: Mask, data: GroupedData, rows: Tensor, dense: Reference | None = None
) -> tuple[str, ...]:
    """What the finished network does to the samples at these rows, where it must be known; logged.

    dense  what the dense network makes of all samples of the data; without it only a collapse is
           seen
    """
    device = next(model.parameters()).device
    logits = evaluated_logits(model, data, str(device), rows)
    before = logits if dense is None else dense.at(rows)
    found = group_statistics(
        logits, data.labels[rows], data.groups[rows], before, len(data.group_names), soft=False
    )
    where = "the select split" if len(data.indices("select")) else "the train split"
    seen = levelled(found, data.group_names, where).values()
    return said((*mask_notes(model, mask), *seen))


def said(notes: Sequence[str]) -> tuple[str, ...]:
    """The same notes, after they were logged."""
    for note in notes:
        log.warning(note)
    return tuple(notes)


def mask_notes(model: nn.Module, mask: Mask) -> tuple[str, ...]:
    """Sentences about layers that have lost every weight, and weights that pruning does not reach.

    mask   of the model's prunable weights
    """
    empty = [name for name, share in mask.layer_sparsity().items() if share == 1.0]
    gone = (f"collapse: layers without any weight left: {', '.join(empty)}",) * bool(empty)
    return (*gone, *beside_the_prunable(model, mask))


def _standard_errors(statistics: GroupStatistics) -> Tensor:
    """Of each group's balanced accuracy, [G], as if the two networks were unrelated."""
    counts = statistics.class_counts.clamp(min=1)
    variances = [p * (1 - p) / counts for p in (statistics.recalls, statistics.dense_recalls)]
    classes = (statistics.class_counts > 0).sum(1).clamp(min=1)
    return torch.stack(variances).sum(0).nansum(1).sqrt() / classes
