"""Evidence of samples whose every answer the test chooses: numbers follow from it by hand."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from audit.findings.evidence import Evidence, make_evidence

Block = tuple[str, int, int, tuple[int, ...]]
"""A group, the label, how many such samples there are, and what each network answers."""
RIGHT, WRONG = 0.1, 2.0
"""The loss of a right and of a wrong answer, in nats."""
Known = TypeVar("Known")
OVERALL = {"demographic_parity_difference": 0.3, "equalized_odds_difference": 0.2}


def there(value: Known | None) -> Known:
    """What must be there."""
    assert value is not None
    return value


def model(name: str, method: str = "", **further: Any) -> dict[str, Any]:
    """The record of a network; one called dense is dense, all others are pruned by nine tenths."""
    dense = name.startswith("dense")
    return {
        "name": name,
        "method": method or ("dense" if dense else name),
        "constraint": "none",
        "rate": 0.0 if dense else 0.9,
        "seed": 0,
        "layer_sparsity": {"conv": 0.0 if dense else 0.9},
    } | further


def answered(
    networks: Sequence[Mapping[str, Any] | str],
    blocks: Sequence[Block],
    compared: bool = False,
    small: Sequence[str] = (),
    tables: Mapping[str, Any] | None = None,
    units: int = 1,
    layers: pd.DataFrame | None = None,
) -> Evidence:
    """Evidence of blocks of equal samples, in groups and classes as they come.

    units   samples in a row that are of one person
    """
    models = [model(one) if isinstance(one, str) else dict(one) for one in networks]
    every = [
        (group, label, answers) for group, label, n, answers in blocks for _ in range(n)
    ]  # fmt: skip
    names = list(dict.fromkeys(group for group, _, _ in every))
    classes = 1 + max(max(label, *answers) for _, label, answers in every)
    parts, rows, overall = [], [], []
    for place, one in enumerate(models):
        part = pd.DataFrame(
            {
                "sample": [f"s{i}" for i in range(len(every))],
                "model": one["name"],
                "split": "test",
                "group": [group for group, _, _ in every],
                "label": [str(label) for _, label, _ in every],
                "prediction": [str(answers[place]) for _, _, answers in every],
            }
        )
        right = part["label"] == part["prediction"]
        part["loss"] = np.where(right, RIGHT, WRONG)
        if units > 1:
            part["unit"] = np.arange(len(every)) // units
        parts.append(part)
        for group in names:
            own = (part["group"] == group).to_numpy()
            rows.append(
                {
                    "model": one["name"], "split": "test", "attribute": "group", "group": group,
                    "n": int(own.sum()), "metric": "accuracy", "value": float(right[own].mean()),
                    "flag": "small" if group in small else "",
                }
            )  # fmt: skip
        values = {"accuracy": float(right.mean())} | OVERALL
        overall += [
            {
                "model": one["name"], "split": "test", "metric": metric, "value": value,
                "ci_low": value - 0.1, "ci_high": value + 0.1, "floor_p95": 0.05, "class": None,
            }
            for metric, value in values.items()
        ]  # fmt: skip
    groups = pd.DataFrame(rows)
    groups["group"] = pd.Categorical(groups["group"], categories=names, ordered=True)
    record = {
        "models": models,
        "overall": overall,
        "data": {
            "attribute": "group",
            "classes": [str(place) for place in range(classes)],
            "groups": [{"group": name, "train": 50} for name in names],
        },
        "tables": dict(tables or {})
        | ({"compared": [one["name"] for one in models]} if compared else {}),
    }
    nothing = pd.DataFrame(columns=["model", "group", "layer", "n", "metric", "value"])
    chosen = nothing if layers is None else layers
    return make_evidence(groups, pd.concat(parts, ignore_index=True), chosen, record)
