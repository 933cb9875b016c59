"""Ctrl-C at the moment at which a phase of a command begins, in whichever process that is."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

from audit.study import engines, run
from audit.study.cells import Task
from audit.study.engines import Engine, in_processes, on_dask
from audit.study.working import Outcome, finish

PHASES = {
    "planning": "audit.study.run:load_data",
    "training": "audit.study.working:train_model",
    "pruning": "audit.study.working:prune_model",
    "measuring": "audit.study.working:measure_model",
    "gathering": "audit.study.run:gather",
    "writing the tables": "audit.findings.results:Results.save",
    "drawing the report": "audit.report.html:_write_html",
    "drawing the PDF": "audit.report.html:_write_pdf",
    "pruning one": "audit.study.making:prune_model",
    "training one": "audit.study.making:train_model",
    "measuring files": "audit.study.checkpoints:measure_model",
    "gathering files": "audit.study.checkpoints:gather",
}
"""The function that each phase begins with, by module and name."""


def stop_at(phase: str, times: int, once: str) -> None:
    """Let Ctrl-C come when the phase begins, here and in the processes of a study.

    times  how often, a tenth of a second apart
    once   a file that tells that it came
    """
    _interrupt_at(phase, times, once)

    def make_engine(name: str, workers: int, address: str = "") -> Engine:
        work = partial(finish_stopping, phase, times, once)
        if name == "dask":
            return partial(on_dask, workers=workers, address=address, work=work)
        if name == "processes" and workers > 1:
            return partial(in_processes, workers=workers, work=work)
        return engines.make_engine(name, workers, address)

    mock.patch.object(run, "make_engine", make_engine).start()


def finish_stopping(phase: str, times: int, once: str, task: Task) -> Outcome:
    """Work on a cell in a process beside, which the phase stops too."""
    _interrupt_at(phase, times, once)
    return finish(task)


def _interrupt_at(phase: str, times: int, once: str) -> None:
    place, _, names = PHASES[phase].partition(":")
    *owners, name = names.split(".")
    owner: Any = import_module(place)
    for one in owners:
        owner = getattr(owner, one)
    found = getattr(owner, name)
    if not hasattr(found, "interrupts"):
        setattr(owner, name, _interrupting(found, times, once))


def _interrupting(begin: Callable[..., Any], times: int, once: str) -> Callable[..., Any]:
    def interrupting(*arguments: Any, **options: Any) -> Any:
        if not Path(once).exists():
            Path(once).touch()
            # As from a terminal: to all processes of the command.
            group = os.getpgid(0)
            again = f"sleep 0.1; kill -INT -{group}"
            if times > 1:
                subprocess.Popen(["bash", "-c", again], start_new_session=True)
            os.killpg(group, signal.SIGINT)
        return begin(*arguments, **options)

    interrupting.interrupts = True  # type: ignore[attr-defined]
    return interrupting
