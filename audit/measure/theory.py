"""The theory made checkable: propositions 1 and 2, theorem 2, and which cause explains the harm."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm, rankdata, spearmanr
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from audit.errors import AuditError
from audit.measure.network import (
    Batches,
    Parameters,
    class_logits,
    differentiating,
    pairs,
    trainable,
)

Array = NDArray[np.float64]
NUMBERS_AT_ONCE = 2**24
EXACT_UP_TO = 8


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
    fixed = dict(model.named_buffers())
    fixed |= {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    size = sum(value.numel() for value in parameters.values())
    parts = []

    def logits(at: Parameters, one: Tensor) -> Tensor:
        return class_logits(functional_call(model, fixed | at, (one[None],)))[0]

    def gram(one: Tensor) -> Tensor:
        slopes = jacrev(logits)(parameters, one)
        flat = torch.cat([part.flatten(1) for part in slopes.values()], 1).double()
        return flat @ flat.T

    with differentiating(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        for inputs, labels in pairs(batches):
            outputs = class_logits(model(inputs)).detach().double().cpu()
            at_once = max(1, NUMBERS_AT_ONCE // (size * outputs.shape[1]))
            try:
                products = vmap(gram, chunk_size=at_once)(inputs)
            except RuntimeError:
                # Some layers, such as an LSTM, cannot be batched over samples.
                products = torch.stack([gram(one) for one in inputs])
            parts.append(_slopes(products.detach().cpu(), outputs.softmax(1), labels.cpu()))
    return LogitSlopes(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


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


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ with its 95 % interval and two-sided p-value; NaN where they are unknown."""

    rho: float
    low: float
    high: float
    p_value: float
    n: int


def rank_correlation(one: Array, other: Array) -> RankCorrelation:
    """Spearman's rank correlation of two vectors [n] (M10, M12).

    The interval is Fisher's with the standard error of Bonett and Wright (2000),
    √((1 + ρ²/2)/(n − 3)); unknown for fewer than four points. For up to eight the p-value is exact,
    over all permutations. Pairs with a NaN are left out. Raises AuditError where lengths differ.
    """
    if one.shape != other.shape:
        raise AuditError(f"found vectors of {len(one)} and {len(other)} numbers to correlate")
    known = np.isfinite(one) & np.isfinite(other)
    one, other, n = one[known], other[known], int(known.sum())
    nan = float("nan")
    if n < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return RankCorrelation(nan, nan, nan, nan, n)
    rho, p_value = (float(value) for value in spearmanr(one, other))
    if n <= EXACT_UP_TO:
        p_value = _exact_p_value(rankdata(one), rankdata(other))
    if n < 4 or abs(rho) >= 1.0:
        return RankCorrelation(rho, nan if n < 4 else rho, nan if n < 4 else rho, p_value, n)
    reach = norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-reach, reach]))
    return RankCorrelation(rho, float(low), float(high), p_value, n)


def _exact_p_value(one: Array, other: Array) -> float:
    """The share of all pairings of two rank vectors whose |ρ| is at least that observed."""
    centred = one - one.mean()
    sums = other[_pairings(len(other))] @ centred
    return float(np.mean(np.abs(sums) >= abs(other @ centred) - 1e-9))


@lru_cache
def _pairings(n: int) -> NDArray[np.intp]:
    return np.array(list(itertools.permutations(range(n))), dtype=np.intp)


def explained_shares(terms: Mapping[str, Array], total: Array) -> dict[str, float]:
    """How much of the differences of `total` [G] between groups each term [G] makes.

    Cov(term, total)/Var(total): the shares of terms that add up to the total add up to 1. A share
    below zero works against the differences. NaN where nothing differs.

    >>> terms = {"a": np.array([0.0, 3.0]), "b": np.array([0.0, 1.0])}
    >>> explained_shares(terms, np.array([0.0, 4.0]))
    {'a': 0.75, 'b': 0.25}
    """
    centred = total - total.mean()
    spread = float(centred @ centred)
    return {
        name: float((term - term.mean()) @ centred / spread) if spread > 0 else float("nan")
        for name, term in terms.items()
    }
