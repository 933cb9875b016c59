"""Checkpoints: one file with a network, its mask, its data and split, and where it came from.

A checkpoint is plain tensors, numbers and text, so that `torch.load(weights_only=True)` reads it:
loading one never runs code from it.
"""

from __future__ import annotations

import json
import os
import pickle
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audit import display
from audit.data.grouped import GroupedData
from audit.data.identity import check_unseen, identity
from audit.errors import AuditError
from audit.files import is_near, permitted, replacing, sha256
from audit.models.permanent import make_permanent, permanence_note, permanent_copy
from audit.models.sizes import check_archive, check_shapes, load_plain
from audit.models.zoo import Architecture, build_model

FORMAT = "audit-checkpoint"
SCHEMA_VERSION = 1
PROGRAMS = (".pt2", ".onnx")
"""Endings of files that hold a network as a program."""


@dataclass(frozen=True)
class Parent:
    """The dense checkpoint that a pruned one was made from: its hash, and its path from there."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """How a network was made; `rate` is what was asked for, `steps` counts forward-backward passes.

    A dense network without a step was trained elsewhere. `settings` are those of its training or
    pruning, plain values; `notes` are sentences that a report must repeat.
    """

    method: str
    constraint: str = "none"
    rate: float = 0.0
    seed: int = 0
    steps: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    parent: Parent | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A network with all that an audit of it needs.

    state    parameters and buffers by name, the weights as the network computes with them
    mask     True where a prunable weight survives; None for a dense network
    frozen   the parameters that its owner does not train: neither differentiated nor moved
    data     the settings that load its data; `splits` are the sample ids of each split, and
             `samples` what these hold (audit.data.identity)
    """

    architecture: Architecture
    state: Mapping[str, Tensor]
    provenance: Provenance
    mask: Mapping[str, Tensor] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, list[str]] = field(default_factory=dict)
    attribute: str = ""
    group_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, Any] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()

    def count_parameters(self, factory: str | None = None) -> int:
        """How many parameters the network has, removed ones included; `factory` as in `model`."""
        return sum(parameter.numel() for parameter in self.model(factory).parameters())

    def model(self, factory: str | None = None) -> nn.Module:
        """The network, in evaluation mode, on the CPU.

        A network that is not of the zoo is built by a function that must be imported, which runs
        code: that happens only where the caller names the same function in `factory`. Raises
        AuditError otherwise, and where the state does not fit the architecture.
        """
        name = self.architecture.name
        if not self.architecture.in_zoo and factory != name:
            raise AuditError(
                f"the checkpoint's network is built by the function '{name}', which loading it "
                f"would run; if you trust that code, say so with --model {name}"
            )
        if self.architecture.in_zoo:
            check_shapes(self.architecture, self.state)
        model = build_model(self.architecture).eval()
        make_permanent(model)
        try:
            model.load_state_dict(dict(self.state), strict=True)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise AuditError(
                f"the weights do not fit the architecture '{name}': {reason}"
            ) from error
        for path, parameter in model.named_parameters():
            parameter.requires_grad_(path not in self.frozen)
        return model

    @property
    def sparsity(self) -> float | None:
        """Share of exact zeros in the weights that the mask covers, measured; None if dense."""
        if self.mask is None:
            return None
        weights = [self.state[name] for name in self.mask]
        survivors = sum(int(weight.count_nonzero()) for weight in weights)
        return 1.0 - survivors / sum(weight.numel() for weight in weights)

    def __repr__(self) -> str:
        sparse = "dense" if self.sparsity is None else f"sparsity {self.sparsity:.2%}"
        return f"Checkpoint({self.architecture.name!r}, {self.provenance.method!r}, {sparse})"

    def _repr_html_(self) -> str:
        """What the network is and where it came from, for a notebook."""
        title = f"{self.architecture.name}, {self.provenance.method}"
        notes = display.sentences(self.provenance.notes)
        return display.panel(title, display.facts(checkpoint_facts(self)), notes)


def make_checkpoint(
    model: nn.Module,
    architecture: Architecture,
    data: GroupedData,
    provenance: Provenance,
    mask: Mapping[str, Tensor] | None = None,
) -> Checkpoint:
    """The checkpoint of a network that was trained or pruned on this data.

    Weights that the network computes anew in every pass (`audit.models.permanent`) are stored as it
    computes with them, and the provenance says so. The model is left as it is.
    """
    plain, made = permanent_copy(model)
    frozen = tuple(name for name, p in plain.named_parameters() if not p.requires_grad)
    return Checkpoint(
        architecture,
        {name: value.detach().cpu().clone() for name, value in plain.state_dict().items()},
        replace(provenance, notes=(*provenance.notes, *permanence_note(made))),
        mask,
        dict(data.spec),
        data.split_ids(),
        data.attribute,
        data.group_names,
        data.classes,
        library_versions(),
        identity(data),
        frozen,
    )


