"""Engines give an outcome for every cell, those that take their process down included."""

import os
import signal
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.study.cells import Cell, Task
from audit.study.engines import here, in_processes, make_engine
from audit.study.events import events
from audit.study.settings import StudySettings
from audit.study.working import Outcome


def tasks_in(folder: Path, settings: StudySettings, number: int = 6) -> list[Task]:
    return [Task(settings, Cell(seed), folder) for seed in range(number)]


def test_this_process_works_in_order(small, tmp_path):
    tasks = tasks_in(tmp_path, small)
    found = list(here(tasks, lambda task: Outcome(task.cell, task.folder)))
    assert [outcome.cell for outcome in found] == [task.cell for task in tasks]


def test_a_process_that_dies_is_a_failed_cell_and_the_others_go_on(small, tmp_path):
    def deadly(task: Task) -> Outcome:
        if task.cell.seed == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(task.cell, task.folder)

    found = {one.cell.seed: one for one in in_processes(tasks_in(tmp_path, small), 2, deadly)}
    assert sorted(found) == list(range(6))
    assert [seed for seed in found if found[seed].measures is None] == [2]
    assert "its process died" in found[2].reason
    assert [one["cell"] for one in events(tmp_path) if one["event"] == "failed"] == ["dense-seed2"]


def test_what_ends_the_study_ends_it_from_a_process_too(small, tmp_path):
    def full(task: Task) -> Outcome:
        raise AuditError("cannot write: No space left on device")

    with pytest.raises(AuditError, match="No space left"):
        list(in_processes(tasks_in(tmp_path, small), 2, full))


def test_engines_have_names_and_an_address_is_for_dask():
    assert make_engine("processes", 1) is here
    with pytest.raises(AuditError, match="expected one of processes, here, dask"):
        make_engine("slurm", 1)
    with pytest.raises(AuditError, match="only 'dask' has one"):
        make_engine("here", 1, "tcp://127.0.0.1:8786")
