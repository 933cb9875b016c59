"""What can be asked of a network beside its outputs (methods.md, "What needs what")."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from audit.models.outputs_only import OutputsOnly


@dataclass(frozen=True)
class Abilities:
    """Why something cannot be asked of a network, in a sentence; None where it can.

    Outputs can be asked of every network.

    gradients    derivatives of its loss, by its parameters and by its inputs
    coordinates  the dense network's own: parameters of the same names and shapes
    """

    gradients: str | None = None
    coordinates: str | None = None


def abilities(model: nn.Module, dense: nn.Module | None = None) -> Abilities:
    """What can be asked of a network, and of it beside the dense one.

    >>> abilities(nn.Linear(2, 2).half()).gradients
    'its numbers are in half precision, whose rounding would be most of a derivative'
    """
    gradients = _without_gradients(model)
    return Abilities(gradients, gradients or _without_coordinates(model, dense))


def _without_gradients(model: nn.Module) -> str | None:
    if isinstance(model, OutputsOnly):
        return model.reason
    if any("quantized" in type(module).__module__.split(".") for module in model.modules()):
        return "its layers compute with integers, which have no derivative"
    packed = {type(p.data).__name__ for p in model.parameters() if type(p.data) is not torch.Tensor}
    if packed:
        return f"its weights are packed ({', '.join(sorted(packed))}), which have no derivative"
    kinds = {parameter.dtype for parameter in model.parameters()}
    if any(kind.is_complex for kind in kinds):
        return "its numbers are complex, whose derivatives are not those of real ones"
    if kinds & {torch.float16, torch.bfloat16}:
        return "its numbers are in half precision, whose rounding would be most of a derivative"
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return "it has no trainable parameter"
    return None


def _without_coordinates(model: nn.Module, dense: nn.Module | None) -> str | None:
    if dense is None:
        return None
    own, other = ({n: p.shape for n, p in one.named_parameters()} for one in (model, dense))
    types = [{p.dtype for p in one.parameters()} for one in (model, dense)]
    if own == other and types[0] != types[1]:
        return "its parameters are numbers of another type than those of the dense network"
    if own == other:
        return None
    return "its parameters are not those of the dense network: it is of another architecture"
