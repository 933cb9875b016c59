"""Samples that a population of pruned models forgets: exemplars over the seeds of a study (M13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.words import label
from audit.measure.forgetting import over_representation, pruning_identified_exemplars
from audit.measure.uncertainty import wilson_interval


def exemplar_table(
    samples: pd.DataFrame, models: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> pd.DataFrame:
    """One row per method × rate × group: the share of exemplars, and how over-represented it is.

    Columns: method, rate, networks, group, n, exemplars, share, ci_low, ci_high, over, ties. The
    populations are the seeds of the study: the dense networks, and a method's at one rate.
    """
    wide = samples.pivot_table(
        index="sample", columns="model", values="prediction", aggfunc="first", observed=True
    )
    codes = {name: code for code, name in enumerate(sorted(pd.unique(wide.to_numpy().ravel())))}
    predictions = wide.replace(codes).infer_objects().astype(int)
    known = samples.drop_duplicates("sample").set_index("sample")["group"].reindex(wide.index)
    groups = pd.Categorical(known, categories=list(names)).codes.astype(np.int64)
    dense = [str(model["name"]) for model in models if model["method"] == "dense"]
    populations: dict[tuple[str, float], list[str]] = {}
    for model in models:
        if model["method"] != "dense":
            key = (label(model), float(model["rate"]))
            populations.setdefault(key, []).append(str(model["name"]))
    rows: list[dict[str, Any]] = []
    for (method, rate), pruned in populations.items() if dense else ():
        found = pruning_identified_exemplars(
            predictions[dense].to_numpy().T, predictions[pruned].to_numpy().T
        )
        over = over_representation(found.exemplar, groups, len(names))
        for code, name in enumerate(names):
            own = found.exemplar[groups == code]
            interval = wilson_interval(int(own.sum()), len(own))
            rows.append(
                {
                    "method": method,
                    "rate": rate,
                    "networks": len(pruned),
                    "group": name,
                    "n": len(own),
                    "exemplars": int(own.sum()),
                    "share": float(own.mean()) if len(own) else np.nan,
                    "ci_low": interval.low,
                    "ci_high": interval.high,
                    "over": float(over[code]),
                    "ties": int(found.tie[groups == code].sum()),
                }
            )
    return pd.DataFrame(rows)
