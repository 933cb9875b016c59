"""Structured criteria: whole channels go, by the norm of their filters or their distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from audit.prune.mask import Mask, prunable_weights
from audit.prune.projection import ChannelGroup, keep_best_channels


def norm_mask(
    model: nn.Module, groups: Sequence[ChannelGroup], rate: float, order: float = 1.0
) -> Mask:
    """Remove the channels whose filters have the smallest norm (M §3; Li et al. 2017).

    order    1 for the L1 norm, 2 for the L2 norm; filters that a residual sum couples count as one
    groups   the channels that go together (`channel_groups`)
    """
    weights = prunable_weights(model)
    norms = [
        torch.linalg.vector_norm(filter_vectors(weights, group), ord=order, dim=1)
        for group in groups
    ]
    return keep_best_channels({n: w.shape for n, w in weights.items()}, rate, groups, norms)


def fpgm_mask(model: nn.Module, groups: Sequence[ChannelGroup], rate: float) -> Mask:
    """Remove the channels closest to their layer's geometric median (M §3; He et al., CVPR 2019).

    The median x minimises Σ_j ‖x − F_j‖. As in the paper's practice, a filter is the closer to it
    the smaller its own Σ_j ‖F_i − F_j‖ is: such a filter is the best replaced by the others.
    """
    weights = prunable_weights(model)
    sums = [distance_sums(filter_vectors(weights, group)) for group in groups]
    return keep_best_channels({n: w.shape for n, w in weights.items()}, rate, groups, sums)


def distance_sums(vectors: Tensor) -> Tensor:
    """The sum of a vector's Euclidean distances to all others: vectors [k, d] to [k].

    >>> distance_sums(torch.tensor([[0.0], [1.0], [3.0]])).tolist()
    [4.0, 3.0, 5.0]
    """
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(vectors, vectors, compute_mode=exact).sum(1)


def filter_vectors(weights: Mapping[str, Tensor], group: ChannelGroup) -> Tensor:
    """The weights that compute each channel of a group, those of coupled layers side by side.

    float64 [size, weights a channel].
    """
    pieces = []
    for part in group.outputs:
        rows = weights[part.layer].detach().double().flatten(1).cpu()
        order = torch.sort(part.channels, stable=True).indices
        channels = part.channels[order]
        counts = torch.bincount(channels, minlength=group.size)
        place = torch.arange(len(order)) - (counts.cumsum(0) - counts)[channels]
        piece = rows.new_zeros(group.size, int(counts.max()), rows.shape[1])
        piece[channels, place] = rows[part.positions[order]]
        pieces.append(piece.flatten(1))
    return torch.cat(pieces, 1)
