from dataclasses import replace

import pytest

from audit.findings.advice import ACTIONS
from audit.findings.finding import Finding, findings_of
from audit.findings.pays import NO_PARENT, TOO_FEW
from audit.findings.words import interval, percent, points
from audit.report.facts import DO, facts

COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")


def test_the_facts_are_those_of_the_findings(fake):
    results = fake()
    who, much, onset, fairest, action = facts(results)
    found = findings_of(results.record)
    pays = [
        one for one in found if one.claim == "pays" and one.decision and one.label == "magnitude"
    ]
    most = max(pays, key=lambda one: one.estimate or 0.0)
    assert (who.value, who.harm) == (f"Group {most.group}", True)
    assert much.value == f"{points(most.estimate)} points"
    assert interval(most.low, most.high, "points") in much.detail
    assert onset.value == percent(min(one.rate for one in pays))
    assert fairest.value == "bilevel (excess-accuracy)"
    assert action.value == "Take bilevel (excess-accuracy)"


def test_without_harm_nobody_is_coloured(fake):
    results = fake(harmed=(), harm=0.0)
    who, much, onset, *_, action = facts(results)
    assert (who.value, who.harm, much.harm) == ("Nobody found", False, False)
    assert onset.value == "None found"
    assert action.value == "Collect samples"


def test_a_mean_over_seeds_is_called_one(fake):
    _, much, *_ = facts(fake(seeds=3))
    assert "mean over 3 runs" in much.detail


def test_a_comparison_has_a_fact_a_network_coloured_where_somebody_pays(fake):
    *networks, action = facts(fake(rates=(0.98,), compared=COMPARED))
    assert [fact.label for fact in networks] == list(COMPARED)
    assert [fact.harm for fact in networks] == [True, False]
    assert "no group was found to pay" in networks[1].detail
    assert action.label == "What to do"


@pytest.mark.parametrize("compared", [(), COMPARED])
def test_a_small_group_that_fell_behind_is_no_all_clear(fake, compared):
    chosen = {"compared": compared} if compared else {}
    results = fake(rates=(0.98,), harmed=(), harm=0.0, **chosen)
    record = results.record
    behind = Finding(
        "suspected", True, label="magnitude" if not compared else COMPARED[0], group="3",
        estimate=0.6, low=0.3, high=0.8, networks=COMPARED[:1],
    )  # fmt: skip
    found = [*record["findings"], behind.plain()]
    told = facts(replace(results, record=record | {"findings": found}))[0]
    assert told.value == ("60.0 points" if compared else "Group 3, perhaps")
    assert "group 3 fell 60.0 points behind the average" in told.detail
    assert "too small for a verdict" in told.detail
    assert told.harm


def test_a_dense_network_alone_has_no_facts(fake):
    assert facts(fake(methods=())) == []


def test_every_action_has_its_words_everywhere():
    assert set(DO) == set(ACTIONS)


def told_of(fake, *found, **chosen):
    """The facts of a comparison of two networks of which these findings alone are known."""
    results = fake(rates=(0.98,), compared=COMPARED)
    record = results.record | {"findings": [one.plain() for one in found]}
    return facts(replace(results, record=record))


def judged(label, estimate, decision=False):
    return Finding("pays", decision, label=label, group="8", estimate=estimate,
                   low=estimate - 0.05, high=estimate + 0.05, networks=(label,))  # fmt: skip


def test_a_mended_network_that_lost_much_does_not_look_the_better_one(fake):
    change = Finding(
        "changes_overall", True, label=COMPARED[1], estimate=-0.09, low=-0.12, high=-0.06,
        details={"against": COMPARED[0]},
    )  # fmt: skip
    first, second = told_of(fake, judged(COMPARED[0], 0.06), judged(COMPARED[1], 0.04), change)
    assert (first.value, first.harm) == ("6.0 points", False)
    assert (second.value, second.harm) == ("9.0 points lost", True)
    assert second.detail == (
        f"[6.0, 12.0] of accuracy against {COMPARED[0]}; no group was found to pay"
    )
    _, paying = told_of(fake, judged(COMPARED[0], 0.06), judged(COMPARED[1], 0.14, True), change)
    assert (paying.value, paying.harm) == ("14.0 points", True)
    assert paying.detail.endswith(f"; 9.0 points [6.0, 12.0] less accurate than {COMPARED[0]}")


@pytest.mark.parametrize(
    ("why", "value", "detail"),
    [
        (NO_PARENT, "Measure the dense network", "without it nobody can say who pays"),
        (TOO_FEW, "Collect samples", f"of more groups: {TOO_FEW}"),
        ("it knows nothing", "Find out why", "it knows nothing"),
    ],
)
def test_why_it_is_not_known_who_pays_is_the_same_in_tile_and_sentence(fake, why, value, detail):
    unknown = Finding("pays", None, label=COMPARED[0], details={"why": why})
    action = Finding("action", None, details={"do": "unknown", "why": why})
    told = told_of(fake, unknown, action)[-1]
    assert (told.value, told.detail) == (value, detail)


def test_small_harm_is_not_called_none_in_the_tile_of_what_to_do(fake):
    details = {"do": "take", "accuracy_change": 0.01, "tolerance": 0.02,
               "small_harm": [{"group": "A", "high": 0.015}]}  # fmt: skip
    action = Finding("action", True, label="fair", details=details)
    told = told_of(fake, judged(COMPARED[0], 0.2, True), action)[-1]
    assert told.detail == "what is paid is less than 2.0 points; accuracy +1.0 points"
    few = replace(action, details=details | {"small_harm": [], "needed": 900, "seen": False})
    told = told_of(fake, judged(COMPARED[0], 0.2, True), few)[-1]
    assert told.detail.startswith(
        "no group was found to pay; accuracy +1.0 points; too few samples"
    )


def test_a_violation_in_nats_is_not_told_in_points(fake):
    results = fake()
    details = {"not_told_apart": [], "accuracy": {"fair": 0.9}, "of": 2, "lost": 0.0}
    one = Finding("fairest", True, label="fair", metric="fairness_violation", estimate=0.453,
                  details=details)  # fmt: skip
    found = [f for f in findings_of(results.record) if f.claim != "fairest"]
    record = results.record | {"findings": [f.plain() for f in [*found, one]]}
    (told,) = [f for f in facts(replace(results, record=record)) if f.label == "Fairest"]
    assert told.detail == "fair: 0.453 nats, accuracy 90.0 %"
