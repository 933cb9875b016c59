"""One measurement by several processes: each reads its own samples, and all get the same numbers.

Every process (rank) runs the whole program. A loop over samples goes through the part that is the
rank's own; what it adds up is then added up over ranks, and what it finds for every sample is put
together in the order of the samples. Everything else is done by all of them, with equal results.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch import distributed as dist

from audit.errors import ProcessesParted
from audit.measure.network import Batches, Inputs, chosen, pairs
from audit.processes import by_torchrun

PATIENCE = timedelta(hours=12)
"""How long one process waits for another: as long as the slowest reads its samples."""

Content = TypeVar("Content")


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1


_active = Ranks()
_meetings = count()


@runtime_checkable
class Divisible(Protocol):
    """Batches that know how many samples they hold, and give a part of them without reading it."""

    @property
    def samples(self) -> int:
        """How many."""
        ...

    def part(self, start: int, stop: int) -> Batches:
        """Those from one place to another."""
        ...


class Shard:
    """This rank's part of some batches, and the way from what all ranks found to the whole.

    Samples are divided by their place, without padding: rank r of R reads those from n·r/R on to
    n·(r + 1)/R. Where there are fewer samples than ranks, each rank reads all of them.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches, self._divided = batches, False
        if _active.size > 1:
            n = number_of(batches)
            start, stop = (n * rank // _active.size for rank in (_active.rank, _active.rank + 1))
            self._divided = n >= _active.size
            self._batches = part_of(batches, start, stop) if self._divided else batches

    def pairs(self) -> Iterator[tuple[Inputs, Tensor]]:
        """`network.pairs` of the rank's own samples."""
        return pairs(self._batches)

    @property
    def first(self) -> bool:
        """Whether this rank is the one that adds what all ranks hold."""
        return _active.rank == 0

    def summed(self, own: Tensor) -> Tensor:
        """Add up a tensor over the ranks; the same bits on each of them."""
        if _active.size > 1:
            meet("sum")
            total = own.detach().cpu().contiguous()
            if self._divided:
                dist.reduce(total, 0)
            dist.broadcast(total, 0)
            own.copy_(total)
        return own

    def total(self, own: int) -> int:
        """Add up a number of samples over the ranks."""
        return int(self.summed(torch.tensor(own)))

    def all_summed(self, own: Mapping[str, Tensor]) -> None:
        """Add up tensors over the ranks, in place."""
        for part in own.values():
            self.summed(part)

    def joined(self, own: Sequence[Tensor]) -> Tensor:
        """One tensor of the parts that this rank found, then of those of all ranks, in order."""
        part = torch.cat(list(own))
        if _active.size == 1:
            return part
        found = exchanged(part.cpu(), "join")
        return torch.cat(found if self._divided else found[:1]).to(part.device)


def number_of(batches: Batches) -> int:
    """How many samples the batches hold."""
    if isinstance(batches, Divisible):
        return batches.samples
    return sum(len(labels) for _, labels in pairs(batches))


def part_of(batches: Batches, start: int, stop: int) -> Batches:
    """The samples from one place to another."""
    if isinstance(batches, Divisible):
        return batches.part(start, stop)
    return chosen(batches, torch.arange(start, stop))


def own_device(device: str) -> str:
    """The device of this rank: of several processes on a machine each has a GPU of its own.

    >>> own_device("cuda"), own_device("cpu")
    ('cuda', 'cpu')
    """
    if _active.size > 1 and device == "cuda":
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


def meet(what: str) -> None:
    """Wait for all ranks; ProcessesParted where they have gone different ways."""
    exchanged(None, what)


def exchanged(content: Content, what: str) -> list[Content]:
    """What every rank brings to the same meeting, in their order; ProcessesParted as `meet`."""
    found: list[Any] = [None] * _active.size
    place = (next(_meetings), what)
    try:
        dist.all_gather_object(found, (place, content))
    except RuntimeError as error:
        raise ProcessesParted("another process of this measurement has ended") from error
    if any(other != place for other, _ in found):
        raise ProcessesParted(
            f"the processes of one measurement have gone different ways (at {place[0]}: "
            f"{', '.join(str(other[1]) for other, _ in found)}); measure in one process"
        )
    return [own for _, own in found]


def loopback() -> str:
    """The interface that processes of one machine talk over, so that no other machine can."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


@contextmanager
def across_ranks() -> Iterator[Ranks]:
    """Measure together with the other processes that torchrun has started; alone where it has not.

    Only the first of them says anything meanwhile.
    """
    global _active
    if not by_torchrun():
        yield _active
        return
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback())
    dist.init_process_group("gloo", timeout=PATIENCE)
    _active = Ranks(dist.get_rank(), dist.get_world_size())
    try:
        with _silent(_active.rank > 0):
            yield _active
    finally:
        _active = Ranks()
        dist.destroy_process_group()


@contextmanager
def _silent(silent: bool) -> Iterator[None]:
    if not silent:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
