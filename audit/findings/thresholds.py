"""Thresholds that a pipeline holds a model to, judged with the intervals of what was measured."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from audit.errors import AuditError
from audit.escaping import visible, workflow_message
from audit.findings.actions import TOLERANCE
from audit.findings.losses import class_alone
from audit.findings.pays import CODED_OTHERWISE, KNOWS_NOTHING, NO_PARENT
from audit.findings.results import Results
from audit.measure.distributions import normal_quantile
from audit.metrics import METRICS, is_known, shown
from audit.metrics import metric as told
from audit.names import hint

FORM = re.compile(r"\s*(max|min|any|overall)\s+(\w+)\s*([<>])\s*(-?\d*\.?\d+(?:e-?\d+)?)\s*", re.I)
NONE = re.compile(r"\s*no\s+(\w+)\s+(above|below)\s+(-?\d*\.?\d+(?:e-?\d+)?)\s*", re.I)
CLAIMS = {
    "any group pays": "pays",
    "levelling down": "levelling_down",
    "collapse": "collapse",
    "large loss": "loss",
    "any rate beyond chance": "beyond_chance",
}
"""Thresholds that are findings, decided by the same rules as every sentence (J1 to J6)."""
AGREEMENT = "agreement"
PARITY = (
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalized_odds_difference",
)
"""Differences that are zero where a network predicts one class for everybody."""
RUINED = "everybody does: most of what the dense network tells of the labels is lost"
SUSPECTED = "too small for a verdict, but it fell behind the average"
WORDS = (
    "expected such as 'max excess_accuracy_gap > 0.02': max, min, any or overall; a metric; "
    f"> or <; a number. Or 'no agreement above 0.98', or one of {', '.join(CLAIMS)}"
)


@dataclass(frozen=True)
class Threshold:
    """A model fails where its metric lies beyond the limit, or where a claim is found of it.

    over      max, min: of the groups large enough; any: each of those groups; overall: the number
              of all samples, or of a gap between groups; claim: a finding
    metric    a metric of the groups table, or of the record's overall numbers; or the claim
    side      '>' where above the limit is a failure, '<' where below is
    """

    over: str
    metric: str
    side: str = ">"
    limit: float = 0.0

    @staticmethod
    def parse(text: str) -> Threshold:
        """The threshold of a text such as 'max excess_accuracy_gap > 0.02'.

        'no METRIC above' and 'no METRIC below' hold every group to the limit, from the side where
        the metric is worse, whichever word is written.

        >>> str(Threshold.parse("no agreement above 0.98"))
        'any agreement < 0.98'
        >>> str(Threshold.parse("no excess_risk above 0.1"))
        'any excess_risk > 0.1'
        """
        claim = CLAIMS.get(" ".join(text.lower().split()))
        if claim is not None:
            return Threshold("claim", claim)
        if none := NONE.fullmatch(text):
            name, _, limit = none.groups()
            side = _bad_side(name, text)
            return Threshold("any", name, side, _limit(name, limit, text))
        found = FORM.fullmatch(text)
        if not found:
            raise AuditError(f"found threshold '{text}'; {WORDS}")
        over, metric, side, limit = found.groups()
        return Threshold(over.lower(), metric, side, _limit(metric, limit, text))

    def check_known(self) -> None:
        """Raise AuditError where the metric is none of the toolkit's, with the nearest name."""
        if self.over == "claim" or self.metric == AGREEMENT or is_known(self.metric):
            return
        near = hint(self.metric, [*METRICS, AGREEMENT])
        raise AuditError(
            f"found threshold '{self}', and '{self.metric}' is no metric{near}; all of them are "
            "listed in docs/definitions.md"
        )

    def __str__(self) -> str:
        """The threshold as it is written."""
        if self.over == "claim":
            return next(text for text, claim in CLAIMS.items() if claim == self.metric)
        return f"{self.over} {self.metric} {self.side} {self.limit:g}"


