"""Which weights survive: a validated set of boolean tensors, and its measured sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from audit import display
from audit.errors import AuditError
from audit.models.outputs_only import OutputsOnly
from audit.rates import check_rate as check_rate


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of convolution and linear layers by name; biases and norms are never pruned.

    A weight that several layers share is one weight, under the name that the network's own list of
    parameters gives it. Raises AuditError where there is none, or a layer computes its weight anew
    in every pass.
    """
    weights = {id(module.weight) for module in prunable_layers(model).values()}
    found = {name: p for name, p in model.named_parameters() if id(p) in weights}
    if not found:
        raise AuditError("found no convolution or linear layer; there is nothing to prune")
    return found


def prunable_layers(model: nn.Module) -> dict[str, nn.Linear | nn.modules.conv._ConvNd]:
    """The convolution and linear layers by name; layers that share a weight are all there."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    found = {name: m for name, m in model.named_modules() if isinstance(m, kinds)}
    for name, module in found.items():
        if "weight" not in module._parameters:
            raise AuditError(
                f"the weight of layer '{name}' is computed anew in every pass; make it permanent "
                "first (torch.nn.utils.parametrize.remove_parametrizations, "
                "torch.nn.utils.prune.remove, or remove_weight_norm and remove_spectral_norm)"
            )
    return found


LEAST_MASKED = 20
"""So many weights, kept and removed, say by which rule a layer was pruned."""
PRUNED = 0.01
"""The share of zeros among the prunable weights that makes a network pruned, whoever made it."""


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
        if self.parts and not any(part.any() for part in self.parts.values()):
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
        """Share of the prunable weights that the mask removes; NaN where it covers none."""
        return 1.0 - self.survivors / self.size if self.size else float("nan")

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


def measured_mask(model: nn.Module) -> Mask:
    """The mask read off the tensors: what is not exactly zero survives; empty without such layers.

    Raises AuditError where every weight is zero.
    """
    parts = {name: weight.detach().cpu() != 0 for name, weight in _known_weights(model).items()}
    if parts and not any(part.any() for part in parts.values()):
        raise AuditError(
            "every convolution and linear weight of the network is zero: it tells no sample from "
            "another, and there is nothing to measure"
        )
    return Mask(parts)


def prunable_size(model: nn.Module) -> int:
    """How many prunable weights a network has, zeros among them; 0 where none are known."""
    return sum(weight.numel() for weight in _known_weights(model).values())


def measured_sparsity(model: nn.Module) -> float:
    """Share of exact zeros among the prunable weights; NaN where none are known."""
    weights = _known_weights(model).values()
    size = sum(weight.numel() for weight in weights)
    survivors = sum(int(weight.count_nonzero()) for weight in weights)
    return 1.0 - survivors / size if size else float("nan")


def _known_weights(model: nn.Module) -> Mapping[str, Tensor]:
    """The prunable weights, of whatever network: none where there are none, or none are told."""
    if isinstance(model, OutputsOnly):
        return model.weights
    weights = prunable_weights(model) if prunable_layers(model) else {}
    # Of weights that are integers and scales, as torchao's, no zero is told from a small number.
    return weights if all(type(one.data) is Tensor for one in weights.values()) else {}


def other_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that are not prunable: of recurrent, attention and embedding layers, and scales.

    Those that are frozen beside trainable ones are left out, as computed tables are, and so are
    those that are all zero, as some are initialised; an embedding's padding is none of its weights.
    """
    own = {id(module.weight) for module in prunable_layers(model).values()}
    scales, padded = set[int](), dict[int, int]()
    for module in model.modules():
        scale = getattr(module, "weight", None)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            padded[id(scale)] = module.padding_idx
        elif isinstance(scale, nn.Parameter) and scale.ndim == 1:
            scales.add(id(scale))
    trained = any(one.requires_grad for one in model.parameters())
    found = {}
    for name, one in model.named_parameters():
        if id(one) in own or (one.ndim < 2 and id(one) not in scales):
            continue
        weight = one.detach()
        if id(one) in padded:
            rows = torch.arange(len(weight), device=weight.device) != padded[id(one)]
            weight = weight[rows]
        if one.requires_grad >= trained and type(one.data) is Tensor and bool(weight.any()):
            found[name] = weight
    return found


