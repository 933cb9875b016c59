from dataclasses import replace

import pytest

from audit.findings.finding import Finding, findings_of
from audit.findings.sentences import ACTIONS
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
