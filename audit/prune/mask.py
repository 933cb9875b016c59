"""Which weights survive: a validated set of boolean tensors, and its measured sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from audit import display
from audit.errors import AuditError


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of convolution and linear layers by name; biases and norms are never pruned."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    found: dict[str, nn.Parameter] = {
        f"{name}.weight" if name else "weight": module.get_parameter("weight")
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    }
    if not found:
        raise AuditError("found no convolution or linear layer; there is nothing to prune")
    return found


@dataclass(frozen=True)
class Mask:
    """True where a prunable weight survives; one boolean tensor a layer, shaped as its weight.

    Raises AuditError where a part is not boolean, or nothing survives at all.
    """

    parts: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for name, part in self.parts.items():
            if part.dtype != torch.bool:
                raise AuditError(f"mask of '{name}': found {part.dtype}; expected torch.bool")
        if not any(part.any() for part in self.parts.values()):
            raise AuditError("the mask removes every weight; lower the rate")

    @property
    def size(self) -> int:
        """How many weights the mask covers."""
        return sum(part.numel() for part in self.parts.values())

    @property
    def survivors(self) -> int:
        """How many weights survive."""
        return sum(int(part.sum()) for part in self.parts.values())

    @property
    def sparsity(self) -> float:
        """Share of the prunable weights that the mask removes."""
        return 1.0 - self.survivors / self.size

    def layer_sparsity(self) -> dict[str, float]:
        """Share removed, layer by layer."""
        return {name: 1.0 - float(part.double().mean()) for name, part in self.parts.items()}

    def __repr__(self) -> str:
        return f"Mask(sparsity {self.sparsity:.2%}, {len(self.parts)} layers)"

    def _repr_html_(self) -> str:
        """The measured sparsity, for a notebook: of all layers, and of each."""
        about = f"{self.survivors:,} of {self.size:,} prunable weights survive"
        layers = pd.DataFrame(
            {
                "weights": [f"{part.numel():,}" for part in self.parts.values()],
                "survive": [f"{int(part.sum()):,}" for part in self.parts.values()],
                "sparsity": [f"{share:.2%}" for share in self.layer_sparsity().values()],
                "removed": [display.bar(share) for share in self.layer_sparsity().values()],
            },
            index=pd.Index(self.parts, name="layer"),
        )
        return display.panel(
            f"Mask, sparsity {self.sparsity:.2%}", display.paragraph(about), display.table(layers)
        )

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Set the removed weights of the model to zero, in place.

        Raises AuditError where the mask was made for another architecture.
        """
        weights = prunable_weights(model)
        _check_fit(weights, self.parts)
        for name, part in self.parts.items():
            weights[name].mul_(part.to(weights[name].device))


def _check_fit(weights: Mapping[str, Tensor], parts: Mapping[str, Tensor]) -> None:
    if set(weights) != set(parts):
        different = sorted(set(weights) ^ set(parts))[0]
        raise AuditError(f"the mask does not fit the model: they differ in layer '{different}'")
    for name, part in parts.items():
        if part.shape != weights[name].shape:
            raise AuditError(
                f"the mask does not fit the model: '{name}' has shape {tuple(part.shape)} in the "
                f"mask, {tuple(weights[name].shape)} in the model"
            )


def keep_largest(scores: Mapping[str, Tensor], rate: float) -> Mask:
    """The mask that keeps exactly the round((1 − rate)·n) largest scores over all layers.

    Ties are broken by position, so that the count is exact. Raises AuditError where the rate is
    not in [0, 1) or leaves no weight, or a score is not finite.
    """
    check_rate(rate)
    check_scores(scores)
    flat = torch.cat([part.detach().flatten() for part in scores.values()])
    keep = round((1.0 - rate) * flat.numel())
    if keep == 0:
        raise AuditError(f"rate {rate:g} leaves none of {flat.numel()} weights; lower the rate")
    pieces = largest(flat, keep).split([part.numel() for part in scores.values()])
    return Mask(
        {
            name: piece.view_as(part).cpu()
            for (name, part), piece in zip(scores.items(), pieces, strict=True)
        }
    )


def largest(values: Tensor, number: int) -> Tensor:
    """True at the `number` largest of the values [n], 1 ≤ number ≤ n; ties go to the first ones.

    Ten times as fast as sorting them.
    """
    threshold = values.kthvalue(len(values) - number + 1).values
    above, equal = values > threshold, values == threshold
    chosen: Tensor = above | (equal & (equal.cumsum(0) <= number - above.sum()))
    return chosen


def check_scores(scores: Mapping[str, Tensor]) -> None:
    """Raise AuditError where a score is not finite: it would rank above or below all others."""
    for name, part in scores.items():
        broken = int((~torch.isfinite(part)).sum())
        if broken:
            raise AuditError(
                f"found {broken} of {part.numel()} scores of '{name}' that are not finite; "
                "has the network diverged, or is its loss too large for its precision?"
            )


def check_rate(rate: float) -> None:
    """Raise AuditError unless the rate is a share of weights that may be removed."""
    if not 0.0 <= rate < 1.0:
        raise AuditError(f"found rate {rate:g}; expected a share of weights, 0 ≤ rate < 1")


def measured_mask(model: nn.Module) -> Mask:
    """The mask read off the tensors: what is not exactly zero survives."""
    return Mask(
        {name: weight.detach().cpu() != 0 for name, weight in prunable_weights(model).items()}
    )
