"""Samples are known by what they hold: another order is the same data, other values are not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from audit.data import from_arrays, load_data
from audit.data.identity import digests, identity, recognise, whole_digest
from audit.errors import AuditError
from audit.models import (
    Architecture,
    Provenance,
    build_model,
    load_checkpoint,
    make_checkpoint,
    save_checkpoint,
)
from audit.models.checkpoint import check_same_data
from audit.study.checkpoints import data_of


def write(path, table):
    table.to_csv(path, index=False)
    return path


@pytest.fixture
def table():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "x": generator.normal(size=400).round(4),
            "code": generator.choice(["01", "1", "2A"], 400),
            "sex": generator.choice(["f", "m"], 400),
            "y": generator.choice(["no", "yes"], 400),
        }
    )


@pytest.fixture
def made(tmp_path, table):
    """A checkpoint file, and the data that it was made with."""
    path = write(tmp_path / "t.csv", table)
    data = load_data(f"table:{path}?target=y&group=sex&drop=sex")
    architecture = Architecture("mlp", data.input_shape, 2, {"width": 4})
    checkpoint = make_checkpoint(build_model(architecture), architecture, data, Provenance("dense"))
    save_checkpoint(checkpoint, tmp_path / "dense.pt")
    return tmp_path / "dense.pt", data


def found_again(file, spec=None):
    return data_of(load_checkpoint(file), file, spec)


def assert_the_same(found, data):
    for split in ("train", "select", "test"):
        rows, own = found.indices(split), data.indices(split)
        assert found.samples[rows].tolist() == data.samples[own].tolist()
        assert torch.equal(found.batch(rows).inputs, data.batch(own).inputs)
        assert torch.equal(found.labels[rows], data.labels[own])
        assert torch.equal(found.groups[rows], data.groups[own])


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_in_another_order_are_the_same_samples(made, table, tmp_path, seed):
    file, data = made
    write(tmp_path / "t.csv", table.sample(frac=1, random_state=seed))
    assert_the_same(found_again(file), data)


def test_columns_in_another_order_and_rows_that_were_added(made, table, tmp_path):
    file, data = made
    more = pd.concat([table.head(9).assign(x=99.0, code="new"), table[["y", "sex", "code", "x"]]])
    write(tmp_path / "t.csv", more)
    found = found_again(file)
    assert_the_same(found, data)
    assert "9 samples that the checkpoint does not know were left out." in found.notes


def test_the_same_table_as_parquet(made, table, tmp_path):
    file, data = made
    table.to_parquet(tmp_path / "t.parquet")
    assert_the_same(
        found_again(file, f"table:{tmp_path}/t.parquet?target=y&group=sex&drop=sex"), data
    )


def test_copies_are_known_as_often_as_they_occur(tmp_path, table):
    path = write(tmp_path / "t.csv", pd.concat([table, table.head(50), table.head(50)]))
    data = load_data(f"table:{path}?target=y&group=sex")
    known, splits = identity(data), data.split_ids()
    write(path, pd.concat([table.head(50), table, table.head(50)]).sample(frac=1, random_state=0))
    again = load_data(data.spec, known["preparation"])
    found = recognise(again, splits, known)
    for split in ("train", "select", "test"):
        rows, own = found.indices(split), data.indices(split)
        assert torch.equal(found.batch(rows).inputs, data.batch(own).inputs)
    write(path, table)
    with pytest.raises(AuditError, match=r"of its 500 samples 100 .*gone|100 have another label"):
        recognise(load_data(data.spec, known["preparation"]), splits, known)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x", 7.5, r"of its 400 samples 1 have changed \(for instance 'row-000011' of"),
        ("code", "3", r"1 have changed \(for instance 'row-000011'"),
        ("y", "other", r"1 have another label or group \(for instance 'row-000011'"),
        ("sex", "other", r"1 have another label or group \(for instance 'row-000011'"),
    ],
)
def test_one_changed_value_is_refused_and_named(made, table, tmp_path, column, value, message):
    file, _ = made
    if value == "other":
        value = {"no": "yes", "yes": "no", "f": "m", "m": "f"}[table.loc[11, column]]
    table.loc[11, column] = value
    write(tmp_path / "t.csv", table)
    with pytest.raises(AuditError, match=message):
        found_again(file)


def test_a_missing_row_is_refused(made, table, tmp_path):
    file, data = made
    gone = int(data.indices("train")[3])
    write(tmp_path / "t.csv", table.drop(index=gone))
    with pytest.raises(AuditError, match=r"of its 400 samples 1 .*; give the data as it was"):
        found_again(file)


def test_an_auditor_brings_the_test_rows_alone(made, table, tmp_path):
    file, data = made
    rows = data.indices("test")
    write(tmp_path / "only.csv", table.iloc[rows.tolist()].sample(frac=1, random_state=0))
    found = found_again(file, f"table:{tmp_path}/only.csv?target=y&group=sex&drop=sex")
    assert torch.equal(found.batch(found.indices("test")).inputs, data.batch(rows).inputs)
    assert found.samples.tolist() == data.samples[rows].tolist()
    assert [len(found.indices(name)) for name in ("train", "select")] == [0, 0]
    assert "Absent: the train samples, which measuring does not need." in found.notes


def test_classes_keep_the_checkpoints_order_where_one_does_not_occur():
    labels, groups = ["a", "b", "c", "c"] * 30, ["x", "y", "z"] * 40
    splits = {"train": range(60), "test": range(60, 120)}
    data = from_arrays(np.arange(120.0)[:, None], labels, groups, splits=splits)
    chosen = [row for row in range(60, 120) if labels[row] != "a" and groups[row] != "x"]
    known = identity(replace(data, splits=dict(data.splits) | {"test": torch.tensor(chosen)}))
    ids = {"train": data.split_ids()["train"], "select": [], "test": data.samples[chosen].tolist()}
    few = from_arrays(
        np.array(chosen, float)[:, None],
        [labels[row] for row in chosen],
        [groups[row] for row in chosen],
        splits={"test": range(len(chosen))},
    )
    found = recognise(few, ids, known)
    assert (found.classes, found.group_names) == (data.classes, data.group_names)
    assert torch.equal(found.labels, data.labels[chosen])
    assert torch.equal(found.groups, data.groups[chosen])


def test_other_groups_of_the_same_samples_may_be_audited(made, table, tmp_path):
    file, data = made
    found = found_again(file, f"table:{tmp_path}/t.csv?target=y&group=code&drop=sex")
    assert found.group_names == ("01", "1", "2A")
    assert found.samples.tolist() == data.samples.tolist()


def test_an_id_column_names_the_samples(tmp_path, table):
    table = table.assign(who=[f"p{row}" for row in range(400)])
    path = write(tmp_path / "t.csv", table)
    data = load_data(f"table:{path}?target=y&group=sex&id=who")
    assert data.samples[7] == "p7"
    known = identity(data)
    write(
        path, table.assign(x=table["x"].where(table.index != 7, 5.0)).sample(frac=1, random_state=0)
    )
    with pytest.raises(AuditError, match=r"1 have changed \(for instance 'p7'"):
        recognise(load_data(data.spec, known["preparation"]), data.split_ids(), known)
    with pytest.raises(AuditError, match=r"id column 'code' has '(01|1|2A)' in \d+ rows"):
        load_data(f"table:{path}?target=y&group=sex&id=code&drop=who")


def test_the_digest_of_the_whole_knows_order_values_and_splits():
    def of(values, labels=(0, 1), seed=0):
        data = from_arrays(np.array(values, float)[:, None], list(labels) * 20, ["a", "b"] * 20)
        return whole_digest(replace(data, samples=np.array([f"{seed}-{i}" for i in range(40)])))

    values = list(range(40))
    assert of(values) == of(values, seed=1)
    assert of(values) != of(values[::-1])
    assert of(values) != of(values, labels=(1, 0))
    assert of(values) != of([*values[:-1], 40])


def test_a_study_does_not_take_the_samples_of_another(tmp_path, table):
    path = write(tmp_path / "t.csv", table)
    data = load_data(f"table:{path}?target=y&group=sex")
    spec = dict(data.spec) | {"digest": whole_digest(data)}
    assert load_data(spec).spec == data.spec
    write(path, table.sample(frac=1, random_state=1))
    with pytest.raises(AuditError, match="has changed since its digest"):
        load_data(spec)


def test_a_checkpoint_of_before_is_found_by_ids_and_says_so(two_groups):
    found = recognise(two_groups, two_groups.split_ids(), {})
    assert torch.equal(found.splits["test"], two_groups.splits["test"])
    assert "found by id alone" in found.notes[-1]


def test_digests_tell_inputs_labels_and_groups_apart(two_groups):
    own = digests(two_groups)
    relabelled = replace(two_groups, labels=1 - two_groups.labels)
    regrouped = replace(two_groups, groups=1 - two_groups.groups)
    assert own.shape == (400, 32)
    assert (digests(relabelled)[:, :16] == own[:, :16]).all()
    assert (digests(relabelled)[:, 16:24] != own[:, 16:24]).any(1).all()
    assert (digests(regrouped)[:, :24] == own[:, :24]).all()
    assert (digests(regrouped)[:, 24:] != own[:, 24:]).any(1).all()


def test_a_network_is_not_measured_on_what_it_was_trained_on(two_groups):
    architecture = Architecture("mlp", (4,), 2, {"width": 4})
    made = make_checkpoint(build_model(architecture), architecture, two_groups, Provenance("dense"))
    check_same_data(made, two_groups)
    rows = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    fields = {name: getattr(two_groups, name)[rows] for name in ("inputs", "labels", "groups")}
    turned = replace(two_groups, **fields)
    with pytest.raises(AuditError, match=r"was trained on \d+ of the 160 test samples"):
        check_same_data(made, turned)
    check_same_data(made, recognise(turned, made.splits, made.samples))
    fresh = replace(two_groups, inputs=two_groups.inputs + 1)
    check_same_data(made, fresh)


def test_the_scaling_of_images_travels_with_the_checkpoint():
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 4, 4), dtype=np.uint8)
    own = from_arrays(images, [0, 1] * 20, ["a", "b"] * 20, scaling="imagenet")
    plain = from_arrays(images, [0, 1] * 20, ["a", "b"] * 20)
    found = recognise(plain, own.split_ids(), identity(own))
    rows = own.indices("test")
    assert torch.equal(found.batch(found.indices("test")).inputs, own.batch(rows).inputs)
