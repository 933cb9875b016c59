"""What the settings of the mitigation methods may be, checked where they are made."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from audit.errors import AuditError

RANGES: dict[str, tuple[float, float]] = {
    "weight_steps": (1, math.inf),
    "reading_interval": (1, math.inf),
    "mask_step": (0, math.inf),
    "ridge": (1e-9, math.inf),
    "ramp_share": (0, 1),
    "mask_share": (0, 1),
    "multiplier_share": (0, 1),
    "multiplier_step": (0, math.inf),
    "multiplier_bound": (0, math.inf),
    "multiplier_gain": (0, math.inf),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "multiplier_split": ("select", "train"),
    "mask_split": ("select", "train"),
    "settle_split": ("both", "train"),
}
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def check_options(settings: Any) -> None:
    """Raise AuditError where a value of a settings dataclass has the wrong type or is out of range.

    A field whose default is None may be None or a number.
    """
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if entry.name == "training" or (value is None and entry.default is None):
            continue
        kind = float if entry.default is None else type(entry.default)
        if not _is(value, kind):
            raise AuditError(f"found {entry.name} = {value!r}; expected {NAMES[kind]}")
        low, high = RANGES.get(entry.name, (-math.inf, math.inf))
        if kind in (int, float) and not (low <= value <= high and math.isfinite(value)):
            span = f"from {low:g} to {high:g}" if high < math.inf else f"of {low:g} or more"
            raise AuditError(f"found {entry.name} = {value!r}; expected a number {span}")
        if value not in CHOICES.get(entry.name, (value,)):
            raise AuditError(
                f"found {entry.name} = {value!r}; expected {' or '.join(CHOICES[entry.name])}"
            )


def _is(value: object, kind: type) -> bool:
    """Whether a value is of the kind; a whole number is a number, and a truth value is none."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
