"""Global magnitude pruning."""

from __future__ import annotations

from torch import nn

from audit.prune.mask import Mask, keep_largest, prunable_weights


def magnitude_mask(model: nn.Module, rate: float) -> Mask:
    """Keep the weights with the largest |θ| over all layers (M §3; Tran et al. 2022).

    >>> import torch
    >>> layer = nn.Linear(4, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.1, -3.0, 2.0, 0.2]]))
    >>> magnitude_mask(layer, 0.5).parts["weight"].tolist()
    [[False, True, True, False]]
    """
    return keep_largest({name: w.abs() for name, w in prunable_weights(model).items()}, rate)
