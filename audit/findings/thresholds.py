"""Thresholds that a pipeline holds a model to, judged with the intervals of what was measured."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from audit.errors import AuditError
from audit.escaping import visible, workflow_message
from audit.findings.results import Results

FORM = re.compile(r"\s*(max|min|any|overall)\s+(\w+)\s*([<>])\s*(-?\d*\.?\d+(?:e-?\d+)?)\s*", re.I)
WORDS = (
    "expected such as 'max excess_accuracy_gap > 0.02': max, min, any or overall; a metric; "
    "> or <; a number"
)


@dataclass(frozen=True)
class Threshold:
    """A model fails where its metric lies beyond the limit.

    over      max, min: of the groups large enough; any: each of those groups; overall: the number
              of all samples, or of a gap between groups
    metric    a metric of the groups table, or of the record's overall numbers
    side      '>' where above the limit is a failure, '<' where below is
    """

    over: str
    metric: str
    side: str
    limit: float

    @staticmethod
    def parse(text: str) -> Threshold:
        """The threshold of a text such as 'max excess_accuracy_gap > 0.02'."""
        found = FORM.fullmatch(text)
        if not found:
            raise AuditError(f"found threshold '{text}'; {WORDS}")
        over, metric, side, limit = found.groups()
        return Threshold(over.lower(), metric, side, float(limit))

    def __str__(self) -> str:
        """The threshold as it is written."""
        return f"{self.over} {self.metric} {self.side} {self.limit:g}"


@dataclass(frozen=True)
class Judgement:
    """What became of a threshold: the number that decided, its interval, and its group."""

    threshold: Threshold
    model: str
    group: str
    value: float
    ci_low: float
    ci_high: float
    certain: bool
    possible: bool

    def failed(self, if_possible: bool = False) -> bool:
        """Whether the interval excludes the limit, or, on request, does not exclude failure."""
        return self.possible if if_possible else self.certain

    def sentence(self) -> str:
        """The judgement in words, in the metric's own unit."""
        where = f" (group {self.group})" if self.group else ""
        verdict = "beyond it" if self.certain else "it may be beyond it"
        if not self.possible:
            verdict = "within it"
        return (
            f"{self.model}: {self.threshold.over} {self.threshold.metric} is {self.value:.4g} "
            f"[{self.ci_low:.4g}, {self.ci_high:.4g}]{where}; limit "
            f"{self.threshold.side} {self.threshold.limit:g}: {verdict}"
        )


def judge(results: Results, thresholds: Sequence[Threshold]) -> list[Judgement]:
    """Judge every candidate of a comparison, or the model that was measured.

    `max` and `min` of the excess accuracy gap use the interval of that maximum where there is
    one. Otherwise the bounds are the largest (smallest) of the groups' own 95 % bounds, which are
    not adjusted for the number of groups. Raises AuditError where a metric was not measured.
    """
    compared = results.record["tables"].get("compared")
    models = compared[1:] if compared else [results.record["models"][-1]["name"]]
    found: list[Judgement] = []
    for model in models:
        for threshold in thresholds:
            found += _judged(results, str(model), threshold)
    return found


def _judged(results: Results, model: str, threshold: Threshold) -> list[Judgement]:
    overall = [row for row in results.record["overall"] if row["model"] == model]
    if threshold.over == "overall":
        return [_judgement(threshold, model, _one(overall, threshold.metric))]
    named = f"{threshold.over}_{threshold.metric}"
    whole = [row for row in overall if row["metric"] == named]
    if threshold.over != "any" and whole:
        return [_judgement(threshold, model, whole[0])]
    groups = results.groups
    own = groups[(groups["model"] == model) & (groups["metric"] == threshold.metric)]
    if own.empty:
        known = ", ".join(sorted(groups["metric"].unique()))
        raise AuditError(f"found no metric '{threshold.metric}' of groups; measured were {known}")
    own = own[(own["flag"] == "") & own["value"].notna()]
    if own.empty:
        raise AuditError(
            f"'{threshold}' cannot be judged: no group is large enough for {threshold.metric}"
        )
    if threshold.over == "any":
        return [_judgement(threshold, model, row) for _, row in own.iterrows()]
    largest = threshold.over == "max"
    most = own.sort_values("value", ascending=not largest).iloc[0].to_dict()
    bounds = own[["ci_low", "ci_high"]]
    return [_judgement(threshold, model, most | dict(bounds.max() if largest else bounds.min()))]


def _one(overall: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    for row in overall:
        if row["metric"] == metric and row["value"] is not None:
            return row
    known = ", ".join(sorted({str(row["metric"]) for row in overall}))
    raise AuditError(f"found no overall metric '{metric}'; measured were {known}")


def _judgement(threshold: Threshold, model: str, row: Any) -> Judgement:
    value = float(row["value"])
    # A number without an interval is judged by itself.
    low, high = (
        value if row[bound] is None or pd.isna(row[bound]) else float(row[bound])
        for bound in ("ci_low", "ci_high")
    )
    if threshold.side == ">":
        certain, possible = low > threshold.limit, max(value, high) > threshold.limit
    else:
        certain, possible = high < threshold.limit, min(value, low) < threshold.limit
    if not math.isfinite(value):
        raise AuditError(f"'{threshold}' cannot be judged: {threshold.metric} is {value}")
    group = row["group"]
    name = "" if group is None or pd.isna(group) else str(group)
    return Judgement(threshold, model, name, value, low, high, certain, possible)


def junit(judgements: Sequence[Judgement], if_possible: bool = False) -> str:
    """The judgements as JUnit XML: a test case each."""
    failed = [one.failed(if_possible) for one in judgements]
    suite = ElementTree.Element(
        "testsuite", name="audit", tests=str(len(failed)), failures=str(sum(failed))
    )
    for one, bad in zip(judgements, failed, strict=True):
        name = f"{one.threshold} {one.group}".strip()
        case = ElementTree.SubElement(
            suite, "testcase", classname=visible(one.model), name=visible(name)
        )
        if bad:
            ElementTree.SubElement(case, "failure", message=visible(one.sentence()))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def github(judgements: Sequence[Judgement], if_possible: bool = False) -> list[str]:
    """The judgements as workflow commands that GitHub shows beside a run."""
    lines = []
    for one in judgements:
        level = "error" if one.failed(if_possible) else "warning" if one.possible else "notice"
        lines.append(f"::{level} title=audit::{workflow_message(one.sentence())}")
    return lines
