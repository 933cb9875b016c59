"""What the command line ends with, and the one line that says why.

0    done
1    a threshold failed, and nothing else
2    what was given cannot be used: an AuditError, or a word that the command does not know
3    what nobody foresaw: the traceback is in a file, which the line names
130  Ctrl-C; the line says what is kept, and how to go on
"""

from __future__ import annotations

import os
import platform
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from audit.durations import STEPS
from audit.errors import AuditError, ProcessesParted
from audit.escaping import printable
from audit.files import said
from audit.processes import told_elsewhere

THRESHOLD_FAILED, REFUSED, UNEXPECTED, STOPPED = 1, 2, 3, 130
AGAIN = "the same command begins again"
WHOLE = f"every file that was written is whole; {AGAIN}"
AT_ONCE = "stopped at once; what is half-written is removed when the same command runs again"
_told = threading.Event()
"""Set once a line has told that the command was stopped."""


class Stopped(Exception):
    """Ctrl-C while a command knew what is kept; the message says so."""


@contextmanager
def keeping(what: str, then: str = AGAIN) -> Iterator[None]:
    """Say what is kept and how to go on, should Ctrl-C come meanwhile."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped(f"{what}; {then}") from stop


def stop_in_order() -> None:
    """Let Ctrl-C end the command in order, and a second one end the process where it is.

    Workers end with it, and no traceback tells of what was being put in order.
    """

    def first(*_: object) -> None:
        signal.signal(signal.SIGINT, _stop_at_once)
        raise KeyboardInterrupt

    # One that is ignored, as behind nohup, stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, first)


def _stop_at_once(*_: object) -> None:
    if not _told.is_set():
        os.write(2, f"audit: {AT_ONCE}\n".encode())
    os._exit(STOPPED)


def exit_code(run: Callable[[], object]) -> int:
    """Run the command and return the code to end with; errors are told on stderr, in one line."""
    try:
        code = run()
    except (AuditError, ProcessesParted) as error:
        return REFUSED if told_elsewhere() else _tell(REFUSED, str(error))
    except PermissionError as error:
        return _tell(REFUSED, f"cannot read or write '{error.filename}': {said(error)}")
    except typer.TyperException as error:
        return _tell(REFUSED, error.format_message())
    except Stopped as stop:
        return _tell(STOPPED, f"stopped; {stop}")
    except (KeyboardInterrupt, typer.Abort):
        return _tell(STOPPED, f"stopped; {WHOLE}")
    except SystemExit as end:
        # Completion of a shell's line ends so; else it is code of the user's that ends the process.
        return _code(end.code) if _completes() else _unexpected(end)
    except Exception as error:
        return _unexpected(error)
    if code == STOPPED:
        return _tell(STOPPED, f"stopped; {WHOLE}")
    return _code(code)


def command_line() -> str:
    """What was typed, as a shell reads it again."""
    return shlex.join(["audit", *sys.argv[1:]])


def _code(code: object) -> int:
    return code if isinstance(code, int) else 0


def _completes() -> bool:
    return any(name.startswith("_") and name.endswith("AUDIT_COMPLETE") for name in os.environ)


def _tell(code: int, message: str) -> int:
    print(f"audit: {printable(message)}", file=sys.stderr, flush=True)
    if code == STOPPED:
        _told.set()
    return code


def _unexpected(error: BaseException) -> int:
    """Write the traceback to a file that only its owner can read, and name it."""
    found = traceback.format_exception_only(error)[-1]
    STEPS.info("", exc_info=error)
    try:
        handle, path = tempfile.mkstemp(prefix="audit-", suffix=".traceback.txt")
        os.close(handle)
        trace = "".join(traceback.format_exception(error))
        Path(path).write_text(f"{command_line()}\n{_versions()}\n\n{trace}", "utf-8")
    except OSError:
        where = traceback.extract_tb(error.__traceback__)[-1]
        path = f"no file (none can be written); it ends in {where.filename}, line {where.lineno}"
    return _tell(
        UNEXPECTED,
        f"unexpected {found.strip()[:300]}; the traceback is in {path}: this is a fault of audit "
        "or of a function of yours that it called; if it is audit's, report it with that file, "
        "which holds the command, versions and paths, and no data",
    )


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = [f"python {platform.python_version()} on {platform.platform()}"]
    for name in ("pruning-audit", "torch", "numpy", "pandas"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} is not installed")
    return ", ".join(found)
