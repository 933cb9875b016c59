"""Networks as functions of their parameters, in evaluation mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map_only

from audit.errors import AuditError
from audit.measure.written_out import replaced, twice_differentiable

Parameters = dict[str, Tensor]
Inputs = Any
"""A tensor [n, …], or a dict of such tensors."""

Batches = Iterable[tuple[Inputs, Tensor]]
"""(inputs, labels) pairs that can be read more than once; the last may be smaller."""

Point = TypeVar("Point", Tensor, Parameters)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode; every part is given back as it came.

    That is the mode of every submodule, and `.grad` and `requires_grad` of every parameter.
    """
    modes = {module: module.training for module in model.modules()}
    parameters = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, gradient, requires_grad in parameters:
            parameter.grad = gradient
            parameter.requires_grad_(requires_grad)


@contextmanager
def differentiating(model: nn.Module) -> Iterator[nn.Module]:
    """`evaluating`, with attention and layers computed in ways that can be differentiated twice.

    Raises AuditError where PyTorch has no second derivative of a layer.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            evaluating(model),
            sdpa_kernel(SDPBackend.MATH),
            replaced(twice_differentiable(model)),
            explaining(),
        ):
            yield model
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def explaining() -> Iterator[None]:
    """Turns PyTorch's error about a missing second derivative into an AuditError."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, NotImplementedError) or "is not implemented" not in str(error):
            raise
        raise AuditError(
            f"PyTorch cannot differentiate a layer of this network twice ({error}); "
            "measure it without curvature"
        ) from error


def copied(inputs: Inputs) -> Inputs:
    """A copy, since a first layer may work in place.

    Images that come with their channels last would choose that layout (`image_layout`).
    """
    return tree_map_only(
        Tensor, lambda one: one.clone(memory_format=torch.contiguous_format), inputs
    )


def rows_of(inputs: Inputs, rows: Tensor | slice | int) -> Inputs:
    """Some samples of a batch."""
    return tree_map_only(Tensor, lambda one: one[rows], inputs)


def as_batch(one: Inputs) -> Inputs:
    """A sample as a batch of one."""
    return tree_map_only(Tensor, lambda part: part[None], one)


def unfinished(inputs: Inputs) -> Tensor:
    """Which samples have inputs that are not finite, bool [n]."""
    parts = [part.flatten(1) if part.ndim > 1 else part[:, None] for part in tree_leaves(inputs)]
    return torch.stack([~torch.isfinite(part).all(1) for part in parts]).any(0)


def takes_names(model: nn.Module, inputs: Inputs) -> bool:
    """Whether inputs have several parts, and a network takes them by their names, not in one.

    >>> takes_names(nn.Bilinear(2, 2, 2), {"input1": torch.ones(1, 2), "input2": torch.ones(1, 2)})
    True
    """
    if not isinstance(inputs, Mapping):
        return False
    # A compiled network's own signature takes anything.
    origin = getattr(model, "_orig_mod", model)
    known = signature(origin.forward).parameters.values()
    if any(one.kind is Parameter.VAR_KEYWORD for one in known):
        return True
    return set(inputs) <= {one.name for one in known if one.kind is not Parameter.POSITIONAL_ONLY}


def fed(model: nn.Module, inputs: Inputs) -> Any:
    """What the model gives for inputs, whose parts it may take by their names."""
    return model(**inputs) if takes_names(model, inputs) else model(inputs)


def pairs(batches: Batches) -> Iterator[tuple[Inputs, Tensor]]:
    """The batches that hold samples; raises AuditError where there are none."""
    if isinstance(batches, Iterator):
        raise AuditError(
            "found batches that can be read only once; expected such as a list and not a generator"
        )
    found = False
    for inputs, labels in batches:
        if len(labels):
            found = True
            # A network may normalise its inputs in place; the next reading needs them as they were.
            yield copied(inputs), labels
    if not found:
        raise AuditError(
            "found no samples to measure; expected at least one batch of (inputs, labels)"
        )


def chosen(batches: Batches, positions: Tensor) -> list[tuple[Inputs, Tensor]]:
    """The samples at these positions, ascending, of all the batches together."""
    found, start = [], 0
    for inputs, labels in pairs(batches):
        own = positions[(positions >= start) & (positions < start + len(labels))] - start
        if len(own):
            found.append((rows_of(inputs, own), labels[own]))
        start += len(labels)
    return found


