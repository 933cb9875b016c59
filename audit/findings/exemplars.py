"""Samples that a population of pruned models forgets: exemplars over the seeds of a study (M13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.outcomes import is_dense
from audit.findings.paired import units_of
from audit.findings.words import label
from audit.measure.forgetting import over_representation, pruning_identified_exemplars
from audit.measure.uncertainty import design_effects, wilson_interval


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
    predictions = wide.apply(lambda said: said.map(codes)).astype(int)
    known = samples.drop_duplicates("sample").set_index("sample").reindex(wide.index)
    groups = pd.Categorical(known["group"], categories=list(names)).codes.astype(np.int64)
    units = units_of(known)
    dense = [str(model["name"]) for model in models if is_dense(model)]
    populations: dict[tuple[str, float], list[str]] = {}
    for model in models:
        if not is_dense(model):
            key = (label(model), float(model["rate"]))
            populations.setdefault(key, []).append(str(model["name"]))
    rows: list[dict[str, Any]] = []
    for (method, rate), pruned in populations.items() if dense else ():
        found = pruning_identified_exemplars(
            predictions[dense].to_numpy().T, predictions[pruned].to_numpy().T
        )
        shown = found.exemplar.astype(float)
        effects = design_effects(shown, groups, len(names), units)
        over = over_representation(found.exemplar, groups, len(names))
        for code, name in enumerate(names):
            own = found.exemplar[groups == code]
            interval = wilson_interval(int(own.sum()), len(own), effects[code])
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
