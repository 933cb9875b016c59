"""Who pays, from answers that were chosen, against numbers that follow by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from audit.findings.decisions import gap_claims, sums
from audit.findings.finding import Finding
from audit.findings.pays import (
    CODED_OTHERWISE,
    KNOWS_NOTHING,
    MORE,
    NO_PARENT,
    TOO_FEW,
    better,
    drop_sums,
    onsets,
    pays,
    suspected,
    who_pays,
)
from audit.measure.uncertainty import gap_contrasts
from tests.findings.answered import answered, model

# Group A loses 30 of 100 right answers, B 5 of 200 and wins 3 back.
HARMED = [
    ("A", 1, 70, (1, 1)),
    ("A", 1, 30, (1, 0)),
    ("B", 0, 180, (0, 0)),
    ("B", 1, 5, (1, 0)),
    ("B", 1, 3, (0, 1)),
    ("B", 0, 12, (1, 1)),
]


def test_only_a_decided_claim_that_a_group_pays_says_that_it_does():
    told = Finding("pays", True, group="A")
    assert pays(told)
    assert not pays(replace(told, decision=False))
    assert not pays(replace(told, decision=None))
    for other in ("better", "changes", "onset", "beyond_chance", "undecided", "without_value"):
        assert not pays(replace(told, claim=other)), other


def test_a_gap_is_the_drop_of_a_group_less_everybodys():
    evidence = answered(("dense", "pruned"), HARMED)
    found = {one.group: one for one in who_pays(evidence)}
    everybody = (30 + 5 - 3) / 300
    assert found["A"].estimate == pytest.approx(30 / 100 - everybody)
    assert found["B"].estimate == pytest.approx((5 - 3) / 200 - everybody)
    assert (found["A"].decision, found["B"].decision) == (True, False)
    assert [found[name].n for name in "AB"] == [100, 200]
    assert found["A"].interval == "simultaneous"
    assert found["A"].details["groups_judged"] == 2
    assert found["A"].details["runs_paying"] == 1
    assert found["B"].details["runs_paying"] == 0
    claims = gap_claims(drop_sums(evidence, evidence.pruned[0]), evidence.large)
    assert found["A"].low == pytest.approx(claims.low[0])
    assert found["A"].high == pytest.approx(claims.high[0])
    assert found["A"].p_adjusted == pytest.approx(claims.p_adjusted[0])


def test_what_could_have_been_seen_follows_from_the_errors():
    evidence = answered(("dense", "pruned"), HARMED)
    found = {one.group: one for one in who_pays(evidence)}
    own = drop_sums(evidence, evidence.pruned[0])
    reach = norm.ppf(1 - 0.05 / 4) + norm.ppf(0.8)
    error = np.sqrt(gap_contrasts(np.array([100.0, 200.0])) ** 2 @ own.error**2)
    half = reach**2 / np.array([100.0, 200.0]) / 2
    expected = half + np.sqrt(half**2 + (reach * error) ** 2)
    seen = [found[name].details["detectable"] for name in "AB"]
    assert seen == pytest.approx(expected.tolist())


def test_small_groups_are_not_judged_and_still_weigh_in_everybodys_drop():
    evidence = answered(("dense", "pruned"), [*HARMED, ("C", 1, 10, (1, 0))], small=("C",))
    found = {one.group: one for one in who_pays(evidence)}
    assert set(found) == {"A", "B"}
    assert found["A"].estimate == pytest.approx(30 / 100 - (30 + 2 + 10) / 310)


def test_a_small_group_that_fell_far_is_suspected_and_not_said_to_pay():
    few = [("C", 1, 10, (1, 0)), ("D", 1, 2, (1, 0)), ("D", 1, 8, (1, 1))]
    evidence = answered(("dense", "pruned"), [*HARMED, *few], small=("C", "D"))
    (one,) = suspected(evidence)
    found = drop_sums(evidence, evidence.pruned[0])
    assert found is not None
    claims = gap_claims(found, ~evidence.large)
    assert (one.claim, one.group, one.n, one.decision) == ("suspected", "C", 10, True)
    assert one.estimate == pytest.approx(1 - 44 / 320)
    assert (one.low, one.high) == (claims.low[2], claims.high[2])
    assert claims.low[2] > 0 > claims.low[3]
    assert not pays(one)
    alone = answered(("dense",), [(g, y, n, a[:1]) for g, y, n, a in few], small=("C", "D"))
    assert suspected(alone) == []


@pytest.mark.parametrize(("size", "number"), [(3, 5), (10, 20), (29, 2)])
def test_small_groups_are_seldom_suspected_of_nothing(size, number):
    """All lose 5 % and win 3 % alike; in how many audits any of the small ones is suspected."""
    generator, sizes = np.random.default_rng(0), [1000, 600, *[size] * number]
    codes = np.repeat(np.arange(len(sizes)), sizes)
    small = np.array(sizes) < 30
    wrong = 0
    for _ in range(200):
        lot = generator.random((1, len(codes)))
        drops = np.where(lot < 0.05, 1.0, np.where(lot < 0.08, -1.0, 0.0))
        claims = gap_claims(sums(drops, codes, len(sizes)), small)
        wrong += bool((claims.low[small] > 0).any())
    assert wrong <= 200 * 0.05


def test_without_samples_the_shares_of_broken_and_mended_answers_serve_as_well():
    evidence = answered(("dense", "pruned"), HARMED)
    shares = [
        {"model": "pruned", "split": "test", "group": group, "n": n, "metric": metric,
         "value": value, "flag": ""}
        for group, n, broken, mended in (("A", 100, 0.3, 0.0), ("B", 200, 0.025, 0.015))
        for metric, value in (("broken", broken), ("mended", mended))
    ]  # fmt: skip
    rows = pd.concat([evidence.groups, pd.DataFrame(shares)], ignore_index=True)
    rows["group"] = pd.Categorical(rows["group"], categories=["A", "B"], ordered=True)
    told = replace(evidence, groups=rows, outcomes=None)
    one, other = (drop_sums(own, own.pruned[0]) for own in (evidence, told))
    for what in ("total", "square", "count", "runs", "size"):
        assert np.allclose(getattr(one, what), getattr(other, what)), what
    assert drop_sums(replace(evidence, outcomes=None), evidence.pruned[0]) is None


def test_who_pays_is_unknown_without_a_dense_network_or_a_second_group():
    (alone,) = who_pays(answered(("pruned",), [("A", 1, 50, (1,)), ("B", 0, 50, (1,))]))
    assert (alone.decision, alone.details["why"]) == (None, NO_PARENT)
    (few,) = who_pays(answered(("dense", "pruned"), HARMED, small=("B",)))
    assert (few.decision, few.details["why"]) == (None, TOO_FEW)


def test_a_dense_network_that_knows_nothing_tells_of_nobody():
    by_lot = [(g, label, 30, (said, said)) for g in "AB" for label in (0, 1) for said in (0, 1)]
    (one,) = who_pays(answered(("dense", "pruned"), by_lot))
    assert one.decision is None
    why = one.details["why"]
    assert why.startswith(KNOWS_NOTHING)
    assert why.count("50.0") == 2


OTHERWISE = [("A", 0, 60, (1, 0)), ("A", 1, 50, (0, 0)), ("A", 1, 5, (1, 1))]


@pytest.mark.parametrize(
    ("of_a", "known"),
    [
        (OTHERWISE, False),
        # One class that is answered as another may be bias, and is no disorder.
        ([("A", 0, 60, (1, 1)), ("A", 1, 50, (1, 0))], True),
        # Nor is one that some more than half are answered as, within chance.
        ([("A", 0, 31, (1, 1)), ("A", 0, 29, (0, 0)), ("A", 1, 31, (0, 0)), ("A", 1, 29, (1, 1))],
         True),
    ],
)  # fmt: skip
def test_labels_of_one_group_that_stand_in_another_order_are_no_mended_samples(of_a, known):
    rest = [("B", 0, 200, (0, 0)), ("B", 1, 200, (1, 1)), ("B", 1, 4, (1, 0))]
    evidence = answered(("dense", "pruned"), [*of_a, *rest])
    found = who_pays(evidence)
    assert all((one.decision is not None) == known for one in found)
    if not known:
        (one,) = found
        why = one.details["why"]
        assert why.startswith(CODED_OTHERWISE)
        assert "most samples of group A and class 0 as 1, and it is right on 4.3 % of" in why
        small = answered(("dense", "pruned"), [*of_a, *rest, *_third()], small=("A",))
        assert all(other.decision is not None for other in who_pays(small))


def _third():
    return [("C", 0, 50, (0, 0)), ("C", 1, 50, (1, 1))]


def test_several_runs_are_judged_together_and_each_by_itself():
    """Of three runs the last harms nobody; each run's drop of A is by itself 30, 30 and 0 of 100."""
    networks = [
        "dense",
        *(model(f"pruned-{seed}", "magnitude", seed=seed) for seed in range(3)),
    ]
    blocks = [
        ("A", 1, 70, (1, 1, 1, 1)),
        ("A", 1, 30, (1, 0, 0, 1)),
        ("B", 0, 200, (0, 0, 0, 0)),
    ]
    found = {one.group: one for one in who_pays(answered(networks, blocks))}
    assert found["A"].runs == 3
    assert found["A"].interval == "seeds"
    assert found["A"].estimate == pytest.approx(0.2 * 2 / 3)
    assert found["A"].details["runs_paying"] == 2
    assert found["A"].decision is False  # a run without harm leaves too little known of the mean


