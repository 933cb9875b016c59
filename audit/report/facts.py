"""The verdict at a glance: a few facts, each a word or a number with what qualifies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from audit.findings.results import Results
from audit.findings.verdict import (
    BEYOND_ROUNDING,
    harmed_groups,
    onset,
    overall_table,
)
from audit.findings.words import interval, label, number, percent

GAP = "max_excess_accuracy_gap"


@dataclass(frozen=True)
class Fact:
    """What is asked, the answer in a word or a number, and what qualifies it."""

    label: str
    value: str
    detail: str
    harm: bool = False


def facts(results: Results) -> list[Fact]:
    """Who pays, how much, from which rate on, and which method is fairest; or a fact a network."""
    record = results.record
    if record["tables"].get("compared"):
        return _compared(record)
    pruned = [model for model in record["models"] if model["method"] != "dense"]
    if not pruned:
        return []
    method = label(pruned[0])
    rate = max(model["rate"] for model in pruned if label(model) == method)
    table = overall_table(record["overall"], record["models"])
    at_rate = table[(table["rate"] == rate) & (table["method"] != "dense")]
    gaps = at_rate[at_rate["metric"] == GAP]
    own = gaps[gaps["method"] == method]
    if own.empty:
        return []
    harm = bool(harmed_groups(results.groups, method, rate))
    return [
        _payer(own, f"{method}, {percent(rate)} removed", harm),
        Fact(
            "How much",
            f"{_points(own)} points",
            f"{_extent(own, results.groups)} of accuracy beyond the average loss",
            harm,
        ),
        _onset_fact(results.groups, method),
        *_fairest(gaps, at_rate, results.groups, method),
    ]


def _payer(gaps: pd.DataFrame, where: str, harm: bool) -> Fact:
    if not harm:
        return Fact("Who pays", "No group", f"significantly, under {where}")
    worst = str(gaps["group"].mode()[0]) or "(empty)"
    return Fact("Who pays most", f"Group {worst}", f"under {where}", harm)


def _onset_fact(groups: pd.DataFrame, method: str) -> Fact:
    found = onset(groups, method)
    if found is None:
        return Fact("From which rate on", "None seen", f"that is significant, under {method}")
    return Fact(
        "From which rate on", percent(found[0]), f"the lowest that is significant: {method}"
    )


def _fairest(
    gaps: pd.DataFrame, at_rate: pd.DataFrame, groups: pd.DataFrame, method: str
) -> list[Fact]:
    """The method whose largest gap is smallest, with its price in accuracy."""
    means = gaps.groupby("method", sort=False)["value"].mean()
    if len(means) < 2:
        return []
    name = str(means.idxmin())
    own = gaps[gaps["method"] == name]
    detail = f"{_extent(own, groups)} largest gap of {name}"
    if name != method:
        right = at_rate[at_rate["metric"] == "accuracy"].groupby("method")["value"].mean()
        change = number(right[name] - right[method], "accuracy", signed=True)
        detail += f"; accuracy {change} points against {method}"
    return [Fact(f"Fairest of {len(means)} methods", f"{_points(own)} points", detail)]


def _points(gaps: pd.DataFrame) -> str:
    return number(gaps["value"].mean(), GAP)


def _extent(gaps: pd.DataFrame, groups: pd.DataFrame) -> str:
    """The spread over seeds, or with one seed the interval of the group that pays most."""
    if len(gaps) > 1:
        return f"± {number(gaps['value'].std(), GAP)} over {len(gaps)} seeds"
    found = gaps.iloc[0]
    own = groups[
        (groups["model"] == found["model"])
        & (groups["group"] == found["group"])
        & (groups["metric"] == "excess_accuracy_gap")
    ].iloc[0]
    return interval(own["ci_low"], own["ci_high"], GAP)


def _compared(record: Mapping[str, Any]) -> list[Fact]:
    """The largest gap of every network of a comparison, with its group and accuracy."""
    known = {(row["model"], row["metric"]): row for row in record["overall"]}
    baseline, *candidates = record["tables"]["compared"]
    harming = {baseline} if _harms(record, "baseline", candidates[0]) else set()
    harming |= {name for name in candidates if _harms(record, "candidate", name)}
    return [
        _network(name, known[name, GAP], known[name, "accuracy"], name in harming)
        for name in (baseline, *candidates)
        if (name, GAP) in known
    ]


def _harms(record: Mapping[str, Any], side: str, candidate: str) -> bool:
    """Whether some group's gap is significantly above zero, as the verdict has it."""
    return any(
        row[f"{side}_ci_low"] is not None and row[f"{side}_ci_low"] > BEYOND_ROUNDING
        for row in record["tables"]["comparison"]
        if row["candidate_name"] == candidate
        and row["metric"] == "excess_accuracy_gap"
        and row["flag"] == ""
    )


def _network(name: str, gap: Mapping[str, Any], accuracy: Mapping[str, Any], harm: bool) -> Fact:
    extent = interval(gap["ci_low"], gap["ci_high"], GAP)
    detail = (
        f"{extent} largest excess accuracy gap, group {gap['group'] or '(empty)'}; "
        f"accuracy {number(accuracy['value'], 'accuracy')}"
    )
    return Fact(name, f"{number(gap['value'], GAP)} points", detail.strip(), harm)
