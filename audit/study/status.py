"""How far a study is, from its files alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from audit.durations import spoken
from audit.errors import AuditError
from audit.files import permitted
from audit.study.events import EVENTS, events
from audit.study.locks import in_work


@dataclass(frozen=True)
class Status:
    """What became of the cells of the last plan of a study.

    done        names of cells that were finished, or found finished
    running     names of cells in work on this machine, and since when
    failed      the reason by name
    waiting     names of all the others
    left        seconds that the rest may take, from those that were worked on; None where unknown
    """

    done: tuple[str, ...]
    running: dict[str, str]
    failed: dict[str, str]
    waiting: tuple[str, ...]
    left: float | None

    def record(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "done": list(self.done),
            "running": self.running,
            "failed": self.failed,
            "waiting": list(self.waiting),
            "seconds_left": self.left,
        }

    def lines(self) -> list[str]:
        """The same for people."""
        total = len(self.done) + len(self.running) + len(self.failed) + len(self.waiting)
        left = "" if self.left is None else f"; about {spoken(self.left)} left"
        return [
            f"{len(self.done)} of {total} cells done, {len(self.running)} running, "
            f"{len(self.failed)} failed, {len(self.waiting)} waiting{left}",
            *(f"running  {name}, since {since}" for name, since in self.running.items()),
            *(f"failed   {name}: {reason}" for name, reason in self.failed.items()),
        ]


@permitted()
def study_status(folder: Path) -> Status:
    """The status of the study in a folder, whether it runs or not.

    Raises AuditError where no study was begun there, or its files may not be read.
    """
    plan: dict[str, Any] | None = None
    last: dict[str, dict[str, Any]] = {}
    seconds: list[float] = []
    for event in events(folder):
        if event["event"] == "planned":
            plan, last = event, {}
        elif isinstance(event.get("cell"), str):
            last[event["cell"]] = event
            if event["event"] == "finished" and not event.get("kept"):
                seconds.append(float(event["seconds"]))
    if plan is None:
        raise AuditError(f"no study was begun in '{folder}' (it has no '{EVENTS}' with a plan)")
    cells = [str(name) for name in plan["cells"]]
    kinds = {name: last[name]["event"] for name in cells if name in last}
    done = tuple(name for name in cells if kinds.get(name) == "finished")
    failed = {
        name: reason for name in cells if name not in done and (reason := _failure(folder, name))
    }
    running = {
        name: str(last[name]["time"])
        for name in cells
        if kinds.get(name) == "started" and in_work(folder, name)
    }
    waiting = tuple(name for name in cells if name not in {*done, *failed, *running})
    rest = len(waiting) + len(running)
    left = fmean(seconds) * rest / max(1, int(plan["workers"])) if seconds and rest else None
    return Status(done, running, failed, waiting, left)


def _failure(folder: Path, name: str) -> str:
    try:
        record = json.loads((folder / "failed" / f"{name}.json").read_text("utf-8"))
        return str(record["reason"])
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        return ""
