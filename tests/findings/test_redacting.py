"""Redaction: nothing of the groups left out, and never an all-clear by it."""

import json
import re
from dataclasses import replace

import pytest

from audit.errors import AuditError
from audit.findings.finding import Finding
from audit.findings.redacting import HIDDEN, hidden_groups, redacted, redacted_judgement
from audit.findings.results import load_results
from audit.findings.thresholds import Threshold, judge
from audit.report import render
from audit.report.card import render_card
from audit.report.facts import facts
from audit.testing import NotExcluded, assert_fair

GROUPS = ("alpha", "beta", "gamma", "delta", "epsilon")
COMPARED = ("bilevel-excess-accuracy-0.98-seed0", "magnitude-0.98-seed0")


@pytest.fixture(scope="module")
def small(fake):
    """One group of eight samples."""
    return fake(groups=GROUPS, harmed=("beta",), small=("gamma",), rates=(0.98,))


@pytest.fixture(scope="module")
def paying(fake):
    """All are judged, and gamma pays; in a comparison whose candidate is magnitude."""
    made = fake(groups=GROUPS, harmed=("gamma",), rates=(0.98,), compared=COMPARED)
    sizes = {"gamma": 90, "delta": 91}
    groups = made.groups.copy()
    for name in GROUPS:
        groups.loc[groups["group"] == name, "n"] = sizes.get(name, 200)
    return replace(made, groups=groups)


def written(results) -> str:
    """All that files, page and card say."""
    tables = (results.groups, results.samples, results.layers, results.gallery)
    texts = [table.to_csv() for table in tables]
    return "\n".join([json.dumps(results.record), render(results), render_card(results), *texts])


@pytest.mark.parametrize(("name", "under"), [("small", 20), ("paying", 91)])
def test_no_hidden_name_is_anywhere_and_the_others_keep_their_numbers(request, name, under):
    results = request.getfixturevalue(name)
    hidden = hidden_groups(results, under)
    found = redacted(results, under)
    text = written(found)
    assert len(hidden.names) == 2
    for group in hidden.names:
        assert not re.search(rf"\b{group}\b", text)
    kept = results.groups[~results.groups["group"].isin(hidden.names)].reset_index(drop=True)
    assert found.groups["value"].equals(kept["value"])
    assert "2 groups are not shown" in text or "not shown" in found.record["verdict"]["headline"]
    assert found.record["redacted"]["groups"] == 2


def test_one_hidden_group_takes_the_next_smallest_with_it(small):
    hidden = hidden_groups(small, 20)
    assert "gamma" in hidden.names
    assert len(hidden.names) == 2


def test_a_hidden_group_that_pays_is_no_all_clear(paying):
    hidden = hidden_groups(paying, 91)
    assert hidden.names == ("gamma", "delta")
    assert hidden.paying == 1
    found = redacted(paying, 91)
    verdict = found.record["verdict"]
    assert verdict["headline"].startswith(
        "Among groups that are not shown, one of them was found to pay"
    )
    assert verdict["action"].startswith("Look at the results with all groups before")
    first = facts(found)[0]
    assert (first.label, first.value, first.harm) == ("Not shown", "2 groups", True)
    assert not [fact for fact in facts(found) if fact.label == "What to do"]
    assert "among them some were found to pay" in render_card(found, COMPARED[1])
    with pytest.raises(AssertionError, match=re.escape(HIDDEN)):
        assert_fair(found, "any group pays")


def test_a_hidden_group_that_fell_behind_is_no_all_clear(small):
    fell = Finding("suspected", True, networks=("magnitude-0.98-seed0",), label="magnitude",
                   group="gamma", estimate=0.6, low=0.3, high=0.8)  # fmt: skip
    record = small.record | {"findings": [*small.record["findings"], fell.plain()]}
    for results, number in ((small, 0), (replace(small, record=record), 1)):
        found = redacted(results, 20)
        assert found.record["redacted"]["found_to_pay"] == number
        headline = found.record["verdict"]["headline"]
        assert headline.startswith("Among groups that are not shown, one of them was") == number


def test_thresholds_on_redacted_results_are_never_passed_for_sure(small):
    found = redacted(small, 20)
    for text in ("any group pays", "max excess_accuracy_gap > 0.9", "any accuracy < 0.01"):
        judged = judge(found, [Threshold.parse(text)])
        assert any(one.group == HIDDEN and one.possible and not one.certain for one in judged)
    with pytest.warns(NotExcluded, match="groups are not shown"):
        assert_fair(found, "any accuracy < 0.01")


def test_judgements_on_all_groups_are_told_without_names(paying):
    hidden = hidden_groups(paying, 91)
    judged = judge(paying, [Threshold.parse("any group pays")])
    told = [redacted_judgement(one, hidden) for one in judged]
    assert [one.certain for one in told] == [one.certain for one in judged]
    assert any(one.certain and one.group == HIDDEN for one in told)
    assert not any("gamma" in one.sentence() for one in told)


def test_names_in_notes_settings_and_commands_go_too(small):
    record = small.record | {
        "command": "audit measure --data table:x.csv?names:SEX=1:gamma,2:beta",
        "data": small.record["data"]
        | {"notes": ["These look alike: 'gamma' and 'Gamma'.", "All is well."]},
    }
    found = redacted(replace(small, record=record), 20)
    assert "gamma" not in found.record["command"]
    assert found.record["data"]["notes"] == [
        "All is well.",
        "1 notes speak of groups that are not shown, and are left out.",
    ]


def test_nothing_small_is_nothing_changed(small):
    found = redacted(small, 2)
    assert found.record["verdict"] == small.record["verdict"]
    assert found.groups.equals(small.groups)


def test_it_can_be_stored_and_read_again(small, tmp_path):
    found = redacted(small, 20)
    found.save(tmp_path)
    assert load_results(tmp_path).record["redacted"] == found.record["redacted"]


def test_too_few_would_be_left(fake):
    two = fake(groups=("alpha", "beta"), harmed=("beta",), small=("beta",), rates=(0.98,))
    with pytest.raises(AuditError, match="fewer than two would be left"):
        redacted(two, 20)
    with pytest.raises(AuditError, match="expected at least 1"):
        hidden_groups(two, 0)