def class_logits(outputs: Tensor) -> Tensor:
    """Logits [n, C]; one logit [n] or [n, 1] is read as C = 2, p = (1 − σ(z), σ(z)) (M §1).

    >>> class_logits(torch.tensor([3.0])).tolist()
    [[0.0, 3.0]]
    """
    if not isinstance(outputs, Tensor):
        raise AuditError(
            f"the network gives a {type(outputs).__name__}; expected a tensor of logits "
            "[samples, classes]"
        )
    if outputs.dim() == 1:
        outputs = outputs[:, None]
    if outputs.dim() != 2:
        raise AuditError(
            f"the network gives outputs of shape {tuple(outputs.shape)}; expected logits "
            "[samples, classes]"
        )
    if outputs.shape[1] == 1:
        return torch.cat([torch.zeros_like(outputs), outputs], 1)
    return outputs


def called_with(model: nn.Module, tensors: Parameters, *inputs: Any, **named: Any) -> Any:
    """What the model gives with these tensors in the place of its own, wherever those are shared.

    torch shares by name, and a layer that stands under two names does not get its own weight back.
    """
    places: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for name, own in (*module._parameters.items(), *module._buffers.items()):
            places.setdefault(id(own), []).append(f"{path}.{name}".removeprefix("."))
    given = [names for names in places.values() if names[0] in tensors]
    shared = {name: tensors[names[0]] for names in given for name in names}
    return functional_call(model, {**shared, **tensors}, inputs, named, tie_weights=False)


def trainable(model: nn.Module) -> Parameters:
    """The trainable parameters by name, detached from any graph.

    Raises AuditError where all are frozen, or one is in half precision, whose rounding would be
    most of a derivative.
    """
    found = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise AuditError("the network has no trainable parameters; its gradient has no coordinates")
    for name, value in found.items():
        if value.dtype in (torch.float16, torch.bfloat16):
            raise AuditError(
                f"'{name}' is in half precision ({value.dtype}), in which a derivative means "
                "little; measure its derivatives on a copy in single precision (model.float())"
            )
    return found


def fixed(model: nn.Module, free: Container[str]) -> Parameters:
    """The buffers, and the parameters that are not among the free ones, by name, detached.

    What a transform such as vmap must hold still beside the parameters that it goes through.
    """
    held = {name: p.detach() for name, p in model.named_parameters() if name not in free}
    return dict(model.named_buffers()) | held


def sample_losses(
    model: nn.Module, inputs: Inputs, labels: Tensor
) -> Callable[[Parameters], Tensor]:
    """The cross entropy [n] of each sample as a function of the trainable parameters."""
    held = fixed(model, trainable(model))

    def losses(parameters: Parameters) -> Tensor:
        # A copy made within the transform, which a first layer that works in place may write on.
        logits = class_logits(called_with(model, held | parameters, copied(inputs)))
        return functional.cross_entropy(logits, labels, reduction="none")

    return losses


def directional_derivative(
    function: Callable[[Point], Tensor], at: Point, direction: Point
) -> Tensor:
    """d/dt f(at + t·direction) at t = 0, in the shape of f: one number a sample, none stored.

    Forward mode; where a layer has no rule for it, reverse mode twice: u ↦ Jᵀu is linear, and the
    pullback of the direction through it is J·direction.
    """
    try:
        with warnings.catch_warnings():
            # torch compiles its own rules by torch.jit, once, and warns of that itself.
            warnings.filterwarnings("ignore", r"`torch\.jit\.script", DeprecationWarning)
            warnings.filterwarnings("ignore", r"`torch\.jit\.script", FutureWarning)
            forward: Tensor = jvp(function, (at,), (direction,))[1]
        return forward
    except NotImplementedError:
        value, pullback = vjp(function, at)[:2]
        transposed = vjp(lambda cotangent: pullback(cotangent)[0], torch.zeros_like(value))[1]
        reverse: Tensor = transposed(direction)[0]
        return reverse


def inner(one: Parameters, other: Parameters) -> Tensor:
    """The inner product of two sets of parameters, summed in float64."""
    parts = [(one[name].double() * other[name].double()).sum() for name in one]
    return torch.stack(parts).sum()


def scaled(one: Parameters, factor: float | Tensor) -> Parameters:
    """A set of parameters times a number."""
    return {name: value * factor for name, value in one.items()}


def normalised(one: Parameters) -> Parameters:
    """The direction of a set of parameters; zero where it is zero."""
    norm = float(inner(one, one).sqrt())
    return scaled(one, 1.0 / norm if norm > 0 else 0.0)