def _limit(name: str, limit: str, text: str) -> float:
    """The number of a limit; AuditError where no share or difference of shares can lie beyond it.

    A limit of 2 that means points would be kept by every network.
    """
    value = float(limit)
    if told(name).is_fraction and abs(value) > 1:
        raise AuditError(
            f"found threshold '{text}', but {name} is a share or a difference of shares; expected "
            f"a fraction, such as {value / 100:g} for {limit} points"
        )
    return value


def _bad_side(name: str, text: str) -> str:
    """Where a metric is worse; AuditError where neither side is, as of a cause."""
    lower_is_better = told(name).lower_is_better
    if lower_is_better is None:
        raise AuditError(
            f"found threshold '{text}', but neither more nor less of {name} is known to be better; "
            f"expected 'any {name} > LIMIT' or 'any {name} < LIMIT', whichever is a failure"
        )
    return ">" if lower_is_better else "<"


@dataclass(frozen=True)
class Judgement:
    """What became of a threshold: the number that decided, its interval, and its group.

    certain    the threshold is broken beyond doubt; possible: that it is broken is not excluded,
               as wherever a number is not known
    note       why a number is not known, or does not speak for itself
    """

    threshold: Threshold
    model: str
    group: str
    value: float
    ci_low: float
    ci_high: float
    certain: bool
    possible: bool
    note: str = ""

    def failed(self, if_possible: bool = False) -> bool:
        """Whether the interval excludes the limit, or, on request, does not exclude failure."""
        return self.possible if if_possible else self.certain

    def sentence(self) -> str:
        """The judgement in words, in the metric's own unit."""
        where = f" (group {self.group})" if self.group else ""
        note = f"; {self.note}" if self.note else ""
        if self.threshold.over == "claim":
            found = "found" if self.certain else "not excluded" if self.possible else "not found"
            return f"{self.model}: {self.threshold}: {found}{where}{note}"
        verdict = "beyond it" if self.certain else "it may be beyond it"
        if not self.possible:
            verdict = "within it"
        number = f"{self.value:.4g} [{self.ci_low:.4g}, {self.ci_high:.4g}]"
        number = number if math.isfinite(self.value) else "not known"
        return (
            f"{self.model}: {self.threshold.over} {self.threshold.metric} is {number}{where}; "
            f"limit {self.threshold.side} {self.threshold.limit:g}: {verdict}{note}"
        )


def judge(results: Results, thresholds: Sequence[Threshold]) -> list[Judgement]:
    """Judge every candidate of a comparison, or the model that was measured.

    Of several groups each is judged by an interval that holds for all of them at once: that of the
    findings for the excess accuracy gap, else its own 95 % interval, stretched from 1.96 standard
    errors to the point of 1 − 0.05/2G. What is not known is never passed: a group that is absent,
    too small, or without the samples that a rate is of is a possible failure, and so is a parity
    difference that leaves such a group out. A parity difference of a network that predicts one
    class for everybody, or has an empty layer, has failed, whatever it is. Raises AuditError where
    a metric was not measured, where it is asked who pays and no dense network stands beside, or
    that network tells nothing of the labels, or answers the classes of a group as one another, and
    where a candidate is the dense network and it is asked what became of that.
    """
    compared = results.record["tables"].get("compared")
    models = compared[1:] if compared else [results.record["models"][-1]["name"]]
    found: list[Judgement] = []
    for model in models:
        for threshold in thresholds:
            _check_known(results, str(model), threshold)
            own = _judged(results, str(model), threshold)
            found += [_unchanged(results, str(model), one) for one in own]
            found += _not_shown(results, str(model), threshold)
    return found


def _check_known(results: Results, model: str, threshold: Threshold) -> None:
    """Raise AuditError where nothing could fail the threshold, whatever is true."""
    copied = (one for one in results.record.get("findings", ()) if one["claim"] == "copy")
    if _beside_dense(threshold) and any(model in one["networks"] for one in copied):
        raise AuditError(
            f"'{threshold}' cannot be judged: {model} gives the dense network's outputs to the "
            "last digit, and no prunable weight is zero; expected a pruned network's file"
        )
    for one in results.record.get("findings", ()):
        if one["claim"] == "pays" and one["decision"] is None and model in one["networks"]:
            why = str(one["details"]["why"])
            nothing = why.startswith((KNOWS_NOTHING, CODED_OTHERWISE))
            if nothing or (why == NO_PARENT and threshold.metric == "pays"):
                raise AuditError(f"'{threshold}' cannot be judged: {why}")


