"""Which networks a report speaks of, and their overall numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from audit.findings.outcomes import is_dense
from audit.findings.words import label, listed, sentence

Row = Mapping[str, Any]
MOST_NAMED = 3


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


def network_notes(models: Sequence[Row]) -> list[str]:
    """What must be known of networks, each note once, after the names of those that it is of."""
    whose: dict[str, list[str]] = {}
    for model in models:
        for note in model["notes"]:
            whose.setdefault(str(note), []).append(str(model["name"]))
    if len(models) == 1:
        return [sentence(note) for note in whose]
    return [f"{_names(names, len(models))}: {note}" for note, names in whose.items()]


def _names(names: Sequence[str], of: int) -> str:
    if len(names) == of:
        return "every network"
    left = len(names) - MOST_NAMED
    return listed([*names[:MOST_NAMED], *([f"{left} more"] if left > 0 else [])])


def shown_models(record: Row) -> list[str]:
    """The networks compared; of a study, those judged, of its first seed."""
    if record["tables"].get("compared"):
        return list(record["tables"]["compared"])
    first = record["models"][0]["seed"]
    return judged_models([model for model in record["models"] if model["seed"] == first])
