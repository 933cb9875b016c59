"""How far a study is, shown: a line a worker for people, a line every half minute in a log."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from audit.study import progress
from audit.study.cells import Cell
from audit.study.events import log
from audit.study.progress import QUIET, Workers, watched
from audit.study.working import Outcome
from tests.waiting import until


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def outcomes(folder: Path, shown: Callable[[int], bool] = lambda seed: True) -> Iterator[Outcome]:
    """Three cells, each in work until something is shown of it."""
    for seed in range(3):
        log(folder, "started", cell=f"dense-seed{seed}")
        until(partial(shown, seed))
        log(folder, "finished", cell=f"dense-seed{seed}", seconds=1.0, kept=False)
        yield Outcome(Cell(seed))


def test_every_cell_in_work_has_a_line(tmp_path):
    log(tmp_path, "started", cell="of an earlier run")
    shown = Progress(console=Console(file=io.StringIO()))
    workers = Workers(shown, tmp_path)
    log(tmp_path, "started", cell="magnitude-0.9-seed0")
    log(tmp_path, "started", cell="[bold]random-0.9-seed0")
    workers.look()
    assert [task.description for task in shown.tasks] == [
        "  magnitude-0.9-seed0",
        "  [bold]random-0.9-seed0",
    ]
    log(tmp_path, "finished", cell="magnitude-0.9-seed0", seconds=1.0, kept=False)
    log(tmp_path, "failed", cell="[bold]random-0.9-seed0", reason="x")
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "started", "cell": "half a li')
    workers.look()
    assert shown.tasks == []


def test_a_terminal_gets_lines_by_name_and_keeps_its_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LOOK_EVERY", 0.02)
    monkeypatch.delenv(QUIET, raising=False)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    cells = outcomes(tmp_path, lambda seed: f"dense-seed{seed}" in terminal.getvalue())
    assert len(list(watched("dense networks", cells, 3, tmp_path))) == 3
    assert "dense networks" in terminal.getvalue()
    assert "TQDM_DISABLE" not in os.environ


def test_a_log_gets_plain_lines_and_quiet_none(tmp_path, monkeypatch):
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    monkeypatch.delenv(QUIET, raising=False)
    monkeypatch.setenv("TQDM_DISABLE", "1")  # as the command sets it where stderr is no terminal
    monkeypatch.setattr(progress, "LINE_EVERY", 0.05)
    cells = outcomes(tmp_path, lambda seed: f": {seed} of 3 cells" in told.getvalue())
    assert len(list(watched("dense networks", cells, 3, tmp_path))) == 3
    lines = told.getvalue().splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("audit: dense networks: ") for line in lines)
    monkeypatch.setenv(QUIET, "1")
    assert len(list(watched("dense networks", outcomes(tmp_path), 3, tmp_path))) == 3
    assert told.getvalue().splitlines() == lines
