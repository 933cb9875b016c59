"""Which cause explains the harm, and how much of it: over the groups of one pruned model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.outcomes import is_dense
from audit.measure.association import explained_shares, rank_correlation
from audit.metrics import TAYLOR, of_definition, shown


def causes_table(
    groups: pd.DataFrame,
    models: Sequence[Mapping[str, Any]],
    trained: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """One row per pruned model × cause: rank correlation with excess risk over groups, and shares.

    trained   the samples of each group that the networks were trained on: the group's size. A group
              without any, as where only test samples are at hand, is of a size that is not known;
              it is never zero. Where that leaves no two sizes, size is no cause that is known.

    The columns of a row: model, cause, rho, ci_low, ci_high, p_value, n, share. Gradient norm,
    λ_max and closeness are those of the dense network of the same seed; `share` is what a Taylor
    term makes of the differences of excess risk between groups (the four shares add up to 1), NaN
    for other causes. Small and absent groups are left out.
    """
    rows, tables, parents = [], _by_network(groups), dense_of(models)
    for model in models:
        if is_dense(model) or str(model["name"]) not in tables:
            continue
        own = tables[str(model["name"])]
        if "excess_risk" not in own or own["excess_risk"].isna().all() or len(own) < 2:
            continue
        dense = parents[str(model["name"])]
        before = tables.get(dense or "", own.iloc[:, :0])
        before = before.reindex(own.index)
        sizes = [(trained or {}).get(str(name), 0) or np.nan for name in own.index]
        if np.isfinite(sizes).sum() > 1:
            before = before.assign(group_size=sizes)
        rows += _model_rows(str(model["name"]), own, before)
    columns = ["model", "cause", "rho", "ci_low", "ci_high", "p_value", "n", "share"]
    return pd.DataFrame(rows, columns=columns)


def trained_sizes(record: Mapping[str, Any]) -> dict[str, int]:
    """The samples of each group that networks were trained on, as results.json has them.

    Those that their owner gave, else those of the split. Zero where none are known, as of data that
    hold test samples only, or of networks that may have been trained elsewhere: a split that is
    drawn here says nothing of what they were trained on.
    """
    if record["data"].get("trained_elsewhere"):
        return {str(row["group"]): 0 for row in record["data"]["groups"]}
    return {
        str(row["group"]): int(row.get("trained", row.get("train", 0)) or 0)
        for row in record["data"]["groups"]
    }


def _by_network(groups: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By network, the groups of at least minimum size as rows, their metrics as columns."""
    large = groups[groups["flag"] == ""]
    values = large.groupby(["model", "group", "metric"], observed=True)["value"]
    wide: pd.DataFrame = values.mean().unstack()
    rows = values.size().unstack(fill_value=0).to_numpy()
    return {
        str(model): wide.iloc[places, np.flatnonzero(rows[places].any(0))].droplevel("model")
        for model, places in wide.groupby(level="model", observed=True).indices.items()
    }


def dense_of(models: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """By network the dense one of the same seed, or the only one that was measured."""
    dense = [one for one in models if is_dense(one)]
    only = str(dense[0]["name"]) if len(dense) == 1 else None
    of_seed = {one["seed"]: str(one["name"]) for one in reversed(dense)}
    return {str(one["name"]): of_seed.get(one["seed"], only) for one in models}


def _model_rows(model: str, own: pd.DataFrame, dense: pd.DataFrame) -> list[dict[str, Any]]:
    risk = own["excess_risk"].to_numpy()
    series = of_definition(TAYLOR)
    terms = {name: own[name].to_numpy() for name in series if name in own}
    shares = explained_shares(terms, risk) if len(terms) == len(series) else {}
    rows = []
    for cause in shown("causes"):
        side = own if cause in series else dense
        if cause not in side:
            continue
        found = rank_correlation(side[cause].to_numpy(dtype=float), risk)
        rows.append(
            {
                "model": model,
                "cause": cause,
                "rho": found.rho,
                "ci_low": found.low,
                "ci_high": found.high,
                "p_value": found.p_value,
                "n": found.n,
                "share": shares.get(cause, np.nan),
            }
        )
    return rows