def _beside_dense(threshold: Threshold) -> bool:
    """Whether it is of what became of the dense network, and not of one network alone."""
    if threshold.over == "claim":
        return threshold.metric in ("pays", "levelling_down", "loss")
    return threshold.metric == AGREEMENT or "dense" in told(threshold.metric).needs


def _unchanged(results: Results, model: str, judged: Judgement) -> Judgement:
    """That a network answers every sample as the dense one does, beside what is told of both."""
    alike = any(
        one["claim"] == "loss" and one["details"].get("changed") == 0 and model in one["networks"]
        for one in results.record.get("findings", ())
    )
    if not alike or judged.note or not _beside_dense(judged.threshold):
        return judged
    return replace(judged, note="it answered every sample as the dense network does")


def _not_shown(results: Results, model: str, threshold: Threshold) -> list[Judgement]:
    """What stands for the groups that redacted results do not show: never an all-clear."""
    redacted = results.record.get("redacted") or {}
    if not redacted.get("groups") or threshold.over == "overall":
        return []
    pays = threshold.metric in ("pays", "excess_accuracy_gap") and model in redacted["networks"]
    certain = pays and threshold.over == "claim"
    note = f"{redacted['groups']} groups are not shown (--redact {redacted['under']})"
    nan = math.nan
    return [Judgement(threshold, model, "(not shown)", nan, nan, nan, certain, True, note)]


def _judged(results: Results, model: str, threshold: Threshold) -> list[Judgement]:
    if threshold.over == "claim":
        return _claimed(results, model, threshold)
    overall = [row for row in results.record["overall"] if row["model"] == model]
    if threshold.over == "overall":
        return [_whole(results, model, threshold, _one(overall, threshold.metric))]
    named = f"{threshold.over}_{threshold.metric}"
    whole = [row for row in overall if row["metric"] == named]
    if threshold.over != "any" and whole:
        return [_whole(results, model, threshold, whole[0])]
    own = _of_groups(results, model, threshold.metric)
    if own.empty:
        known = ", ".join([*sorted(results.groups["metric"].unique()), AGREEMENT])
        raise AuditError(f"found no metric '{threshold.metric}' of groups; measured were {known}")
    every = [_judgement(threshold, model, row) for row in _stretched(results, model, own)]
    if all(not math.isfinite(one.value) for one in every):
        enough = (own["flag"] == "").any()
        why = "it was measured of no group" if enough else "no group is large enough"
        raise AuditError(f"'{threshold}' cannot be judged: {why}")
    return every if threshold.over == "any" else [_extreme(threshold, every)]


def _of_groups(results: Results, model: str, metric: str) -> pd.DataFrame:
    """The rows of a metric of groups, or of the agreement with the dense network (M15)."""
    if metric != AGREEMENT:
        groups = results.groups
        return groups[(groups["model"] == model) & (groups["metric"] == metric)]
    rows = results.record["tables"].get("faithfulness") or ()
    found = [row | {"metric": metric, "value": row["agreement"]} for row in rows]
    own = [row for row in found if row["model"] == model]
    return pd.DataFrame(own).astype({"value": float}) if own else pd.DataFrame()