def other_sparsity(model: nn.Module) -> float:
    """Share of exact zeros among the weights that are not prunable; 0 where there are none.

    No method here removes them, but others do: gates of a recurrent layer, projections of an
    attention layer, scales of a norm.
    """
    weights = other_weights(model).values()
    size = sum(weight.numel() for weight in weights)
    return 1.0 - sum(int(one.count_nonzero()) for one in weights) / size if size else 0.0


BESIDE = 0.1
"""The share of weights that are not prunable from which on it is told beside a sparsity."""


def beside_the_prunable(model: nn.Module, mask: Mask) -> tuple[str, ...]:
    """What the sparsity of a pruned network says nothing of, where that is much: its other weights.

    mask   the prunable weights that survive
    """
    others = other_weights(model)
    number = sum(one.numel() for one in others.values())
    zeros = other_sparsity(model)
    if not mask.size or (zeros < PRUNED and number < BESIDE * (mask.size + number)):
        return ()
    largest = max(others, key=lambda name: others[name].numel())
    share = (mask.size - mask.survivors + zeros * number) / (mask.size + number)
    return (
        f"the sparsity of {mask.sparsity:.1%} is of the {mask.size:,} weights of convolution and "
        f"linear layers, the only ones that are pruned here; of the {number:,} others, "
        f"{number / (mask.size + number):.1%} of all ('{largest}' has the most), {zeros:.1%} are "
        f"zeros, and {share:.1%} of all weights together",
    )


def keeps_the_smallest(pruned: nn.Module, dense: nn.Module) -> bool:
    """Whether no weight that was kept was larger in the dense network than one that was removed.

    So it is in every layer where a mask was taken the wrong way round; by lot it is in none.
    """
    before, found = _known_weights(dense), []
    for name, now in _known_weights(pruned).items():
        was = before.get(name)
        if was is None or was.shape != now.shape:
            continue
        kept, removed = now != 0, (now == 0) & (was != 0)
        if min(int(kept.sum()), int(removed.sum())) >= LEAST_MASKED:
            found.append(bool(was[removed].abs().min() >= was[kept].abs().max()))
    return bool(found) and all(found)


def tells_weights(model: nn.Module) -> bool:
    """Whether any weight can be looked at: integers with scales, and stored answers, tell none."""
    return bool(_known_weights(model)) or bool(other_weights(model))


def is_pruned(model: nn.Module, mask: Mapping[str, Tensor] | None = None) -> bool:
    """Whether weights of the network have been removed: measured, not taken from what it is called.

    mask   what is said to survive; None where nobody says so

    A share of zeros below PRUNED, as a few dead units leave, makes a network pruned only where a
    mask says that they were removed. Weights that no sparsity counts make a network pruned too.
    """
    sparsity = measured_sparsity(model)
    removed = mask is not None and not all(bool(part.all()) for part in mask.values())
    pruned = sparsity >= PRUNED or (removed and sparsity > 0)
    return pruned or other_sparsity(model) >= PRUNED


def zero_head(model: nn.Module, mask: Mapping[str, Tensor] | None = None) -> str | None:
    """The last layer by name, where all of it is zero and hardly anything else: as initialised.

    Some networks start from outputs that are all alike. Pruning removes the last layer whole only
    where it removes others' weights too, and then, as where a mask tells of removed weights, it is
    None.
    """
    if mask is not None and not all(bool(part.all()) for part in mask.values()):
        return None
    layers = {} if isinstance(model, OutputsOnly) else prunable_layers(model)
    if len(layers) < 2:
        return None
    *_, (name, last) = layers.items()
    own = [one for one in (last.weight, last.bias) if one is not None]
    if any(type(one.data) is not Tensor or bool(one.any()) for one in own):
        return None
    others = [layer.weight for layer in layers.values() if layer.weight is not last.weight]
    size = sum(weight.numel() for weight in others)
    zeros = size - sum(int(weight.count_nonzero()) for weight in others)
    fresh = bool(size) and zeros < PRUNED * size and other_sparsity(model) < PRUNED
    return name if fresh else None


def check_dense(model: nn.Module, mask: Mapping[str, Tensor] | None = None) -> None:
    """Raise AuditError where what is to be pruned, or compared with, is pruned itself."""
    if is_pruned(model, mask) and zero_head(model, mask) is None:
        other = other_sparsity(model)
        zeros = f"{measured_sparsity(model):.1%} of its weights are zeros"
        if other >= PRUNED:
            zeros += f", and {other:.1%} of those that are of no convolution or linear layer"
        raise AuditError(
            f"found a network that is pruned already as the dense one: {zeros}; give the network "
            "that it was pruned from"
        )
