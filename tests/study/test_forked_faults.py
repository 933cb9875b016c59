"""A kill at every single write, no permission, Ctrl-C in each phase: told, whole, and resumed.

Each is tried in a few places by default, and with AUDIT_KILLS in every one (`make faults`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer

import audit
from audit.commands.exits import STOPPED
from audit.errors import AuditError
from audit.files import sha256
from audit.study.events import EVENTS, events
from tests.study.forks import Fault, Forks, forks
from tests.study.tiny import STUDY
from tests.study.whole import check_numbers, finished, marked, numbers, people, tell
from tests.waiting import until

LONG = "AUDIT_KILLS" in os.environ
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").is_file(), reason="looks for processes in /proc"
)
NETWORK, DENSE = "magnitude-0.6-seed0.pt", "dense-seed0.pt"
RUN = ("run", "study.toml", "--out", "out", "--workers", "1", "--threads", "1")
QUICK = ("--curvature", "none", "--samples-per-group", "20", "--out", "out")
ONCE = ("--epochs", "1", "--out", "out/fair.pt")


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks(tmp_path_factory.mktemp("said")) as server:
        yield server


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, fork: Forks) -> Path:
    """A table, a study of which one cell fails, and its networks; beside it `whole`, once run."""
    folder = tmp_path_factory.mktemp("scene")
    people(folder / "table.csv")
    text = (
        STUDY.format(table="table.csv").replace("[0, 1]", "[0]").replace("0.3, 0.6", "0.6, 0.9999")
    )
    (folder / "study.toml").write_text(f"{text}minimum_group_size = 5\n")
    whole = shutil.copytree(folder, folder.with_name("whole"))
    assert fork(*RUN, cwd=whole).code == 2
    for name in (NETWORK, DENSE):
        shutil.copy(whole / "out" / "models" / name, folder / name)
    return folder


# --- kills ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """A command, and what lies in its folder before: results of another one, or nothing.

    few   the shares of the way at which it is killed where there is not time for all
    code  what it ends with
    """

    words: tuple[str, ...]
    before: tuple[str, ...] = ()
    few: tuple[float, ...] = ()
    code: int = 0


MEASURE = ("measure", NETWORK, *QUICK)
WALKS = {
    "study": Walk(RUN, few=(0.6, 0.95), code=2),
    "study over another": Walk(RUN, before=("measure", DENSE, *QUICK), code=2),
    "measure": Walk((*MEASURE, "--card"), before=("measure", DENSE, *QUICK)),
    "compare": Walk(("compare", DENSE, NETWORK, *QUICK), before=MEASURE),
    "mitigate": Walk(("mitigate", DENSE, "--rate", "0.5", *ONCE)),
    "mend": Walk(
        ("mitigate", NETWORK, "--constraint", "equalised-odds", *ONCE, "--report", "out"), MEASURE
    ),
    "report": Walk(("report", "out", "--card"), before=MEASURE),
}


def contents(folder: Path) -> list[str]:
    """All files and folders, but for those that are set aside."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name for name in found if "set-aside" not in name)


def begun(scene: Path, place: Path, walk: Walk, fork: Forks) -> Path:
    shutil.copytree(scene, place)
    if walk.before:
        assert fork(*walk.before, cwd=place).code == 0
    return place


def results_in(out: Path) -> dict[str, Any] | None:
    """What is read from a folder; None where it is told that it cannot be."""
    try:
        return numbers(out)
    except AuditError:
        return None


@pytest.mark.parametrize("name", WALKS)
def test_a_kill_at_any_write_loses_nothing(
    name: str, fork: Forks, scene: Path, tmp_path: Path
) -> None:
    walk = WALKS[name]
    if not LONG and not walk.few:
        pytest.skip("takes minutes; make faults runs it")
    start = begun(scene, tmp_path / "before", walk, fork)
    earlier, given = results_in(start / "out"), {p: sha256(p) for p in scene.iterdir()}
    whole, trace = tmp_path / "whole", tmp_path / "trace"
    shutil.copytree(start, whole)
    fault = Fault(under=str(whole), trace=str(trace))
    assert fork(*walk.words, cwd=whole, fault=fault).code == walk.code
    changes = json.loads(trace.read_text())
    last, wanted = len(changes), results_in(whole / "out")
    chosen = range(1, last + 1) if LONG else [round(share * last) for share in walk.few]
    opened = [False, *(change[0] == "open" for change in changes)]
    for number in chosen:
        torn = opened[number - 1]
        place = tmp_path / str(number)
        shutil.copytree(start, place)
        fault = Fault(under=str(place), kill=number, torn=torn)
        assert fork(*walk.words, cwd=place, fault=fault).code == -signal.SIGKILL
        assert {p: sha256(place / p.name) for p in given} == given
        kept = finished(place / "out")
        assert results_in(place / "out") in (None, earlier, wanted)
        again = fork(*walk.words, cwd=place)
        assert again.code == walk.code, again.err
        assert {path: finished(place / "out")[path] for path in kept} == kept
        assert contents(place) == contents(whole), changes[number - 1]
        if wanted is not None:
            check_numbers(place / "out", whole / "out")
        if walk.words is RUN:
            assert sum(one["event"] == "planned" for one in events(place / "out")) >= 1
        shutil.rmtree(place)
    tell(f"at every write: {name}", kills=len(chosen), changes=last)


