"""The same study on a Dask cluster of processes on loopback; a worker's death is a failed cell."""

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest

distributed = pytest.importorskip(
    "distributed", reason="install the extra: pip install 'pruning-audit[dask]'"
)

from audit.errors import AuditError  # noqa: E402
from audit.study.cells import Cell, Task  # noqa: E402
from audit.study.engines import on_dask  # noqa: E402
from audit.study.run import run_study  # noqa: E402
from audit.study.working import Outcome  # noqa: E402
from tests.waiting import until  # noqa: E402


@pytest.fixture
def scheduler(tmp_path):
    """`dask scheduler` and `dask worker` as processes on loopback, ended with the test."""
    file = tmp_path / "scheduler.json"
    processes = [
        subprocess.Popen(
            [
                sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
                "--port", "0", "--no-dashboard", "--scheduler-file", str(file),
            ],
            stderr=subprocess.DEVNULL,
        )
    ]  # fmt: skip
    until(lambda: file.exists() and file.read_text().strip())
    processes.append(
        subprocess.Popen(
            [
                sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file),
                "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard",
                "--local-directory", str(tmp_path / "dask"),
            ],
            stderr=subprocess.DEVNULL,
        )
    )  # fmt: skip
    yield json.loads(file.read_text())["address"]
    for process in reversed(processes):
        process.terminate()
        process.wait(900)


def test_a_cluster_finds_what_this_process_finds(small, tmp_path, scheduler):
    one = run_study(small, tmp_path / "here", workers=1, threads=1)
    other = run_study(
        small, tmp_path / "dask-out", workers=1, threads=1, engine="dask", address=scheduler
    )
    pd.testing.assert_frame_equal(
        one.groups.astype({"group": str}), other.groups.astype({"group": str})
    )


def test_no_scheduler_is_told_in_one_line(small, tmp_path, monkeypatch):
    monkeypatch.setattr("audit.study.engines.ANSWERS_WITHIN", "1s")
    task = Task(small, Cell(0), tmp_path)
    with pytest.raises(AuditError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        list(on_dask([task], 1, "tcp://127.0.0.1:9"))


def test_a_worker_that_dies_is_a_failed_cell(small, tmp_path):
    def deadly(task: Task) -> Outcome:
        if task.cell.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(task.cell, task.folder)

    # More cells than workers: each worker holds one in work and others behind it.
    tasks = [Task(small, Cell(seed), tmp_path) for seed in range(8)]
    found = {one.cell.seed: one for one in on_dask(tasks, 2, "", deadly)}
    assert len(found) == len(tasks)
    assert [seed for seed in sorted(found) if found[seed].measures is None] == [1]
    assert "its process died" in found[1].reason
