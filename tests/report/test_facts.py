from audit.report.facts import facts

COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")


def test_the_facts_are_those_of_the_verdict(fake):
    results = fake()
    who, much, onset, fairest = facts(results)
    words = " ".join(results.record["verdict"]["sentences"])
    assert (who.value, who.harm) == ("Group 8", True)
    for fact in (much, fairest):
        value, extent = fact.value, fact.detail.split("]")[0] + "]"
        assert f"{value} {extent} of accuracy beyond the average" in words
    assert f"significantly above zero is {onset.value}" in words
    assert "bilevel (excess-accuracy)" in fairest.detail


def test_no_significant_harm_is_said_and_not_coloured(fake):
    who, much, onset, _ = facts(fake(harmed=(), harm=0.0))
    assert (who.value, who.harm, much.harm) == ("No group", False, False)
    assert onset.value == "None seen"


def test_seeds_show_their_spread(fake):
    _, much, *_ = facts(fake(seeds=3))
    assert much.detail.startswith("± ")
    assert "3 seeds" in much.detail


def test_a_comparison_has_a_fact_a_network_coloured_as_the_verdict_says(fake):
    results = fake(rates=(0.98,), compared=COMPARED)
    found = facts(results)
    assert [fact.label for fact in found] == list(COMPARED)
    assert [fact.harm for fact in found] == [True, False]
    words = " ".join(results.record["verdict"]["sentences"])
    assert f"{COMPARED[1]}: no group lost significantly more" in words


def test_a_dense_network_alone_has_no_facts(fake):
    assert facts(fake(methods=())) == []
