"""What two classes' scores say of every group: rates at every threshold, and calibration (M4, M13).

A network decides at a score of one half; whoever deploys it may choose another, and what is fair at
one threshold need not be at the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.columns import SCORE
from audit.findings.paired import group_codes, group_names, units_of
from audit.measure.uncertainty import design_effects, wilson_interval

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
RATES = ("selection rate", "true positive rate", "false positive rate")
BINS = 10
Flags = NDArray[np.bool_]


def rates_by_threshold(
    samples: pd.DataFrame,
    groups: pd.DataFrame,
    model: str,
    positive: str,
    thresholds: Sequence[float] = THRESHOLDS,
) -> pd.DataFrame:
    """One row per group × rate × threshold of one class's score: value, interval, n (M4).

    A sample is predicted the class where its score is above the threshold. Columns: group, rate,
    threshold, value, ci_low, ci_high (Wilson's, over units where samples have them), n. Empty where
    the samples hold no scores of the class. A group without the samples that a rate is of has NaN.
    """
    rows: list[dict[str, Any]] = []
    for name, own, unit in _groups(samples, groups, model, positive):
        score = own[f"{SCORE}{positive}"].to_numpy(dtype=float)
        true = (own["label"].astype(str) == positive).to_numpy()
        for rate, of in zip(RATES, (np.full(len(own), True), true, ~true), strict=True):
            for threshold in thresholds:
                found = _share(score[of] > threshold, None if unit is None else unit[of])
                rows.append({"group": name, "rate": rate, "threshold": threshold} | found)
    columns = ["group", "rate", "threshold", "value", "ci_low", "ci_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def calibration_by_group(
    samples: pd.DataFrame, groups: pd.DataFrame, model: str, positive: str, bins: int = BINS
) -> pd.DataFrame:
    """One row per group × bin of one class's score: its mean, and the share of the class (M13).

    Bins hold equal numbers of the group's samples. Columns: group, bin, score, value, ci_low,
    ci_high, n. Groups with fewer samples than bins have none.
    """
    rows: list[dict[str, Any]] = []
    for name, own, unit in _groups(samples, groups, model, positive):
        score = own[f"{SCORE}{positive}"].to_numpy(dtype=float)
        true = (own["label"].astype(str) == positive).to_numpy()
        order = np.argsort(score, kind="stable")
        parts = np.array_split(order, bins) if len(own) >= bins else []
        for place, chosen in enumerate(parts):
            found = _share(true[chosen], None if unit is None else unit[chosen])
            rows.append({"group": name, "bin": place, "score": score[chosen].mean()} | found)
    return pd.DataFrame(rows, columns=["group", "bin", "score", "value", "ci_low", "ci_high", "n"])


def _groups(
    samples: pd.DataFrame, groups: pd.DataFrame, model: str, positive: str
) -> Iterator[tuple[str, pd.DataFrame, NDArray[np.int64] | None]]:
    """Every group's samples under a network, in declared order, with their units."""
    if f"{SCORE}{positive}" not in samples:
        return
    whole = samples[samples["model"] == model]
    if whole[f"{SCORE}{positive}"].isna().any():
        return
    names, units = group_names(groups), units_of(whole)
    codes = group_codes(whole, names)
    for code, name in enumerate(names):
        own = codes == code
        if own.any():
            yield name, whole[own], None if units is None else units[own]


def _share(counted: Flags, unit: NDArray[np.int64] | None) -> dict[str, Any]:
    values = counted.astype(float)
    (effect,) = design_effects(values, np.zeros(len(values), dtype=np.int64), 1, unit)
    found = wilson_interval(values.sum(), len(values), float(effect))
    value = float(values.mean()) if len(values) else float("nan")
    return {"value": value, "ci_low": found.low, "ci_high": found.high, "n": len(values)}