# --- no permission --------------------------------------------------------------------------------

NOBODY = 65534
SPEC = "table:table.csv?target=target&group=group"
CLOSED, UNWRITABLE = 0o700, 0o755
WRITING = {
    "run": RUN,
    "measure": MEASURE,
    "compare": ("compare", DENSE, NETWORK, *QUICK),
    "mitigate": ("mitigate", DENSE, "--rate", "0.5", *ONCE),
    "mend": ("mitigate", NETWORK, *ONCE, "--report", "out"),
    "train": ("train", "--data", SPEC, "--model", "mlp", *ONCE),
    "prune": ("prune", DENSE, "--rate", "0.5", *ONCE),
    "report": ("report", "out"),
    "shrink": ("shrink", NETWORK, "--out", "out/small.pt2"),
}
READING = {name: WRITING[name] for name in ("run", "measure", "compare", "mitigate", "train")}
LOOKING = {name: (name, "out") for name in ("report", "status")}


def digests(folder: Path) -> dict[str, str]:
    """Of all files but the log and the locks of a study."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path): sha256(path) for path in files if path.name != EVENTS}


@dataclass(frozen=True)
class Forbidden:
    """What belongs to another user, with which mode, and what is told of it by which commands."""

    path: str
    mode: int
    commands: dict[str, tuple[str, ...]]
    told: str
    few: tuple[str, ...] = ()


def within(folder: str) -> dict[str, tuple[str, ...]]:
    """Commands that read from a folder."""
    spec = SPEC.replace("table.csv", f"{folder}/table.csv")
    return {
        "run": ("run", f"{folder}/study.toml", "--out", "out"),
        "measure": ("measure", f"{folder}/{NETWORK}", *QUICK),
        "dense": ("measure", NETWORK, "--dense", f"{folder}/{DENSE}", *QUICK),
        "data": ("measure", NETWORK, "--data", spec, *QUICK),
        "train": ("train", "--data", spec, "--model", "mlp", *ONCE),
        "images": ("train", "--data", f"images:{folder}?target=a&group=b", "--model", "mlp", *ONCE),
        "mitigate": ("mitigate", f"{folder}/{DENSE}", "--rate", "0.5", *ONCE),
        "shrink": ("shrink", f"{folder}/{NETWORK}", "--out", "out/small.pt2"),
        "report": ("report", folder),
        "status": ("status", folder),
    }


FORBIDDEN = {
    "folder of results": Forbidden("out", UNWRITABLE, WRITING, "cannot write", ("mend",)),
    "closed folder of results": Forbidden("out", CLOSED, WRITING | LOOKING, "out"),
    "inputs in a closed folder": Forbidden("in", CLOSED, within("in"), "in", ("run",)),
    "data": Forbidden("table.csv", CLOSED, READING, "cannot be read"),
    "checkpoint": Forbidden(NETWORK, CLOSED, {"measure": MEASURE}, "not readable"),
    "dense network": Forbidden(DENSE, CLOSED, {"measure": MEASURE}, "cannot read", ("measure",)),
    "networks of cells": Forbidden("out/models", UNWRITABLE, {"run": RUN}, "cannot write"),
    "cell": Forbidden("out/cells/magnitude-*", CLOSED, {"run": RUN}, "cannot write under"),
    "network": Forbidden(f"out/models/{NETWORK}", CLOSED, {"run": RUN}, "cannot write under"),
    "lock": Forbidden("out/locks/*", CLOSED, {"run": RUN}, ".lock", ("run",)),
    "events": Forbidden(
        "out/events.jsonl", CLOSED, {"run": RUN, "status": LOOKING["status"]}, "events", ("status",)
    ),
    "failures": Forbidden(
        "out/failed", CLOSED, {"run": RUN, "status": LOOKING["status"]}, "failed"
    ),
    "results": Forbidden("out/results.json", CLOSED, {"report": LOOKING["report"]}, "cannot be"),
}


@pytest.fixture(scope="module")
def others(scene: Path) -> Iterator[Path]:
    """A folder that anybody may enter, with the scene twice and a finished study, of `nobody`."""
    if os.geteuid():
        pytest.skip("another user can be taken by root alone")
    folders = [up for module in (audit, typer) for up in Path(module.__file__ or "").parents]
    if not all(folder.stat().st_mode & 0o001 for folder in folders):
        pytest.skip("another user cannot read the packages here, some of which are imported late")
    with TemporaryDirectory() as name:
        place = Path(name) / "place"
        shutil.copytree(scene.with_name("whole"), place)
        shutil.copytree(scene, place, dirs_exist_ok=True)
        shutil.copytree(scene, place / "in")
        Path(name).chmod(0o755)
        yield place


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_another_user_owns_is_told_in_one_line(name: str, fork: Forks, others: Path) -> None:
    case, tried = FORBIDDEN[name], 0
    if not LONG and not case.few:
        pytest.skip("takes minutes; make faults runs it")
    place = others.with_name(name.replace(" ", "-"))
    for command in case.commands if LONG else case.few:
        shutil.copytree(others, place)
        for path in (place, *place.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        for path in place.glob(case.path):
            os.chown(path, 0, 0)
            path.chmod(case.mode)
        before = digests(place)
        ended = fork(*case.commands[command], cwd=place, fault=Fault(user=NOBODY))
        assert ended.code == 2, (command, ended)
        (line,) = ended.err.splitlines()
        assert line.startswith("audit: ")
        assert case.told in line
        assert digests(place) == before
        shutil.rmtree(place)
        tried += 1
    tell(f"no permission: {name}", commands=tried)


# --- Ctrl-C ---------------------------------------------------------------------------------------

COMMANDS = {
    "here": RUN,
    "processes": (*RUN, "--workers", "2"),
    "dask": (*RUN, "--engine", "dask", "--workers", "2"),
    "pdf": (*RUN, "--pdf"),
    "measure": MEASURE,
    "compare": WRITING["compare"],
    "mitigate": WRITING["mitigate"],
    "train": WRITING["train"],
}
AFTER = ("writing the tables", "drawing the report")
OF_STUDIES = ("planning", "training", "pruning", "measuring", "gathering", *AFTER)
PHASES_OF = {
    "here": OF_STUDIES,
    "processes": OF_STUDIES,
    "dask": OF_STUDIES,
    "pdf": ("drawing the PDF",),
    "measure": ("measuring files", "gathering files", *AFTER),
    "compare": ("measuring files", "gathering files", *AFTER),
    "mitigate": ("pruning one",),
    "train": ("training one",),
}
STOPS = [(name, phase, times) for name in COMMANDS for phase in PHASES_OF[name] for times in (1, 2)]
FEW = (("here", "writing the tables", 2), ("processes", "gathering", 1))


@pytest.mark.parametrize(("name", "phase", "times"), STOPS)
def test_ctrl_c_ends_any_phase_in_order(
    name: str, phase: str, times: int, fork: Forks, scene: Path, tmp_path: Path
) -> None:
    if not LONG and (name, phase, times) not in FEW:
        pytest.skip("takes minutes; make faults runs it")
    if name == "dask":
        pytest.importorskip("distributed", reason="install the extra: dask")
    if name == "pdf":
        pytest.importorskip("weasyprint", reason="needs Pango", exc_type=OSError)
    place, mark = tmp_path / "place", f"{tmp_path.name}-stopped"
    shutil.copytree(scene, place)
    fault = Fault(stop=phase, times=times)
    ended = fork(*COMMANDS[name], cwd=place, fault=fault, mark=mark)
    # A second one may meet an interpreter that has given its signals back; a shell says 130 too.
    assert ended.code in ((STOPPED,), (STOPPED, -signal.SIGINT))[times - 1], ended
    assert "Traceback" not in ended.err
    # Of a slow study the lines before tell how far it was.
    assert 1 <= ended.err.count("audit: stopped") <= times
    assert "the same command" in ended.err.splitlines()[-1]
    until(lambda: not marked(mark), 120)
    assert times == 2 or not list(place.rglob("*.partial"))
    kept = finished(place / "out")
    if COMMANDS[name][0] == "run":
        assert fork(*RUN, cwd=place).code == 2
        assert {path: finished(place / "out")[path] for path in kept} == kept
        check_numbers(place / "out", scene.with_name("whole") / "out")
    else:
        assert fork(*COMMANDS[name], cwd=place).code == 0
    assert not list(place.rglob("*.partial"))
    tell(f"Ctrl-C: {name}, {phase}", times=times)
