"""Weights as other tools leave them: a state dict in a file, found and fitted to a network."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from audit.errors import AuditError
from audit.models.checkpoint import FORMAT, read_file
from audit.models.permanent import make_permanent
from audit.models.programs import program_kind
from audit.models.zoo import Architecture, build_model

PLACES = ("state_dict", "model_state_dict", "ema", "model")
"""Where tools put a state dict among what else they keep, such as the optimiser's state."""

State = Mapping[str, Tensor]

AVERAGED = "n_averaged"
"""What `torch.optim.swa_utils.AveragedModel` keeps beside the weights of its module."""

TRAINING = ("optim", "sched", "scaler", "rng", "random")
"""What is in the names under which the state of training itself stands."""

MOST_NAMES = 5


@dataclass(frozen=True)
class Weights:
    """A state dict, where in its file it was found, and what else there holds tensors.

    masks   what stands under a name with 'mask' in it, by that name
    """

    state: Mapping[str, Tensor]
    place: str = ""
    others: tuple[str, ...] = ()
    masks: Mapping[str, Any] = field(default_factory=dict)


def is_checkpoint(path: Path) -> bool:
    """Whether the file is a checkpoint of this toolkit; one that cannot be read is none."""
    if _is_index(path) or _is_safetensors(path) or program_kind(path) is not None:
        return False
    content = read_file(path)
    return isinstance(content, dict) and content.get("format") == FORMAT


def read_weights(path: Path, place: str | None = None) -> Weights:
    """The state dict in a file of PyTorch or safetensors; no code from the file is run.

    It is bare, under one of PLACES, or the only one there is; or in several files, of which this is
    the index; or under `place`. Raises AuditError where there is none, where the file holds the
    weights of several networks alike and nobody said which, or where it could run code.
    """
    if _is_index(path) or _is_safetensors(path):
        _check_bare(path, place)
        return Weights(_shards(path) if _is_index(path) else _safetensors(path))
    content = read_file(path)
    if _is_state(content):
        _check_bare(path, place)
        return Weights(content)
    parts = {str(name): one for name, one in content.items()} if isinstance(content, dict) else {}
    masks = {name: one for name, one in parts.items() if _is_mask(name, one)}
    states = {name: one for name, one in parts.items() if _is_state(one) and name not in masks}
    chosen = _place(path, states, place)
    if chosen is None:
        found = ", ".join(parts) or type(content).__name__
        raise AuditError(
            f"'{path}' holds no state dict (found {found[:200]}); expected one, bare or under "
            f"{', '.join(PLACES)}"
        )
    unused = [name for name, one in parts.items() if _tells_weights(name, one)]
    others = tuple(name for name in unused if name != chosen and name not in masks)
    return Weights(states[chosen], chosen, others, masks)


def _place(path: Path, states: Mapping[str, State], asked: str | None) -> str | None:
    """Under which name the network's weights stand; None where there is none."""
    if asked is not None:
        if asked not in states:
            found = ", ".join(states) or "none at all"
            raise AuditError(f"'{path}' has no state dict under '{asked}'; it has {found}")
        return asked
    known = [name for name in PLACES if name in states]
    if not known and len(states) != 1:
        alike = list(states)
    else:
        first = known[0] if known else next(iter(states))
        alike = [first, *(n for n in states if n != first and _rivals(states[n], states[first]))]
    if len(alike) > 1:
        raise AuditError(
            f"'{path}' holds the weights of several networks, under {', '.join(alike)}; say which "
            f"is meant: --state {alike[0]} (of several files, --state {path.stem}={alike[0]})"
        )
    return alike[0] if alike else None


def _rivals(one: State, other: State) -> bool:
    """Whether two state dicts are of networks of one kind with other weights, as an average is."""
    first, second = _bare(one), _bare(other)
    shapes = [{name: value.shape for name, value in own.items()} for own in (first, second)]
    return shapes[0] == shapes[1] and any(not torch.equal(first[n], second[n]) for n in first)


def _bare(state: State) -> dict[str, Tensor]:
    """The state without what stands before all of its names."""
    found = {name: value for name, value in state.items() if name != AVERAGED}
    while len({name.partition(".")[0] for name in found}) == 1 and all("." in n for n in found):
        found = {name.partition(".")[2]: value for name, value in found.items()}
    return found


def _check_bare(path: Path, place: str | None) -> None:
    if place is not None:
        raise AuditError(
            f"'{path}' holds one state dict and nothing under '{place}'; leave --state out, or, of "
            f"several files, name the one that has it: --state NAME={place}"
        )


def _is_mask(name: str, value: Any) -> bool:
    return "mask" in name.casefold() and bool(_tensors(value))


def _tells_weights(name: str, value: Any) -> bool:
    """Whether something beside the weights holds tensors that are not the state of training."""
    return not any(word in name.casefold() for word in TRAINING) and bool(_tensors(value))


