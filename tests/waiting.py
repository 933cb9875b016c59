"""Waiting for what other processes and threads do, on machines however slow."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 900.0) -> None:
    """Wait until something holds.

    The limit ends a test that would hang, and is no measure of speed: far beyond what a loaded
    machine needs.
    """
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"what was waited for did not come in {seconds:g} s"
        time.sleep(0.05)
