"""`--metric` and what goes with it: refused early, and never at the cost of the results."""

from collections.abc import Callable

import fairlearn.metrics
import pytest
import sklearn.metrics

from audit.commands.own_metric import OwnMetric
from audit.errors import AuditError
from audit.findings.own_metric import takes_scores
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


@pytest.mark.parametrize(
    ("metric", "of_scores"),
    [
        (sklearn.metrics.roc_auc_score, True),
        (sklearn.metrics.average_precision_score, True),
        (sklearn.metrics.brier_score_loss, True),
        (sklearn.metrics.log_loss, True),
        (sklearn.metrics.recall_score, False),
        (sklearn.metrics.balanced_accuracy_score, False),
        (fairlearn.metrics.selection_rate, False),
        (fairlearn.metrics.false_positive_rate, False),
        (sklearn.metrics.cohen_kappa_score, None),
        (len, None),
    ],
)
def test_a_metric_is_given_what_its_own_signature_names(
    metric: Callable[..., float], of_scores: bool | None
) -> None:
    assert takes_scores(metric) is of_scores


def test_with_scores_and_a_positive_class_labels_are_still_given_to_a_metric_of_labels(
    fake: Callable[..., Results],
) -> None:
    results = fake(rates=(0.9,), groups=("8", "3"))
    name = "fairlearn.metrics:selection_rate"
    plain, with_scores = (
        OwnMetric(name, "a", scores, None, None).added(results)[0].record["tables"]["own_metric"]
        for scores in (False, True)
    )
    # Of scores, of which none is exactly 1, it would be zero.
    assert with_scores == plain
    assert all(row["value"] > 0 for row in plain)


@pytest.mark.parametrize(
    ("name", "scores", "positive", "words"),
    [
        ("sklearn.metrics:roc_auc_score", False, "a", "need --scores and --positive"),
        ("sklearn.metrics:roc_auc_score", True, None, "need --scores and --positive"),
        ("sklearn.metrics:cohen_kappa_score", True, "a", "name its second argument"),
    ],
)
def test_a_metric_is_refused_what_it_cannot_be_given(
    name: str, scores: bool, positive: str | None, words: str
) -> None:
    with pytest.raises(AuditError, match=words):
        OwnMetric(name, positive, scores, None, None).check()
