"""Grouped data: what fits together, splits, and a user's own arrays."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
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


NUMBERS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
LABELS, GROUPS = np.arange(40) % 2, np.repeat(["a", "b"], 20)


@pytest.mark.parametrize(
    "inputs",
    [
        NUMBERS[::-1][::-1].copy()[::-1][::-1],
        NUMBERS[:, ::-1].copy()[:, ::-1],
        NUMBERS.astype(">f4"),
        NUMBERS.astype(np.longdouble),
        NUMBERS.astype(object),
        list(NUMBERS),
        [torch.from_numpy(row) for row in NUMBERS],
        torch.from_numpy(NUMBERS).to_sparse(),
        scipy.sparse.csr_matrix(NUMBERS),
        pd.DataFrame(NUMBERS),
        pd.DataFrame(NUMBERS).astype("Float32"),
        np.broadcast_to(NUMBERS, NUMBERS.shape),
    ],
)
def test_numbers_are_read_whatever_holds_them(inputs):
    data = from_arrays(inputs, LABELS.astype(">i4"), GROUPS)
    assert np.array_equal(data.batch(torch.arange(40)).inputs.numpy(), NUMBERS)
    assert data.classes == ("0", "1")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (NUMBERS + 0j, "complex numbers"),
        (torch.from_numpy(NUMBERS) + 0j, "complex numbers"),
        (NUMBERS.astype(str), "not an array of numbers"),
        (NUMBERS.astype(str).astype(object), "not an array of numbers"),
        (np.ma.masked_array(NUMBERS, NUMBERS > 2), "not finite"),
        (pd.DataFrame(NUMBERS).astype("Float32").where(NUMBERS < 2), "not finite"),
    ],
)
def test_what_is_no_number_is_never_read_as_one(inputs, said):
    with pytest.raises(AuditError, match=said):
        from_arrays(inputs, LABELS, GROUPS)


def test_rows_whose_index_says_that_they_are_of_other_samples_are_refused():
    frame, labels, groups = pd.DataFrame(NUMBERS), pd.Series(LABELS), pd.Series(GROUPS)
    order = np.random.default_rng(1).permutation(40)
    moved = from_arrays(frame.iloc[order], labels.iloc[order], groups.iloc[order])
    assert moved.labels.tolist() == LABELS[order].tolist()
    for one in (frame, frame.iloc[order[::-1]], frame.set_axis(range(100, 140)).iloc[order]):
        with pytest.raises(AuditError, match="index of the inputs is not that of the labels"):
            from_arrays(one, labels.iloc[order], groups.iloc[order])
    with pytest.raises(AuditError, match="index of the labels is not that of the groups"):
        from_arrays(NUMBERS, labels.iloc[order], groups)
    # Numbered anew, as after a choice of some rows: nothing is known against it.
    anew = from_arrays(frame.iloc[order], labels.iloc[order].to_numpy(), groups.iloc[order])
    chosen = from_arrays(frame[:20], labels.iloc[20:], GROUPS[:20])
    assert (len(anew), len(chosen)) == (40, 20)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"test": np.ones(30, bool)}, "mask of 30 samples as a split; there are 40"),
        ({"test": [0.5, 1.0]}, "no whole numbers"),
    ],
)
def test_splits_that_fit_no_samples_are_refused(splits, said):
    with pytest.raises(AuditError, match=said):
        from_arrays(NUMBERS, LABELS, GROUPS, splits=splits)


def test_no_groups_at_all_are_told():
    with pytest.raises(AuditError, match="found None as groups"):
        from_arrays(NUMBERS, LABELS, None)
