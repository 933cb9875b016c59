"""FairGRAPE: every group keeps its share of the network's importance (Lin, Kim and Joo 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.measure.gradient import mean_gradient
from audit.measure.network import Batches
from audit.prune.mask import Mask, check_rate, prunable_weights
from audit.prune.saliency import of_weights


def fairgrape_mask(model: nn.Module, group_batches: Sequence[Batches], rate: float) -> Mask:
    """Keep in every layer the weights that `fair_choice` takes (M §3; Lin, Kim and Joo 2022).

    group_batches   the samples of each group, each with at least one

    Every layer keeps the same share, and at least one weight. The importances are those of the
    dense network, all at once: the paper's own prunes and trains in rounds, which this leaves to
    the fine-tuning that every method has.
    """
    check_rate(rate)
    parts = {}
    for name, importance in group_importance(model, group_batches).items():
        number = importance[0].numel()
        keep = max(1, round((1.0 - rate) * number))
        kept = torch.zeros(number, dtype=torch.bool)
        kept[fair_choice(importance.flatten(1), keep)] = True
        parts[name] = kept.view(importance.shape[1:])
    return Mask(parts)


def group_importance(model: nn.Module, group_batches: Sequence[Batches]) -> dict[str, Tensor]:
    """I_a(w) = (|w|·|∂J_a/∂w|)² of every prunable weight, by layer: float64 [groups, *shape].

    To first order and squared, how much the mean loss of group a changes when the weight goes
    (Molchanov et al. 2019).
    """
    if not group_batches:
        raise AuditError("found no groups; expected the samples of at least one")
    weights = prunable_weights(model)
    gradients = [of_weights(model, mean_gradient(model, batches)) for batches in group_batches]
    return {
        name: torch.stack(
            [(weight.detach().double() * own[name].double()).square().cpu() for own in gradients]
        )
        for name, weight in weights.items()
    }


def fair_choice(importance: Tensor, keep: int) -> Tensor:
    """The weights to keep, in the order in which they are taken: int64 [keep].

    importance   float64 [groups, weights]

    The target of a group is its share of the importance of all weights, summed over groups. Again
    and again the group whose share of what has been kept lies furthest below its target takes the
    most important weight (for it) that is left. Ties go to the first group and the first weight;
    before anything has been kept all shares are zero.

    >>> fair_choice(torch.tensor([[4.0, 3.0, 1.0], [0.0, 1.0, 1.0]]), 2).tolist()
    [0, 1]
    """
    values = importance.numpy()
    totals = values.sum(1)
    target = totals / max(float(totals.sum()), np.finfo(float).tiny)
    ranked = [np.argsort(-row, kind="stable").tolist() for row in values]
    nexts = [0] * len(ranked)
    free = [True] * values.shape[1]
    columns = np.ascontiguousarray(values.T)
    kept = np.zeros(len(values))
    chosen: list[int] = []
    for _ in range(keep):
        # The gap of shares, times what has been kept in all, has its maximum at the same group.
        group = int((target * kept.sum() - kept).argmax()) if chosen else int(target.argmax())
        order = ranked[group]
        while not free[order[nexts[group]]]:
            nexts[group] += 1
        weight = order[nexts[group]]
        free[weight] = False
        kept += columns[weight]
        chosen.append(weight)
    return torch.tensor(chosen)
