"""assert_fair: what fails, what warns, and in which words."""

import warnings

import pytest

from audit.errors import AuditError
from audit.testing import NotExcluded, assert_fair

COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")


@pytest.fixture(scope="module")
def harmed(fake):
    return fake(rates=(0.98,), compared=COMPARED[::-1])


def test_a_group_that_pays_fails_in_words(harmed):
    with pytest.raises(AssertionError) as failed:
        assert_fair(harmed, "any group pays")
    first, *lines = str(failed.value).splitlines()
    assert first == "not fair: 1 of 10 judgements failed"
    assert lines[0] == f"  {COMPARED[0]}: any group pays: found (group 8)"
    assert lines[-1].startswith("  found: ")


def test_what_is_kept_passes_and_what_is_not_excluded_warns(fake):
    kept = fake(rates=(0.98,), compared=COMPARED, n=90)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_fair(kept, "overall accuracy < 0.2")
    with pytest.warns(NotExcluded, match="not excluded"):
        assert_fair(kept, "any group pays")
    with pytest.raises(AssertionError, match="judgements failed"):
        assert_fair(kept, "any group pays", if_possible=True)


def test_where_nothing_is_known_it_fails(fake):
    small = fake(groups=("a", "b"), small=("b",), rates=(0.98,), compared=COMPARED)
    with pytest.raises(AssertionError, match="nothing is known"):
        assert_fair(small, "any group pays")


@pytest.mark.parametrize("thresholds", [(), ("everybody is happy",)])
def test_a_threshold_must_be_one(harmed, thresholds):
    with pytest.raises(AuditError, match="threshold"):
        assert_fair(harmed, *thresholds)
