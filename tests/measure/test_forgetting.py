"""Exemplars and their groups, by hand and by brute force."""

from collections import Counter

import numpy as np
import pytest

from audit.errors import AuditError
from audit.measure.forgetting import over_representation, pruning_identified_exemplars


def test_one_network_a_side_gives_the_changed_predictions():
    dense, pruned = np.array([[0, 1, 2, 1]]), np.array([[0, 2, 2, 0]])
    found = pruning_identified_exemplars(dense, pruned)
    assert found.exemplar.tolist() == [False, True, False, True]
    assert not found.tie.any()


def test_modes_are_those_of_a_count():
    generator = np.random.default_rng(0)
    dense, pruned = generator.integers(3, size=(7, 50)), generator.integers(3, size=(6, 50))
    found = pruning_identified_exemplars(dense, pruned)
    for sample in range(50):
        votes = [Counter(side[:, sample].tolist()) for side in (dense, pruned)]
        modes = [min(v, key=lambda label: (-v[label], label)) for v in votes]
        assert [found.dense_mode[sample], found.pruned_mode[sample]] == modes
        assert found.exemplar[sample] == (modes[0] != modes[1])
        tied = [sum(n == max(v.values()) for n in v.values()) > 1 for v in votes]
        assert found.tie[sample] == any(tied)


def test_over_representation_by_hand():
    exemplar = np.array([True, True, False, False, False, False])
    groups = np.array([0, 0, 0, 2, 2, 2])
    found = over_representation(exemplar, groups, 3)
    assert found[0] == pytest.approx(2.0)
    assert np.isnan(found[1])
    assert found[2] == 0.0
    assert np.isnan(over_representation(np.zeros(6, dtype=bool), groups, 3)).all()


def test_other_samples_are_refused():
    with pytest.raises(AuditError, match="the same samples"):
        pruning_identified_exemplars(np.zeros((1, 3), int), np.zeros((1, 4), int))
