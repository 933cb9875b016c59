"""Random pruning, the control."""

from __future__ import annotations

import torch
from torch import nn

from audit.prune.mask import Mask, keep_largest, prunable_weights


def random_mask(model: nn.Module, rate: float, seed: int = 0) -> Mask:
    """Keep weights at random over all layers: the control that every criterion must beat."""
    generator = torch.Generator().manual_seed(seed)
    scores = {
        name: torch.rand(weight.shape, generator=generator)
        for name, weight in prunable_weights(model).items()
    }
    return keep_largest(scores, rate)
