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
    handle = os.open(folder / EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """All events so far; a line that a crash cut short is left out."""
    try:
        lines = (folder / EVENTS).read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("event"), str):
            yield found
