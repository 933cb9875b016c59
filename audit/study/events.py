"""What happened in a study, as lines of JSON: for machines, and for `audit status`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

EVENTS = "events.jsonl"


def log(folder: Path, event: str, **fields: Any) -> None:
    """Add one event, in one write, so that the lines of several processes do not mix.

    It begins a line of its own even where a crash cut the last one short.
    Durations in it come from a clock that never jumps; `time` is for people.
    """
    record = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "host": platform.node(),
        "pid": os.getpid(),
        **fields,
    }
    line = json.dumps(record, ensure_ascii=True) + "\n"
    handle = os.open(folder / EVENTS, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, ("\n" * _is_cut(handle) + line).encode())
    finally:
        os.close(handle)


def _is_cut(handle: int) -> bool:
    if os.fstat(handle).st_size == 0:
        return False
    os.lseek(handle, -1, os.SEEK_END)
    return os.read(handle, 1) != b"\n"


def later_events(folder: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The events behind an offset of the log, in bytes, and the offset behind them."""
    try:
        with (folder / EVENTS).open("rb") as file:
            file.seek(offset)
            new = file.read()
    except FileNotFoundError:
        return [], offset
    whole = new[: new.rfind(b"\n") + 1]  # a line that is being written waits
    lines = whole.decode("utf-8", errors="replace").splitlines()
    return [found for line in lines if (found := _event(line))], offset + len(whole)


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """All events so far; a line that a crash cut short is left out."""
    try:
        lines = (folder / EVENTS).read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    yield from (found for line in lines if (found := _event(line)))


def _event(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None
