"""The page for people who decide: every sentence follows from the results."""

from dataclasses import replace

import pytest

from audit.findings.finding import findings_of
from audit.report.deciders import SIGNED, decision, impact_tables
from audit.report.html import render

COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")


@pytest.fixture(scope="module")
def study(fake):
    return fake(rates=(0.9, 0.98), small=("9",))


def test_what_is_too_small_or_missing_is_no_all_clear(study):
    told = " ".join(decision(study).hides)
    assert "Whether group 9 pays: too few samples for a verdict, which is no all-clear." in told
    assert "could not be made" not in told
    lacking = replace(study, record=study.record | {"missing": [{"model": "x", "reason": "y"}]})
    assert "Anything of 1 network that could not be made." in decision(lacking).hides


def test_where_nothing_decides_who_pays_that_is_said(fake):
    alone = fake(
        rates=(0.98,), dense=False, methods=(("magnitude", "none"),), small=tuple("123456789")
    )
    assert any(
        "no all-clear" in one and "nothing here decides it" in one for one in decision(alone).hides
    )


def test_adjusted_p_values_are_those_of_the_findings(study):
    (table, *_) = decision(study).tables
    assert table.title == "Who pays, with adjusted p-values"
    every = [f for f in findings_of(study.record) if f.claim == "pays"]
    # Of other rates those that pay: the first line may be about them.
    own = [f for f in every if f.rate == 0.98 or f.decision]
    assert len(table.rows) == len(own) == 19
    for row, finding in zip(table.rows, own, strict=True):
        p = finding.p_adjusted
        assert p is not None
        assert row.cells[0].value == finding.group
        assert row.cells[3].value == ("< 0.0001" if p < 1e-4 else f"{p:.4f}")
        assert row.cells[4].value == ("yes" if finding.decision else "not found")


def test_the_rule_names_how_many_groups_it_allows_for(study):
    assert "for the 9 groups of a network at once" in decision(study).rule


def test_the_harm_that_would_have_been_found_is_told(study):
    reach = [f.details["detectable"] for f in findings_of(study.record) if f.claim == "pays"]
    assert (
        f"Harm of {100 * min(reach):.1f} to {100 * max(reach):.1f} points"
        in decision(study).shows[1]
    )


def test_impact_ratios_are_for_two_classes_alone(study):
    (table,) = impact_tables(study.record)
    assert {row.name for row in table.rows} == {
        m["name"] for m in study.record["models"] if m["rate"] in (0, 0.98)
    }
    ratios = [row.cells[4].value for row in table.rows if row.name == COMPARED[0]]
    assert ratios.count("1 (most selected)") == 1
    assert ratios[-1] == "–"  # group 9 is small
    three = {**study.record, "data": {**study.record["data"], "classes": ["a", "b", "c"]}}
    assert impact_tables(three) == []


def test_the_page_has_lines_to_sign(study):
    page = render(study)
    assert 'id="decide"' in page
    for line in SIGNED:
        assert f"<dt>{line}</dt><dd></dd>" in page


def test_a_comparison_has_the_page_too(fake):
    found = decision(fake(rates=(0.98,), compared=COMPARED))
    assert {row.name for row in found.tables[0].rows} <= {
        f"{name}, 98%" for name in COMPARED
    } | set(COMPARED)
    assert found.tables[0].rows
