"""What a study keeps of its cells, whole through crashes and beside other processes.

models/NAME.pt           the network
cells/NAME-KEY/          its measures
failed/NAME.json         why a cell could not be made
set-aside/               files that were damaged
locks/NAME.lock          held while a cell is worked on; a crash releases it
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from audit.errors import AuditError
from audit.examine.measured import read_whole
from audit.files import sha256, write_atomically
from audit.models.checkpoint import Checkpoint, load_checkpoint
from audit.study.cells import Task, model_path
from audit.study.events import log


@dataclass(frozen=True)
class Failure:
    """Why a cell could not be made; it is not tried again until that is asked for."""

    cell: str
    key: str
    reason: str
    time: str
    traceback: str = ""


def stored_checkpoint(task: Task) -> Checkpoint | None:
    """The network of a cell where it was made with this key, from the dense network that is there.

    A damaged one is set aside.
    """
    if not task.model.is_file():
        return None
    try:
        checkpoint = load_checkpoint(task.model)
    except AuditError as error:
        set_aside(task.folder, task.model, str(error))
        return None
    made = checkpoint.provenance
    if made.settings.get("cell") != task.key:
        return None
    dense = model_path(task.cell.dense, task.folder)
    of_it = made.parent is None or (dense.is_file() and made.parent.sha256 == sha256(dense))
    return checkpoint if of_it else None


def measures_path(task: Task) -> Path:
    """Where the measures of a cell lie."""
    return task.folder / "cells" / f"{task.cell.name}-{task.measured_key}"


def has_measures(task: Task, network: str) -> bool:
    """Whether whole measures of a cell are there, of the network with this SHA-256.

    What is damaged, or of another file of the same name, is set aside.
    """
    folder = measures_path(task)
    if not folder.is_dir():
        return False
    try:
        measured = read_whole(folder)["model"]["sha256"]
    except (AuditError, KeyError, TypeError) as error:
        set_aside(task.folder, folder, str(error))
        return False
    if measured != network:
        set_aside(task.folder, folder, "it is of another file of that name")
        return False
    return True


def kept_whole(task: Task) -> bool:
    """Whether network and measures of a cell are there, belong together and to their dense network.

    By digests alone, so that a study of many finished cells goes on without loading a network.
    """
    try:
        record = json.loads((measures_path(task) / "model.json").read_text("utf-8"))["model"]
        network, parent = record["sha256"], record["parent"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not task.model.is_file() or network != sha256(task.model):
        return False
    dense = model_path(task.cell.dense, task.folder)
    of_it = parent is None or (dense.is_file() and parent == sha256(dense))
    return of_it and has_measures(task, network)


def set_aside(folder: Path, path: Path, reason: str) -> None:
    """Move what cannot be used out of the way, and say so in the log."""
    kept = folder / "set-aside"
    kept.mkdir(parents=True, exist_ok=True)
    place = next(
        place
        for number in range(1, 1_000_000)
        if not (place := kept / f"{path.name}.{number}").exists()
    )
    path.rename(place)
    log(folder, "set aside", path=str(path.relative_to(folder)), reason=reason)


def clean(task: Task) -> None:
    """Remove what a crash left half-written of this cell; the caller holds its lock."""
    for path in leftovers(task.folder, [task])[task.cell.name]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def leftovers(folder: Path, tasks: Iterable[Task]) -> dict[str, list[Path]]:
    """What is half-written under the folder, by cell: of a crash, or of who works on it now."""
    places = ("models", "cells", "failed")
    partial = [path for place in places for path in folder.glob(f"{place}/.*.partial")]
    found: dict[str, list[Path]] = {}
    for task in tasks:
        name = task.cell.name
        starts = {"models": f".{name}.pt.", "cells": f".{name}-", "failed": f".{name}.json."}
        found[name] = [path for path in partial if path.name.startswith(starts[path.parent.name])]
    return found


def failure_of(task: Task) -> Failure | None:
    """The failure of this very cell that is on record."""
    try:
        found = Failure(**json.loads(_failure_path(task).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.key == task.measured_key else None


def record_failure(task: Task, reason: str, traceback: str = "") -> Failure:
    """Write down why a cell could not be made."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    failure = Failure(task.cell.name, task.measured_key, reason, now, traceback)
    write_atomically(_failure_path(task), json.dumps(asdict(failure), indent=1) + "\n")
    log(task.folder, "failed", cell=task.cell.name, reason=reason)
    return failure


def forget_failure(task: Task) -> None:
    """The cell may be tried again."""
    _failure_path(task).unlink(missing_ok=True)


def _failure_path(task: Task) -> Path:
    return task.folder / "failed" / f"{task.cell.name}.json"