def test_a_pruned_network_that_is_right_more_often_is_asked_about():
    """40 of 400 answers are mended and 4 broken: Bonett and Price's mean and its error."""
    blocks = [
        ("A", 1, 30, (0, 1)),
        ("A", 1, 170, (1, 1)),
        ("B", 0, 10, (1, 0)),
        ("B", 0, 4, (0, 1)),
        ("B", 0, 186, (0, 0)),
    ]
    (one,) = better(answered(("dense", "pruned"), blocks, compared=True))
    n, total, square = 400 + 2, 36, 44
    error = np.sqrt(square + 2 - total**2 / n) / n
    assert one.estimate == pytest.approx(36 / 400)
    assert one.low == pytest.approx(total / n - norm.ppf(0.975) * error)
    assert one.high == pytest.approx(total / n + norm.ppf(0.975) * error)
    assert one.decision is True
    assert total / n - norm.ppf(0.975) * error > MORE
    assert one.n == 400
    assert one.metric == "accuracy_drop"
    # By a little, as pruning may do, it is nothing to ask about; and in a study no files are given.
    few = [("A", 1, 12, (0, 1)), ("A", 1, 188, (1, 1)), ("B", 0, 200, (0, 0))]
    (little,) = better(answered(("dense", "pruned"), few, compared=True))
    assert little.decision is False
    assert little.estimate == pytest.approx(12 / 400)
    assert not better(answered(("dense", "pruned"), blocks))


