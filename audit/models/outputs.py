"""What a network gives, read as logits: declared once, applied in one place (methods.md §2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from audit.errors import AuditError
from audit.measure.network import class_logits, takes_names

OUTPUTS = ("logits", "log-probabilities", "probabilities")
"""What the outputs of a network may be declared to be."""

REAL = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def read_outputs(model: nn.Module, classes: int, declared: str | None = None) -> nn.Module:
    """The model itself, which from now on gives logits [n, classes] whatever it gave before.

    declared   one of OUTPUTS; None: logits, and `check_network` refuses those that look otherwise

    One logit becomes two (M §1), probabilities their logarithms, and of several outputs, such as
    those of auxiliary heads, the logits are taken. What cannot be read is an AuditError when the
    network is called. It is given a copy of its inputs, since a first layer may work in place, real
    ones in its own precision, and several parts by their names where it takes them so.

    >>> model = read_outputs(nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()), 2, "probabilities")
    >>> model(torch.zeros(5, 3)).exp().sum(1)
    tensor([1., 1., 1., 1., 1.], grad_fn=<SumBackward1>)
    """
    check_declared(declared)
    unread_outputs(model)
    model.register_forward_pre_hook(_fed, with_kwargs=True)
    model.register_forward_hook(_Reading(classes, declared), with_kwargs=True)
    return model


def unread_outputs(model: nn.Module) -> None:
    """Let the model give again what its own code gives."""
    for hooks in (model._forward_pre_hooks, model._forward_hooks):
        for key, hook in list(hooks.items()):
            if hook is _fed or isinstance(hook, _Reading):
                del hooks[key]


def declared_outputs(model: nn.Module) -> str | None:
    """What the model's outputs were declared to be."""
    found = [hook for hook in model._forward_hooks.values() if isinstance(hook, _Reading)]
    return found[0].declared if found else None


def check_declared(declared: str | None) -> None:
    """Raise AuditError unless it is one of OUTPUTS, or None."""
    if declared is not None and declared not in OUTPUTS:
        raise AuditError(f"found outputs '{declared}'; expected one of {', '.join(OUTPUTS)}")


def _fed(
    model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs as the network takes them; its own precision is that of its numbers, if it has one."""
    types = {p.dtype for p in model.parameters() if p.is_floating_point()}
    kind = types.pop() if len(types) == 1 and types <= REAL else None

    def own(one: Tensor) -> Tensor:
        return (
            one.clone() if kind is None or not one.is_floating_point() else one.to(kind, copy=True)
        )

    copies: tuple[tuple[Any, ...], dict[str, Any]] = tree_map_only(Tensor, own, (inputs, named))
    positional, by_name = copies
    if len(positional) == 1 and not by_name and takes_names(model, positional[0]):
        return (), positional[0]
    return copies


class _Reading:
    """A hook behind a network's forward pass."""

    def __init__(self, classes: int, declared: str | None) -> None:
        self.classes, self.declared = classes, declared

    def __call__(
        self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], outputs: Any
    ) -> Tensor:
        leaves = tree_leaves((inputs, named))
        number = next(len(leaf) for leaf in leaves if isinstance(leaf, Tensor))
        found = _real(by_class(outputs, number, self.classes))
        if self.declared == "probabilities":
            return log_probabilities(found)
        return class_logits(found)


def by_class(outputs: Any, number: int, classes: int) -> Tensor:
    """The tensor [number, classes] among a network's outputs, or [number, 1] for two classes.

    Of several outputs it is the one called `logits`, or the only one of that shape. Raises
    AuditError where there is none, or more than one.

    >>> by_class((torch.zeros(4, 2), torch.zeros(4, 9)), 4, 2).shape
    torch.Size([4, 2])
    """
    named = dict(_named(outputs))
    if "logits" in named:
        named = {"logits": named["logits"]}
    tables = [tensor for tensor in named.values() if tensor.dim() > 1]
    # A loss beside the logits of one sample looks like one squeezed logit.
    fitting = [
        columns
        for tensor in tables or named.values()
        if (columns := _columns(tensor, number, classes)) is not None
    ]
    if len(fitting) == 1:
        return fitting[0]
    found = ", ".join(f"{name or 'outputs'} {tuple(one.shape)}" for name, one in named.items())
    expected = f"logits of {classes} classes, of shape ({number}, {classes})"
    if classes == 2:
        expected += f" or ({number}, 1)"
    wider = [one.shape[1] for one in named.values() if one.shape[:1] == (number,) and one.ndim == 2]
    if any(columns > classes for columns in wider):
        expected += (
            "; where the data lack some of its classes, name them all, in its order (classes=)"
        )
    if fitting:
        raise AuditError(
            f"the network gives several outputs that could be its logits ({found}); wrap it so "
            "that it gives them alone, or under the name 'logits'"
        )
    raise AuditError(
        f"the network gives {found or f'a {type(outputs).__name__}'} for {number} samples; "
        f"expected {expected}"
    )


def _named(outputs: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor among the outputs with its name or place; '' for one that stands alone."""
    if isinstance(outputs, Tensor):
        yield "", outputs
        return
    logits = getattr(outputs, "logits", None)
    if isinstance(logits, Tensor):
        yield "logits", logits
    elif isinstance(outputs, Mapping):
        yield from ((str(key), one) for key, one in outputs.items() if isinstance(one, Tensor))
    elif isinstance(outputs, list | tuple):
        yield from ((str(at), one) for at, one in enumerate(outputs) if isinstance(one, Tensor))


def _columns(tensor: Tensor, number: int, classes: int) -> Tensor | None:
    """The tensor as [number, columns] where it can be logits; None where it cannot.

    A network that squeezes its outputs gives [classes], or a bare number, for one sample alone.
    """
    allowed = {classes, 1} if classes == 2 else {classes}
    rows = tensor.shape[0] if tensor.dim() > 1 else number
    columns = tensor.numel() // max(1, number)
    wide = sum(size > 1 for size in tensor.shape[1:]) > 1
    if rows != number or wide or columns not in allowed or columns * number != tensor.numel():
        return None
    return tensor.reshape(number, columns)


def _real(outputs: Tensor) -> Tensor:
    """Outputs as real numbers: integers, as quantised networks give, count as what they are."""
    if outputs.is_complex():
        raise AuditError(
            f"the network gives complex numbers ({outputs.dtype}); expected real logits, such as "
            "their absolute values: wrap it so that it gives these"
        )
    return outputs if outputs.is_floating_point() else outputs.float()


def log_probabilities(probabilities: Tensor) -> Tensor:
    """log p [n, C] of probabilities [n, C], or of those of the second of two classes, [n, 1].

    They are logits: their softmax is p. A probability that has been rounded to 0 counts as the
    smallest number of its type; 1 − p as half the distance of 1 to its neighbour.

    >>> log_probabilities(torch.tensor([[0.25]])).exp().tolist()
    [[0.75, 0.25]]
    """
    limits = torch.finfo(probabilities.dtype)
    logs = probabilities.clamp(min=limits.tiny).log()
    if probabilities.shape[1] > 1:
        return logs
    return torch.cat([(1.0 - probabilities).clamp(min=limits.eps / 2).log(), logs], 1)
