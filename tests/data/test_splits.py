"""Splits: shares, seeds, copies, a published test part, and positions that do not fit."""

import numpy as np
import pandas as pd
import pytest
import torch

from audit.data import SplitSettings, from_arrays
from audit.data.splits import split_samples
from audit.errors import AuditError
from audit.models import Architecture, Provenance, build_model, make_checkpoint
from audit.study.making import prune_model, train_model

STRATA = np.repeat([0, 1, 2, 3], [300, 100, 40, 3])
LABELS, GROUPS = ["no", "yes"] * 20, ["a"] * 20 + ["b"] * 20


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_seed_alone_decides():
    assert same(split_samples(STRATA, SplitSettings()), split_samples(STRATA, SplitSettings()))
    assert not same(
        split_samples(STRATA, SplitSettings()), split_samples(STRATA, SplitSettings(seed=1))
    )


def test_a_sample_of_its_own_stratum_is_trained_on():
    splits = split_samples(np.array([0] * 50 + [1]), SplitSettings())
    assert 50 in splits["train"]


def test_copies_follow_their_first_even_from_another_stratum():
    repeats = np.arange(len(STRATA))
    repeats[310:330] = np.arange(20)
    splits = split_samples(STRATA, SplitSettings(), repeats)
    for rows in splits.values():
        held = set(rows.tolist())
        assert all((copy in held) == (repeats[copy] in held) for copy in range(310, 330))
    assert sum(len(rows) for rows in splits.values()) == len(STRATA)


def test_a_published_test_part_is_kept_whatever_the_seed():
    test = np.arange(len(STRATA)) % 7 == 0
    for seed in (0, 1):
        splits = split_samples(STRATA, SplitSettings(test=0.5, seed=seed), test=test)
        assert torch.equal(splits["test"], torch.from_numpy(np.flatnonzero(test)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": -0.1}, r"found test = -0\.1; expected a number from 0 to 1"),
        ({"test": 1.1}, r"found test = 1\.1; expected a number from 0 to 1"),
        ({"test": float("nan")}, "found test = nan"),
        ({"select": -0.1}, r"found select = -0\.1; expected a number"),
        ({"select": 1.5}, r"found select = 1\.5; expected a number"),
        ({"least_select": -1}, "found least_select = -1; expected a whole number"),
        ({"seed": -1}, "found seed = -1; expected a whole number"),
    ],
)
def test_shares_out_of_range(settings, message):
    with pytest.raises(AuditError, match=message):
        SplitSettings(**settings)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": [0, 1], "select": [], "test": [40]}, "positions from 0 to 40; expected 0 to 39"),
        ({"train": [0, -1], "select": [], "test": [1]}, "positions from -1 to 1; expected 0 to 39"),
        ({"train": [0, 0], "select": [], "test": [1]}, "twice in one"),
        ({"train": [0], "select": [], "test": []}, "the split 'test' has no samples"),
        ({"train": [0], "select": [], "test": [1], "dev": [2]}, "found a split 'dev'"),
    ],
)
def test_given_splits_that_do_not_fit(splits, message):
    with pytest.raises(AuditError, match=message):
        from_arrays(np.eye(40), LABELS, GROUPS, splits=splits)


def test_an_auditor_has_test_samples_only():
    data = from_arrays(np.eye(40), LABELS, GROUPS, splits={"test": range(40)})
    assert [len(data.indices(name)) for name in ("train", "select", "test")] == [0, 0, 40]
    assert (
        len(from_arrays(np.eye(40), LABELS, GROUPS, split=SplitSettings(test=1)).splits["test"])
        == 40
    )


def test_nothing_is_trained_or_pruned_without_train_samples():
    data = from_arrays(np.eye(40), LABELS, GROUPS, splits={"test": range(40)})
    with pytest.raises(AuditError, match="has test samples only, which are enough to measure"):
        train_model(data, "mlp")
    architecture = Architecture("mlp", (40,), 2, {"width": 4})
    dense = make_checkpoint(build_model(architecture), architecture, data, Provenance("dense"))
    for method in ("magnitude", "snip", "gradual"):
        with pytest.raises(AuditError, match="pruning need train samples too"):
            prune_model(dense, data, method, 0.5)


def test_samples_of_one_person_stay_in_one_split():
    people = np.arange(400) // 4
    data = from_arrays(np.eye(400), [0, 1] * 200, ["a", "a", "b", "b"] * 100, units=people)
    splits = [set(people[data.indices(name)]) for name in ("train", "select", "test")]
    assert sum(map(len, splits)) == 100
    assert set.union(*splits) == set(range(100))
    assert data.units is not None
    assert data.units.tolist() == people.tolist()


def test_splits_may_be_given_as_masks():
    test = np.arange(40) >= 30
    data = from_arrays(
        np.eye(40), LABELS, GROUPS, splits={"train": ~test, "select": [], "test": test}
    )
    assert data.splits["test"].tolist() == list(range(30, 40))
    assert data.splits["train"].tolist() == list(range(30))


@pytest.mark.parametrize(
    ("inputs", "labels", "groups", "message"),
    [
        ([], [], [], "0 inputs, 0 labels, 0 groups"),
        (np.eye(40), LABELS, GROUPS[:-1], "40 labels, 39 groups"),
        (np.eye(40), pd.Series([0.0, np.nan] * 20), GROUPS, "20 samples have no label"),
        (np.eye(40), np.zeros((40, 2)), GROUPS, r"labels of shape \(40, 2\)"),
        ([["text"]] * 40, LABELS, GROUPS, "not an array of numbers"),
    ],
)
def test_own_arrays_that_do_not_fit(inputs, labels, groups, message):
    with pytest.raises(AuditError, match=message):
        from_arrays(inputs, labels, groups)


def test_own_numbers_are_named_in_numeric_order():
    data = from_arrays(np.eye(40), [2, 10] * 20, torch.arange(40) // 20, samples=range(40))
    assert data.classes == ("2", "10")
    assert data.labels.tolist() == [0, 1] * 20
    assert data.groups.tolist() == [0] * 20 + [1] * 20
    assert data.samples[7] == "7"


def test_splits_may_be_a_column_of_their_names():
    inputs, labels, groups = np.eye(40), [0, 1] * 20, ["a", "a", "b", "b"] * 10
    names = np.array(["train", "test", "test", "select"] * 10)
    data = from_arrays(inputs, labels, groups, splits=names)
    assert data.indices("test").tolist() == np.flatnonzero(names == "test").tolist()
    assert not data.drawn
    with pytest.raises(AuditError, match="found splits of 39 samples; there are 40"):
        from_arrays(inputs, labels, groups, splits=names[1:])
    with pytest.raises(AuditError, match="found split 'dev'; expected train, select, test"):
        from_arrays(inputs, labels, groups, splits=["dev"] * 40)


def test_labels_of_a_regression_are_refused():
    inputs, groups = np.eye(40), ["a", "b"] * 20
    with pytest.raises(AuditError, match="40 different numbers with decimals, as a regression has"):
        from_arrays(inputs, np.linspace(0, 1, 40), groups)
    halves = from_arrays(inputs, np.arange(40) % 3 / 2, groups)
    assert halves.classes == ("0.0", "0.5", "1.0")


def test_names_of_splits_are_read_in_any_case():
    names = ["Train", "TEST ", "select", "test"] * 10
    data = from_arrays(np.eye(40), LABELS, GROUPS, splits=names)
    assert [len(data.indices(name)) for name in ("train", "select", "test")] == [10, 10, 20]
