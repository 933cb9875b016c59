"""Processes killed at random moments: what was finished stays whole, and what follows is the same.

One kill of a worker by default; AUDIT_KILLS=10 makes so many of each kind, of a study, a Dask
worker, the scheduler and a torchrun rank too, with what was found in a line (`make faults`,
minutes).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from audit.errors import AuditError
from audit.study.events import events
from audit.study.run import run_study
from audit.study.settings import load_settings
from tests.study.tiny import STUDY
from tests.study.whole import MARK, check_numbers, finished, marked, numbers, people, tell
from tests.waiting import until

KILLS = int(os.environ.get("AUDIT_KILLS", "1"))
AUDIT = [sys.executable, "-c", "from audit.cli import main; main()"]
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").is_file(), reason="looks for processes in /proc"
)
long = pytest.mark.skipif(
    "AUDIT_KILLS" not in os.environ, reason="takes minutes; make faults runs it"
)

# Longer, so that a kill often meets work; and its groups are small.
LONGER = STUDY.replace("epochs = 2", "epochs = 4").replace("epochs = 1", "epochs = 2")
LONGER += "minimum_group_size = 5\n"


@dataclass(frozen=True)
class Undisturbed:
    """A study that nothing happened to: its settings, its folder, and how long its cells took."""

    config: Path
    folder: Path
    seconds: float


# --- processes, told by a mark in their environment, which their children have too ---------------


@contextmanager
def started(mark: str, *command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process with the mark; none with it is left when this is over."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", MARK: mark}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **options,
    )  # fmt: skip
    try:
        yield process
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=900)


def run_command(config: Path, out: Path, *more: str) -> list[str]:
    return [*AUDIT, "run", str(config), "--out", str(out), "--threads", "1", *more]


def planned(out: Path) -> int:
    return sum(one["event"] == "planned" for one in events(out))


# --- what has to hold -----------------------------------------------------------------------------


def check_same(out: Path, undisturbed: Undisturbed) -> None:
    assert not list(out.rglob("*.partial"))
    check_numbers(out, undisturbed.folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """240 rows of two groups, and a study of six cells on them."""
    folder = tmp_path_factory.mktemp("faults")
    people(folder / "table.csv")
    config = folder / "study.toml"
    config.write_text(LONGER.format(table=folder / "table.csv"))
    with started("undisturbed", *run_command(config, folder / "out", "--workers", "1")) as process:
        until(lambda: planned(folder / "out") or process.poll() is not None)
        start = time.monotonic()
        process.communicate(timeout=900)
        assert process.returncode == 0
    return Undisturbed(config, folder / "out", time.monotonic() - start)


# --- kills ----------------------------------------------------------------------------------------

Victim = Callable[[subprocess.Popen[str], Mapping[int, str], random.Random], int | None]


def the_study(main: subprocess.Popen[str], found: Mapping[int, str], chance: random.Random) -> int:
    return main.pid


def a_worker(
    main: subprocess.Popen[str], found: Mapping[int, str], chance: random.Random
) -> int | None:
    """A process that the study started; None where there is none yet, or no longer."""
    others = [pid for pid in found if pid != main.pid]
    return chance.choice(others) if others else None


def killed(
    undisturbed: Undisturbed,
    out: Path,
    victim: Victim,
    chance: random.Random,
    more: tuple[str, ...],
) -> tuple[bool, int]:
    """Run the study and kill at a random moment after its plan: whether anything was, and its exit.

    Checks that what was finished is whole and stays as it is, and that no process is left.
    """
    mark = f"{out.parent.name}-{chance.random()}"
    before, plans = finished(out), planned(out)
    with started(mark, *run_command(undisturbed.config, out, *more)) as main:
        until(lambda: planned(out) > plans or main.poll() is not None)
        time.sleep(chance.uniform(0.0, undisturbed.seconds))
        target = victim(main, marked(mark), chance) if main.poll() is None else None
        if target is not None:
            os.kill(target, signal.SIGKILL)
        if target != main.pid:
            main.wait(900)
        until(lambda: not marked(mark), 120)
        code = main.wait(900)
    after = finished(out)
    assert {path: after.get(path) for path in before} == before
    return target is not None, code


@pytest.mark.parametrize(
    ("victim", "more"),
    [
        pytest.param(the_study, ("--workers", "1"), marks=long),
        (a_worker, ("--workers", "2")),
        pytest.param(the_study, ("--workers", "2"), marks=long),
        pytest.param(the_study, ("--engine", "dask", "--workers", "2"), marks=long),
        pytest.param(a_worker, ("--engine", "dask", "--workers", "2"), marks=long),
    ],
    ids=["study", "worker", "study of workers", "study on dask", "dask worker"],
)
def test_kills_lose_nothing_and_change_nothing(
    victim: Victim, more: tuple[str, ...], undisturbed: Undisturbed, tmp_path: Path
) -> None:
    if "dask" in more:
        pytest.importorskip("distributed", reason="install the extra: dask")
    chance, kills, folders, codes = random.Random(f"{victim.__name__}{more}"), 0, 0, []
    while kills < KILLS:
        out = tmp_path / f"out-{folders}"
        folders += 1
        for _ in range(4):
            hit, code = killed(undisturbed, out, victim, chance, more)
            kills += hit
            codes.append(code)
            if code == 0 or kills == KILLS:
                break
        again = subprocess.run(
            run_command(undisturbed.config, out, "--workers", "1", "--retry-failed"),
            capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert again.returncode == 0, again.stderr
        check_same(out, undisturbed)
    ends = {code: codes.count(code) for code in sorted(set(codes))}
    kind = f"at random: {victim.__name__} {' '.join(more)}"
    tell(kind, kills=kills, studies=folders, ends=ends)
    assert set(codes) <= {0, 2, -9}


def _is_written(file: Path) -> bool:
    return file.exists() and bool(file.read_text().strip())


def _is_planned(out: Path, plans: int) -> bool:
    return planned(out) > plans


def _is_over(mark: str) -> bool:
    return not marked(mark)


@long
def test_a_scheduler_that_is_killed_ends_the_study_in_one_line(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    pytest.importorskip("distributed", reason="install the extra: dask")
    chance, codes = random.Random("scheduler"), []
    for number in range(KILLS):
        out, file = tmp_path / f"out-{number // 4}", tmp_path / f"scheduler-{number}.json"
        cluster = [sys.executable, "-m"]
        host = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
        before, plans = finished(out), planned(out)
        with started(f"s{number}", *cluster, "distributed.cli.dask_scheduler", *host) as scheduler:
            until(partial(_is_written, file))
            address = json.loads(file.read_text())["address"]
            worker = [*cluster, "distributed.cli.dask_worker", *host, "--nthreads", "1"]
            place = ["--local-directory", str(tmp_path / "dask"), "--death-timeout", "20"]
            more = ("--engine", "dask", "--address", address)
            with (
                started(f"w{number}", *worker, *place),
                started(f"m{number}", *run_command(undisturbed.config, out, *more)) as main,
            ):
                until(partial(_is_planned, out, plans))
                time.sleep(chance.uniform(0.0, undisturbed.seconds))
                scheduler.kill()
                _, said = main.communicate(timeout=900)
                codes.append(main.returncode)
                until(partial(_is_over, f"m{number}"), 120)
                assert main.returncode == 0 or said.splitlines()[-1].startswith("audit: ")
        after = finished(out)
        assert {path: after.get(path) for path in before} == before
        if number % 4 == 3 or number == KILLS - 1:
            again = run_command(undisturbed.config, out, "--workers", "1", "--retry-failed")
            subprocess.run(again, check=True, capture_output=True, timeout=900)
            check_same(out, undisturbed)
    tell("at random: the scheduler", kills=KILLS, ends={c: codes.count(c) for c in set(codes)})
    assert set(codes) <= {0, 2}


@long
def test_a_rank_that_is_killed_ends_the_others(undisturbed: Undisturbed, tmp_path: Path) -> None:
    chance = random.Random("rank")
    network = sorted((undisturbed.folder / "models").glob("magnitude-*.pt"))[0]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", "-m", "audit", "measure", str(network)]
    folder = undisturbed.config.parent

    def measured(mark: str, kill: bool, within: float) -> float:
        start = time.monotonic()
        with started(mark, *command, "--out", str(tmp_path / mark), cwd=folder) as main:
            if kill:
                ranks = ("RANK=0\0", "RANK=1\0")
                until(
                    lambda: (
                        sum(any(r in e for r in ranks) for e in marked(mark).values()) >= 2
                        or main.poll() is not None
                    )
                )
                time.sleep(chance.uniform(0.0, within))
                own = [p for p, e in marked(mark).items() if any(r in e for r in ranks)]
                if own:
                    os.kill(chance.choice(own), signal.SIGKILL)
            main.communicate(timeout=900)
            until(lambda: not marked(mark), 120)
            # A kill after the results were written still ends with torchrun's 1.
            assert main.returncode or (tmp_path / mark / "results.json").is_file()
        return time.monotonic() - start

    seconds = measured("whole", False, 0.0)
    for number in range(KILLS):
        measured(f"killed-{number}", True, seconds)
        for path in (tmp_path / f"killed-{number}").glob("results.json"):
            assert numbers(path.parent)["groups"] == numbers(tmp_path / "whole")["groups"]
    measured("killed-0", False, 0.0)
    assert numbers(tmp_path / "killed-0")["groups"] == numbers(tmp_path / "whole")["groups"]
    tell("at random: a torchrun rank", kills=KILLS)


# --- disks and clocks -----------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of 150 KiB, too small for the study."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=150k", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system in memory cannot be mounted here: be root on Linux")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_and_a_read_only_one_end_in_one_line_and_resume(
    undisturbed: Undisturbed, disk: Path
) -> None:
    settings, out = load_settings(undisturbed.config), disk / "out"
    with pytest.raises(AuditError, match=r"No space left on device") as full:
        run_study(settings, out, workers=1, threads=1).save(out)
    assert "\n" not in str(full.value)
    whole = finished(out)
    subprocess.run(["mount", "-o", "remount,size=20m,ro", str(disk)], check=True)
    with pytest.raises(AuditError, match="Read-only file system"):
        run_study(settings, out, workers=1, threads=1)
    subprocess.run(["mount", "-o", "remount,size=20m,rw", str(disk)], check=True)
    run_study(settings, out, workers=1, threads=1).save(out)
    assert {path: finished(out)[path] for path in whole} == whole
    check_same(out, undisturbed)


def test_a_clock_that_jumps_changes_nothing(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, clock = random.Random(0), time.time
    monkeypatch.setattr(time, "time", lambda: clock() + chance.uniform(-3e7, 3e7))
    run_study(load_settings(undisturbed.config), tmp_path / "out", workers=1, threads=1).save(
        tmp_path / "out"
    )
    check_same(tmp_path / "out", undisturbed)
    assert all(one.get("seconds", 0.0) >= 0.0 for one in events(tmp_path / "out"))
