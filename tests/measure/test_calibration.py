"""Calibration, uncertainty and bias amplification, by hand and by simulation."""

import tracemalloc

import numpy as np
import pytest

from audit.measure import calibration
from audit.measure.calibration import (
    amplification_interval,
    bias_amplification,
    calibration_error,
    calibration_floor,
    calibration_interval,
    reliability,
    uncertain,
)
from audit.measure.fairness import confusion_counts


def test_the_calibration_error_is_that_of_a_loop():
    generator = np.random.default_rng(0)
    confidence, correct = generator.uniform(0.2, 1, 300), generator.integers(0, 2, 300) * 1.0
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration_error(confidence, correct) == pytest.approx(expected)


def test_certainty_belongs_to_the_last_bin():
    table = reliability(np.array([1.0, 0.99, 0.1]), np.array([1.0, 0.0, 0.0]), bins=10)
    assert table.n.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert table.accuracy[-1] == 0.5
    assert table.confidence[1] == pytest.approx(0.1)
    assert np.isnan(table.accuracy[0])


@pytest.mark.parametrize(("sure", "others"), [(0, 60), (5000, 0), (2000, 60), (0, 8000)])
def test_the_floor_is_what_a_calibrated_network_shows(sure, others):
    """With few samples in every bin, many in one, both, many in all; as near as 500 draws come."""
    generator = np.random.default_rng(0)
    confidence = np.concatenate([np.full(sure, 0.97), generator.uniform(0.5, 1, others)])
    errors = [
        calibration_error(confidence, (generator.random(len(confidence)) < confidence) * 1.0)
        for _ in range(3000)
    ]
    floors = [calibration_floor(confidence, seed=seed) for seed in range(10)]
    median, p95 = (np.mean([getattr(own, name) for own in floors]) for name in ("median", "p95"))
    assert median == pytest.approx(np.median(errors), rel=0.05)
    assert p95 == pytest.approx(np.quantile(errors, 0.95), rel=0.05)


def test_a_small_group_looks_badly_calibrated_by_chance():
    generator = np.random.default_rng(0)
    assert calibration_floor(generator.uniform(0.5, 1, 60)).median > 0.05
    large = calibration_floor(generator.uniform(0.5, 1, 6000))
    assert large.median < 0.02


def test_nothing_is_said_of_no_samples():
    nothing = np.array([])
    assert np.isnan(calibration_error(nothing, nothing))
    assert np.isnan(calibration_floor(nothing).median)


def test_uncertain_is_the_definition_for_two_classes():
    p = np.array([0.05, 0.2, 0.5, 0.89, 0.95])
    assert uncertain(np.maximum(p, 1 - p)).tolist() == (abs(p - 0.5) < 0.4).astype(float).tolist()


def counted(labels, predictions, groups, classes=2):
    return confusion_counts(np.array(labels), np.array(predictions), np.array(groups), 2, classes)


def test_bias_amplification_by_hand():
    """Class 1 is 2:1 of group 0 by label, all of group 0 by prediction."""
    labels, predictions = [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]
    groups = [0, 0, 1, 1, 1, 0]
    found = bias_amplification(counted(labels, predictions, groups))
    assert found == pytest.approx([3 / 4 - 2 / 3, 1 - 2 / 3])
    assert bias_amplification(counted(labels, labels, groups)).tolist() == [0.0, 0.0]
    missing = bias_amplification(counted(labels, [0] * 6, groups, 3))
    assert np.isnan(missing[1:]).all()


def test_its_interval_holds_it_and_leaves_missing_classes_out():
    generator = np.random.default_rng(0)
    groups, labels = generator.integers(2, size=(2, 4000))
    exaggerated = np.where(generator.random(4000) < 0.3, groups, labels)
    value, interval = amplification_interval(counted(labels, exaggerated, groups, 3), 500, seed=0)
    assert interval.low < value < interval.high
    none, nothing = amplification_interval(counted([0, 0], [1, 1], [0, 1]), 50, seed=0)
    assert np.isnan(none)
    assert np.isnan(nothing.low)


def test_the_calibration_interval_covers_a_known_error():
    """Confidence 0.9, right 75 % of the time: the error is 0.15 in a bin of its own."""
    generator = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        correct = (generator.random(150) < 0.75) * 1.0
        found = calibration_interval(np.full(150, 0.9), correct, 300, seed)
        covered.append(found.low <= 0.15 <= found.high)
    assert np.mean(covered) >= 0.9
    assert np.isnan(calibration_interval(np.ones(1), np.ones(1), 50, 0).low)


def test_the_calibration_interval_is_reflected_about_its_value():
    """A resample of absolute gaps is larger than they are; the interval takes that off again."""
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.5, 1.0, 120)
    correct = (generator.random(120) < confidence) * 1.0
    value = calibration_error(confidence, correct)
    found = calibration_interval(confidence, correct, 400, 0)
    assert found.low < value
    assert (found.low + found.high) / 2 < value - 0.005


def test_a_calibration_interval_of_persons_is_as_wide_as_theirs():
    generator = np.random.default_rng(2)
    confidence = generator.uniform(0.5, 1.0, 200)
    correct = (generator.random(200) < 0.6) * 1.0
    once = calibration_interval(confidence, correct, 400, 0)
    sure, right = np.repeat(confidence, 4), np.repeat(correct, 4)
    persons = calibration_interval(sure, right, 400, 0, units=np.repeat(np.arange(200), 4))
    bare = calibration_interval(sure, right, 400, 0)
    width = once.high - once.low
    assert persons.high - persons.low == pytest.approx(width, rel=0.15)
    assert bare.high - bare.low < 0.65 * width


def test_a_floor_is_drawn_in_little_memory_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number of draws is made at a time; all of them would take 500 numbers a sample."""
    confidence = np.random.default_rng(0).uniform(0.99, 1, 5_000)
    whole = calibration.calibration_floor(confidence)
    monkeypatch.setattr(calibration, "NUMBERS_AT_ONCE", 12_000)
    tracemalloc.start()
    parted = calibration.calibration_floor(confidence)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert parted.median == pytest.approx(whole.median, rel=1e-12)
    assert parted.p95 == pytest.approx(whole.p95, rel=1e-12)
    # Of 2,500,000 draws, 20 MB in float64, twice.
    assert peak < 2_000_000
