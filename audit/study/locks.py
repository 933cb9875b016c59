"""Locks of cells, by files: held while a cell is worked on, released by a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of a cell; another process that wants it waits. A crash releases it."""
    path = _lock_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def in_work(folder: Path, name: str) -> bool:
    """Whether some process of this machine holds the lock of a cell.

    It is taken to be held where this user may only look on: the event log says that it was begun.
    """
    path = _lock_path(folder, name)
    if not path.is_file():
        return False
    try:
        with FileLock(path, blocking=False):
            return False
    except (Timeout, PermissionError):
        return True


def _lock_path(folder: Path, name: str) -> Path:
    return folder / "locks" / f"{name}.lock"