def save_checkpoint(checkpoint: Checkpoint, path: Path | str) -> str:
    """Write a checkpoint, whole or not at all; return its SHA-256."""
    path = Path(path)
    content = {"format": FORMAT, "schema_version": SCHEMA_VERSION}
    content |= _plain(asdict(replace(checkpoint, splits={})))
    # One text a split: a list of a million ids takes torch half a minute to read.
    content["splits"] = {name: json.dumps(ids) for name, ids in checkpoint.splits.items()}
    # An open file, for torch writes a path's own name into the archive: the same network is to give
    # the same bytes wherever and by whatever process it is saved.
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
    return sha256(path)


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint without running any code from it.

    Raises AuditError where the file is missing, truncated, a pickled module, of another format or
    a newer version, or holds weights that are not finite.
    """
    content = "safetensors" if _is_safetensors(path) else read_file(Path(path))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise AuditError(
            f"'{path}' is not a checkpoint of this toolkit (found {_describe(content)}); expected "
            "a file that 'audit train', 'audit prune' or 'audit import' wrote: weights of other "
            f"tools become one by 'audit import {shlex.quote(str(path))} --model FUNCTION --data "
            "SPEC --out dense.pt', and are measured as they are by 'audit compare' "
            "(docs/your-own-model.md)"
        )
    if content.get("schema_version") != SCHEMA_VERSION:
        raise AuditError(
            f"'{path}' has checkpoint version {content.get('schema_version')}; this toolkit reads "
            f"version {SCHEMA_VERSION}"
        )
    try:
        checkpoint = _from_plain(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AuditError(
            f"'{path}' is a damaged checkpoint: {error!r} is missing or wrong"
        ) from error
    _check_state(checkpoint, path)
    return checkpoint


@permitted()
def parent_path(checkpoint: Checkpoint, path: Path | str) -> Path:
    """Where the dense parent of the checkpoint at `path` lies; its hash is checked.

    Raises AuditError where the checkpoint names none, or the file is gone or changed.
    """
    parent = checkpoint.provenance.parent
    if parent is None:
        raise AuditError(f"'{path}' names no dense parent; give it with --dense DENSE.pt")
    found = Path(os.path.normpath(Path(path).parent / parent.path))
    if not is_near(found, path):
        raise AuditError(
            f"'{path}' names a dense parent outside of the current folder and its own; if you "
            "trust it, give it with --dense DENSE.pt"
        )
    if not found.is_file():
        raise AuditError(
            f"the dense parent of '{path}' is not at '{found}'; give it with --dense DENSE.pt"
        )
    if sha256(found) != parent.sha256:
        raise AuditError(
            f"'{found}' has changed since '{path}' was made from it (another SHA-256); "
            "give the original with --dense DENSE.pt"
        )
    return found


def parent_of(path: Path | str, child: Path | str) -> Parent:
    """The reference to the dense checkpoint at `path` that a checkpoint at `child` stores."""
    relative = os.path.relpath(Path(path).resolve(), Path(child).resolve().parent)
    return Parent(Path(relative).as_posix(), sha256(Path(path)))


def library_versions() -> dict[str, str]:
    """The versions of what computes the numbers, and the processor's instructions that it uses."""
    from importlib.metadata import version

    names = ("pruning-audit", "torch", "numpy", "scipy", "pandas", "fairlearn")
    found = {"python": sys.version.split()[0]} | {name: version(name) for name in names}
    return found | {"cpu": torch.backends.cpu.get_cpu_capability()}


@permitted()
def read_file(path: Path) -> Any:
    """What a file of PyTorch holds, of tensors and plain values; no code from it is run."""
    if not path.is_file():
        raise AuditError(f"there is no file '{path}'")
    program = AuditError(
        f"'{path}' is a program and no file of weights; 'audit compare' measures it by its outputs"
    )
    if path.suffix in PROGRAMS:
        raise program
    check_archive(path)
    hint = "; tables of predictions are compared with --predictions" * _is_table(path)
    unreadable = f"'{path}' cannot be read: it is truncated or not a checkpoint{hint}"
    if not _is_torch(path):
        raise AuditError(unreadable)
    try:
        return load_plain(path, "cpu")
    except pickle.UnpicklingError as error:
        raise AuditError(
            f"'{path}' holds pickled Python objects, which could run code when loaded; expected "
            "tensors and plain values: save model.state_dict(), and say what builds the network "
            "by --model package.module:function; or save a program of torch.export"
        ) from error
    except Exception as error:  # of bytes that are no file of torch it raises whatever comes
        if "TorchScript" in str(error):
            raise program from error
        raise AuditError(unreadable) from error


