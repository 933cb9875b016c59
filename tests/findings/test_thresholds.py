"""Thresholds of a pipeline: read, judged with intervals, told as XML and annotations."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from audit.columns import GROUP_COLUMNS
from audit.errors import AuditError
from audit.findings.answers import Answers
from audit.findings.results import Results
from audit.findings.thresholds import Threshold, github, judge, junit

ROWS = (
    ("a", "excess_risk", 0.30, 0.20, 0.40, ""),
    ("b", "excess_risk", 0.10, -0.10, 0.25, ""),
    ("few", "excess_risk", 9.0, 8.0, 10.0, "small"),
    ("none", "excess_risk", np.nan, np.nan, np.nan, "absent"),
)


def results(group="a", rows=ROWS, findings=()):
    """A candidate of two groups, one too small and one absent, beside a baseline far worse."""
    rows = [
        {"model": model, "group": group if name == "a" else name, "metric": metric,
         "value": value + worse, "ci_low": low + worse, "ci_high": high + worse, "flag": flag}
        for model, worse in (("baseline", 5.0), ("fair", 0.0))
        for name, metric, value, low, high, flag in rows
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
        "findings": list(findings),
    }
    nothing = pd.DataFrame()
    return Results(groups=table, answers=Answers({}), layers=nothing, record=record)


@pytest.mark.parametrize(
    ("text", "certain", "possible"),
    [
        ("max excess_risk > 0.1", True, True),
        ("max excess_risk > 0.2", False, True),
        ("max excess_risk > 0.3", False, True),
        ("max excess_risk > 0.4", False, True),  # the small group may be beyond it
        ("min excess_risk < 0", False, True),
        ("min excess_risk < 0.5", True, True),
        ("min excess_risk < -0.2", False, True),  # nothing is known of the absent group
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
    assert (found.group, found.value) == ("a", 0.3)
    # Stretched to hold for both groups.
    assert found.ci_low == pytest.approx(0.3 - 0.1 * norm.ppf(1 - 0.05 / 4) / norm.ppf(0.975))
    every = judge(results(), [Threshold.parse("any excess_risk > 0.15")])
    told = [(one.group, one.certain, one.possible) for one in every]
    known, unknown = told[:2], told[2:]
    assert known == [("a", True, True), ("b", False, True)]
    assert unknown == [("few", False, True), ("none", False, True)]


def test_several_groups_are_judged_by_intervals_that_hold_for_all():
    rows = [(name, "excess_risk", 0.10, 0.01, 0.19, "") for name in ("a", "b", "c", "d")]
    every = judge(results(rows=rows), [Threshold.parse("any excess_risk > 0")])
    assert not any(one.certain for one in every)
    assert all(one.possible for one in every)
    (alone,) = judge(results(rows=rows[:1]), [Threshold.parse("any excess_risk > 0")])
    assert alone.certain


def test_a_group_without_such_samples_is_not_passed():
    rows = (*ROWS[:2], ("c", "excess_risk", np.nan, np.nan, np.nan, ""))
    (most,) = judge(results(rows=rows), [Threshold.parse("max excess_risk > 5")])
    assert (most.certain, most.possible) == (False, True)
    assert "nothing is known of group c" in most.sentence()
    found = results()
    found.record["overall"].append(
        {"model": "fair", "metric": "equal_opportunity_difference", "value": 0.0, "ci_low": 0.0,
         "ci_high": 0.02, "group": "a", "without": ["c"]}
    )  # fmt: skip
    (judged,) = judge(found, [Threshold.parse("overall equal_opportunity_difference > 0.3")])
    assert (judged.failed(), judged.failed(if_possible=True)) == (False, True)
    assert "without group c" in judged.sentence()


def finding(claim, decision, group=None, **more):
    return {"claim": claim, "decision": decision, "networks": ["fair"], "group": group,
            "metric": None, "estimate": 0.05, "low": 0.01, "high": 0.09, "details": {}} | more  # fmt: skip


def test_a_collapsed_network_fails_every_parity_whatever_it_is():
    found = results(rows=ROWS[:2], findings=[finding("collapse", True)])
    row = {"model": "fair", "metric": "equalized_odds_difference", "value": 0.0, "ci_low": 0.0,
           "ci_high": 0.01, "group": "a", "without": []}  # fmt: skip
    found.record["overall"].append(row)
    (judged,) = judge(found, [Threshold.parse("overall equalized_odds_difference > 0.1")])
    assert judged.failed()
    assert "has collapsed" in judged.sentence()
    found.record["findings"] = [finding("collapse", False)]
    (judged,) = judge(found, [Threshold.parse("overall equalized_odds_difference > 0.1")])
    assert not judged.failed(if_possible=True)


def test_a_gap_that_leaves_a_group_out_is_not_passed():
    (known,) = judge(results(rows=ROWS[:2]), [Threshold.parse("max excess_accuracy_gap > 0.5")])
    assert not known.failed(if_possible=True)
    (judged,) = judge(results(), [Threshold.parse("max excess_accuracy_gap > 0.5")])
    assert (judged.failed(), judged.failed(if_possible=True)) == (False, True)
    assert "few, which is small, none, which is absent" in judged.sentence()


def test_a_claim_of_which_nothing_is_known_is_not_passed():
    (judged,) = judge(results(rows=ROWS[:2]), [Threshold.parse("levelling down")])
    assert judged.failed(if_possible=True)
    assert "nothing is known of it" in judged.sentence()
    (judged,) = judge(results(rows=ROWS[:2]), [Threshold.parse("any rate beyond chance")])
    assert judged.failed(if_possible=True)


def test_a_claim_about_rates_that_a_group_lacks_is_not_passed():
    lacking = finding("beyond_chance", False, "a", details={"without": ["c"]})
    threshold = Threshold.parse("any rate beyond chance")
    (judged,) = judge(results(rows=ROWS[:2], findings=[lacking]), [threshold])
    assert (judged.failed(), judged.failed(if_possible=True)) == (False, True)
    assert "without group c, which has no such samples" in judged.sentence()


def test_a_small_group_that_fell_behind_is_not_passed_and_its_numbers_are_told():
    fell = finding("suspected", True, "few", low=0.3, high=0.8)
    paid = finding("pays", False, "a", low=-0.01, high=0.01)
    threshold = Threshold.parse("any group pays")
    judged = {one.group: one for one in judge(results(findings=[paid, fell]), [threshold])}
    assert (judged["few"].certain, judged["few"].possible) == (False, True)
    assert (judged["few"].ci_low, judged["few"].ci_high) == (0.3, 0.8)
    assert "too small for a verdict, but it fell behind the average" in judged["few"].sentence()
    assert "it is absent" in judged["none"].sentence()


def test_a_group_that_pays_in_one_run_of_three_is_not_passed():
    once = finding("pays", False, "a", low=-0.01, high=0.01, runs=3, details={"runs_paying": 1})
    (judged,) = judge(results(rows=ROWS[:2], findings=[once]), [Threshold.parse("any group pays")])
    assert (judged.failed(), judged.failed(if_possible=True)) == (False, True)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("no agreement above 0.98", "any agreement < 0.98"),
        ("no agreement below 0.98", "any agreement < 0.98"),
        ("no excess_risk above 0.1", "any excess_risk > 0.1"),
        ("no false_positive_rate above 0.2", "any false_positive_rate > 0.2"),
        ("no accuracy below 0.6", "any accuracy < 0.6"),
    ],
)
def test_a_limit_in_words_fails_on_the_side_where_the_metric_is_worse(text, meant):
    assert str(Threshold.parse(text)) == meant


def test_a_limit_in_words_of_a_metric_without_a_worse_side_is_refused():
    with pytest.raises(AuditError, match=r"any selection_rate > LIMIT"):
        Threshold.parse("no selection_rate above 0.5")


def test_findings_are_thresholds():
    paying = [finding("pays", True, "a"), finding("pays", False, "b", low=-0.02, high=0.03),
              finding("pays", False, "c", low=-0.02, high=0.01)]  # fmt: skip
    few = results(rows=ROWS[:2], findings=paying)
    every = judge(few, [Threshold.parse("any group pays")])
    assert [(one.group, one.certain, one.possible) for one in every] == [
        ("a", True, True),
        ("b", False, True),
        ("c", False, False),
    ]
    assert every[0].sentence() == "fair: any group pays: found (group a)"
    known = replace(few, answers=Answers({"fair": pd.DataFrame({"sample": ["1"]})}))
    (none,) = judge(known, [Threshold.parse("Levelling  Down")])
    assert not none.failed(if_possible=True)
    with pytest.raises(AuditError, match="was not pruned"):
        judge(results(), [Threshold.parse("any group pays")])


def test_answers_that_are_the_dense_networks_are_told_beside_what_became_of_them():
    whole = finding("loss", False, details={"ruined": False, "changed": 0}, networks=["fair"])
    gap, accuracy = judge(
        results(rows=ROWS[:2], findings=[whole]),
        [Threshold.parse("max excess_accuracy_gap > 0.1"), Threshold.parse("overall loss > 1")],
    )
    assert gap.sentence().endswith("; it answered every sample as the dense network does")
    assert not accuracy.note
    whole["details"]["changed"] = 1
    (gap,) = judge(results(rows=ROWS[:2], findings=[whole]), [gap.threshold])
    assert not gap.note


def test_no_agreement_above_is_a_limit_of_every_group():
    found = Threshold.parse("no agreement above 0.98")
    assert found == Threshold("any", "agreement", "<", 0.98)
    known = results()
    known.record["tables"]["faithfulness"] = [
        {"model": "fair", "group": group, "agreement": value, "ci_low": value - 0.01,
         "ci_high": value + 0.01, "flag": ""}
        for group, value in (("a", 0.99), ("b", 0.9))
    ]  # fmt: skip
    assert [one.certain for one in judge(known, [found])] == [False, True]


@pytest.mark.parametrize(
    "text", ["", "max > 1", "excess_risk > 1", "max excess_risk >= 1", "max excess_risk > one"]
)
def test_what_is_no_threshold(text):
    with pytest.raises(AuditError, match=r"expected such as 'max excess_accuracy_gap > 0\.02'"):
        Threshold.parse(text)


def test_a_metric_that_was_not_measured():
    with pytest.raises(
        AuditError, match="no metric 'speed' of groups; measured were excess_risk, agreement"
    ):
        judge(results(), [Threshold.parse("max speed > 1")])
    with pytest.raises(AuditError, match="no overall metric 'speed'; measured were accuracy"):
        judge(results(), [Threshold.parse("overall speed > 1")])


def test_hostile_names_stay_text_in_xml_and_annotations():
    name = '<script>"&\x00\n::error::'
    judgements = judge(results(name), [Threshold.parse("any excess_risk > 0.15")])
    suite = ElementTree.fromstring(junit(judgements))
    assert (suite.get("tests"), suite.get("failures")) == ("4", "1")
    assert '<script>"&' in suite[0].get("name", "")
    assert suite[0].find("failure").get("message").startswith("fair: any excess_risk is 0.3")
    lines = github(judgements)
    assert [line.split(" ")[0] for line in lines] == ["::error", *["::warning"] * 3]
    assert all("\n" not in line for line in lines)
    strict = ElementTree.fromstring(junit(judgements, if_possible=True))
    assert strict.get("failures") == "4"


@pytest.mark.parametrize(
    "text",
    [
        "max excess_accuracy_gap > 2",
        "overall accuracy < 90",
        "any excess_accuracy_gap > -1.5",
        "no agreement above 98",
    ],
)
def test_a_limit_that_no_share_can_pass_is_refused(text: str) -> None:
    with pytest.raises(AuditError, match=r"shares; expected a fraction, such as -?0\.\d+ for "):
        Threshold.parse(text)
    assert Threshold.parse("any loss > 2").limit == 2.0
    assert Threshold.parse("overall accuracy < 1").limit == 1.0


def test_a_metric_that_was_measured_of_nobody_is_not_said_to_want_larger_groups() -> None:
    nothing = [(name, metric, *[np.nan] * 3, flag) for name, metric, *_, flag in ROWS]
    unmeasured = Threshold.parse("max excess_risk > 0.5")
    with pytest.raises(AuditError, match="cannot be judged: it was measured of no group"):
        judge(results(rows=nothing), [unmeasured])
    with pytest.raises(AuditError, match="cannot be judged: no group is large enough"):
        judge(results(rows=nothing[2:]), [unmeasured])
