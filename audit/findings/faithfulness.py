"""How far each group's predictions are still the dense network's: networks and groups (M15)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from audit.findings.answers import Answers
from audit.findings.paired import beside_dense, group_codes, group_flags, group_names, units_of
from audit.measure.faithfulness import Faithfulness, faithfulness
from audit.measure.uncertainty import design_effects, group_intervals, holm, wilson_interval

RESAMPLES = 2000
COLUMNS = (
    "model",
    "group",
    "n",
    "agreement",
    "ci_low",
    "ci_high",
    "agree",
    "broken",
    "mended",
    "moved",
    "p_value",
    "p_adjusted",
    "divergence",
    "divergence_ci_low",
    "divergence_ci_high",
    "flag",
)


def faithfulness_table(
    samples: pd.DataFrame | Answers, groups: pd.DataFrame, seed: int = 0
) -> pd.DataFrame:
    """One row per network beside a dense one × group: what became of its predictions (M15).

    agreement    the share predicted as by the dense network, right or wrong, with Wilson's interval
    agree, broken, mended, moved   samples; moved: from one wrong class to another
    p_value      McNemar's exact test of broken against mended; p_adjusted: by Holm, over the groups
                 of at least minimum size, NaN for others
    divergence   the mean KL divergence from the dense network's probabilities, nats, with interval

    A column `unit` of the samples says which belong to one unit, and are not independent. Empty
    where the samples do not hold what a dense network said.
    """
    names, all_flags = group_names(groups), group_flags(groups)
    rows: list[dict[str, Any]] = []
    for model, own in beside_dense(samples, groups):
        codes, flags = group_codes(own, names), all_flags[model]
        label, dense, pruned = (
            own[column].to_numpy() for column in ("label", "dense_prediction", "prediction")
        )
        units = units_of(own)
        found = faithfulness(label, dense, pruned, codes, len(names), units)
        effects = design_effects((dense == pruned).astype(float), codes, len(names), units)
        adjusted = holm(np.where(np.array(flags) == "", found.p_value, np.nan))
        far = own["divergence"].to_numpy(dtype=float)
        intervals = group_intervals(far[:, None], codes, len(names), RESAMPLES, seed, units)
        for code, name in enumerate(names):
            mean = float(far[codes == code].mean()) if found.n[code] else np.nan
            (interval,) = intervals[code]
            rows.append(
                {"model": model, "group": name, "flag": flags[code]}
                | _row(found, code, float(effects[code]))
                | {"p_adjusted": float(adjusted[code]), "divergence": mean,
                   "divergence_ci_low": interval.low, "divergence_ci_high": interval.high}
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(found: Faithfulness, code: int, effect: float) -> dict[str, Any]:
    n, agree = int(found.n[code]), int(found.agree[code])
    interval = wilson_interval(agree, n, effect)
    return {
        "n": n,
        "agreement": agree / n if n else np.nan,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "agree": agree,
        "broken": int(found.broken[code]),
        "mended": int(found.mended[code]),
        "moved": int(found.moved[code]),
        "p_value": float(found.p_value[code]),
    }
