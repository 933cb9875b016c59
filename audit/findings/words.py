"""How names and numbers are written: one vocabulary for tables, figures, sentences and cards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.metrics import unit_of

Row = Mapping[str, Any]
DASH = "–"
"""In place of a number that is not known."""
MOST_LOST = 0.015
"""A network that loses more accuracy, plain or balanced, than this is not proposed (J4)."""
MISSING = "(missing)"
"""The group of the samples whose attribute has no value."""
CROSSED = " × "
"""Between the parts of a group that is crossed from several attributes."""
EMPTY = "(empty)"
"""In place of a name that is no text at all."""
BEFORE_UNIT = re.compile(r"(?<=[\d∞]) (?=%|nats\b)")
"""The space between a number and the unit that belongs to it."""


def label(model: Row) -> str:
    """The name of a method with its constraint, as tables and figures show it."""
    constraint = model["constraint"]
    return str(model["method"]) if constraint == "none" else f"{model['method']} ({constraint})"


def labels(table: pd.DataFrame) -> np.ndarray:
    """The label of every row of a table with method and constraint."""
    methods, constraints = table["method"].astype(str), table["constraint"].astype(str)
    return np.where(constraints == "none", methods, methods + " (" + constraints + ")")


def named(name: object) -> str:
    """A group's own name; one may be called nothing at all.

    >>> named("")
    '(empty)'
    """
    return str(name) or EMPTY


def group(name: object) -> str:
    """A group as sentences name it.

    >>> group("A")
    'group A'
    """
    return f"group {named(name)}"


def layer_named(layer: str, kinds: Mapping[str, str]) -> str:
    """A layer by its name and kind, as far as that is known; of a weight, its layer.

    >>> layer_named("features.4.weight", {"features.4": "Conv2d"})
    'features.4 Conv2d'
    """
    name = layer.removesuffix(".weight")
    return f"{name} {kinds[name]}" if name in kinds else name


def listed(parts: Sequence[str]) -> str:
    """Some parts of a sentence as a list in words.

    >>> listed(["A", "B", "C"])
    'A, B and C'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def were(named: Sequence[str]) -> str:
    """The verb of so many names.

    >>> were(["A"]), were(["A", "B"])
    ('was', 'were')
    """
    return "was" if len(named) == 1 else "were"


def percent(rate: float) -> str:
    """A pruning rate in percent, never rounded up to all.

    >>> percent(0.995)
    '99.5%'
    """
    return f"{100 * rate:.6g}%"


def points(share: float, sign: str = "") -> str:
    """A difference of shares in points; its minus is no hyphen and never stands before a zero.

    >>> points(-0.124), points(-0.0001), points(0.031, "+")
    ('−12.4', '0.0', '+3.1')
    """
    # Adding zero turns the −0.0 of a small negative difference into 0.0.
    return f"{round(100 * share, 1) + 0.0:{sign}.1f}".replace("-", "−")


def points_with_interval(row: Row) -> str:
    """A difference of shares with its interval, where that is known.

    >>> points_with_interval({"value": 0.184, "ci_low": 0.096, "ci_high": 0.26})
    '18.4 points [9.6, 26.0]'
    """
    text = f"{points(row['value'])} points"
    between = interval(row["ci_low"], row["ci_high"], "points")
    return f"{text} {between}".strip()


def number(value: Any, metric: str = "number", signed: bool = False) -> str:
    """A value at the precision of the report, by its metric or by its unit (audit.metrics).

    Shares in percent, differences of shares in points, counts whole, all else to three digits.

    >>> number(0.9612, "accuracy"), number(0.24, "accuracy", signed=True), number(0.0804, "points")
    ('96.1 %', '+24.0', '8.0')
    """
    if value is None or pd.isna(value):
        return DASH
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    unit, sign = unit_of(metric), "+" if signed else ""
    if unit in ("share", "points"):
        text = points(value, sign)
        return f"{text} %" if unit == "share" and not signed else text
    if value == 0:
        return "0"
    whole = unit == "count" or abs(value) >= 999.5
    text = f"{value:{sign},.0f}" if whole else f"{value:{sign}#.3g}".rstrip(".")
    return text.replace("-", "−")


def first_upper(text: str) -> str:
    """A text whose first letter is a capital; names within keep theirs.

    >>> first_upper("group A pays")
    'Group A pays'
    """
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """A note as a page has it, where it stands alone.

    >>> sentence("collapse: a layer is empty")
    'Collapse: a layer is empty.'
    """
    return first_upper(text) + ("" if text.endswith((".", "!", "?", ":")) else ".")


def unparted(text: str) -> str:
    r"""A text whose lines never break between a number and its unit.

    >>> unparted("it is 95.6 %")
    'it is 95.6\xa0%'
    """
    return BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text)


def count(value: int | None) -> str:
    """How many, with a mark at the thousands.

    >>> count(23704)
    '23,704'
    """
    return DASH if value is None else f"{value:,}"


def counted(value: int | None, noun: str) -> str:
    """How many of something, with its plural.

    >>> counted(1, "sample"), counted(23704, "sample")
    ('1 sample', '23,704 samples')
    """
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


TINY = 1e-9
"""Of a bound: rounding of zero."""


def interval(low: Any, high: Any, metric: str = "number") -> str:
    """An interval in brackets, or nothing where it is unknown.

    A bound that is not zero is not shown as zero: whether an interval reaches it decides claims.

    >>> interval(0.1, 0.25, "accuracy"), interval(0.0003, 0.018, "points")
    ('[10.0, 25.0]', '[0.03, 1.8]')
    """
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return ""
    return f"[{_bound(low, metric)}, {_bound(high, metric)}]"


def _bound(value: Any, metric: str) -> str:
    text = bare(value, metric)
    if abs(value) < TINY or any(digit in text for digit in "123456789∞"):
        return text
    found = np.format_float_positional(100 * value, precision=1, fractional=False, trim="-")
    return found.replace("-", "−")


def bare(value: Any, metric: str = "number") -> str:
    """A number without its percent sign, where that stands elsewhere."""
    return number(value, metric).removesuffix(" %")
