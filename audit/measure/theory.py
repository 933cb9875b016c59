"""The theory made checkable: proposition 2 and theorem 2, sample by sample."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from audit.measure.network import (
    Batches,
    Inputs,
    Parameters,
    as_batch,
    called_with,
    class_logits,
    differentiating,
    fixed,
    rows_of,
    trainable,
)
from audit.measure.ranks import Shard

NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class LogitSlopes:
    """What propositions and theorem 2 need of every sample, float64 [n] each (M11, M12).

    jacobian_norm    ‖J_z(x)‖₂, the spectral norm of the logits' Jacobian in θ
    gradient_bound   ‖p − onehot(y)‖·‖J_z(x)‖₂: its mean is at least ‖g_a‖ (proposition 2)
    closeness_term   λ_max(diag p − p pᵀ)·‖J_z(x)‖₂²: the first term of theorem 2
    error_term       Σ_k |p_k − y_k|: what weighs the logits' own curvature in its second term
    """

    jacobian_norm: Tensor
    gradient_bound: Tensor
    closeness_term: Tensor
    error_term: Tensor


def logit_slopes(model: nn.Module, batches: Batches) -> LogitSlopes:
    """Every sample's part of proposition 2 and of theorem 2 (M11, M12; Tran et al. 2022).

    With the Jacobian of the logits, where the paper prints that of f. A sample costs as many
    backward passes as there are classes; samples go in chunks of bounded memory.
    """
    parameters = trainable(model)
    held = fixed(model, parameters)
    size = sum(value.numel() for value in parameters.values())
    shard, parts = Shard(batches), []

    def logits(at: Parameters, one: Inputs) -> Tensor:
        return class_logits(called_with(model, held | at, as_batch(one)))[0]

    def gram(one: Inputs) -> Tensor:
        slopes = jacrev(logits)(parameters, one)
        flat = torch.cat([part.flatten(1) for part in slopes.values()], 1).double()
        return flat @ flat.T

    with differentiating(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        for inputs, labels in shard.pairs():
            outputs = class_logits(model(inputs)).detach().double().cpu()
            at_once = max(1, NUMBERS_AT_ONCE // (size * outputs.shape[1]))
            try:
                products = vmap(gram, chunk_size=at_once)(inputs)
            except RuntimeError:
                # Some layers, such as an LSTM, cannot be batched over samples.
                products = torch.stack([gram(rows_of(inputs, row)) for row in range(len(labels))])
            parts.append(_slopes(products.detach().cpu(), outputs.softmax(1), labels.cpu()))
    return LogitSlopes(*(shard.joined(columns) for columns in zip(*parts, strict=True)))


def _slopes(gram: Tensor, p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    jacobian = torch.linalg.eigvalsh(gram)[:, -1].clamp(min=0.0).sqrt()
    error = p - nn.functional.one_hot(labels, p.shape[1])
    return (
        jacobian,
        error.norm(dim=1) * jacobian,
        softmax_curvature(p) * jacobian.square(),
        error.abs().sum(1),
    )


def softmax_curvature(probabilities: Tensor) -> Tensor:
    """λ_max(diag p − p pᵀ) of each row of p [n, C], at most 1 − Σ p_k² (M12).

    >>> softmax_curvature(torch.tensor([[0.5, 0.5]])).tolist()
    [0.5]
    """
    matrix = torch.diag_embed(probabilities) - probabilities[:, :, None] * probabilities[:, None]
    found: Tensor = torch.linalg.eigvalsh(matrix)[:, -1]
    return found