def _stretched(results: Results, model: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The groups' rows with intervals that hold for all of them at once."""
    metric = str(rows["metric"].iloc[0])
    judged = rows[(rows["flag"] == "") & rows["value"].notna()]
    factor = normal_quantile(1 - 0.025 / max(1, len(judged))) / normal_quantile(0.975)
    claimed = {
        (one["group"]): one
        for one in results.record.get("findings", ())
        if one["claim"] == "pays" and one["metric"] == metric and one["networks"] == [model]
    }
    found = []
    for row in rows.to_dict("records"):
        own = claimed.get(str(row["group"]))
        low, high = row["ci_low"], row["ci_high"]
        if own is not None and own["low"] is not None:
            low, high = own["low"], own["high"]
        elif not pd.isna(low):
            low, high = (row["value"] - factor * (row["value"] - b) for b in (low, high))
        found.append({str(k): v for k, v in row.items()} | {"ci_low": low, "ci_high": high})
    return found


def _extreme(threshold: Threshold, every: Sequence[Judgement]) -> Judgement:
    """The judgement of the largest or smallest of several groups."""
    large = [one for one in every if not one.note and math.isfinite(one.value)]
    unknown = [one for one in every if one.note and one.possible]
    pick = max if threshold.over == "max" else min
    if not large:
        return pick(every, key=lambda one: one.value if math.isfinite(one.value) else 0.0)
    most = pick(large, key=lambda one: one.value)
    low, high = (pick(getattr(one, side) for one in large) for side in ("ci_low", "ci_high"))
    judged = _judgement(
        threshold,
        most.model,
        {"value": most.value, "ci_low": low, "ci_high": high, "group": most.group, "flag": ""},
    )
    if not unknown:
        return judged
    names = ", ".join(one.group or "(empty)" for one in unknown)
    return replace(judged, possible=True, note=f"nothing is known of group {names}")


def _whole(results: Results, model: str, threshold: Threshold, row: dict[str, Any]) -> Judgement:
    """A number of all samples, or of a gap; a parity difference that says nothing fails."""
    judged = _judgement(threshold, model, row)
    if str(row["metric"]) not in shown("gaps"):
        return judged
    if row["metric"] in PARITY and threshold.side == ">" and _collapsed(results, model):
        note = "the network has collapsed, so that a small difference says nothing"
        return replace(judged, certain=True, possible=True, note=note)
    without = {str(name): "which has no such samples" for name in row.get("without") or ()}
    without |= {name: f"which is {flag}" for name, flag in _left_out(results).items()}
    if not without:
        return judged
    names = ", ".join(f"{name or '(empty)'}, {why}" for name, why in without.items())
    return replace(judged, possible=True, note=f"without group {names}")


def _left_out(results: Results) -> dict[str, str]:
    """The groups that no maximum, no difference and no claim is of, with their flags."""
    if results.groups.empty:
        return {}
    rows = results.groups[["group", "flag"]].astype(str).drop_duplicates("group")
    return {row["group"]: row["flag"] for row in rows.to_dict("records") if row["flag"]}


def _suspected(results: Results, model: str) -> dict[str, dict[str, Any]]:
    """The groups too small for a verdict that fell behind the average under a network."""
    return {
        str(one["group"]): one
        for one in results.record.get("findings", ())
        if one["claim"] == "suspected" and model in one["networks"]
    }


def _collapsed(results: Results, model: str) -> bool:
    return any(
        one["claim"] == "collapse" and one["decision"] and model in one["networks"]
        for one in results.record.get("findings", ())
    )


def _claimed(results: Results, model: str, threshold: Threshold) -> list[Judgement]:
    """A judgement for each finding of a claim: true fails, and what is unknown may."""
    own = [
        one
        for one in results.record.get("findings", ())
        if one["claim"] == threshold.metric and model in one["networks"]
    ]
    if not own and threshold.metric == "pays":
        raise AuditError(f"'{threshold}' cannot be judged: {model} was not pruned")
    nan = float("nan")
    judged = [
        Judgement(
            threshold,
            model,
            str(one["group"] or ""),
            *_bounds(one),
            certain=one["decision"] is True,
            possible=one["decision"] is not False or _may_pay(one) or bool(_lacking(one)),
            note=str(one["details"].get("why", "")) or _lacking(one),
        )
        for one in own
    ]
    if threshold.metric == "pays":
        judged += [
            Judgement(threshold, model, str(one["group"]), *_bounds(one), True, True, "discovered")
            for one in results.record.get("findings", ())
            if one["claim"] == "discovered" and one["group"] and one["decision"]
            and model in one["networks"]
        ]  # fmt: skip
        judged += [
            Judgement(threshold, model, "", *_bounds(one), True, True, _ruin(one))
            for one in results.record.get("findings", ())
            if one["claim"] == "loss" and one["details"]["ruined"] and model in one["networks"]
        ]
        judged += [
            Judgement(threshold, model, str(one["group"]), *_bounds(one), *_otherwise(one))
            for one in results.record.get("findings", ())
            if one["claim"] == "lost_otherwise" and one["decision"] and model in one["networks"]
        ]
    if threshold.metric in ("pays", "beyond_chance"):
        fell = _suspected(results, model) if threshold.metric == "pays" else {}
        judged += [
            Judgement(threshold, model, group, *_bounds(fell[group]), False, True, SUSPECTED)
            if group in fell
            else Judgement(threshold, model, group, nan, nan, nan, False, True, f"it is {flag}")
            for group, flag in _left_out(results).items()
        ]
    if judged:
        return judged
    # Levelling down has a finding only where a gap narrowed, which predictions alone can tell.
    clear = threshold.metric == "levelling_down" and bool(results.answers.parts)
    note = "" if clear else "nothing is known of it"
    return [Judgement(threshold, model, "", nan, nan, nan, False, not clear, note)]


def _otherwise(one: dict[str, Any]) -> tuple[bool, bool, str]:
    """Of what a group lost otherwise: certain in one class, possible in its loss; and a note."""
    name = one["details"]["class"]
    if name is None:
        return False, True, "by loss, in nats beyond the average; not by its accuracy"
    return True, True, f"on samples of class {name or '(empty)'}"


def _ruin(one: dict[str, Any]) -> str:
    """What is lost under a ruined network: most of all, or one class alone."""
    alone = class_alone(one["details"])
    return RUINED if alone is None else f"everybody does: {alone}"


def _bounds(one: dict[str, Any]) -> tuple[float, float, float]:
    """The estimate of a finding with its interval; NaN where there is none."""
    value, low, high = (
        float("nan") if one[key] is None else float(one[key]) for key in ("estimate", "low", "high")
    )
    return value, low, high


def _lacking(one: dict[str, Any]) -> str:
    """The groups without a sample that a rate is of, which a claim about rates says nothing of."""
    names = ", ".join(str(name) or "(empty)" for name in one["details"].get("without") or ())
    return f"without group {names}, which has no such samples" if names else ""


def _may_pay(one: dict[str, Any]) -> bool:
    """Whether a group of which harm was not found may pay all the same.

    As where its interval holds more than the tolerance, or a single run of several found it to pay.
    """
    if one["claim"] != "pays":
        return False
    some_run = one.get("runs", 1) > 1 and bool(one["details"].get("runs_paying"))
    return some_run or one["high"] is None or one["high"] > TOLERANCE


def _one(overall: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    for row in overall:
        if row["metric"] == metric and row["value"] is not None:
            return row
    known = ", ".join(sorted({str(row["metric"]) for row in overall}))
    raise AuditError(f"found no overall metric '{metric}'; measured were {known}")


def _judgement(threshold: Threshold, model: str, row: Mapping[str, Any]) -> Judgement:
    group = row["group"]
    name = "" if group is None or pd.isna(group) else str(group)
    flag = str(row.get("flag") or "")
    value = float("nan") if row["value"] is None else float(row["value"])
    if not math.isfinite(value):
        if not name:
            raise AuditError(f"'{threshold}' cannot be judged: {threshold.metric} is {value}")
        note = "it is absent" if flag == "absent" else "it has no sample that this is of"
        nan = float("nan")
        return Judgement(threshold, model, name, nan, nan, nan, False, True, note)
    # A number without an interval is judged by itself.
    low, high = (
        value if row[bound] is None or pd.isna(row[bound]) else float(row[bound])
        for bound in ("ci_low", "ci_high")
    )
    if threshold.side == ">":
        certain, possible = low > threshold.limit, max(value, high) > threshold.limit
    else:
        certain, possible = high < threshold.limit, min(value, low) < threshold.limit
    small = flag == "small"
    note = "too small a group for a verdict" if small else ""
    return Judgement(
        threshold, model, name, value, low, high, certain and not small, possible, note
    )


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
