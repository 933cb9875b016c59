"""Samples that a population of pruned models forgets: exemplars over the seeds of a study (M13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.outcomes import Outcomes, is_dense
from audit.findings.words import label
from audit.measure.forgetting import over_representation, pruning_identified_exemplars
from audit.measure.uncertainty import design_effects, wilson_interval


def exemplar_table(outcomes: Outcomes | None, models: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per method × rate × group: the share of exemplars, and how over-represented it is.

    Columns: method, rate, networks, group, n, exemplars, share, ci_low, ci_high, over, ties. The
    populations are the seeds of the study: the dense networks, and a method's at one rate. Of
    classes that are said equally often the first by name counts.
    """
    if outcomes is None:
        return pd.DataFrame()
    places = {name: place for place, name in enumerate(outcomes.names)}
    by_name = np.argsort(np.argsort(outcomes.classes)).astype(outcomes.predictions.dtype)
    names, groups, units = outcomes.groups, outcomes.codes, outcomes.units
    dense = [places[str(model["name"])] for model in models if is_dense(model)]
    populations: dict[tuple[str, float], list[int]] = {}
    for model in models:
        if not is_dense(model):
            key = (label(model), float(model["rate"]))
            populations.setdefault(key, []).append(places[str(model["name"])])
    rows: list[dict[str, Any]] = []
    for (method, rate), pruned in populations.items() if dense else ():
        found = pruning_identified_exemplars(
            by_name[outcomes.predictions[dense]], by_name[outcomes.predictions[pruned]]
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
