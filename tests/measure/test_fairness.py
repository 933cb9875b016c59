"""Fairness differences against fairlearn, by hand, and their noise floor."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import (
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
)

from audit.errors import AuditError
from audit.measure.fairness import (
    METRICS,
    confusion_counts,
    fairness_differences,
    metric_frame,
)

PEERS = {
    "demographic_parity_difference": demographic_parity_difference,
    "equal_opportunity_difference": equal_opportunity_difference,
    "equalized_odds_difference": equalized_odds_difference,
}


def drawn(classes: int, groups: int, size: int = 900, seed: int = 0) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=size)
    codes = generator.integers(groups, size=size)
    wrong = generator.random(size) < 0.1 + 0.1 * codes
    predictions = np.where(wrong, generator.integers(classes, size=size), labels)
    return labels, predictions, codes


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_values_are_those_of_fairlearn(classes):
    labels, predictions, codes = drawn(classes, 3)
    found = fairness_differences(confusion_counts(labels, predictions, codes, 3, classes))
    for difference in found:
        peers = [
            PEERS[difference.metric](labels == k, predictions == k, sensitive_features=codes)
            for k in ([1] if classes == 2 else range(classes))
        ]
        assert difference.value == pytest.approx(max(peers), abs=1e-12)
        assert difference.class_index == (1 if classes == 2 else int(np.argmax(peers)))
        assert difference.n == 900
        assert difference.interval.low <= difference.value <= difference.interval.high


def test_by_hand():
    """Two groups of four; one predicts the positive class for all, the other for none."""
    labels = np.array([0, 0, 1, 1] * 2)
    predictions = np.array([1] * 4 + [0] * 4)
    codes = np.array([0] * 4 + [1] * 4)
    parity, opportunity, odds = fairness_differences(
        confusion_counts(labels, predictions, codes, 2, 2)
    )
    assert parity.value == opportunity.value == odds.value == 1.0
    assert (parity.low, parity.high) == (1, 0)
    assert parity.rate == "selection rate"
    assert 0 < parity.floor.median < parity.floor.p95 < 1
    assert parity.floor.corrected(1.0) == 1.0 - parity.floor.median


def test_a_group_without_positives_is_left_out_by_name():
    labels = np.array([1, 1, 0, 1, 1, 0, 0, 0])
    predictions = np.array([1, 0, 0, 1, 1, 0, 1, 0])
    codes = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    parity, opportunity, _ = fairness_differences(
        confusion_counts(labels, predictions, codes, 3, 2)
    )
    assert opportunity.without == (2,)
    assert opportunity.value == 0.5
    assert parity.without == ()
    predictions[:2] = 1
    _, _, odds = fairness_differences(confusion_counts(labels, predictions, codes, 3, 2))
    # The largest difference is of false positives, which every group has; true positives not.
    assert (odds.rate, odds.without) == ("false positive rate", (2,))


def test_without_positives_there_is_no_opportunity():
    labels, predictions, codes = np.zeros(8, int), np.array([0, 1] * 4), np.repeat([0, 1], 4)
    parity, opportunity, odds = fairness_differences(
        confusion_counts(labels, predictions, codes, 2, 2)
    )
    assert np.isnan([opportunity.value, opportunity.interval.low, opportunity.floor.p95]).all()
    assert (opportunity.low, opportunity.high, opportunity.without) == (None, None, (0, 1))
    assert (parity.value, parity.class_index) == (0.0, 1)
    assert (odds.value, odds.rate) == (0.0, "false positive rate")


def test_one_group_with_positives_is_not_compared():
    labels = np.array([1, 1, 0, 0, 0, 0])
    codes = np.array([0, 0, 0, 1, 1, 1])
    _, opportunity, _ = fairness_differences(confusion_counts(labels, labels, codes, 2, 2))
    assert np.isnan(opportunity.value)
    assert opportunity.without == (1,)


def test_a_group_without_a_class_is_named_whichever_class_is_worst():
    labels = np.array([0, 0, 1, 2, 0, 0, 1, 1])
    predictions = np.array([0, 0, 1, 2, 1, 1, 1, 1])
    codes = np.repeat([0, 1], 4)
    _, opportunity, _ = fairness_differences(confusion_counts(labels, predictions, codes, 2, 3))
    assert (opportunity.class_index, opportunity.value, opportunity.without) == (0, 1.0, (1,))


def test_the_worst_of_ten_classes_pays_for_being_chosen():
    """Equal groups: the interval of the largest difference has zero in it, 95 % of the time."""
    generator, missed = np.random.default_rng(0), []
    for _ in range(60):
        labels, codes = generator.integers(10, size=2000), generator.integers(4, size=2000)
        wrong = generator.random(2000) < 0.1
        predictions = np.where(wrong, generator.integers(10, size=2000), labels)
        found = fairness_differences(confusion_counts(labels, predictions, codes, 4, 10))
        missed.append([difference.interval.low > 0 for difference in found])
    assert (np.mean(missed, axis=0) <= 0.1).all()


def test_an_absent_group_changes_nothing():
    labels, predictions, codes = drawn(3, 3)
    with_absent = np.where(codes == 2, 3, codes)
    one = fairness_differences(confusion_counts(labels, predictions, codes, 3, 3))
    other = fairness_differences(confusion_counts(labels, predictions, with_absent, 4, 3))
    for a, b in zip(one, other, strict=True):
        assert a.value == b.value
        assert b.without == (2,)
        assert a.floor.median == pytest.approx(b.floor.median, rel=0.1)


def test_one_group_has_no_difference():
    labels, predictions, codes = drawn(2, 1)
    with pytest.raises(AuditError, match="fewer than two groups"):
        fairness_differences(confusion_counts(labels, predictions, codes, 1, 2))


def test_the_floor_is_what_equal_groups_show():
    """4,000 images in shares .42/.19/.15/.15/.07, 90 % right: much of a gap of .08 is noise."""
    generator = np.random.default_rng(0)
    counts = (np.array([0.42, 0.19, 0.16, 0.16, 0.07]) * 4000).astype(int)
    codes = np.repeat(np.arange(5), counts)
    gaps = []
    for _ in range(60):
        labels = generator.integers(2, size=len(codes))
        predictions = np.where(generator.random(len(codes)) < 0.9, labels, 1 - labels)
        found = fairness_differences(confusion_counts(labels, predictions, codes, 5, 2))
        gaps.append(found[2].value)
    floor = found[2].floor
    assert floor.median == pytest.approx(np.median(gaps), rel=0.15)
    assert floor.p95 == pytest.approx(np.quantile(gaps, 0.95), rel=0.25)
    assert 0.04 < floor.median < 0.08


def test_samples_become_a_metric_frame():
    labels, predictions, codes = drawn(3, 2)
    samples = pd.DataFrame(
        {"model": "a", "group": codes, "label": labels, "prediction": predictions}
    )
    frame = metric_frame(samples)
    assert frame.overall["accuracy"] == pytest.approx((labels == predictions).mean())
    assert frame.by_group["count"].tolist() == np.bincount(codes).tolist()
    one = metric_frame(samples, positive=1)
    gaps = [demographic_parity_difference(labels == 1, predictions == 1, sensitive_features=codes)]
    assert one.difference()["selection rate"] == pytest.approx(gaps[0])
    with pytest.raises(AuditError, match="several models"):
        metric_frame(pd.concat([samples, samples.assign(model="b")]))
    assert set(METRICS) == set(PEERS)
