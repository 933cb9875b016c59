"""Whether answers and labels can belong together."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from audit.errors import AuditError
from audit.measure.sense import agreement, renamed

GENERATOR = np.random.default_rng(0)


def test_what_is_observed_beyond_chance_is_cohens_kappa():
    labels, answers = (GENERATOR.choice(4, 500, p=p) for p in ([0.1, 0.2, 0.3, 0.4], [0.25] * 4))
    answers[:150] = labels[:150]
    found = agreement(labels, answers, 4)
    assert found.kappa == pytest.approx(cohen_kappa_score(labels, answers), abs=1e-12)


def test_answers_by_lot_are_called_knowing_as_often_as_the_level_says():
    often = np.mean(
        [
            agreement(
                GENERATOR.choice(3, 400, p=[0.5, 0.3, 0.2]),
                GENERATOR.choice(3, 400, p=[0.2, 0.2, 0.6]), 3,
            ).p_value < 0.05
            for _ in range(2000)
        ]
    )  # fmt: skip
    assert 0.035 < often < 0.065


def test_a_constant_answer_knows_nothing_and_one_class_cannot_be_known():
    labels = np.array([0] * 99 + [1])
    assert agreement(labels, labels * 0, 2).p_value == 1
    assert np.isnan(agreement(labels * 0, labels * 0, 2).p_value)


def test_clustered_samples_prove_less():
    labels = GENERATOR.integers(2, size=200)
    answers = np.where(GENERATOR.random(200) < 0.56, labels, 1 - labels)
    assert agreement(labels, answers, 2, 4.0).p_value > agreement(labels, answers, 2).p_value


@pytest.mark.parametrize("answers", [[1, 0, 2], [1, 2, 0], [3, 1, 0]])
def test_classes_in_another_order_are_seen(answers):
    labels = GENERATOR.integers(3, size=300)
    noisy = np.where(GENERATOR.random(300) < 0.8, np.array(answers)[labels], labels)
    expected = {label: one for label, one in enumerate(answers) if label != one}
    assert renamed(labels, noisy, 4) == expected


def test_a_weak_or_collapsed_or_confused_network_is_none_with_renamed_classes():
    labels = GENERATOR.integers(3, size=300)
    for answers in (labels * 0, GENERATOR.integers(3, size=300), np.minimum(labels, 1),
                    np.array([1, 1, 2])[labels], labels):  # fmt: skip
        assert renamed(labels, answers, 3) == {}


def test_few_samples_prove_no_other_order():
    labels = np.array([0, 1, 0, 1])
    assert renamed(labels, 1 - labels, 2) == {}


def test_lengths_must_agree():
    with pytest.raises(AuditError, match="found 3 labels and 2 predictions"):
        agreement(np.zeros(3, int), np.zeros(2, int), 2)
    with pytest.raises(AuditError, match="found 3 labels and 2 predictions"):
        renamed(np.zeros(3, int), np.zeros(2, int), 2)
