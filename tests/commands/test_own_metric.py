"""`--metric` and what goes with it: refused early, and never at the cost of the results."""

from collections.abc import Callable

import pytest

from audit.commands.own_metric import OwnMetric
from audit.errors import AuditError
from audit.findings.results import Results


def test_without_a_metric_nothing_is_added(fake: Callable[..., Results]) -> None:
    own = OwnMetric(None, None, False, None, None)
    own.check()
    results = fake(rates=(0.9,))
    assert own.added(results) == (results, None)


@pytest.mark.parametrize("name", ["positive", "reference", "control"])
def test_what_belongs_to_a_metric_needs_one(name: str) -> None:
    own = OwnMetric(**{**dict.fromkeys(("metric", "positive", "reference", "control")), name: "a",
                       "scores": False})  # fmt: skip
    with pytest.raises(AuditError, match=f"--{name} without --metric"):
        own.check()


def test_a_metric_that_cannot_be_imported_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(AuditError, match="cannot be imported"):
        OwnMetric("no_such_module:f", None, False, None, None).check()


def test_a_metric_that_fails_leaves_the_results_and_says_why(
    fake: Callable[..., Results],
) -> None:
    results = fake(rates=(0.9,), groups=("8", "3"))
    metric = "sklearn.metrics:accuracy_score"
    kept, why = OwnMetric(metric, "z", False, None, None).added(results)
    assert kept is results
    assert "expected one of a" in str(why)
    found, none = OwnMetric(metric, "a", False, "3", None).added(results)
    assert none is None
    assert {row["group"] for row in found.record["tables"]["own_metric"]} == {"8", "3"}