def _tensors(value: Any) -> list[Tensor]:
    """The tensors with several numbers anywhere in a value."""
    return [one for one in tree_leaves(value) if isinstance(one, Tensor) and one.numel() > 1]


def network_of(
    path: Path, architecture: Architecture, place: str | None = None
) -> tuple[nn.Module, tuple[str, ...]]:
    """The network that the weights in a file belong to, in evaluation mode, and what to say of it.

    Raises AuditError as `read_weights` and `load_weights` do.
    """
    model = build_model(architecture).eval()
    make_permanent(model)
    return model, load_weights(model, read_weights(path, place), path)


def load_weights(model: nn.Module, weights: Weights, path: Path) -> tuple[str, ...]:
    """Put the weights into the network, in place; sentences on what was found on the way.

    Prefixes of wrappers are taken off, and live masks of `torch.nn.utils.prune` applied. Raises
    AuditError with the first names that differ, on both sides, or where a weight is no finite
    number of the kind that the network has there.
    """
    notes = [f"its weights were found under '{weights.place}'"] if weights.place else []
    if weights.others:
        others = ", ".join(f"'{name}'" for name in weights.others)
        notes.append(f"its file holds tensors under {others} too, which were not used")
    expected = model.state_dict()
    state, prefix = _without_prefix(dict(weights.state), set(expected))
    if prefix:
        notes.append(f"the prefix '{prefix}' was taken off its names")
    state, masked = _masked(_with_shared(state, expected), path)
    if masked:
        notes.append(f"the live pruning masks of {masked} of its weights were applied")
    _check_fit(state, expected, path)
    for name, value in state.items():
        state[name] = _plain(name, value, expected[name], path)
    notes += _unapplied(weights.masks, state, prefix, path)
    model.load_state_dict(state)
    _check_shared(state, model.state_dict(), path)
    return tuple(notes)


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(one, Tensor) for one in value.values())
    )


def _plain(name: str, value: Tensor, expected: Tensor, path: Path) -> Tensor:
    """A weight as ordinary numbers, of the kind that is expected there."""
    if value.is_meta:
        raise AuditError(f"'{path}' holds no numbers in '{name}': it was saved on the device meta")
    if value.layout != torch.strided:
        value = value.to_dense()
    if expected.is_floating_point() and not value.is_floating_point():
        raise AuditError(
            f"'{path}' holds {value.dtype} in '{name}', where the network has {expected.dtype}; "
            "expected real numbers: integers of a quantised network mean nothing without its scales"
        )
    if value.is_floating_point() and not torch.isfinite(value.to(expected.dtype)).all():
        raise AuditError(f"'{path}' holds weights that are not finite, in '{name}'")
    return value


def _is_index(path: Path) -> bool:
    return path.name.endswith(".index.json")


def _shards(path: Path) -> dict[str, Tensor]:
    """The weights of all files that an index names, which lie beside it."""
    try:
        files = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AuditError(f"'{path}' is no index of weights in several files") from error
    found: dict[str, Tensor] = {}
    for name in sorted(map(str, files)):
        if Path(name).name != name or _is_index(Path(name)):
            raise AuditError(f"'{path}' names the file '{name}'; expected one beside it")
        found |= read_weights(path.parent / name).state
    return found


def _is_safetensors(path: Path) -> bool:
    """Whether a file is one by its name, or its beginning: the length of a header in JSON."""
    if path.suffix == ".safetensors" or not path.is_file():
        return path.suffix == ".safetensors"
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise AuditError(f"there is no file '{path}'")
    try:
        found: dict[str, Tensor] = load_file(os.fspath(path))
    except (SafetensorError, OSError) as error:
        raise AuditError(f"'{path}' is no file of safetensors, or is truncated: {error}") from error
    return found


def _without_prefix(state: dict[str, Tensor], expected: set[str]) -> tuple[dict[str, Tensor], str]:
    """The state without what wrappers put before every name, and what that was.

    They are `module.` of data parallel, `_orig_mod.` of torch.compile, and of Lightning whatever
    its owner called the network; beside the names of an average stands how many were averaged.
    """
    names = [name for name in state if name != AVERAGED]
    taken = ""
    while names and not expected & {name.removeprefix(taken) for name in names}:
        prefix = names[0].removeprefix(taken).partition(".")[0] + "."
        if not all(name.startswith(taken + prefix) for name in names):
            return state, ""
        taken += prefix
    if not taken:
        return state, ""
    return {name.removeprefix(taken): state[name] for name in names}, taken


