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
        torch.from_numpy(NUMBERS).requires_grad_() * 1.0,
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
        (torch.empty(40, 3, device="meta"), "on the device 'meta'"),
        (pd.DataFrame(NUMBERS).assign(at=pd.Timestamp("2020")), "column 'at' holds times"),
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


@pytest.mark.parametrize("groups", ["sex", dict(enumerate(GROUPS)), set(range(40))])
def test_groups_in_no_order_of_the_samples_are_refused(groups):
    with pytest.raises(AuditError, match="as groups; expected one per sample, in the order"):
        from_arrays(NUMBERS, LABELS, groups)


@pytest.mark.parametrize("asked", ["classes", "group_names", "missing"])
def test_one_text_is_no_list_of_names(asked):
    # Its letters would be names: 'AB' makes the groups A and B missing.
    with pytest.raises(AuditError, match=r"'AB'; expected a list, such as \['AB'\]"):
        from_arrays(NUMBERS, LABELS, ["A", "B"] * 20, **{asked: "AB"})


@pytest.mark.parametrize(
    ("images", "scaling", "said"),
    [
        (np.linspace(0, 1, 40 * 48), "image", "found inputs from 0 to 1 that were declared images"),
        (np.linspace(-1, 1, 40 * 48), "imagenet", "found inputs from -1 to 1"),
        (np.linspace(0, 65535, 40 * 48), "image", "to 65535 that were declared images of 0 to 255"),
        (np.arange(40 * 48, dtype=np.uint8) % 2, "image", "found inputs from 0 to 1"),
        (np.linspace(0, 255, 40 * 48), lambda images: images / 255, "scaling of type function"),
    ],
)
def test_inputs_are_images_of_0_to_255_where_they_are_declared_so(images, scaling, said):
    with pytest.raises(AuditError, match=said):
        from_arrays(images.reshape(40, 3, 4, 4), LABELS, GROUPS, scaling=scaling)


def test_what_is_scaled_by_channels_has_channels():
    images = np.resize(np.arange(256, dtype=np.uint8), (40, 8, 8, 3))
    with pytest.raises(AuditError, match=r"shape \(8, 8, 3\) and a mean or std of 3 channels"):
        from_arrays(images, LABELS, GROUPS, scaling="imagenet")
    grey = from_arrays(images[:, None, :, :, 0], LABELS, GROUPS, scaling="imagenet")
    assert grey.batch(torch.arange(2)).inputs.shape == (2, 3, 8, 8)
    with pytest.raises(AuditError, match="no images and a scaling for images"):
        from_arrays({"x": images}, LABELS, GROUPS, scaling="image")
