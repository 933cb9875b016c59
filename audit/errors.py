"""The one error that the toolkit raises for a person to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class AuditError(Exception):
    """Something the user gave cannot be used: what was found, what was expected, what to do.

    The command line prints the message in one line and exits with code 2.
    """


@contextmanager
def about(name: str) -> Iterator[None]:
    """An AuditError within names the network that it is about, unless it does so itself."""
    try:
        yield
    except AuditError as error:
        if f"'{name}'" in str(error):
            raise
        raise type(error)(f"'{name}': {error}") from error


class ProcessesParted(Exception):
    """The processes of one measurement no longer do the same, or one of them is gone.

    No AuditError, since those of a single measure become a row that says why: here nothing that
    follows could be trusted, and all of it ends. Exit code 2.
    """
