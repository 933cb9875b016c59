"""Weights that are computed anew in every pass, made permanent: the weights that a network uses.

Spectral and weight norm, live masks of `torch.nn.utils.prune`, and other parametrisations keep a
weight in parts and put it together in every pass. What is measured, pruned and stored here is the
weight itself.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from audit.errors import AuditError

SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
_KINDS = (SpectralNorm, WeightNorm, prune.BasePruningMethod)
_Recomputed = SpectralNorm | WeightNorm | prune.BasePruningMethod


def permanent_copy(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy in evaluation mode whose weights are permanent, and what was made so: 'kind of name'.

    Raises AuditError where a weight of a recurrent layer is computed, which the layer's own copy of
    its weights does not follow.
    """
    for module in model.modules():
        for hook in _hooks(module):
            # The weight of the last pass is no parameter, and torch copies none that has a graph.
            name = _tensor_name(hook)
            setattr(module, name, getattr(module, name).detach())
    copied = copy.deepcopy(model, _dense_forms(model)).eval()
    return copied, make_permanent(copied)


def _dense_forms(model: nn.Module) -> dict[int, Any]:
    """The memory of a copy in which sparse tensors, that torch copies in no module, are dense."""
    sparse = [one for one in (*model.parameters(), *model.buffers()) if one.layout in SPARSE]
    return {
        id(one): nn.Parameter(one.detach().to_dense(), one.requires_grad)
        if isinstance(one, nn.Parameter)
        else one.detach().to_dense()
        for one in sparse
    }


def make_permanent(model: nn.Module) -> tuple[str, ...]:
    """Make every computed weight of the model a parameter, in place; say which, by kind and name.

    A weight whose parts are all frozen is frozen. The model must be in evaluation mode, so that
    spectral norm takes no step of its power iteration.
    """
    found: list[str] = []
    for path, module in list(model.named_modules()):
        computed = [*_old_style(module), *_parametrised(module)]
        if computed and isinstance(module, nn.RNNBase):
            raise AuditError(
                f"the weights of the recurrent layer '{path}' are computed by {computed[0][1]}; "
                "expected plain ones: make them permanent where the network is built"
            )
        found += [f"{kind} of '{path}.{name}'" for name, kind in computed]
        for hook in _hooks(module):
            _remove(module, hook)
        for name, _ in list(_parametrised(module)):
            originals = list(_originals(module, name))
            trainable = any(part.requires_grad for part in originals)
            for part in originals:
                # Of frozen parts torch would make a buffer, and no parameter.
                part.requires_grad_(True)
            _own_class(module)
            parametrize.remove_parametrizations(module, name)
            module.get_parameter(name).requires_grad_(trainable)
    return tuple(found)


def permanence_note(made: tuple[str, ...]) -> tuple[str, ...]:
    """What must be said of a network whose weights were made permanent: one sentence, or none."""
    if not made:
        return ()
    some = ", ".join(made[:5]) + (f" and {len(made) - 5} more" if len(made) > 5 else "")
    return (
        f"made permanent before anything was measured: {some}; numbers are of the weights that the "
        "network computes with, and what is trained from here on no longer keeps them so",
    )


def _hooks(module: nn.Module) -> list[_Recomputed]:
    """The old-style hooks that recompute a weight before every pass."""
    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, _KINDS)]


def _old_style(module: nn.Module) -> Iterator[tuple[str, str]]:
    for hook in _hooks(module):
        kind = "pruning mask" if isinstance(hook, prune.BasePruningMethod) else type(hook).__name__
        yield _tensor_name(hook), kind


def _parametrised(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The weights that `torch.nn.utils.parametrize` computes, and by what."""
    if parametrize.is_parametrized(module):
        for name, parts in module.parametrizations.items():  # type: ignore[union-attr,operator]
            yield name, " and ".join(type(part).__name__.lstrip("_") for part in parts)


def _own_class(module: nn.Module) -> None:
    """Give a parametrised module a class of its own.

    torch keeps the computed weight as a property of a class that is made for the module, which a
    copy shares: removed from one, it would be gone from the other.
    """
    shared = type(module)
    hidden = ("__dict__", "__weakref__")
    own = {name: value for name, value in vars(shared).items() if name not in hidden}
    module.__class__ = type(shared.__name__, shared.__bases__, own)


def _originals(module: nn.Module, name: str) -> Iterator[nn.Parameter]:
    parts: nn.Module = module.parametrizations[name]  # type: ignore[index,assignment]
    return (p for key, p in parts.named_parameters(recurse=False) if key.startswith("original"))


def _tensor_name(hook: _Recomputed) -> str:
    return hook._tensor_name if isinstance(hook, prune.BasePruningMethod) else hook.name


def _remove(module: nn.Module, hook: _Recomputed) -> None:
    """Take the hook away and leave the weight, as trainable as its parts were."""
    name = _tensor_name(hook)
    endings = ("_orig", "_g", "_v")
    parts = [module._parameters.get(f"{name}{ending}") for ending in endings]
    trainable = any(part is not None and part.requires_grad for part in parts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, name)
        elif isinstance(hook, WeightNorm):
            nn.utils.remove_weight_norm(module, name)
        else:
            nn.utils.remove_spectral_norm(module, name)
    module.get_parameter(name).requires_grad_(trainable)