def study(harm: dict[float, int]):
    """One method at several rates, at which group A loses so many of its 100 right answers."""
    rates = sorted(harm)
    networks = ["dense", *(model(f"pruned-{r}", "magnitude", rate=r) for r in rates)]
    blocks = [
        ("A", 1, 1, (1, *(0 if place < harm[r] else 1 for r in rates))) for place in range(100)
    ]
    return answered(networks, [*blocks, ("B", 0, 300, (0,) * (1 + len(rates)))])


@pytest.mark.parametrize(
    ("harm", "decision", "onset", "elsewhere"),
    [
        ({0.5: 0, 0.8: 30, 0.9: 40}, True, 0.8, []),
        ({0.5: 30, 0.8: 0, 0.9: 40}, True, 0.9, [0.5]),
        ({0.5: 0, 0.8: 30, 0.9: 0}, True, 0.0, [0.8]),
        ({0.5: 0, 0.8: 0, 0.9: 1}, False, 0.0, []),
    ],
)
def test_the_onset_is_the_last_of_the_unbroken_run_of_rates(harm, decision, onset, elsewhere):
    evidence = study(harm)
    (one,) = onsets(evidence, who_pays(evidence))
    assert one.decision is decision
    assert one.rate == onset
    assert one.details["elsewhere"] == elsewhere
    assert one.details["groups"] == (["A"] if onset else [])
    assert one.details["highest"] == 0.9
    assert one.details["rates"] == [0.5, 0.8, 0.9]
    assert one.details["in_some_runs"] == []
    assert one.details["largest_group"] == "A"
    assert one.details["largest_rate"] == max(harm, key=lambda rate: (harm[rate], -rate))
    assert one.networks == ("pruned-0.5", "pruned-0.8", "pruned-0.9")
    assert not onsets(replace(evidence, record=evidence.record | {"tables": {"compared": ["a"]}}),
                      who_pays(evidence))  # fmt: skip
