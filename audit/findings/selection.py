"""Selection rates and impact ratios of two classes, as New York City's Local Law 144 defines them.

6 RCNY § 5-300: the selection rate of a category is the share of its people who are given the
outcome; its impact ratio is that rate divided by the rate of the most selected category.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from audit.measure.fairness import SELECTION
from audit.measure.uncertainty import wilson_interval

LEVEL = 0.95


def impact_ratios(rates: pd.DataFrame) -> pd.DataFrame:
    """The selection rate and impact ratio of every group of one network.

    rates   rows as `rates_table` has them, of one network: group, rate, part, n, effect, flag

    Columns: group, selected, n, rate, rate_low, rate_high, ratio, ratio_low, ratio_high, flag,
    most.
    `most` marks the most selected of the groups of at least minimum size, that all others are
    divided by; groups that are smaller have no ratio. Intervals of ratios hold for all groups at
    once (level 1 − 0.05/(G − 1)), by Wilson's intervals of both rates put together (Donner and Zou
    2012); they do not know that the most selected was found among these very samples.
    """
    rows = rates[rates["rate"] == SELECTION].to_dict("records")
    large = [row for row in rows if row["flag"] == "" and row["n"] > 0]
    most = max(large, key=lambda row: row["part"] / row["n"], default=None)
    if most is not None and most["part"] == 0:
        most = None  # nobody is selected: there is nothing to divide by
    level = 1 - (1 - LEVEL) / max(1, len(large) - 1)
    return pd.DataFrame([_impact(row, most, level) for row in rows])


def _impact(row: Mapping[Any, Any], most: Mapping[Any, Any] | None, level: float) -> dict[str, Any]:
    part, n, flag = int(row["part"]), int(row["n"]), str(row["flag"])
    effect = float(row.get("effect", 1.0))
    own = wilson_interval(part, n, effect)
    ratio = (math.nan, math.nan, math.nan)
    if most is row:
        ratio = (1.0, math.nan, math.nan)
    elif most is not None and flag == "" and n > 0:
        ratio = ratio_of_shares(
            (part, n),
            (int(most["part"]), int(most["n"])),
            level,
            (effect, float(most.get("effect", 1.0))),
        )
    return {
        "group": row["group"],
        "selected": part,
        "n": n,
        "rate": part / n if n else math.nan,
        "rate_low": own.low,
        "rate_high": own.high,
        "ratio": ratio[0],
        "ratio_low": ratio[1],
        "ratio_high": ratio[2],
        "flag": flag,
        "most": most is row,
    }


def ratio_of_shares(
    one: tuple[int, int],
    other: tuple[int, int],
    level: float = LEVEL,
    effects: tuple[float, float] = (1.0, 1.0),
) -> tuple[float, float, float]:
    """The ratio of two independent shares with its interval: Donner and Zou (2012), MOVER-R.

    Each is (how many, of how many); the second share is above 0. `effects` are the design effects
    of both, where units have several samples.

    >>> ratio, low, high = ratio_of_shares((20, 100), (40, 100))
    >>> round(ratio, 2), round(low, 2), round(high, 2)
    (0.5, 0.32, 0.78)
    """
    p, q = one[0] / one[1], other[0] / other[1]
    own, against = (
        wilson_interval(*share, effect, level)
        for share, effect in zip((one, other), effects, strict=True)
    )
    return p / q, _bound(p, q, own.low, against.high, -1), _bound(p, q, own.high, against.low, +1)


def _bound(p: float, q: float, own: float, other: float, sign: int) -> float:
    inside, by = own * (2 * p - own), other * (2 * q - other)
    if abs(by) < 1e-12:  # the limit, as the denominator goes to 0
        return inside / (2 * p * q) if p else 0.0
    root = math.sqrt(max(0.0, (p * q) ** 2 - inside * by))
    return (p * q + sign * root) / by
