"""What networks predict of groups, from answers that were chosen, against numbers by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact, t

from audit.findings.decisions import run_errors, sums
from audit.findings.predicted import (
    ALL_ALIKE,
    beyond_chance,
    collapses,
    compared_classes,
    groups_are_classes,
    levelling_down,
)
from audit.findings.sentences import make_verdict
from tests.findings.answered import OVERALL, Block, answered, model, there

# Predicted as class 1: of A 60 of 100, of B 10 of 100; labels are half and half in both.
DIFFERING = [
    ("A", 1, 45, (1,)),
    ("A", 1, 5, (0,)),
    ("A", 0, 15, (1,)),
    ("A", 0, 35, (0,)),
    ("B", 1, 8, (1,)),
    ("B", 1, 42, (0,)),
    ("B", 0, 2, (1,)),
    ("B", 0, 48, (0,)),
]


def twice(table) -> float:
    """Fisher's exact test, twice the smaller side."""
    sides = [fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    return min(1.0, 2 * min(sides))


def test_of_two_classes_the_second_is_compared_and_of_more_each():
    two = answered(("dense",), [("A", 0, 2, (0,)), ("B", 1, 2, (1,))]).outcomes
    three = answered(("dense",), [("A", 0, 2, (0,)), ("B", 2, 2, (1,))]).outcomes
    assert (compared_classes(two), compared_classes(three)) == ([1], [0, 1, 2])


def test_selection_rates_are_told_apart_by_fishers_exact_test():
    evidence = answered(("dense",), DIFFERING)
    one, other = beyond_chance(evidence)
    assert one.metric == "demographic_parity_difference"
    assert one.p_adjusted == pytest.approx(2 * twice([[60, 40], [10, 90]]))
    assert one.decision is True
    assert one.details["tests"] == 2
    assert one.details["rate_of"] == "selection rate"
    assert one.details["class"] == "1"
    group = one.group
    shares = {"A": 0.6, "B": 0.1}
    assert one.details["rate_of_group"] == pytest.approx(shares[group])
    assert one.details["rate_of_others"] == pytest.approx(shares["B" if group == "A" else "A"])
    assert one.details["gap_of_rate"] == pytest.approx(0.5)
    assert one.details["floor_p95"] == pytest.approx(0.05)
    assert one.details["without"] == []
    assert one.n == 200
    value = OVERALL["demographic_parity_difference"]
    assert one.estimate == pytest.approx(value)
    assert [one.low, one.high] == pytest.approx([value - 0.1, value + 0.1])
    assert other.metric == "equalized_odds_difference"
    # Four tests: true and false positives of two groups; the true ones are the furthest apart.
    assert other.p_adjusted == pytest.approx(4 * twice([[45, 5], [8, 42]]))
    assert other.details["rate_of"] == "true positive rate"
    assert other.details["tests"] == 4
    assert other.n == 100


def test_rates_of_others_are_of_all_others_together():
    blocks = [*DIFFERING, ("C", 1, 150, (1,)), ("C", 0, 150, (0,))]
    found = {one.metric: one for one in beyond_chance(answered(("dense",), blocks))}
    one = found["demographic_parity_difference"]
    assert one.group == "B"
    assert one.details["rate_of_others"] == pytest.approx((60 + 150) / 400)
    assert one.details["gap_of_rate"] == pytest.approx(0.5)


def test_a_group_without_positives_is_named_and_small_ones_are_left_out():
    blocks = [*DIFFERING, ("C", 0, 40, (0,)), ("D", 1, 40, (0,))]
    found = {one.metric: one for one in beyond_chance(answered(("dense",), blocks, small=("D",)))}
    assert found["equalized_odds_difference"].details["without"] == ["C"]
    assert found["demographic_parity_difference"].details["without"] == []
    assert found["demographic_parity_difference"].n == 240
    # C has no true positive rate: five tests of odds, and three of selection.
    assert found["equalized_odds_difference"].details["tests"] == 5
    assert found["demographic_parity_difference"].details["tests"] == 3


def test_rates_like_by_like_are_within_chance():
    even = [
        (g, label, n, (said,))
        for g in "AB"
        for label, said, n in ((1, 1, 40), (1, 0, 10), (0, 1, 9), (0, 0, 41))
    ]
    found = beyond_chance(answered(("dense",), even))
    assert [one.decision for one in found] == [False, False]
    assert [one.p_adjusted for one in found] == [1.0, 1.0]


def test_units_of_several_samples_count_as_fewer():
    """Each person has ten samples that are answered alike: a tenth as many are left."""
    of_ten = [
        (group, label, n, (said,))
        for group, said, n in (("A", 1, 60), ("A", 0, 40), ("B", 1, 30), ("B", 0, 70))
        for label in (0, 1)
    ]
    single, clustered = (
        beyond_chance(answered(("dense",), of_ten, units=size))[0] for size in (1, 10)
    )
    assert there(clustered.p_adjusted) > 1e4 * there(single.p_adjusted)


def test_groups_that_are_the_classes_are_not_compared():
    alike = [("A", 0, 50, (0,)), ("B", 1, 50, (1,))]
    assert groups_are_classes(answered(("dense",), alike))
    assert not beyond_chance(answered(("dense",), alike))
    assert groups_are_classes(answered(("dense",), [("A", 1, 50, (1,)), ("B", 1, 50, (0,))]))
    assert not groups_are_classes(answered(("dense",), DIFFERING))
    assert not beyond_chance(answered(("dense",), DIFFERING, small=("B",)))


def right_on(**counts: tuple[int, ...]) -> list[Block]:
    """Of 100 samples of each group, so many that each network is right on, the first ones.

    Of three classes, so that accuracy is the rate at which groups are served.
    """
    return [
        (group, place % 3, 1, tuple((place + (place >= n)) % 3 for n in right))
        for group, right in counts.items()
        for place in range(100)
    ]


def narrowing(worst: tuple[int, int], best: tuple[int, int]):
    """Of 100 samples of A and of B so many are right before and after, those after among before."""
    return levelling_down(answered(("dense", "pruned"), right_on(A=worst, B=best)))


def test_a_gap_that_closes_by_lowering_the_better_off_is_levelling_down():
    (one,) = narrowing(worst=(60, 60), best=(90, 65))
    assert one.decision is True
    assert one.group == "A"
    assert one.metric == "accuracy"
    assert one.estimate == pytest.approx(-0.25)
    assert one.details["gap_before"] == pytest.approx(0.30)
    assert one.details["gap_after"] == pytest.approx(0.05)
    assert one.details["rates"] == {"A": [0.60, 0.60], "B": [0.90, 0.65]}
    assert one.details["fell"] == pytest.approx(0.0)
    assert one.details["best_off"] == "B"
    assert one.details["rose"] is False
    assert one.details["against"] == "dense"
    assert one.p_adjusted == pytest.approx(1.0)
    assert one.n == 100


def test_a_worst_off_group_that_falls_is_levelling_down_by_mcnemars_test():
    (one,) = narrowing(worst=(60, 45), best=(90, 60))
    assert one.decision is True
    assert one.p_adjusted == pytest.approx(binomtest(15, 15, alternative="greater").pvalue)
    assert one.details["fell"] == pytest.approx(0.15)


def test_a_gap_that_closes_by_raising_the_worst_off_is_none():
    (one,) = narrowing(worst=(60, 85), best=(90, 88))
    assert one.decision is False
    assert one.details["rose"] is True
    assert one.details["fell"] == pytest.approx(-0.25)


def test_a_fall_that_is_not_significant_is_left_open():
    (one,) = narrowing(worst=(60, 59), best=(90, 88))
    assert one.decision is None
    assert one.details["rose"] is False


def test_a_gap_that_is_smaller_by_chance_is_no_levelling_down():
    """Both lost beyond doubt, one twelve of a hundred and one ten: so much differs by chance."""
    (one,) = narrowing(worst=(60, 50), best=(90, 78))
    assert there(one.p_adjusted) < 0.01
    assert one.details["narrowed"] is False
    assert one.decision is None
    assert narrowing(worst=(60, 50), best=(90, 60))[0].decision is True


def test_a_worst_off_group_that_rises_no_more_than_by_chance_than_the_best_is_not_told():
    names, blocks = ("dense", "pruned"), right_on(A=(60, 70), B=(90, 99))
    (one,) = levelling_down(answered(names, blocks))
    assert one.details["rose"] is True
    assert one.details["narrowed"] is False
    for narrowed in (False, True):
        told = replace(one, details={**one.details, "narrowed": narrowed})
        said = make_verdict([told], "dense", ("dense", "pruned")).sentences
        assert any("narrows, with the worst off raised" in each.text for each in said) is narrowed


def test_where_all_groups_lose_alike_no_gap_is_said_to_be_levelled():
    """Ten points of all, of two groups and of four: half of the gaps are smaller by chance."""
    generator, found = np.random.default_rng(0), []
    for sizes in [(300, 300), (30, 100, 300, 600)] * 30:
        blocks = []
        for name, n in zip("ABCD", sizes, strict=False):
            label, right, kept = (generator.random(n) < share for share in (0.5, 0.85, 0.88))
            answers = zip(label, label == right, label == (right & kept), strict=True)
            blocks += [(name, int(y), 1, (int(one), int(other))) for y, one, other in answers]
        every = levelling_down(answered(("dense", "pruned"), blocks))
        found.append({one.decision for one in every})
    assert sum(None in own for own in found) > 20
    assert sum(True in own for own in found) <= 3


def test_a_gap_that_does_not_close_by_half_a_point_is_not_told():
    assert narrowing(worst=(60, 58), best=(90, 88)) == []
    assert narrowing(worst=(60, 50), best=(90, 90)) == []


def test_a_study_is_held_against_dense_and_the_first_method_at_the_same_rate():
    names = [
        "dense",
        model("m8", "magnitude", rate=0.8),
        model("m9", "magnitude", rate=0.9),
        model("fair", "fair", rate=0.9),
    ]
    blocks = right_on(A=(60, 55, 40, 58), B=(90, 88, 88, 70))
    found = [one for one in levelling_down(answered(names, blocks)) if one.label == "fair"]
    assert [one.details["against"] for one in found] == ["dense", "magnitude"]
    assert [one.details["gap_before"] for one in found] == pytest.approx([0.30, 0.48])
    assert found[1].details["rose"] is True
    assert all(one.details["balanced_after"] < 0.7 for one in found)


def test_over_runs_a_fall_is_students_t_of_the_mean():
    names = [
        model(f"{method}-{s}", method, seed=s) for method in ("dense", "pruned") for s in (0, 1)
    ]
    blocks = right_on(A=(60, 60, 48, 46), B=(90, 90, 60, 62))
    (one,) = levelling_down(answered(names, blocks))
    fell = np.array([[1.0 if own <= place < 60 else 0.0 for place in range(100)] for own in (48, 46)])  # fmt: skip
    known = sums(fell, np.zeros(100, np.int64), 1)
    error, freedom = run_errors(known, np.eye(1))
    assert one.runs == 2
    assert one.p_adjusted == pytest.approx(float(t.sf(0.13 / error[0], freedom[0])))
    assert one.details["fell"] == pytest.approx(0.13)


def test_a_network_that_says_one_class_has_collapsed():
    """199 of 200 are predicted as class 0, which 120 are; the dense network says each its own."""
    blocks = [
        ("A", 0, 100, (0, 0)),
        ("A", 1, 60, (1, 0)),
        ("B", 0, 20, (0, 0)),
        ("B", 1, 19, (1, 0)),
        ("B", 1, 1, (1, 1)),
    ]
    dense, pruned = collapses(answered(("dense", "pruned"), blocks))
    assert dense.decision is False
    assert dense.estimate == pytest.approx(0.6)
    assert pruned.decision is True
    assert pruned.estimate == pytest.approx(0.995)
    assert there(pruned.estimate) > ALL_ALIKE
    assert pruned.details == {
        "empty_layers": [],
        "class": "0",
        "collapsed_runs": 1,
        "balanced_accuracy": pytest.approx((1 + 1 / 80) / 2),
        "largest_class": pytest.approx(0.6),
    }
    assert pruned.n == 200
    assert pruned.metric == "predicted_share"


def test_an_empty_layer_is_a_collapse_whatever_is_predicted():
    names = ["dense", model("pruned", layer_sparsity={"conv": 1.0, "head": 0.99})]
    blocks = [("A", 0, 50, (0, 1)), ("B", 1, 50, (1, 0))]
    _, pruned = collapses(answered(names, blocks))
    assert pruned.decision is True
    assert pruned.details["empty_layers"] == ["conv"]
    assert pruned.details["collapsed_runs"] == 0


def test_at_exactly_the_share_it_has_collapsed_and_below_it_has_not():
    for right, fallen in ((99, True), (98, False)):
        blocks = [("A", 0, right, (0, 0)), ("B", 1, 100 - right, (1, 1))]
        _, pruned = collapses(answered(("dense", "pruned"), blocks))
        assert pruned.decision is fallen
