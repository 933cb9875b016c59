"""Thresholds of a pipeline: read, judged with intervals, told as XML and annotations."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from audit.columns import GROUP_COLUMNS
from audit.errors import AuditError
from audit.findings.results import Results
from audit.findings.thresholds import Threshold, github, judge, junit

ROWS = (
    ("a", "excess_risk", 0.30, 0.20, 0.40, ""),
    ("b", "excess_risk", 0.10, -0.10, 0.25, ""),
    ("few", "excess_risk", 9.0, 8.0, 10.0, "small"),
    ("none", "excess_risk", np.nan, np.nan, np.nan, "absent"),
)


def results(group="a"):
    """A candidate of two groups, one too small and one absent, beside a baseline far worse."""
    rows = [
        {"model": model, "group": group if name == "a" else name, "metric": metric,
         "value": value + worse, "ci_low": low + worse, "ci_high": high + worse, "flag": flag}
        for model, worse in (("baseline", 5.0), ("fair", 0.0))
        for name, metric, value, low, high, flag in ROWS
    ]  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=list(GROUP_COLUMNS))
    overall = [
        {"model": "fair", "metric": "accuracy", "value": 0.9, "ci_low": 0.88, "ci_high": 0.92,
         "group": None},
        {"model": "fair", "metric": "max_excess_accuracy_gap", "value": 0.05, "ci_low": 0.01,
         "ci_high": 0.09, "group": "a"},
        {"model": "fair", "metric": "loss", "value": 0.4, "ci_low": None, "ci_high": None,
         "group": None},
    ]  # fmt: skip
    record = {
        "models": [{"name": "baseline"}, {"name": "fair"}],
        "overall": overall,
        "tables": {"compared": ["baseline", "fair"]},
    }
    nothing = pd.DataFrame()
    return Results(groups=table, samples=nothing, layers=nothing, record=record)


@pytest.mark.parametrize(
    ("text", "certain", "possible"),
    [
        ("max excess_risk > 0.1", True, True),
        ("max excess_risk > 0.2", False, True),
        ("max excess_risk > 0.3", False, True),
        ("max excess_risk > 0.4", False, False),
        ("min excess_risk < 0", False, True),
        ("min excess_risk < 0.5", True, True),
        ("min excess_risk < -0.2", False, False),
        ("max excess_accuracy_gap > 0.005", True, True),
        ("max excess_accuracy_gap > 0.05", False, True),
        ("overall accuracy < 0.93", True, True),
        ("overall accuracy < 0.9", False, True),
        ("overall loss > 0.39", True, True),
    ],
)
def test_a_limit_is_held_against_the_interval_of_the_candidate(text, certain, possible):
    (found,) = judge(results(), [Threshold.parse(text)])
    assert (found.certain, found.possible) == (certain, possible)
    assert (found.failed(), found.failed(if_possible=True)) == (certain, possible)
    assert found.model == "fair"


def test_the_maximum_is_of_groups_that_are_large_enough():
    (found,) = judge(results(), [Threshold.parse("max excess_risk > 1")])
    assert (found.group, found.value, found.ci_low, found.ci_high) == ("a", 0.3, 0.2, 0.4)
    every = judge(results(), [Threshold.parse("any excess_risk > 0.15")])
    assert [(one.group, one.certain) for one in every] == [("a", True), ("b", False)]


@pytest.mark.parametrize(
    "text", ["", "max > 1", "excess_risk > 1", "max excess_risk >= 1", "max excess_risk > one"]
)
def test_what_is_no_threshold(text):
    with pytest.raises(AuditError, match=r"expected such as 'max excess_accuracy_gap > 0\.02'"):
        Threshold.parse(text)


def test_a_metric_that_was_not_measured():
    with pytest.raises(AuditError, match="no metric 'speed' of groups; measured were excess_risk"):
        judge(results(), [Threshold.parse("max speed > 1")])
    with pytest.raises(AuditError, match="no overall metric 'speed'; measured were accuracy"):
        judge(results(), [Threshold.parse("overall speed > 1")])


def test_hostile_names_stay_text_in_xml_and_annotations():
    name = '<script>"&\x00\n::error::'
    judgements = judge(results(name), [Threshold.parse("any excess_risk > 0.15")])
    suite = ElementTree.fromstring(junit(judgements))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert '<script>"&' in suite[0].get("name")
    assert suite[0].find("failure").get("message").startswith("fair: any excess_risk is 0.3")
    lines = github(judgements)
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning"]
    assert all("\n" not in line for line in lines)
    strict = ElementTree.fromstring(junit(judgements, if_possible=True))
    assert strict.get("failures") == "2"
