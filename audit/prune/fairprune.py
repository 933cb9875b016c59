"""FairPrune: what the privileged need more than the others goes first (Wu et al. 2022)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from audit.errors import AuditError
from audit.measure.network import (
    Batches,
    Inputs,
    Parameters,
    as_batch,
    called_with,
    class_logits,
    differentiating,
    fixed,
    pairs,
    trainable,
)
from audit.prune.mask import Mask, keep_largest, prunable_weights
from audit.prune.saliency import of_weights

NUMBERS_AT_ONCE = 2**26


def fairprune_mask(
    model: nn.Module, group_batches: Sequence[Batches], unprivileged: int, rate: float, beta: float
) -> Mask:
    """Remove the weights with the smallest ½θ²(h_unpriv − β·h_priv) (M §3; Wu et al. 2022).

    group_batches   the samples of each group, each with at least one
    unprivileged    the position of the group that is to be spared
    beta            how much the need of the privileged counts against a weight

    ½θ²h is what the loss of a group rises by, to second order, when a weight of a trained network
    goes; h is the diagonal of the group's Hessian (`hessian_diagonal`). The paper has two groups;
    here the privileged are all the others, h_priv the mean of their diagonals. All weights go at
    once: the paper removes some at a time.
    """
    return keep_largest(fairprune_scores(model, group_batches, unprivileged, beta), rate)


def fairprune_scores(
    model: nn.Module, group_batches: Sequence[Batches], unprivileged: int, beta: float
) -> Parameters:
    """½θ²(h_unpriv − β·h_priv) of every prunable weight, float64, by name."""
    if not 0 <= unprivileged < len(group_batches) or len(group_batches) < 2:
        raise AuditError(
            f"found group {unprivileged} of {len(group_batches)} as the unprivileged one; expected "
            "the position of one of two groups or more"
        )
    diagonals = [hessian_diagonal(model, batches) for batches in group_batches]
    own = diagonals.pop(unprivileged)
    weights = prunable_weights(model)
    scores = {}
    for name, part in own.items():
        others = torch.stack([diagonal[name] for diagonal in diagonals]).mean(0)
        scores[name] = 0.5 * weights[name].detach().double().square() * (part - beta * others)
    return scores


def hessian_diagonal(model: nn.Module, batches: Batches) -> Parameters:
    """The diagonal of the Hessian of the mean loss, float64, by name of the prunable weight.

    The Gauss-Newton part, (1/n) Σ_i Σ_k p_k (∂(log p_k)/∂θ)², computed in full. It is never
    negative, and it is all of the diagonal where the logits are linear in each single weight, as
    they are where the activations are piecewise linear (ReLU, max pooling) and batch norm uses its
    running statistics: then no estimate could come closer.
    """
    weights = of_weights(model, trainable(model))
    held = fixed(model, weights)
    total = {name: torch.zeros_like(part, dtype=torch.float64) for name, part in weights.items()}
    numbers = sum(part.numel() for part in weights.values())
    count = 0

    def squares(one: Inputs) -> Parameters:
        def log_chances(at: Parameters) -> Tensor:
            logits = class_logits(called_with(model, held | at, as_batch(one)))
            return torch.log_softmax(logits[0], 0)

        logs, pullback = vjp(log_chances, weights)[:2]
        total = {name: torch.zeros_like(part) for name, part in weights.items()}
        # One class at a time: all at once would hold as many gradients of every sample.
        for row in torch.diag((0.5 * logs).exp()):
            total = {name: total[name] + part.square() for name, part in pullback(row)[0].items()}
        return total

    with differentiating(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        for inputs, labels in pairs(batches):
            found = vmap(squares, chunk_size=max(1, NUMBERS_AT_ONCE // numbers))(inputs)
            for name, part in found.items():
                total[name] += part.detach().double().sum(0)
            count += len(labels)
    return {name: part / count for name, part in total.items()}
