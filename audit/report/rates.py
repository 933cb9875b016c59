"""Tables of what the networks predict: rates of every group, their ratios, and where errors go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.measure.fairness import confusion_counts, rate_counts
from audit.measure.uncertainty import wilson_interval
from audit.report.tables import DASH, Cell, Table, TableRow, interval, number
from audit.study.gallery import broken
from audit.study.results import Results
from audit.study.verdict import label

MOST_CHANGES = 3


def prediction_tables(results: Results) -> list[Table]:
    """Rates, their ratios, and the classes that broken samples go to, for the networks compared."""
    models = _shown(results.record)
    positive = {name: _positive(results.record, name) for name in models}
    rates = {name: group_rates(results, name, positive[name]) for name in models}
    tables = [_rate_table(results.record, rates, positive), _ratio_table(rates, positive)]
    return [table for table in (*tables, _change_table(results, models)) if table.rows]


def group_rates(results: Results, model: str, positive: str) -> pd.DataFrame:
    """One row per group × rate of one class against the rest: value, interval, part, n, flag.

    n counts the samples that the rate is a share of, such as the true positives and false negatives
    for the true positive rate; part those that count.
    """
    own = results.samples[results.samples["model"] == model]
    names = [str(name) for name in results.groups["group"].cat.categories]
    flags = results.groups[results.groups["model"] == model].astype({"group": str})
    flag = flags.drop_duplicates("group").set_index("group")["flag"]
    true, said = (
        (own[column].astype(str) == positive).to_numpy().astype(np.int64)
        for column in ("label", "prediction")
    )
    groups = pd.Index(names).get_indexer(pd.Index(own["group"].astype(str))).astype(np.int64)
    counts = rate_counts(confusion_counts(true, said, groups, len(names), 2))
    rows = []
    for rate, (parts, wholes) in counts.items():
        for code, name in enumerate(names):
            part, whole = int(parts[code, 1]), int(wholes[code, 1])
            known = wilson_interval(part, whole)
            rows.append(
                {"group": name, "rate": rate, "value": part / whole if whole else np.nan,
                 "ci_low": known.low, "ci_high": known.high, "part": part, "n": whole,
                 "flag": flag.get(name, "")}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _shown(record: Mapping[str, Any]) -> list[str]:
    """The networks compared; of a study, the dense one and every method at its highest rate."""
    if record["tables"].get("compared"):
        return list(record["tables"]["compared"])
    models = [m for m in record["models"] if m["seed"] == record["models"][0]["seed"]]
    highest = {label(m): max(o["rate"] for o in models if label(o) == label(m)) for m in models}
    return [str(m["name"]) for m in models if m["rate"] == highest[label(m)]]


def _positive(record: Mapping[str, Any], model: str) -> str:
    """The second of two classes; of more, the one with the largest equalised odds difference."""
    classes = [str(name) for name in record["data"]["classes"]]
    rows = [r for r in record["overall"] if r["model"] == model and r.get("class") is not None]
    worst = next((r for r in rows if r["metric"] == "equalized_odds_difference"), None)
    return str(worst["class"]) if worst and len(classes) > 2 else classes[1]


def _rate_table(
    record: Mapping[str, Any], rates: Mapping[str, pd.DataFrame], positive: Mapping[str, str]
) -> Table:
    rows = []
    for model, table in rates.items():
        for group, own in table.groupby("group", sort=False):
            cells = [_text(str(group) or "(empty)"), _text(positive[model])]
            for row in own.to_dict("records"):
                between = interval(row["ci_low"], row["ci_high"], "accuracy")
                told = f"{between} of {row['n']:,}" if between else "of 0"
                cells.append(Cell(number(row["value"], "accuracy"), told))
            rows.append(TableRow(model, cells, str(own["flag"].iloc[0])))
    names = list(dict.fromkeys(name for table in rates.values() for name in table["rate"]))
    note = (
        "One class against the rest: the second of two, or of more the one whose rates differ most "
        "between groups (equalised odds). Below each rate its 95 % interval (Wilson's) and the "
        "samples that it is a share of."
    )
    title = "How often each group is predicted the class, and how often wrongly"
    return Table(title, ["model", "group", "class", *names], rows, note, folded=True)


def _ratio_table(rates: Mapping[str, pd.DataFrame], positive: Mapping[str, str]) -> Table:
    rows = []
    for model, table in rates.items():
        for rate, own in table[table["flag"] == ""].groupby("rate", sort=False):
            known = own[own["n"] > 0].sort_values("value", kind="stable")
            if len(known) < 2:
                continue
            low, high = (known.iloc[place] for place in (0, -1))
            ratio = low["value"] / high["value"] if high["value"] else np.nan
            cells = [
                _text(f"{rate} of {positive[model]}"),
                *(Cell(number(end["value"], "accuracy"), _end(end)) for end in (low, high)),
                Cell(number(high["value"] - low["value"], "accuracy", signed=True)),
                Cell(DASH if np.isnan(ratio) else f"{ratio:.2f}"),
            ]
            rows.append(TableRow(model, cells))
    note = (
        "Over the groups of at least minimum size. The ratio is that of the smallest to the "
        "largest rate, as fairlearn has it: 1 is equality. Below each rate its group and the "
        "samples that it is a share of: the rate of a few samples says little, and so does its "
        "ratio; the table above has its interval."
    )
    columns = ["model", "rate", "lowest group", "highest group", "difference (points)", "ratio"]
    return Table("The same rates as ratios between groups", columns, rows, note, folded=True)


def _change_table(results: Results, models: Sequence[str]) -> Table:
    """Which wrong classes the samples go to that the dense network got right."""
    rows = []
    samples = results.samples
    if "dense_prediction" in samples:
        samples = samples[samples["model"].isin(models) & samples["dense_prediction"].notna()]
        order = results.groups["group"].cat.categories
        samples = samples.assign(group=pd.Categorical(samples["group"], order, ordered=True))
        for (model, group), own in samples.groupby(["model", "group"], observed=True):
            wrong = own[broken(own)]
            if not wrong.empty:
                lost = Cell(f"{len(wrong):,}", f"of {len(own):,}")
                cells = [_text(str(group) or "(empty)"), lost, _text(_changes(wrong))]
                rows.append(TableRow(str(model), cells))
    note = "Samples right under the dense network: true class → what the pruned network says."
    columns = ["model", "group", "broken", "most frequent changes"]
    return Table("Where the broken samples go", columns, rows, note, folded=True)


def _changes(wrong: pd.DataFrame) -> str:
    counts = (wrong["label"] + " → " + wrong["prediction"]).value_counts()
    return "; ".join(f"{change}: {n:,}" for change, n in counts.head(MOST_CHANGES).items())


def _end(row: pd.Series) -> str:
    return f"{row['group'] or '(empty)'}, of {row['n']:,}"


def _text(text: str) -> Cell:
    return Cell(text, style="text")
