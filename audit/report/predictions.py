"""Tables of what the networks predict: rates of every group, their ratios, and where errors go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from audit.findings.networks import shown_models
from audit.findings.results import Results, broken
from audit.findings.words import DASH, interval, named, number
from audit.report.tables import Cell, Table, TableRow

MOST_CHANGES = 3


def prediction_tables(results: Results) -> list[Table]:
    """Rates, their ratios, and the classes that broken samples go to, for the networks compared."""
    rates = pd.DataFrame(results.record["tables"].get("rates", []))
    tables = [_change_table(results, shown_models(results.record))]
    if not rates.empty:
        tables = [_rate_table(rates), _ratio_table(rates), *tables]
    return [table for table in tables if table.rows]


def _rate_table(rates: pd.DataFrame) -> Table:
    rows = []
    for (model, group), own in rates.groupby(["model", "group"], sort=False):
        cells = [_text(named(group)), _text(str(own["class"].iloc[0]))]
        for row in own.to_dict("records"):
            between = interval(row["ci_low"], row["ci_high"], "accuracy")
            told = f"{between} of {row['n']:,}" if between else "of 0"
            cells.append(Cell(number(row["value"], "accuracy"), told))
        rows.append(TableRow(str(model), cells, str(own["flag"].iloc[0])))
    names = list(dict.fromkeys(rates["rate"]))
    note = (
        "One class against the rest: the second of two, or of more the one whose rates differ most "
        "between groups (equalised odds). Below each rate its 95 % interval (Wilson's) and the "
        "samples that it is a share of."
    )
    title = "How often each group is predicted the class, and how often wrongly"
    return Table(title, ["model", "group", "class", *names], rows, note, folded=True)


def _ratio_table(rates: pd.DataFrame) -> Table:
    rows = []
    large = rates[(rates["flag"] == "") & (rates["n"] > 0)]
    for (model, rate), own in large.groupby(["model", "rate"], sort=False):
        known = own.astype({"value": float}).sort_values("value", kind="stable")
        if len(known) < 2:
            continue
        low, high = (known.iloc[place] for place in (0, -1))
        ratio = low["value"] / high["value"] if high["value"] else np.nan
        cells = [
            _text(f"{rate} of {low['class']}"),
            *(Cell(number(end["value"], "accuracy"), _end(end)) for end in (low, high)),
            Cell(number(high["value"] - low["value"], "accuracy", signed=True)),
            Cell(DASH if np.isnan(ratio) else f"{ratio:.2f}"),
        ]
        rows.append(TableRow(str(model), cells))
    note = (
        "Over the groups of at least minimum size. The ratio is that of the smallest to the "
        "largest rate, as fairlearn has it: 1 is equality. Below each rate its group and the "
        "samples that it is a share of: the rate of a few samples says little, and so does its "
        "ratio; the table above has its interval."
    )
    columns = ["model", "rate", "lowest group", "highest group", "difference (points)", "ratio"]
    title = "The same rates as ratios between groups"
    return Table(title, columns, rows, note, folded=True, on_paper=False)


def _change_table(results: Results, models: Sequence[str]) -> Table:
    """Which wrong classes the samples go to that the dense network got right."""
    rows = []
    samples = results.answers.together(models)
    if "dense_prediction" in samples:
        samples = samples[samples["dense_prediction"].notna()]
        order = results.groups["group"].cat.categories
        samples = samples.assign(group=pd.Categorical(samples["group"], order, ordered=True))
        for (model, group), own in samples.groupby(["model", "group"], observed=True):
            wrong = own[broken(own)]
            if not wrong.empty:
                lost = Cell(f"{len(wrong):,}", f"of {len(own):,}")
                cells = [_text(named(group)), lost, _text(_changes(wrong))]
                rows.append(TableRow(str(model), cells))
    note = "Samples right under the dense network: true class → what the pruned network says."
    columns = ["model", "group", "broken", "most frequent changes"]
    title = "Where the broken samples go"
    return Table(title, columns, rows, note, folded=True, on_paper=False)


def _changes(wrong: pd.DataFrame) -> str:
    counts = (wrong["label"] + " → " + wrong["prediction"]).value_counts()
    return "; ".join(f"{change}: {n:,}" for change, n in counts.head(MOST_CHANGES).items())


def _end(row: pd.Series) -> str:
    return f"{named(row['group'])}, of {row['n']:,}"


def _text(text: str) -> Cell:
    return Cell(text, style="text")
