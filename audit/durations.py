"""Durations: in words, and told of the steps of a command where that was asked for (`-v`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

STEPS = logging.getLogger("audit")
"""What was done and how long it took, at the level INFO; silent unless a program listens."""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Tell how long a step took; also a decorator of the function that is the step."""
    start = time.monotonic()
    yield
    STEPS.info("%s took %.2f s", what, time.monotonic() - start)


def spoken(seconds: float) -> str:
    """A duration in its two largest units.

    >>> spoken(42), spoken(200), spoken(7300)
    ('42 s', '3 min 20 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
