"""Who pays for being near the dense network's boundary: a table of networks and groups (M14)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from audit.findings.answers import Answers
from audit.findings.paired import beside_dense, group_codes, group_flags, group_names, units_of
from audit.measure.decomposition import Decomposition, decompose
from audit.measure.uncertainty import CONFIDENCE

COLUMNS = (
    "model",
    "group",
    "harm",
    "n",
    "bins",
    "gap",
    "composition",
    "composition_ci_low",
    "composition_ci_high",
    "within",
    "within_ci_low",
    "within_ci_high",
    "flag",
)


def boundary_table(
    samples: pd.DataFrame | Answers, groups: pd.DataFrame, level: float = CONFIDENCE, seed: int = 0
) -> pd.DataFrame:
    """One row per network beside a dense one × group × harm: its gap as two parts (M14).

    harm         accuracy (the drop in it, whose gap is ψ) or loss (excess risk less its mean)
    gap          composition + within: what the group pays beyond the average
    composition  since more of its samples lie where any group's pay; within: since at the same
                 margin it pays more. Each with its interval, at `level`
    bins         of the dense network's margin in which it is compared; below 2 intervals are NaN

    A column `unit` of the samples says which belong to one unit and are resampled together. Empty
    where the samples do not hold what a dense network said, and how sure it was.
    """
    names, flags = group_names(groups), group_flags(groups)
    rows: list[dict[str, Any]] = []
    for model, own in beside_dense(samples, groups):
        if own["dense_margin"].isna().any():
            continue
        found = decompose(
            own["dense_margin"].to_numpy(dtype=float),
            _harms(own),
            group_codes(own, names),
            len(names),
            unit=units_of(own),
            seed=seed,
            level=level,
        )
        counts = np.bincount(group_codes(own, names), minlength=len(names))
        for harm, parts in found.items():
            rows += [
                {"model": model, "group": name, "harm": harm, "n": int(counts[code]),
                 "flag": flags[model][code]} | _row(parts, code)
                for code, name in enumerate(names)
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _harms(own: pd.DataFrame) -> dict[str, np.ndarray]:
    before, after = (own[column] == own["label"] for column in ("dense_prediction", "prediction"))
    found: dict[str, np.ndarray] = {
        "accuracy": before.to_numpy(dtype=float) - after.to_numpy(dtype=float)
    }
    risk = (own["loss"] - own["dense_loss"]).to_numpy(dtype=float)
    # Of stored predictions without probabilities there is none.
    return found if np.isnan(risk).any() else found | {"loss": risk}


def _row(parts: Decomposition, code: int) -> dict[str, Any]:
    composition, within = parts.composition_intervals[code], parts.within_intervals[code]
    return {
        "bins": int(parts.bins[code]),
        "gap": float(parts.gap[code]),
        "composition": float(parts.composition[code]),
        "composition_ci_low": composition.low,
        "composition_ci_high": composition.high,
        "within": float(parts.within[code]),
        "within_ci_low": within.low,
        "within_ci_high": within.high,
    }
