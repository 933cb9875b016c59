"""Results brought into the shape that figures take: means over seeds, rows a group, bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.finding import Claimed
from audit.findings.paired import units_of
from audit.measure.uncertainty import design_effects, wilson_interval

MOST_EMPHASISED = 4
BINS = 5
"""Bins of confidence: few, since a group may be small."""


def wide(rows: pd.DataFrame, trained: Mapping[str, int]) -> pd.DataFrame:
    """Measures of the groups that are large enough, a row a group: means over seeds, and sizes.

    trained   the samples of each group that the networks were trained on; not known where zero
    """
    rows = rows[rows["flag"] == ""]
    cells = rows.groupby(["group", "metric"], observed=True)["value"].mean()
    means = pd.DataFrame(cells.unstack("metric"))
    means.index = means.index.astype(str)
    sizes = [trained.get(name) or np.nan for name in means.index]
    return means if np.isnan(sizes).all() else means.assign(group_size=sizes)


def parts_of_gaps(record: dict[str, Any], networks: dict[str, list[str]]) -> pd.DataFrame:
    """Every group's gap in accuracy and its two parts (M14): label, group, gap and the parts.

    networks   of each label its networks, whose mean it is
    """
    rows = pd.DataFrame(record["tables"].get("boundary") or [])
    if rows.empty:
        return rows
    rows = rows[rows["harm"] == "accuracy"]
    numbers = ["gap", "composition", "within"]
    parts = [
        rows[rows["model"].isin(names)]
        .astype(dict.fromkeys(numbers, float))
        .groupby("group", sort=False)[numbers]
        .mean()
        .reset_index()
        .assign(label=label)
        for label, names in networks.items()
    ]
    return pd.concat(parts, ignore_index=True)


SMALL = "°"
"""Stands after the name of a group that is too small to be judged."""


def marked(groups: pd.DataFrame) -> dict[str, str]:
    """Every group's name in figures: one that is too small to be judged carries a mark."""
    small = set(groups.loc[groups["flag"] != "", "group"].astype(str))
    names = [str(name) for name in groups["group"].cat.categories]
    return {name: name + SMALL if name in small else name for name in names}


def told_small(names: dict[str, str]) -> str:
    """What the mark means, where some group carries it."""
    small = [name for name, own in names.items() if own != name]
    return f" {SMALL}: too few samples to be judged." if small else ""


def bins(samples: pd.DataFrame, side: int, group: str | None) -> list[dict[str, Any]]:
    """Confidence and accuracy of bins of equal numbers of samples, the least sure first.

    None where there are too few, or how sure the network was is not known.
    """
    if len(samples) < BINS or samples["confidence"].isna().any():
        return []
    ordered = samples.sort_values("confidence", kind="stable")
    right = (ordered["label"] == ordered["prediction"]).to_numpy()
    places = np.arange(len(ordered)) * BINS // len(ordered)
    effects = design_effects(right.astype(float), places, BINS, units_of(ordered))
    rows = []
    for place in range(BINS):
        chosen = np.flatnonzero(places == place)
        share = wilson_interval(int(right[chosen].sum()), len(chosen), effects[place])
        rows.append(
            {"side": side, "group": group, "n": len(chosen), "accuracy": right[chosen].mean(),
             "confidence": ordered["confidence"].to_numpy()[chosen].mean(),
             "low": share.low, "high": share.high}
        )  # fmt: skip
    return rows


def before_and_after(
    groups: pd.DataFrame, models: tuple[str, str], metrics: Sequence[str]
) -> pd.DataFrame:
    """Metrics of every group under two networks, as dumbbells take them."""
    keys = ["group", "metric"]
    sides = []
    for side, model in zip(("baseline", "candidate"), models, strict=True):
        own = groups[(groups["model"] == model) & groups["metric"].isin(metrics)]
        names = {"value": side, "ci_low": f"{side}_ci_low", "ci_high": f"{side}_ci_high"}
        sides.append(own.rename(columns=names).set_index(keys)[list(names.values())])
    return sides[0].join(sides[1], how="inner").reset_index()


def emphasised(named: pd.DataFrame, rate: float, baseline: str, pays: Claimed) -> list[str]:
    """The groups that lose most at the rate, in declared order; first those of the baseline.

    Those that were found to pay; where nobody was, the one with the largest gap.
    """
    rows = named[
        (named["rate"] == rate) & (named["metric"] == "excess_accuracy_gap") & (named["flag"] == "")
    ]
    means = rows.groupby(["label", "group"], observed=True)["value"].mean()
    largest = means.groupby("group", observed=True).max().sort_values(ascending=False)
    keys = zip(rows["model"].astype(str), rows["group"].astype(str), strict=True)
    harmed = rows[[key in pays and bool(pays[key].decision) for key in keys]]
    first = set(harmed.loc[harmed["label"] == baseline, "group"])
    worst = sorted(set(harmed["group"]), key=lambda group: (group not in first, -largest[group]))
    chosen = worst[:MOST_EMPHASISED] or list(largest.index[:1])
    order = list(named["group"].cat.categories)
    return sorted((str(group) for group in chosen), key=order.index)


def by_rate(named: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Group values by method and rate, the dense network at rate 0 of each; mean over seeds."""
    keys = ["label", "rate", "group", "metric"]
    rows = over_seeds(named.assign(group=named["group"].astype(str)), keys)
    dense = rows[rows["label"] == "dense"]
    parts = [
        pd.concat([dense, rows[rows["label"] == method]]).assign(method=method)
        for method in methods
    ]
    return pd.concat(parts, ignore_index=True)


def overall_by_rate(table: pd.DataFrame) -> pd.DataFrame:
    """Overall numbers by method and rate, without the dense network; mean over seeds."""
    keys = ["method", "rate", "metric"]
    table = table.astype({"ci_low": float, "ci_high": float, "floor_p95": float})
    floors = table.groupby(keys)["floor_p95"].mean().rename("floor").reset_index()
    rows = over_seeds(table, keys).merge(floors, on=keys)
    return rows[rows["method"] != "dense"]


def over_seeds(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Value with low and high: the interval of one seed, or mean ± deviation of several."""
    table = table.replace([np.inf, -np.inf], np.nan)
    grouped = table.groupby(keys, observed=True, sort=False)
    found = grouped.agg(
        value=("value", "mean"),
        spread=("value", "std"),
        count=("value", "size"),
        low=("ci_low", "mean"),
        high=("ci_high", "mean"),
    ).reset_index()
    several = found["count"] > 1
    found.loc[several, "low"] = (found["value"] - found["spread"])[several]
    found.loc[several, "high"] = (found["value"] + found["spread"])[several]
    return found


def bars(record: dict[str, Any]) -> str:
    """What the bars of a figure are, in words."""
    seeds = len({model["seed"] for model in record["models"]})
    return (
        f"one standard deviation over {seeds} seeds" if seeds > 1 else "95 % intervals over samples"
    )
