"""How often each group is predicted a class, and how often wrongly: for the networks compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.answers import Answers
from audit.findings.networks import shown_models
from audit.findings.paired import units_of
from audit.measure.fairness import confusion_counts, one_class_each, rate_counts, rate_effects
from audit.measure.uncertainty import wilson_interval


def rates_table(
    samples: pd.DataFrame | Answers, groups: pd.DataFrame, record: Mapping[str, Any]
) -> pd.DataFrame:
    """The rates of every group under the networks compared, one class against the rest.

    Columns: model, class, then those of `group_rates`. The class is the second of two; of more,
    the one with the largest equalised odds difference. Empty where the groups are the classes.
    """
    answers = Answers.of(samples)
    first = answers.network(next(iter(answers.parts)))
    label, group = (pd.factorize(first[column].astype(str))[0] for column in ("label", "group"))
    if one_class_each(label, group):
        return pd.DataFrame()
    parts = []
    for model in shown_models(record):
        positive = _positive(record, model)
        found = group_rates(answers, groups, model, positive)
        found.insert(0, "model", model)
        found.insert(1, "class", positive)
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


def group_rates(
    samples: pd.DataFrame | Answers, groups: pd.DataFrame, model: str, positive: str
) -> pd.DataFrame:
    """One row per group × rate of one class against the rest: value, interval, part, n, flag.

    n counts the samples that the rate is a share of, such as the true positives and false negatives
    for the true positive rate; part those that count; effect the design effect that n is divided by
    where units have several samples.
    """
    own = Answers.of(samples).network(model)
    names = [str(name) for name in groups["group"].cat.categories]
    flags = groups[groups["model"] == model].astype({"group": str})
    flag = flags.drop_duplicates("group").set_index("group")["flag"]
    true, said = (
        (own[column].astype(str) == positive).to_numpy().astype(np.int64)
        for column in ("label", "prediction")
    )
    codes = pd.Index(names).get_indexer(pd.Index(own["group"].astype(str))).astype(np.int64)
    counts = rate_counts(confusion_counts(true, said, codes, len(names), 2))
    effects = rate_effects(true, said, codes, len(names), 2, units_of(own))
    rows = []
    for rate, (parts, wholes) in counts.items():
        for code, name in enumerate(names):
            part, whole = int(parts[code, 1]), int(wholes[code, 1])
            known = wilson_interval(part, whole, effects[rate][code, 1])
            rows.append(
                {"group": name, "rate": rate, "value": part / whole if whole else np.nan,
                 "ci_low": known.low, "ci_high": known.high, "part": part, "n": whole,
                 "effect": float(effects[rate][code, 1]), "flag": flag.get(name, "")}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _positive(record: Mapping[str, Any], model: str) -> str:
    """The second of two classes; of more, the one with the largest equalised odds difference."""
    classes = [str(name) for name in record["data"]["classes"]]
    rows = [r for r in record["overall"] if r["model"] == model and r.get("class") is not None]
    worst = next((r for r in rows if r["metric"] == "equalized_odds_difference"), None)
    return str(worst["class"]) if worst and len(classes) > 2 else classes[1]
