"""How far a study is: a bar and a line a worker for people, plain lines where nobody watches."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from audit.durations import spoken
from audit.escaping import printable
from audit.study.events import later_events

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from audit.study.working import Outcome

QUIET = "AUDIT_QUIET"
"""Set by `audit --quiet`: neither bars nor lines."""
LINE_EVERY = 30.0
"""Seconds between two lines in a log."""
LOOK_EVERY = 0.5
"""Seconds between two looks at which cells are in work."""


def watched(
    title: str, outcomes: Iterable[Outcome], total: int, folder: Path | None = None
) -> Iterator[Outcome]:
    """The outcomes as they come, while standard error shows how many there are.

    With the folder of a study that several workers share, a line for each cell in work too.
    """
    if os.environ.get(QUIET):
        yield from outcomes
        return
    if sys.stderr.isatty() and folder is not None:
        yield from _side_by_side(title, outcomes, total, folder)
        return
    if sys.stderr.isatty():
        yield from tqdm(outcomes, title, total=total, unit="cell", leave=False)
        return
    count = Count(title, total)
    lines = threading.Thread(target=count.tell, daemon=True)
    lines.start()
    try:
        for outcome in outcomes:
            count.add(outcome)
            yield outcome
    finally:
        count.over.set()
        lines.join()


def _side_by_side(
    title: str, outcomes: Iterable[Outcome], total: int, folder: Path
) -> Iterator[Outcome]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # The bars of the workers themselves would write over these lines.
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
            whole = shown.add_task(title, total=total)
            workers = Workers(shown, folder)
            looking = threading.Thread(target=workers.watch, daemon=True)
            looking.start()
            for outcome in outcomes:
                shown.advance(whole)
                yield outcome
            workers.over.set()
            looking.join()
    finally:
        del os.environ["TQDM_DISABLE"]
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


@dataclass
class Workers:
    """A line for each cell that is in work, by the event log of the study."""

    shown: Progress
    folder: Path
    lines: dict[str, TaskID] = field(default_factory=dict)
    offset: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        _, self.offset = later_events(self.folder, 0)

    def watch(self) -> None:
        """Look until it is over."""
        while not self.over.wait(LOOK_EVERY):
            self.look()

    def look(self) -> None:
        """Add lines for cells that were begun since the last look, and remove those that ended."""
        found, self.offset = later_events(self.folder, self.offset)
        for event in found:
            cell = str(event.get("cell", ""))
            if event["event"] == "started" and cell not in self.lines:
                self.lines[cell] = self.shown.add_task(f"  {printable(cell)}", total=None)
            elif event["event"] in ("finished", "failed") and cell in self.lines:
                self.shown.remove_task(self.lines.pop(cell))


@dataclass
class Count:
    """Cells so far, told in a line every half minute until it is over."""

    title: str
    total: int
    done: int = 0
    failed: int = 0
    start: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.done += 1
        self.failed += outcome.measures is None

    def tell(self) -> None:
        """Write a line every half minute."""
        while not self.over.wait(LINE_EVERY):
            print(f"audit: {self.line()}", file=sys.stderr, flush=True)

    def line(self) -> str:
        """How far it is, in words."""
        failed = f", {self.failed} of them failed" if self.failed else ""
        return f"{self.title}: {self.done} of {self.total} cells{failed}{self._left()}"

    def _left(self) -> str:
        if not 0 < self.done < self.total:
            return ""
        each = (time.monotonic() - self.start) / self.done
        return f", about {spoken(each * (self.total - self.done))} left"
