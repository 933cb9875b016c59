"""Which networks a report speaks of, and their overall numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from audit.findings.outcomes import is_dense
from audit.findings.words import label

Row = Mapping[str, Any]


def overall_table(overall: Sequence[Row], models: Sequence[Row]) -> pd.DataFrame:
    """The overall numbers with what their model is: method (labelled), rate, seed."""
    table = pd.DataFrame(list(overall))
    known = {m["name"]: (label(m), m["rate"], m["seed"], m["sparsity"]) for m in models}
    for position, column in enumerate(("method", "rate", "seed", "sparsity")):
        table[column] = [known[name][position] for name in table["model"]]
    return table


def judged_models(models: Sequence[Row]) -> list[str]:
    """The networks at each method's highest rate, the dense ones among them."""
    highest: dict[str, float] = {}
    for model in models:
        highest[label(model)] = max(highest.get(label(model), 0.0), model["rate"])
    return [str(model["name"]) for model in models if model["rate"] == highest[label(model)]]


def told_models(record: Row) -> list[str]:
    """The networks that a verdict speaks of: the dense ones, and those compared or judged."""
    compared = record["tables"].get("compared")
    if not compared:
        return judged_models(record["models"])
    return [str(m["name"]) for m in record["models"] if is_dense(m) or m["name"] in compared]


def shown_models(record: Row) -> list[str]:
    """The networks compared; of a study, those judged, of its first seed."""
    if record["tables"].get("compared"):
        return list(record["tables"]["compared"])
    first = record["models"][0]["seed"]
    return judged_models([model for model in record["models"] if model["seed"] == first])
