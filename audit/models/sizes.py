"""What the content of a checkpoint would take, known before it is read or a network is built."""

from __future__ import annotations

import math
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audit.errors import AuditError
from audit.limits import check_size
from audit.models.zoo import Architecture, build_model

DEEPEST = 64


def load_plain(path: Path, device: str) -> Any:
    """What a file of torch holds, of tensors and plain values, without running code from it.

    torch 2.14 checks the indices of sparse tensors as it reads them, and warns that this takes a
    while: a line of noise for who audits a file.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Validating sparse tensor invariants", UserWarning)
        return torch.load(path, map_location=device, weights_only=True)


def check_archive(path: Path) -> None:
    """Raise AuditError where a file of torch would take more memory than the bound.

    Its records may be packed, and its tensors larger than what is stored of them: both are summed
    from the file's own lists, without reading a weight.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            check_size(path, sum(record.file_size for record in archive.infolist()))
        content = load_plain(path, "meta")
    except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError):
        return  # who reads the file says what is wrong with it
    except zipfile.BadZipFile as error:
        raise AuditError(f"'{path}' cannot be read: it is truncated or not a checkpoint") from error
    check_size(path, sum(tensor.numel() * tensor.element_size() for tensor in tensors(content)))


def tensors(content: Any, depth: int = 0) -> Iterator[Tensor]:
    """All tensors in nested mappings and lists; AuditError where these nest beyond reason."""
    if depth > DEEPEST:
        raise AuditError(f"found values nested more than {DEEPEST} deep; expected a checkpoint")
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from tensors(value, depth + 1)
    elif isinstance(content, list | tuple):
        for value in content:
            # A list may be of a million ids.
            if not isinstance(value, str):
                yield from tensors(value, depth + 1)


def check_shapes(architecture: Architecture, state: Mapping[str, Tensor]) -> None:
    """Raise AuditError where a network of the zoo has other weights than the state, unbuilt.

    On the meta device a network costs no memory, however wide its file says that it is.
    """
    numbers = sum(value.numel() for value in state.values())
    sizes = [value for value in architecture.arguments.values() if isinstance(value, int)]
    if max([*sizes, architecture.classes], default=0) > max(1, numbers):
        raise AuditError(
            f"the weights do not fit the architecture '{architecture.name}': it is larger than all "
            f"{numbers:,} numbers of the file"
        )
    depth = architecture.arguments.get("depth", 0)
    if isinstance(depth, int) and depth > len(state):
        raise AuditError(
            f"the weights do not fit the architecture '{architecture.name}': it has {depth:,} "
            f"layers, the file {len(state):,} tensors"
        )
    with torch.device("meta"):
        network = build_model(architecture)
    expected = {name: value.shape for name, value in network.state_dict().items()}
    for name, shape in expected.items():
        found = state[name].shape if name in state else None
        if found != shape:
            has = "nothing" if found is None else "×".join(map(str, found)) or "one number"
            raise AuditError(
                f"the weights do not fit the architecture '{architecture.name}': '{name}' needs "
                f"{'×'.join(map(str, shape)) or 'one number'}, the file has {has} "
                f"({math.prod(shape):,} numbers expected)"
            )
