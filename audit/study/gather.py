"""Putting the measures of several models together into results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from audit.data.grouped import GroupedData
from audit.durations import timed
from audit.examine.measured import ModelMeasures
from audit.findings.answers import Answers, Stored
from audit.findings.causes import causes_table, trained_sizes
from audit.findings.comparison import comparison_table
from audit.findings.discovered import discovered_tables
from audit.findings.error_rates import rates_table
from audit.findings.exemplars import exemplar_table
from audit.findings.finding import records
from audit.findings.making import conclude
from audit.findings.missing import with_missing
from audit.findings.outcomes import is_dense, make_outcomes
from audit.findings.results import SCHEMA_VERSION, Results
from audit.models.checkpoint import library_versions
from audit.study.by_itself import TABLES, with_tables
from audit.study.pictures import take_pictures


@timed("judging")
def gather(
    measures: Sequence[ModelMeasures],
    data: GroupedData,
    settings: Mapping[str, Any],
    command: str = "",
    compared: Sequence[str] | None = None,
    gallery: bool = False,
    missing: Mapping[str, str] | None = None,
    trained: Mapping[str, int] | None = None,
) -> Results:
    """The results of some models on the same data, with their verdict in words.

    `compared` names the baseline and then every candidate where models are compared. With
    `gallery`, pictures of the samples that pruning broke are part of the results. `missing` gives
    the networks of a study that could not be made, each with its reason. `trained` says how many
    samples of each group the dense network was trained on; where nobody does, and it was trained
    elsewhere, those are not known of a split that was drawn here.
    """
    missing = missing or {}
    groups = pd.concat([one.groups for one in measures], ignore_index=True)
    groups["group"] = pd.Categorical(groups["group"], categories=data.group_names, ordered=True)
    layers = pd.concat([one.layers for one in measures], ignore_index=True)
    answers = answers_of(measures).held()
    overall = [row for one in measures for row in one.overall]
    models = [one.model for one in measures]
    unknown = data.drawn and trained is None and _trained_elsewhere(models)
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "settings": _plain(settings),
        "versions": library_versions(),
        "data": describe(data, trained) | ({"trained_elsewhere": True} if unknown else {}),
        "models": models,
        "overall": overall,
        "missing": [{"model": name, "reason": reason} for name, reason in missing.items()],
        "tables": {},
    }
    causes = causes_table(groups, models, trained_sizes(record))
    record["tables"]["causes"] = records(causes)
    outcomes = make_outcomes(answers, groups, record)
    if compared is None:
        record["tables"]["exemplars"] = records(exemplar_table(outcomes, models))
    else:
        baseline, *candidates = compared
        table = pd.concat(
            [comparison_table(groups, answers, baseline, one) for one in candidates],
            ignore_index=True,
        )
        record["tables"] |= {"compared": list(compared), "comparison": records(table)}
    alone = [with_tables(one, data.group_names).tables for one in measures]
    record["tables"] |= {name: [row for own in alone for row in own[name]] for name in TABLES}
    sought = [str(name) for name in _plain(settings).get("measure", {}).get("discover", ())]
    if sought:
        tables = discovered_tables(answers, groups, data.columns_of(sought))
        record["tables"] |= dict(zip(("discovery", "discovered"), map(_known, tables), strict=True))
    record["tables"]["rates"] = records(rates_table(answers, groups, record))
    record |= conclude(groups, answers, layers, record, outcomes)
    if compared is None:
        record["verdict"] = with_missing(record["verdict"], missing, len(models) + len(missing))
    pictures = pd.DataFrame()
    if gallery:
        pictures = take_pictures(data, answers, groups, models, compared or ())
    return Results(groups, answers, record, layers, pictures)


def _trained_elsewhere(models: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the dense network, the first of them that is one, took no step of training here."""
    return not next((one["steps"] for one in models if is_dense(one)), 1)


def answers_of(measures: Sequence[ModelMeasures]) -> Answers:
    """What the networks measured answered, those that are in files left there."""
    return Answers(
        {
            str(one.model["name"]): Stored.at(one.answered)
            if isinstance(one.answered, Path)
            else one.answered
            for one in measures
        }
    )


def describe(data: GroupedData, trained: Mapping[str, int] | None = None) -> dict[str, Any]:
    """What the data is: names, sizes per group and split, and what must be said of it.

    trained   the samples of each group that the networks were trained on, as their owner says
    """
    sizes = data.sizes()
    if trained is not None:
        sizes["trained"] = [int(trained.get(name, 0)) for name in data.group_names]
    return {
        "name": data.name,
        "spec": dict(data.spec),
        "attribute": data.attribute,
        "classes": list(data.classes),
        "groups": [
            {"group": name} | {split: int(sizes[split][name]) for split in sizes.columns}
            for name in data.group_names
        ],
        "notes": list(data.notes),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _known(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return records(pd.DataFrame(rows)) if rows else []