def _with_shared(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with every name of a tensor that layers share: safetensors keeps one of them."""
    places = {expected[name].data_ptr(): name for name in state if name in expected}
    shared = {
        name: state[places[own.data_ptr()]]
        for name, own in expected.items()
        if name not in state and own.numel() and own.data_ptr() in places
    }
    return state | shared


def _masked(state: dict[str, Tensor], path: Path) -> tuple[dict[str, Tensor], int]:
    """The state with every weight_orig and weight_mask as one weight, and how many there were.

    Raises AuditError where a mask is not of its weight's shape, or the weight stands there too.
    """
    found = dict(state)
    pruned = [
        name.removesuffix("_orig")
        for name in state
        if name.endswith("_orig") and f"{name.removesuffix('_orig')}_mask" in state
    ]
    for name in pruned:
        weight, mask = found.pop(f"{name}_orig"), found.pop(f"{name}_mask")
        if weight.shape != mask.shape:
            raise AuditError(
                f"'{path}' holds a mask of shape {tuple(mask.shape)} for '{name}_orig' of shape "
                f"{tuple(weight.shape)}; expected a mask of the weight's own shape"
            )
        if name in found:
            raise AuditError(
                f"'{path}' holds '{name}' beside '{name}_orig' and its mask; expected one of both: "
                "the weight as it is used, or what it was pruned from with the mask"
            )
        found[name] = weight * mask
    return found, len(pruned)


def _unapplied(
    masks: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str, path: Path
) -> list[str]:
    """A note on masks that stand apart from the weights and fit none of them.

    Raises AuditError where one covers weights that are no zeros: the network that was pruned is
    another than the one of these weights, and whether a mask keeps or removes is not written.
    """
    strange = []
    for place, found in masks.items():
        pairs = _covered(found, state, prefix)
        if pairs is None:
            strange.append(f"'{place}'")
            continue
        for name, mask in pairs.items():
            kept = int((state[name][mask == 0] != 0).sum())
            if kept and bool((state[name][mask != 0] != 0).any()):
                raise AuditError(
                    f"'{path}' holds masks under '{place}' that its weights do not have: of "
                    f"'{name}' {kept:,} numbers are masked and no zeros; expected the weights that "
                    "the network computes with: multiply the masks into them before saving"
                )
    if not strange:
        return []
    return [
        f"its file holds masks under {', '.join(strange)} that fit none of its weights by name and "
        "shape: whether they were applied is not known"
    ]


def _covered(found: Any, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor] | None:
    """Masks by the weights that they are of: by name, or of a list by order and shape.

    None where one of them is of none.
    """
    if isinstance(found, Mapping):
        named = {str(name).removeprefix(prefix): mask for name, mask in found.items()}
        pairs = {name: _weight_of(name, state) for name in named}
        covered = {own: named[name] for name, own in pairs.items() if own is not None}
    elif isinstance(found, list | tuple):
        left, covered = iter(state.items()), {}
        for mask in found:
            shape = getattr(mask, "shape", None)
            own = next((name for name, value in left if value.shape == shape), None)
            covered |= {} if own is None else {own: mask}
    else:
        return None
    whole = len(covered) == len(found)
    fits = all(getattr(mask, "shape", None) == state[n].shape for n, mask in covered.items())
    return covered if whole and fits else None


def _weight_of(name: str, state: Mapping[str, Tensor]) -> str | None:
    """The weight that a mask of this name is of."""
    bare = name.removesuffix("_mask").removesuffix(".mask")
    return next((own for own in (name, bare, f"{bare}.weight") if own in state), None)


def _check_fit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    missing, extra = _some(set(expected) - set(state)), _some(set(state) - set(expected))
    if missing or extra:
        parts = [f"it lacks {missing}"] * bool(missing) + [f"it has {extra} besides"] * bool(extra)
        raise AuditError(
            f"the weights in '{path}' are not those of the network: {'; '.join(parts)}; expected "
            "the weights of the network that --model builds, plain ones (make parametrisations "
            "permanent before saving)"
        )
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise AuditError(
                f"the weights in '{path}' are not those of the network: '{name}' has shape "
                f"{tuple(value.shape)}; the network that --model builds has "
                f"{tuple(expected[name].shape)}; one of other shapes has a function of its own (of "
                f"several files, --model {path.stem}=package.module:function)"
            )


def _check_shared(state: Mapping[str, Tensor], loaded: Mapping[str, Tensor], path: Path) -> None:
    """Raise AuditError where names of one weight came with other numbers: one would be lost."""
    for name, value in state.items():
        if not torch.equal(value.to(loaded[name].dtype), loaded[name]):
            alike = [n for n, own in loaded.items() if own.data_ptr() == loaded[name].data_ptr()]
            raise AuditError(
                f"'{path}' holds different numbers for {_some(set(alike))}, which are one weight "
                "in the network that --model builds; expected a network in which they are several"
            )


def _some(names: set[str]) -> str:
    """The first of some names."""
    first = ", ".join(f"'{name}'" for name in sorted(names)[:MOST_NAMES])
    return first + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
