"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

from audit.errors import AuditError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its name only if all went well.

    What a crash left half-written of the same file is removed.
    Raises AuditError where the system does not let it be written.
    """
    temporary = _partial(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise AuditError(f"'{path}' is {kind}; give the name of a file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean(path)
        with _held(temporary):
            yield temporary
            temporary.replace(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def remove(path: Path) -> None:
    """Remove a file that may be there; AuditError where the system does not let it be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise AuditError(f"cannot remove '{path}': {said(error)}") from error


def check_file(path: Path) -> None:
    """Raise AuditError unless a file can be written at `path`; nothing is left behind.

    A trial and not a look at permissions, which say little for root and on shared disks.
    """
    try:
        if path.is_dir():
            raise AuditError(f"'{path}' is a folder; expected the name of a file to write")
        if path.exists() and not path.is_file():
            raise AuditError(f"'{path}' is no regular file; give the name of a file to write")
        _try_writing(path.parent, (_partial(path).name,))
    except OSError as error:
        raise _refused(path, error) from error


def check_folder(folder: Path, files: Iterable[str] = ()) -> None:
    """Raise AuditError unless these files can be written in the folder; nothing is left behind."""
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            raise AuditError(f"'{folder}' is no folder; give the name of a folder to write to")
        _try_writing(folder, ())
    except OSError as error:
        raise _refused(folder, error) from error
    for name in files:
        check_file(folder / name)


def check_readable(*paths: Path) -> None:
    """Raise AuditError where a file is missing or cannot be opened."""
    for path in paths:
        try:
            path.open("rb").close()
        except FileNotFoundError as error:
            raise AuditError(f"there is no file '{path}'") from error
        except IsADirectoryError as error:
            raise AuditError(f"'{path}' is a folder; expected a file") from error
        except OSError as error:
            raise AuditError(f"cannot read '{path}': {said(error)}") from error


@contextmanager
def permitted() -> Iterator[None]:
    """Say in one line which file may not be read; also a decorator of what reads.

    To ask whether a file is there raises already, where its folder is closed.
    """
    try:
        yield
    except PermissionError as error:
        raise AuditError(f"cannot read '{error.filename}': {said(error)}") from error


def said(error: OSError) -> str:
    """What the system says, and what to do where it is a right that is missing."""
    right = "; give this user the right to it, or name another place"
    return (error.strerror or str(error)) + right * isinstance(error, PermissionError)


def is_near(path: Path | str, file: Path | str) -> bool:
    """Whether a path that a file names lies under the current folder or the file's own.

    Links are followed first. What a file of others names elsewhere is opened only where the person
    names it too.
    """
    found = Path(path).resolve()
    return any(found.is_relative_to(home) for home in (Path.cwd(), Path(file).resolve().parent))


def check_no_copies(paths: Iterable[Path]) -> None:
    """Raise AuditError where two files hold the same bytes, as one network's given twice."""
    seen: dict[str, Path] = {}
    for path in paths:
        digest = sha256(path)
        if digest in seen:
            raise AuditError(
                f"'{path}' holds the very bytes of '{seen[digest]}'; expected another network's"
            )
        seen[digest] = path


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


@contextmanager
def _held(temporary: Path) -> Iterator[None]:
    """Hold a lock on the file while it is written, which a crash releases."""
    if sys.platform == "win32":  # an open file cannot be renamed there
        yield
        return
    with temporary.open("ab") as file:
        with suppress(OSError):  # a file system without locks
            _lock(file)
        yield


def _clean(path: Path) -> None:
    """Remove what crashes left half-written of a file; what another process writes is locked."""
    for left in path.parent.glob(f".{escape(path.name)}.*.partial"):
        with suppress(OSError), left.open("ab") as file:
            _lock(file)
            left.unlink()


def _lock(file: BinaryIO) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _try_writing(folder: Path, names: tuple[str, ...]) -> None:
    """Write a file without a name where the folder is, or where it would be made."""
    there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not there.is_dir():
        raise AuditError(f"'{there}' is no folder; '{folder}' cannot be made in it")
    for name in (*folder.relative_to(there).parts, *names):
        (there / name).is_symlink()  # a name that is too long raises here
    with tempfile.TemporaryFile(dir=there) as trial:
        trial.write(b"\0")


def _refused(path: Path, error: OSError) -> AuditError:
    return AuditError(f"cannot write '{path}': {said(error)}")