def _is_torch(path: Path) -> bool:
    """Whether a file begins as those of torch do: as an archive, or of old as a pickle."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv", ".parquet", ".pq", ".feather", ".arrow")


def _is_safetensors(path: Path | str) -> bool:
    """Whether a file that is there is one of safetensors by its name, or an index of several."""
    return str(path).endswith((".safetensors", ".index.json")) and Path(path).is_file()


def _describe(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, dict) and any(isinstance(value, Tensor) for value in content.values()):
        return "a bare state dict"
    return f"a {type(content).__name__}"


def _plain(value: Any) -> Any:
    """Tuples to lists and mappings to dicts: what `weights_only` loading allows.

    Equal texts become one object, for pickle writes an object that it met before as a reference:
    the same content is to give the same bytes.
    """
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if type(value) is str:
        return sys.intern(value)
    return value


def _from_plain(content: Mapping[str, Any]) -> Checkpoint:
    architecture, provenance = content["architecture"], content["provenance"]
    parent = provenance["parent"]
    return Checkpoint(
        Architecture(
            architecture["name"],
            tuple(architecture["input_shape"]),
            architecture["classes"],
            architecture["arguments"],
            architecture.get("outputs"),
        ),
        content["state"],
        Provenance(
            **{
                **provenance,
                "parent": None if parent is None else Parent(**parent),
                "notes": tuple(provenance["notes"]),
            }
        ),
        content["mask"],
        content["data"],
        {name: _ids(own) for name, own in content["splits"].items()},
        content["attribute"],
        tuple(content["group_names"]),
        tuple(content["classes"]),
        content["versions"],
        content.get("samples", {}),
        tuple(content.get("frozen", ())),
    )


def _ids(stored: Any) -> list[str]:
    """The ids of a split, whose text older checkpoints hold as the list itself."""
    return [str(one) for one in (json.loads(stored) if isinstance(stored, str) else stored)]


def checkpoint_facts(checkpoint: Checkpoint) -> dict[str, str]:
    """What a person asks of a checkpoint first, in words."""
    made, architecture = checkpoint.provenance, checkpoint.architecture
    shape = "×".join(str(size) for size in architecture.input_shape)
    arguments = "".join(f", {name} {value}" for name, value in architecture.arguments.items())
    values = sum(value.numel() for value in checkpoint.state.values())
    facts = {
        "network": f"{architecture.name}{arguments}",
        "from, to": f"{shape} inputs, {architecture.classes} classes",
        "outputs": architecture.outputs or "",
        "frozen": f"{len(checkpoint.frozen)} parameters" if checkpoint.frozen else "",
        "size": f"{values:,} parameters and buffers",
        "sparsity, measured": "dense"
        if checkpoint.sparsity is None
        else f"{checkpoint.sparsity:.2%} (asked for: {made.rate:.6g})",
        "constraint": made.constraint,
        "optimisation steps": f"{made.steps:,}",
        "seed": str(made.seed),
        "data": ", ".join(f"{key}={value}" for key, value in checkpoint.data.items()),
        "groups": f"{len(checkpoint.group_names)} by {checkpoint.attribute}",
        "dense parent": made.parent.path if made.parent is not None else "",
    }
    return {name: value for name, value in facts.items() if value}


def _check_state(checkpoint: Checkpoint, path: Path | str) -> None:
    for name, value in checkpoint.state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            broken = int((~torch.isfinite(value)).sum())
            raise AuditError(
                f"'{path}' holds weights that are not finite: {broken} of {value.numel()} in "
                f"'{name}'; the training diverged"
            )


def called_pruned(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint says that weights were removed, true or not."""
    return checkpoint.mask is not None or checkpoint.provenance.rate > 0


def check_same_data(checkpoint: Checkpoint, data: GroupedData) -> None:
    """Raise AuditError unless the network was made for inputs, classes and groups like these.

    Groups of another attribute may be any: a network is not asked for them. Nor may it have been
    trained on the test samples.
    """
    expected = (checkpoint.architecture.input_shape, checkpoint.classes, checkpoint.group_names)
    alike = data.group_names if data.attribute == checkpoint.attribute else checkpoint.group_names
    found = (data.input_shape, data.classes, alike)
    for what, one, other in zip(("inputs", "classes", "groups"), expected, found, strict=True):
        if one != other:
            raise AuditError(
                f"the model was made for {what} {_short(one)}; the data has {_short(other)}"
            )
    check_unseen(data, checkpoint.samples)


def _short(values: tuple[Any, ...]) -> str:
    text = ", ".join(str(value) for value in values)
    return text if len(text) < 80 else f"{text[:77]}…"
