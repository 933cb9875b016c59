"""Working on one cell: made, measured and kept, or a record of why that could not be."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.data.identity import whole_digest
from audit.errors import AuditError
from audit.examine.measured import ModelMeasures
from audit.examine.measuring import measure_model
from audit.files import said, sha256
from audit.models.checkpoint import load_checkpoint, parent_of, save_checkpoint
from audit.study.by_itself import with_tables
from audit.study.cells import Cell, Task, model_path
from audit.study.events import log
from audit.study.keeping import (
    clean,
    failure_of,
    forget_failure,
    has_measures,
    kept_whole,
    measures_path,
    record_failure,
    stored_checkpoint,
)
from audit.study.locks import alone
from audit.study.making import prune_model, train_model

LOOK_EVERY = 0.5
"""Seconds between two looks at whether the process that a worker works for is still there."""

_loaded: dict[str, GroupedData] = {}
"""The data of the study that this process works for, by its digest."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: the folder of its measures, or why there are none."""

    cell: Cell
    measures: Path | None = None
    reason: str = ""


def finish(task: Task) -> Outcome:
    """Make and measure a cell, unless both are kept already; a fault becomes a record.

    Raises AuditError where the study as a whole cannot go on: a disk that is full, a folder that
    cannot be written.
    """
    with writing_under(task.folder), alone(task.folder, task.cell.name):
        if kept_whole(task):
            return _kept(task)
        clean(task)
        failure = failure_of(task)
        return Outcome(task.cell, reason=failure.reason) if failure else _worked_on(task)


@contextmanager
def writing_under(folder: Path) -> Iterator[None]:
    """Say in one line that something under the folder of a study cannot be written, or read."""
    try:
        yield
    except OSError as error:
        which = "" if error.filename is None else f" ('{error.filename}')"
        raise AuditError(f"cannot write under '{folder}'{which}: {said(error)}") from error


def _kept(task: Task) -> Outcome:
    forget_failure(task)
    log(task.folder, "finished", cell=task.cell.name, seconds=0.0, kept=True)
    return Outcome(task.cell, measures_path(task))


def _worked_on(task: Task) -> Outcome:
    start = time.monotonic()
    log(task.folder, "started", cell=task.cell.name)
    before = torch.get_num_threads()
    torch.set_num_threads(task.threads)
    try:
        kept = _made_and_measured(task)
    except Exception as error:
        if _is_of_the_disk(error):
            raise
        known = isinstance(error, AuditError)
        reason = str(error) if known else f"unexpected {type(error).__name__}: {error}"
        record_failure(task, " ".join(reason.split()), "" if known else traceback.format_exc())
        return Outcome(task.cell, reason=" ".join(reason.split()))
    finally:
        torch.set_num_threads(before)
    forget_failure(task)
    seconds = round(time.monotonic() - start, 3)
    log(task.folder, "finished", cell=task.cell.name, seconds=seconds, kept=kept)
    return Outcome(task.cell, measures_path(task))


def _made_and_measured(task: Task) -> bool:
    """Whether both were there already."""
    made = stored_checkpoint(task) is None
    if made:
        _make(task)
    measured = not has_measures(task, sha256(task.model))
    if measured:
        _measure(task)
    return not (made or measured)


def _make(task: Task) -> None:
    settings, cell = task.settings, task.cell
    data = study_data(task)
    if cell.method is None:
        training = replace(settings.training, seed=cell.seed)
        made = (
            load_checkpoint(settings.dense)
            if settings.dense
            else train_model(data, settings.model, training, settings.arguments)
        )
    else:
        parent = _dense_path(task)
        made = prune_model(
            load_checkpoint(parent),
            data,
            cell.method,
            cell.rate,
            replace(settings.pruning, seed=cell.seed),
            parent_of(parent, task.model),
            settings.model,
        )
    stored = {**made.provenance.settings, "cell": task.key}
    save_checkpoint(replace(made, provenance=replace(made.provenance, settings=stored)), task.model)


def _measure(task: Task) -> None:
    cell, settings = task.cell, task.settings
    parent = None if cell.method is None else load_checkpoint(_dense_path(task))
    measures = measure_model(
        load_checkpoint(task.model),
        parent,
        study_data(task),
        settings.measure,
        cell.name,
        settings.model,
    )
    file = task.model.relative_to(task.folder).as_posix()
    measures = measures.with_file(file, sha256(task.model))
    if cell.method is not None and cell.method.title:
        measures = measures.with_method(cell.method.shown)
    with_tables(measures, study_data(task).group_names).save(measures_path(task))


def _dense_path(task: Task) -> Path:
    """The network that the cell is pruned from; AuditError where another study has replaced it."""
    dense = replace(task, cell=task.cell.dense)
    if stored_checkpoint(dense) is None:
        raise AuditError(
            f"'{dense.model.relative_to(task.folder)}' is no longer the dense network of this "
            "study: another one writes to the same folder; give each its own --out"
        )
    return model_path(dense.cell, task.folder)


def load_measures(outcome: Outcome) -> ModelMeasures:
    """The measures of a cell that was finished, and so found whole."""
    if outcome.measures is None:
        raise AuditError(f"'{outcome.cell.name}' was not measured: {outcome.reason}")
    return ModelMeasures.read(outcome.measures)


def remember(data: GroupedData) -> str:
    """Keep the data of the study for cells worked on in this process; its digest."""
    digest = whole_digest(data)
    _loaded.clear()
    _loaded[digest] = data
    return digest


def study_data(task: Task) -> GroupedData:
    """The data of the study, loaded once a process; AuditError where it has changed meanwhile."""
    digest = str(task.settings.data.get("digest", ""))
    if digest not in _loaded:
        digest = remember(load_data(task.settings.data))
    return _loaded[digest]


def leave_interrupts() -> None:
    """Let Ctrl-C be heard by the process that this one works for, which tells it in a line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_with(parent: int) -> None:
    """End this process when its parent is gone, however that came about.

    A thread looks; a signal of the system would tell sooner, on Linux alone. Ctrl-C, which a
    terminal sends to both, is left to the parent.
    """
    leave_interrupts()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=look, name="ends with its parent", daemon=True).start()


def _is_of_the_disk(error: BaseException) -> bool:
    """Whether the next cell would meet the same fault: the folder cannot be written."""
    cause = error if isinstance(error, OSError) else error.__cause__
    full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
    return isinstance(cause, OSError) and cause.errno in full
