"""Grouped data: what fits together, splits, and a user's own arrays."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.data import SplitSettings, from_arrays
from audit.data.splits import split_samples
from audit.errors import AuditError


def test_splits_are_disjoint_complete_and_stratified():
    strata = np.repeat([0, 1, 2], [500, 100, 40])
    splits = split_samples(strata, SplitSettings())
    rows = torch.cat(list(splits.values()))
    assert sorted(rows.tolist()) == list(range(640))
    shares = {name: np.bincount(strata[found]).tolist() for name, found in splits.items()}
    assert shares == {"train": [320, 64, 26], "select": [80, 16, 6], "test": [100, 20, 8]}


@pytest.mark.parametrize(("available", "spared"), [(14, 0), (15, 5), (20, 5), (100, 20)])
def test_small_strata_spare_a_few_or_none(available, spared):
    splits = split_samples(np.zeros(available, int), SplitSettings(test=0.0))
    assert len(splits["select"]) == spared


def test_no_select_split_when_none_is_wanted():
    splits = split_samples(np.zeros(100, int), SplitSettings(select=0.0))
    assert len(splits["select"]) == 0


def test_batches_keep_the_order_and_scale_images(two_groups):
    rows = two_groups.indices("test")
    batches = list(two_groups.batches(rows, 33))
    assert torch.equal(torch.cat([batch.indices for batch in batches]), rows)
    assert len(batches[-1].labels) == len(rows) % 33
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat(20).view(40, 1, 1, 1)
    data = from_arrays(images, [0, 1] * 20, ["a"] * 40, scaling="image")
    assert data.batch(torch.tensor([0, 1])).inputs.flatten().tolist() == [-1.0, 1.0]


def test_splits_come_back_by_sample_ids(two_groups):
    again = two_groups.with_splits(two_groups.split_ids())
    assert all(torch.equal(again.splits[k], rows) for k, rows in two_groups.splits.items())
    ids = two_groups.split_ids()
    with pytest.raises(AuditError, match=r"1 of 161 test samples of the checkpoint are not in"):
        two_groups.with_splits(ids | {"test": [*ids["test"], "gone"]})


def test_parts_that_do_not_fit(two_groups):
    with pytest.raises(AuditError, match="400 inputs, 399 labels"):
        replace(two_groups, labels=two_groups.labels[:-1])
    with pytest.raises(AuditError, match="found one class only"):
        replace(two_groups, labels=torch.zeros(400, dtype=torch.int64))
    with pytest.raises(AuditError, match="group numbers from 0 to 1; expected 0 to 0"):
        replace(two_groups, group_names=("few",))
    with pytest.raises(AuditError, match="stands in two splits"):
        replace(two_groups, splits=dict(two_groups.splits) | {"select": two_groups.splits["test"]})
    with pytest.raises(AuditError, match="repeated sample ids"):
        replace(two_groups, samples=np.zeros(400, str))
    with pytest.raises(AuditError, match="not finite"):
        replace(two_groups, inputs=two_groups.inputs / 0)
    with pytest.raises(AuditError, match="no split 'validation'"):
        two_groups.indices("validation")


def test_own_arrays_may_declare_groups_that_do_not_occur():
    data = from_arrays(np.eye(40), ["no", "yes"] * 20, ["b"] * 40, group_names=["a", "b"])
    assert data.group_names == ("a", "b")
    assert data.sizes().loc["a"].sum() == 0
    with pytest.raises(AuditError, match="found group 'b'"):
        from_arrays(np.eye(40), ["no", "yes"] * 20, ["b"] * 40, group_names=["a"])
    with pytest.raises(AuditError, match="40 inputs, 39 labels"):
        from_arrays(np.eye(40), [0, 1] * 19 + [0], ["b"] * 40)
