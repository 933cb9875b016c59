"""Signs that a constraint is met by making everybody worse off (methods.md J6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from audit.mitigate.statistics import DENSE_RIGHT, RIGHT, GroupStatistics
from audit.prune.mask import Mask

ALL = 0.99
"""A class predicted for so many samples, or more, is predicted for all."""

TOLERANCE = 0.02
"""A fall of balanced accuracy up to here is borne: the tolerance of `no-harm`."""


def levelled(statistics: GroupStatistics, groups: Sequence[str]) -> tuple[str, ...]:
    """Sentences about a collapse to one class, and about falls of balanced accuracy.

    statistics  of predictions that are counted, as the multipliers read them
    """
    found = []
    rates, shares = statistics.overall_rates, statistics.class_counts.sum(0)
    shares = shares / shares.sum()
    top = int(rates.argmax())
    if rates[top] >= ALL and shares[top] < ALL:
        found.append(
            f"collapse: one class is predicted for {float(rates[top]):.1%} of the samples that the "
            f"multipliers read, and {float(shares[top]):.1%} are of it"
        )
    whole = statistics.overall_by_class
    fall = float((whole[:, DENSE_RIGHT] - whole[:, RIGHT]).nanmean())
    if fall > TOLERANCE:
        found.append(
            f"balanced accuracy is {100 * fall:.1f} points below the dense network's on the "
            "samples that the multipliers read; a gap that narrows so may be levelling down"
        )
    falls = (statistics.dense_recalls - statistics.recalls).nanmean(1)
    beyond = falls > TOLERANCE + 2 * _standard_errors(statistics)
    if beyond.any():
        said = ", ".join(
            f"{name} by {100 * float(one):.1f} points"
            for name, one, harmed in zip(groups, falls, beyond, strict=True)
            if harmed
        )
        found.append(f"balanced accuracy of groups fell below the dense network's: {said}")
    return tuple(found)


def emptied_layers(mask: Mask) -> tuple[str, ...]:
    """A sentence about layers that have lost every weight."""
    empty = [name for name, share in mask.layer_sparsity().items() if share == 1.0]
    return (f"collapse: layers without any weight left: {', '.join(empty)}",) if empty else ()


def _standard_errors(statistics: GroupStatistics) -> torch.Tensor:
    """Of each group's balanced accuracy, [G], as if the two networks were unrelated."""
    counts = statistics.class_counts.clamp(min=1)
    variances = [p * (1 - p) / counts for p in (statistics.recalls, statistics.dense_recalls)]
    classes = (statistics.class_counts > 0).sum(1).clamp(min=1)
    return sum(variances).nansum(1).sqrt() / classes  # type: ignore[union-attr]
