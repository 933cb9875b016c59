"""Commands of the toolkit in forked processes, each with the fault that is to meet it.

A server has everything imported and forks a process for each command, which so begins within
milliseconds: there is time for a kill at every single write. Run as `python -m tests.study.forks`,
it takes an order a line, and tells the exit code when the command has ended.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pyarrow.parquet as pq

import audit
import audit.cli
from audit.report import figures, scores
from tests.study.stopping import stop_at
from tests.study.whole import MARK

NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
FIGURE = '<svg width="90pt" height="90pt" viewBox="0 0 90 90"></svg>'
LATER = (
    "encodings.unicode_escape",
    "torch._dynamo",
    "pyarrow.dataset",
    "pandas.core.methods.to_dict",
)
"""What is imported once it is needed, by then perhaps by a user who cannot read where it lies."""
LONGEST = 600
"""Seconds after which a command that hangs is ended."""
CHANGES = ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.truncate", "os.link", "os.symlink")
"""What Python tells of changes to a file system, beside files that are opened to be written."""
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Fault:
    """What is to happen to a command.

    under   the folder in which changes are counted
    kill    before which of them the process kills itself; 0: never
    torn    whether the file that was written last is cut short first, as if it were half-written
    trace   where all changes are listed when the command has ended by itself
    user    whose rights it has; 0: as the tests
    stop    the phase that Ctrl-C meets (tests.study.stopping)
    times   how often, a moment apart
    """

    under: str = "/"
    kill: int = 0
    torn: bool = False
    trace: str = ""
    user: int = 0
    stop: str = ""
    times: int = 1


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass
class Changes:
    """A hook of `sys.addaudithook` that counts what changes the file system under a folder."""

    fault: Fault
    seen: list[list[str]] = field(default_factory=list)
    last: tuple[str, int] | None = None
    """The file that was opened for writing last, with its size before."""

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        paths = [path for path in _changed(event, arguments) if self._counts(path)]
        if not paths:
            return
        self.seen.append([event, *paths])
        if len(self.seen) == self.fault.kill:
            if self.fault.torn and self.last is not None:
                self._tear(*self.last)
            os.kill(os.getpid(), signal.SIGKILL)
        # Once it is renamed or another one is begun, a file is whole.
        self.last = (paths[0], _size(paths[0])) if event == "open" else None

    def write(self) -> None:
        """List what was seen."""
        Path(self.fault.trace).write_text(json.dumps(self.seen), "utf-8")

    def _counts(self, path: str) -> bool:
        return path.startswith(self.fault.under)

    def _tear(self, path: str, before: int) -> None:
        """Half of what was written is lost, or all of it, by turns."""
        if Path(path).is_file():
            os.truncate(path, before + self.fault.kill % 2 * (_size(path) - before) // 2)


def _changed(event: str, arguments: tuple[Any, ...]) -> list[str]:
    """The paths that an event changes."""
    if event == "open":
        path, mode, flags = arguments
        writes = any(one in mode for one in "wax+") if isinstance(mode, str) else flags & TO_WRITE
        return _absolute([path]) if writes else []
    if event not in CHANGES:
        return []
    folder = arguments[-1] if event in ("os.remove", "os.rmdir") else -1
    paths = _absolute(
        arguments, str(Path(f"/proc/self/fd/{folder}").readlink()) if folder >= 0 else ""
    )
    # A folder that is there already, or a file that is not, stays as it is.
    return paths if os.path.lexists(paths[0]) == (event != "os.mkdir") else []


def _absolute(paths: Iterable[Any], folder: str = "") -> list[str]:
    named = [os.fsdecode(one) for one in paths if isinstance(one, str | bytes | os.PathLike)]
    return [str(Path(folder, one).absolute()) for one in named]


def _size(path: str) -> int:
    return Path(path).stat().st_size if Path(path).is_file() else 0


def told(write: Callable[..., Any]) -> Callable[..., Any]:
    """The same method of writing to a path, told of to hooks: pyarrow opens its files unseen."""

    def telling(self: Any, path: Any, *more: Any, **options: Any) -> Any:
        sys.audit("open", path, "wb", 0)
        return write(self, path, *more, **options)

    return telling


def meet(fault: Fault, once: str) -> None:
    """Prepare this process for what is to happen to it, and tell in the file `once` that it did."""
    if fault.user:
        os.setgroups([])
        os.setgid(fault.user)
        os.setuid(fault.user)
    if fault.stop:
        stop_at(fault.stop, fault.times, once)
    if fault.kill or fault.trace:
        for owner, name in ((pd.DataFrame, "to_parquet"), (pq.ParquetWriter, "__init__")):
            mock.patch.object(owner, name, told(getattr(owner, name))).start()
        changes = Changes(fault)
        if fault.trace:
            atexit.register(changes.write)
        sys.addaudithook(changes)


# --- the server, and who asks it ------------------------------------------------------------------


@dataclass(frozen=True)
class Forks:
    """The server of a test, and where the commands' words are kept."""

    server: subprocess.Popen[str]
    folder: Path

    def __call__(self, *words: Any, cwd: Path, fault: Fault | None = None, mark: str = "") -> Ended:
        """Run `audit` with these words and wait until it has ended."""
        order = {
            "words": [str(word) for word in words], "cwd": str(cwd), "mark": mark,
            "fault": asdict(fault or Fault()), "said": str(self.folder / "said"),
        }  # fmt: skip
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        Path(f"{order['said']}.stopped").unlink(missing_ok=True)
        print(json.dumps(order), file=self.server.stdin, flush=True)
        code = int(self.server.stdout.readline())
        out, err = (Path(f"{order['said']}.{end}").read_text("utf-8") for end in ("out", "err"))
        return Ended(code, out, err)


@contextmanager
def forks(folder: Path) -> Iterator[Forks]:
    """A server, with one thread, as long as it is needed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "tests.study.forks"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield Forks(server, folder)
        server.communicate()


def serve() -> dict[str, Any] | None:
    """Fork for every order; the order in the process that is to follow it, None at the end."""
    names = [module.name for module in pkgutil.walk_packages(audit.__path__, "audit.")]
    for name in [*LATER, *names]:
        if not name.endswith("__main__"):
            import_module(name)
    # Figures take most of the time of a small study, and are part of the page alone.
    for drawing in (figures, scores):
        mock.patch.object(drawing, "svg", return_value=FIGURE).start()
    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            return dict(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return None


def follow(order: dict[str, Any]) -> None:
    """Become the command of an order, in a session of its own."""
    os.setsid()
    signal.alarm(LONGEST)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where tests are in the background
    os.environ[MARK] = order["mark"]
    for number, (name, flags) in enumerate(
        [(os.devnull, os.O_RDONLY), *((f"{order['said']}.{one}", NEW) for one in ("out", "err"))]
    ):
        os.dup2(os.open(name, flags, 0o644), number)
    os.chdir(order["cwd"])
    sys.argv = ["audit", *order["words"]]
    meet(Fault(**order["fault"]), f"{order['said']}.stopped")
    audit.cli.main()


if __name__ == "__main__":
    asked = serve()
    if asked is not None:
        follow(asked)
