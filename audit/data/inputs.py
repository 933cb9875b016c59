"""Inputs that are fetched when they are needed: labels and groups are in memory, these are not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from audit.data.images import ImageSettings, read_image, unheard
from audit.data.tensors import as_tensor
from audit.errors import AuditError

READ_AT_ONCE = 256
AHEAD = 2
"""So many batches are fetched before they are asked for."""


class Inputs(ABC):
    """The inputs of n samples, fetched when they are needed.

    shape  [n, …] as of one tensor; [n] where inputs are dicts of tensors

    Own inputs have one thing to write: `fetch`.
    """

    shape: tuple[int, ...]

    @abstractmethod
    def fetch(self, rows: Tensor) -> Any:
        """The inputs at these positions: a tensor [len(rows), …], or a dict of such tensors."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        return self.fetch(torch.as_tensor(rows))

    def take(self, rows: Tensor) -> Inputs:
        """The inputs at these positions, in this order, fetched when they are needed too."""
        return TakenInputs(self, rows)

    def float(self) -> Inputs:
        """The same inputs as float32, for a network that takes no integers."""
        return FloatInputs(self)

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Any]:
        """The inputs of batch after batch, the next ones fetched while one is used."""
        rows = iter(batches)
        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(self.fetch, own) for own in islice(rows, AHEAD)]
            while waiting:
                ready = waiting.pop(0).result()
                waiting += [pool.submit(self.fetch, own) for own in islice(rows, 1)]
                yield ready

    def digests(self) -> Iterator[bytes]:
        """What each sample's digest is taken of, in order."""
        rows = torch.arange(len(self)).split(READ_AT_ONCE)
        for fetched in self.stream(rows):
            yield from as_bytes(fetched)


class TakenInputs(Inputs):
    """Some of other inputs."""

    def __init__(self, inputs: Inputs, rows: Tensor) -> None:
        self.inputs, self.rows = inputs, rows
        self.shape = (len(rows), *inputs.shape[1:])

    def fetch(self, rows: Tensor) -> Any:
        """Those of the others at the positions that these stand for."""
        return self.inputs.fetch(self.rows[rows])


class FloatInputs(Inputs):
    """Other inputs as float32."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs, self.shape = inputs, inputs.shape

    def fetch(self, rows: Tensor) -> Tensor:
        """The others' at these positions, whatever they are."""
        found: Tensor = self.inputs.fetch(rows).float()
        return found


class MappedInputs(Inputs):
    """An array on disk (numpy's memory map), of which only what is asked for is read.

    Raises AuditError where it is not one of real numbers.
    """

    def __init__(self, array: np.ndarray) -> None:
        as_tensor(array[:1])
        self.array, self.shape = array, array.shape

    def fetch(self, rows: Tensor) -> Tensor:
        """A copy of these rows; floating-point numbers as float32, integers as they are."""
        found = as_tensor(self.array[rows.numpy()])
        if found.is_floating_point():
            return found.float()
        return found if found.dtype == torch.uint8 else found.long()


