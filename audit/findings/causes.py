"""Which cause explains the harm, and how much of it: over the groups of one pruned model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.measure.association import explained_shares, rank_correlation
from audit.metrics import TAYLOR, of_definition, shown


def causes_table(groups: pd.DataFrame, models: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per pruned model × cause: rank correlation with excess risk over groups, and shares.

    The columns of a row: model, cause, rho, ci_low, ci_high, p_value, n, share. Gradient norm,
    λ_max and closeness are those of the dense network of the same seed; `share` is what a Taylor
    term makes of the differences of excess risk between groups (the four shares add up to 1), NaN
    for other causes. Small and absent groups are left out.
    """
    rows = []
    for model in models:
        if model["method"] == "dense":
            continue
        own = _wide(groups, str(model["name"]))
        if "excess_risk" not in own or len(own) < 2:
            continue
        dense = [m["name"] for m in models if m["method"] == "dense" and m["seed"] == model["seed"]]
        before = _wide(groups, str(dense[0])) if dense else own.iloc[:, :0]
        rows += _model_rows(str(model["name"]), own, before.reindex(own.index))
    columns = ["model", "cause", "rho", "ci_low", "ci_high", "p_value", "n", "share"]
    return pd.DataFrame(rows, columns=columns)


def _wide(groups: pd.DataFrame, model: str) -> pd.DataFrame:
    """The groups of at least minimum size as rows, their metrics as columns, and their size."""
    own = groups[(groups["model"] == model) & (groups["flag"] == "")]
    table = own.pivot_table(
        index="group", columns="metric", values="value", observed=True, dropna=False
    )
    sizes = own[own["metric"] == "accuracy"].set_index("group")["n"]
    return table.assign(group_size=sizes.reindex(table.index))


def _model_rows(model: str, own: pd.DataFrame, dense: pd.DataFrame) -> list[dict[str, Any]]:
    risk = own["excess_risk"].to_numpy()
    series = of_definition(TAYLOR)
    terms = {name: own[name].to_numpy() for name in series if name in own}
    shares = explained_shares(terms, risk) if len(terms) == len(series) else {}
    rows = []
    for cause in shown("causes"):
        side = own if cause in (*series, "group_size") else dense
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
