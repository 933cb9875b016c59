"""Two models side by side, group by group, with paired intervals of their difference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from audit.findings.answers import Answers
from audit.findings.paired import units_of
from audit.measure.uncertainty import (
    Interval,
    combined_interval,
    design_effects,
    drop_interval,
    gap_contrasts,
    mean_interval,
)
from audit.metrics import metric as told

RESAMPLES = 2000


def comparison_table(
    groups: pd.DataFrame, samples: pd.DataFrame | Answers, baseline: str, candidate: str
) -> pd.DataFrame:
    """One row per group × metric: baseline, candidate and candidate − baseline with intervals.

    `candidate_name` tells the rows of several candidates apart.

    The difference's interval comes from a bootstrap of the samples' own differences: the models
    are paired on the same samples.
    """
    sides = {"baseline": baseline, "candidate": candidate}
    # Two bounds of eigenvalues have no difference.
    groups = groups.assign(value=groups["value"].mask(groups["converged"].isin([False])))
    keys = ["group", "metric"]
    tables = {
        side: groups[groups["model"] == name].set_index(keys)[["value", "ci_low", "ci_high"]]
        for side, name in sides.items()
    }
    table = groups[groups["model"] == candidate][[*keys, "n", "flag"]].copy()
    index = pd.MultiIndex.from_frame(table[keys])
    for side, values in tables.items():
        found = values.reindex(index)
        table[side] = found["value"].to_numpy()
        table[f"{side}_ci_low"] = found["ci_low"].to_numpy()
        table[f"{side}_ci_high"] = found["ci_high"].to_numpy()
    table["difference"] = table["candidate"] - table["baseline"]
    parts = {name: told(name).paired for name in table["metric"].unique() if told(name).paired}
    intervals = _difference_intervals(
        Answers.of(samples), baseline, candidate, list(groups["group"].cat.categories), parts
    )
    unknown = Interval(float("nan"), float("nan"))
    chosen = [
        intervals.get((g, m), unknown) for g, m in zip(table["group"], table["metric"], strict=True)
    ]
    table["difference_ci_low"] = [interval.low for interval in chosen]
    table["difference_ci_high"] = [interval.high for interval in chosen]
    table["group"] = table["group"].astype(str)
    table["candidate_name"] = candidate
    columns = [c for c in table.columns if c not in ("candidate_name", "flag")]
    return table[["candidate_name", *columns, "flag"]].reset_index(drop=True)


def _difference_intervals(
    answers: Answers,
    baseline: str,
    candidate: str,
    names: list[str],
    parts: Mapping[str, str],
) -> dict[tuple[str, str], Interval]:
    one, other = (answers.network(name).set_index("sample") for name in (baseline, candidate))
    other = other.loc[one.index]
    one, other = (side.assign(correct=side["label"] == side["prediction"]) for side in (one, other))
    columns = sorted({column for column in parts.values() if column in one and column in other})
    change = other[columns].astype(float) - one[columns].astype(float)
    units = units_of(one)
    found = {}
    for group in names:
        of_group = (one["group"] == group).to_numpy()
        for metric, column in parts.items():
            if column in columns:
                part = change[column].to_numpy()
                known = of_group & np.isfinite(part)
                own = None if units is None else units[known]
                interval = _drop if metric == "accuracy" else _mean
                found[group, metric] = interval(part[known], own)
    gained = change["correct"].to_numpy()
    return found | _gap_intervals(gained, one["group"].to_numpy(), names, units)


def _mean(part: np.ndarray, units: np.ndarray | None) -> Interval:
    return mean_interval(part, RESAMPLES, 0, units)


def _drop(part: np.ndarray, units: np.ndarray | None) -> Interval:
    (effect,) = design_effects(part, np.zeros(len(part), dtype=np.int64), 1, units)
    return drop_interval(part, effect)


def _gap_intervals(
    gained: np.ndarray, groups: np.ndarray, names: list[str], units: np.ndarray | None
) -> dict[tuple[str, str], Interval]:
    """Intervals of the change in ψ: what a group lost between the models, less what all lost."""
    present = [name for name in names if (groups == name).any()]
    lost = [-gained[groups == name] for name in present]
    contrasts = gap_contrasts(np.array([len(part) for part in lost], dtype=float))
    means = np.array([part.mean() for part in lost])
    own = [
        _drop(part, None if units is None else units[groups == name])
        for name, part in zip(present, lost, strict=True)
    ]
    return {
        (name, "excess_accuracy_gap"): combined_interval(contrast, means, own)
        for name, contrast in zip(present, contrasts, strict=True)
    }