class DictInputs(Inputs):
    """Inputs of several names, as of tokenised text: {"input_ids": [n, t], "attention_mask": …}.

    Integers stay integers. Raises AuditError where a part is no array of finite numbers, or the
    parts are not of one length.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = {name: _part(part, f"inputs '{name}'") for name, part in parts.items()}
        lengths = {name: len(part) for name, part in self.parts.items()}
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{length} {name}" for name, length in lengths.items())
            raise AuditError(f"found inputs of {found or 'no name'}; expected one of each a sample")
        self.shape = (next(iter(lengths.values())),)

    def fetch(self, rows: Tensor) -> dict[str, Tensor]:
        """Each part at these positions."""
        return {name: part[rows] for name, part in self.parts.items()}


def _part(values: Any, what: str) -> Tensor:
    found = as_tensor(values, what)
    if not found.ndim:
        raise AuditError(f"found {what} that are a single number; expected one a sample or more")
    if found.is_floating_point() and not bool(torch.isfinite(found).all()):
        raise AuditError(f"found {what} that are not finite (NaN or infinity)")
    return found


class ImageFiles(Inputs):
    """Image files, decoded side by side when they are needed: uint8 [n, 3, size, size].

    Raises AuditError, naming it, where an image cannot be read.
    """

    def __init__(self, files: Sequence[Path], settings: ImageSettings) -> None:
        self.files, self.settings = list(files), settings
        self.shape = (len(self.files), 3, settings.size, settings.size)

    def fetch(self, rows: Tensor) -> Tensor:
        """The images at these positions."""
        read = partial(read_image, settings=self.settings)
        # `read_images` has told of damaged metadata; the threads that read on cannot listen.
        with unheard, ThreadPoolExecutor() as pool:
            found = list(pool.map(read, [self.files[row] for row in rows.tolist()]))
        values = [one.values for one in found]
        shape = (0, *self.shape[1:])
        return torch.from_numpy(np.stack(values) if values else np.empty(shape, np.uint8))


class DatasetInputs(Inputs):
    """The inputs of a map-style dataset, collated as its owner collates them.

    dataset  anything with `len` and items by position
    collate  makes the inputs of some items one tensor, or a dict of tensors
    workers  processes that fetch, as DataLoader has them; 0 fetches here, a batch ahead
    """

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list[Any]], Any] = default_collate,
        workers: int = 0,
    ) -> None:
        self.dataset, self.collate, self.workers = dataset, collate, workers
        first = self.fetch(torch.zeros(1, dtype=torch.int64))
        again = self.fetch(torch.zeros(1, dtype=torch.int64))
        if list(as_bytes(first)) != list(as_bytes(again)):
            raise AuditError(
                "the dataset gives another input each time it is asked for the same sample; "
                "expected no random transform where a network is measured"
            )
        self.shape = (len(dataset), *(() if isinstance(first, Mapping) else first.shape[1:]))

    def fetch(self, rows: Tensor) -> Any:
        """The inputs of the items at these positions."""
        return collated(self.collate, [item_of(self.dataset, row) for row in rows.tolist()])

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Any]:
        """The inputs of batch after batch, by as many processes as were asked for."""
        if not self.workers:
            return super().stream(batches)
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=[rows.tolist() for rows in batches],
            num_workers=self.workers,
            collate_fn=self.collate,
        )
        return iter(loader)


def item_of(dataset: Any, row: int) -> Any:
    """The item at this position; AuditError where the dataset's own code fails at it."""
    try:
        return dataset[row]
    except AuditError:
        raise
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise AuditError(f"the dataset fails at its item {row} ({cause})") from error


def collated(collate: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """The items as a batch; AuditError where they are of kinds or shapes that make none."""
    try:
        batch = collate(items)
        parts = batch if isinstance(batch, Mapping) else {"": batch}
        for name, part in parts.items():
            if not isinstance(part, Tensor):
                of = f"under '{name}' " * bool(name)
                raise TypeError(f"{of}they make a {type(part).__name__}")
        return batch
    except (TypeError, RuntimeError, ValueError) as error:
        cause = " ".join(str(error).split())[:160]
        raise AuditError(
            f"the items of the dataset cannot be collated ({cause}); expected inputs that are "
            "tensors of one shape: give the dataset a transform, or pass a DataLoader with its "
            "collate_fn"
        ) from error


def as_bytes(fetched: Any) -> Iterator[bytes]:
    """The bytes of each sample of a batch; of a dict, its parts' in the order of their names."""
    if not isinstance(fetched, Mapping):
        yield from (np.ascontiguousarray(row).tobytes() for row in fetched.numpy())
        return
    parts = [as_bytes(fetched[name]) for name in sorted(fetched)]
    yield from (b"\x1f".join(own) for own in zip(*parts, strict=True))


def on_device(inputs: Any, device: torch.device | str) -> Any:
    """A tensor, or a dict of tensors, on the device."""
    if isinstance(inputs, Mapping):
        return {name: part.to(device) for name, part in inputs.items()}
    return inputs.to(device)
