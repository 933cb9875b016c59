"""Rooms that can be called by their name: `audit.prune(...)`, `audit.mitigate(...)`."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class Room(ModuleType):
    """A package that does, when it is called, what it is named after.

    `audit.prune` is the room of the criteria and masks, and `audit.prune(model, data)` prunes.
    """

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the function of the room's name gives."""
        home, _, function = self.verb.partition(":")
        return getattr(import_module(home), function)(*arguments, **named)


def make_callable(room: str, verb: str) -> None:
    """Let a call of the package named `room` be one of the function `package.module:function`."""
    module = sys.modules[room]
    module.__dict__["verb"] = verb
    module.__class__ = Room
