"""How far a study is: a bar for people, plain lines where nobody watches."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tqdm import tqdm

from audit.durations import spoken

if TYPE_CHECKING:
    from audit.study.working import Outcome

LINE_EVERY = 30.0
"""Seconds between two lines in a log."""


def watched(title: str, outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """The outcomes as they come, while standard error shows how many there are."""
    if os.environ.get("TQDM_DISABLE"):
        yield from outcomes
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
