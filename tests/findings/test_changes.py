"""What candidates change and which is fairest, from answers that were chosen, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from audit.findings.changes import (
    GAP,
    ODDS,
    PARITY,
    VIOLATION,
    changes,
    fairest,
    gap_measure,
    less_accurate,
    rivals,
)
from audit.findings.decisions import combined_claims, gap_of, sums
from audit.findings.finding import Finding
from audit.findings.predicted import collapses
from tests.findings.answered import RIGHT, WRONG, answered, model, there

# A: 100, B: 200 samples; `fair` gives A back 25 of the 30 answers that `magnitude` broke.
BLOCKS = [
    ("A", 1, 70, (1, 1, 1)),
    ("A", 1, 25, (1, 0, 1)),
    ("A", 1, 5, (1, 0, 0)),
    ("B", 0, 120, (0, 0, 0)),
    ("B", 1, 70, (1, 1, 1)),
    ("B", 0, 6, (0, 0, 1)),
    ("B", 1, 4, (0, 0, 1)),
]
NAMES = ("dense", "magnitude", model("fair", constraint="excess-accuracy"))


def test_changes_are_the_candidates_accuracy_less_the_baselines():
    evidence = answered(NAMES[1:], [(g, y, n, said[1:]) for g, y, n, said in BLOCKS], compared=True)
    whole, a, b = changes(evidence)
    assert (whole.group, whole.n, whole.decision) == (None, 300, True)
    assert whole.estimate == pytest.approx((25 + 4 - 6) / 300)
    assert [a.estimate, b.estimate] == pytest.approx([25 / 100, (4 - 6) / 200])
    assert (a.decision, b.decision) == (True, False)
    assert (a.n, b.n) == (100, 200)
    assert a.label == "fair"
    assert a.details == {"against": "magnitude"}
    gained = np.repeat([0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 1.0], [n for _, _, n, _ in BLOCKS])
    codes = np.repeat([0, 1], [100, 200])
    claims = combined_claims(sums(gained[None], codes, 2), np.eye(2), np.ones(2, bool))
    assert [a.low, b.low] == pytest.approx(claims.low.tolist())
    assert [a.high, b.high] == pytest.approx(claims.high.tolist())
    assert [a.p_adjusted, b.p_adjusted] == pytest.approx(claims.p_adjusted.tolist())
    assert changes(answered(NAMES, BLOCKS)) == []


def test_a_loss_is_a_change_too_and_small_groups_are_left_out():
    turned = [(g, y, n, (said[2], said[1])) for g, y, n, said in BLOCKS]
    found = changes(answered(("one", "other"), turned, compared=True, small=("B",)))
    whole, a = found
    assert whole.estimate == pytest.approx(-(25 + 4 - 6) / 300)
    assert (a.group, a.decision) == ("A", True)
    assert a.estimate == pytest.approx(-0.25)
    assert there(a.high) < 0


def test_a_candidate_that_loses_much_is_less_accurate_than_a_pruned_baseline_alone():
    turned = [(g, y, n, (said[2], said[1])) for g, y, n, said in BLOCKS]
    found = changes(answered(("one", "other"), turned, compared=True))
    judged = Finding("pays", False, label="one")
    assert less_accurate([*found, judged], "other") is found[0]
    assert there(found[0].high) < -0.015
    assert less_accurate(found, "other") is None  # a dense baseline: that is the loss itself
    little = replace(found[0], high=-0.014)
    assert less_accurate([little, judged], "other") is None


def test_every_gap_is_the_largest_difference_that_its_name_says():
    """By hand, of the dense network and `magnitude`, which is right on 70 of A and 196 of B."""
    evidence = answered(NAMES, BLOCKS)
    outcomes = evidence.outcomes
    of = {metric: gap_measure(evidence, outcomes, metric) for metric in (GAP, PARITY, ODDS)}
    place = np.array([1])
    everybody = 30 / 300
    assert gap_of(of[GAP], place) == pytest.approx(30 / 100 - everybody)
    selected = {"A": 70 / 100, "B": 70 / 200}
    assert gap_of(of[PARITY], place) == pytest.approx(selected["A"] - selected["B"])
    # True positives 70 of 100 and 70 of 74; A has no negatives, and no rate of false positives.
    assert gap_of(of[ODDS], place) == pytest.approx(70 / 74 - 70 / 100)
    rise = {"A": 30 / 100 * (WRONG - RIGHT), "B": 0.0}
    violation = gap_measure(evidence, outcomes, VIOLATION)
    assert gap_of(violation, place) == pytest.approx(rise["A"] - rise["B"])
    more = answered(("dense",), [("A", 2, 5, (0,)), ("B", 1, 5, (1,)), ("B", 0, 5, (1,))])
    assert gap_measure(more, more.outcomes, PARITY) is None
    unknown = replace(there(outcomes), loss=there(outcomes).loss * np.nan)
    assert gap_measure(evidence, unknown, VIOLATION) is None


def test_false_positives_are_of_the_odds_too():
    blocks = [
        ("A", 1, 40, (1,)),
        ("A", 0, 30, (0,)),
        ("A", 0, 30, (1,)),
        ("B", 1, 36, (1,)),
        ("B", 1, 4, (0,)),
        ("B", 0, 60, (0,)),
    ]
    evidence = answered(("dense",), blocks)
    gap = gap_measure(evidence, evidence.outcomes, ODDS)
    assert gap_of(gap, np.array([0])) == pytest.approx(0.5)


def test_the_fairest_has_the_smallest_gap_and_says_what_it_costs():
    evidence = answered(NAMES, BLOCKS)
    (one,) = fairest(evidence)
    fair = "fair (excess-accuracy)"
    assert one.label == fair
    assert one.decision is True
    assert one.metric == GAP
    gaps = {"magnitude": 30 / 100 - 30 / 300, fair: 5 / 100 - (5 + 6 - 4) / 300}
    assert one.details["gaps"] == pytest.approx(gaps)
    assert one.estimate == pytest.approx(gaps[fair])
    assert one.details["accuracy"] == pytest.approx({"magnitude": 266 / 300, fair: 289 / 300})
    balanced = {"magnitude": (140 / 174 + 1) / 2, fair: (169 / 174 + 120 / 126) / 2}
    assert one.details["balanced_accuracy"] == pytest.approx(balanced)
    assert one.details["lost"] == pytest.approx(
        max(266 / 300 - 289 / 300, balanced["magnitude"] - balanced[fair])
    )
    assert one.details["of"] == 2
    assert one.details["not_told_apart"] == []
    assert one.details["baseline"] == "magnitude"
    assert one.details["collapsed"] == []
    assert one.n == 300


def test_two_that_cannot_be_told_apart_are_named():
    blocks = [
        ("A", 1, 90, (1, 1, 1)),
        ("A", 1, 6, (1, 0, 1)),
        ("A", 1, 4, (1, 0, 0)),
        ("B", 0, 200, (0, 0, 0)),
    ]
    (one,) = fairest(answered(("dense", "magnitude", "other"), blocks))
    assert (one.label, one.decision) == ("other", False)
    assert one.details["not_told_apart"] == ["magnitude"]
    assert there(one.p_adjusted) > 0.05


def test_the_price_is_the_larger_of_plain_and_balanced_accuracy():
    """`other` is fairer and says class 1 of nobody: balanced accuracy falls more than plain."""
    blocks = [
        ("A", 0, 100, (0, 0, 0)),
        ("A", 0, 40, (0, 1, 0)),
        ("A", 1, 10, (1, 1, 0)),
        ("B", 0, 140, (0, 0, 0)),
        ("B", 1, 10, (1, 1, 0)),
    ]
    (one,) = fairest(answered(("dense", "magnitude", "other"), blocks))
    assert one.label == "other"
    plain = (260 - 280) / 300
    balanced = (240 / 280 + 1) / 2 - (1 + 0) / 2
    assert one.details["lost"] == pytest.approx(max(plain, balanced))
    assert one.details["balanced_accuracy"]["other"] == pytest.approx(0.5)


def test_a_network_that_collapsed_is_no_rival():
    blocks = [
        ("A", 1, 100, (1, 1, 0)),
        ("A", 0, 100, (0, 0, 0)),
        ("B", 1, 100, (1, 0, 0)),
        ("B", 0, 100, (0, 0, 0)),
    ]
    names = ("dense", "magnitude", "fallen")
    evidence = answered(names, blocks, compared=True)
    assert fairest(evidence, collapses(evidence)) == []
    (one,) = fairest(evidence)
    assert one.label == "fallen"


def test_rivals_are_those_compared_or_the_methods_at_the_highest_rate():
    names = [
        "dense",
        model("m8", "magnitude", rate=0.8),
        model("m9", "magnitude", rate=0.9),
        model("o8", "other", rate=0.8),
        model("o9", "other", rate=0.9),
    ]
    blocks = [("A", 0, 3, (0,) * 5), ("B", 1, 3, (1,) * 5)]
    assert [cell.names for cell in rivals(answered(names, blocks))] == [("m9",), ("o9",)]
    compared = rivals(answered(names, blocks, compared=True))
    assert [cell.names for cell in compared] == [("m8",), ("m9",), ("o8",), ("o9",)]


def test_the_metric_is_what_the_constraints_hold():
    of = {
        "equalised-odds": ODDS,
        "no-harm=0.02+demographic-parity": PARITY,
        "group-loss=0.1": VIOLATION,
        "excess-accuracy": GAP,
        "worst-group": VIOLATION,
    }
    blocks = [
        (g, y, n, (y, y, 1 - y if place == 1 else y))
        for g in "AB"
        for y in (0, 1)
        for place, n in enumerate((20, 10))
    ]
    for constraint, metric in of.items():
        names = ("dense", "magnitude", model("fair", constraint=constraint))
        assert [one.metric for one in fairest(answered(names, blocks))] == [metric], constraint


def test_where_the_baseline_is_the_fairest_it_loses_nothing_against_itself():
    turned = [(g, y, n, (said[0], said[2], said[1])) for g, y, n, said in BLOCKS]
    (one,) = fairest(answered(("dense", "magnitude", "other"), turned))
    assert (one.label, one.details["baseline"]) == ("magnitude", "magnitude")
    assert one.details["lost"] is None
    (other,) = fairest(answered(("dense", "magnitude", "other"), BLOCKS))
    assert other.label == "other"
    assert other.details["lost"] is not None
