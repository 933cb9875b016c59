"""Datasets that people hold already: items, dicts, loaders, columns; read once, fetched later."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from audit.data import SplitSettings, from_dataset
from audit.data.identity import digests, identity, recognise
from audit.data.table import from_frame
from audit.errors import AuditError

VALUES = torch.arange(120.0).view(40, 3)
NAMES = ["f", "m"]


class People(Dataset):
    """Items that are dicts."""

    def __init__(self, number: int = 40) -> None:
        self.number, self.read = number, 0

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, row: int) -> dict[str, object]:
        self.read += 1
        return {
            "pixels": VALUES[row],
            "label": row % 2,
            "sex": NAMES[row // 2 % 2],
            "region": "ns"[row // 4 % 2],
            "who": f"p{row:02d}",
            "mask": torch.ones(3, dtype=torch.int64),
        }


class Columns:
    """A Hugging Face Dataset as far as it is used: items, columns by name, features."""

    column_names = ("pixels", "label", "sex")

    def __init__(self) -> None:
        self.features = {"label": type("ClassLabel", (), {"names": ["no", "yes"]})()}
        self.items_read = 0

    def __len__(self) -> int:
        return 40

    def __getitem__(self, key):
        if isinstance(key, str):
            columns = {"label": [row % 2 for row in range(40)], "sex": NAMES * 20}
            return columns[key]
        self.items_read += 1
        return {"pixels": VALUES[key], "label": key % 2, "sex": NAMES[key % 2]}


def test_items_of_three_parts_are_test_samples():
    codes = torch.arange(40)
    data = from_dataset(TensorDataset(VALUES, codes % 2, codes // 2 % 2))
    assert len(data.indices("test")) == 40
    assert torch.equal(data.batch(torch.tensor([3, 5])).inputs, VALUES[[3, 5]])
    assert data.labels.tolist() == [row % 2 for row in range(40)]
    assert data.groups.tolist() == [row // 2 % 2 for row in range(40)]


def test_dicts_are_read_by_their_keys():
    keys = {"input": "pixels", "label": "label", "group": "sex", "id": "who"}
    data = from_dataset(People(), **keys)
    assert (data.attribute, data.group_names) == ("sex", ("f", "m"))
    assert data.samples[7] == "p07"
    crossed = from_dataset(People(), **(keys | {"group": ["sex", "region"]}))
    assert crossed.attribute == "sex × region"
    assert crossed.group_names == ("f × n", "f × s", "m × n", "m × s")
    both = from_dataset(People(), **(keys | {"input": ["pixels", "mask"]}))
    batch = both.batch(torch.tensor([1]))
    assert sorted(batch.inputs) == ["mask", "pixels"]


def test_items_are_read_once_and_inputs_when_they_are_needed():
    people = People()
    data = from_dataset(people, input="pixels", label="label", group="sex")
    assert people.read == 40 + 2  # and the first twice more: a random transform would show
    digests(data)
    assert people.read == 42
    list(data.batches(data.indices("test")[:10], 5))
    assert people.read == 52


def test_labels_that_are_known_already_spare_the_reading():
    people = People()
    labels, groups = np.arange(40) % 2, np.arange(40) // 2 % 2
    data = from_dataset(people, input="pixels", labels=labels, groups=groups, attribute="sex")
    assert people.read == 2
    assert data.labels.tolist() == labels.tolist()


def test_a_loader_keeps_its_collate_function_and_workers():
    def doubled(items):
        return 2 * torch.stack([item[0] for item in items]), None

    items = [(VALUES[row], row % 2, NAMES[row // 2 % 2]) for row in range(40)]
    loader: DataLoader[Any] = DataLoader(items, batch_size=4, shuffle=True, collate_fn=doubled)
    data = from_dataset(loader)
    assert torch.equal(data.batch(torch.tensor([0, 9])).inputs, 2 * VALUES[[0, 9]])
    assert data.group_names == ("f", "m")


def test_processes_fetch_the_same_batches():
    own = from_dataset(People(), input="pixels", label="label", group="sex")
    other = from_dataset(People(), input="pixels", label="label", group="sex", workers=1)
    rows = own.indices("test")
    found = [batch.inputs for batch in other.batches(rows, 16)]
    assert torch.equal(torch.cat(found), VALUES)


def test_several_datasets_by_the_names_of_their_splits():
    data = from_dataset(
        {"train": People(30), "test": People(10)}, input="pixels", label="label", group="sex"
    )
    assert data.indices("train").tolist() == list(range(30))
    assert data.indices("test").tolist() == list(range(30, 40))
    assert torch.equal(data.batch(torch.tensor([31])).inputs, VALUES[[1]])
    divided = from_dataset(
        People(), input="pixels", label="label", group="sex", split=SplitSettings()
    )
    assert len(divided.indices("train")) == 32
    with pytest.raises(AuditError, match="found the split 'validation'"):
        from_dataset({"validation": People()})


def test_columns_are_read_as_columns():
    columns = Columns()
    data = from_dataset(columns, input="pixels", label="label", group="sex")
    assert columns.items_read == 2
    assert data.classes == ("no", "yes")
    assert data.labels.tolist() == [0, 1] * 20


def test_the_samples_of_a_dataset_are_known_again_in_another_order():
    data = from_dataset(People(), input="pixels", label="label", group="sex")
    turned = from_dataset(
        [People()[row] for row in range(39, -1, -1)], input="pixels", label="label", group="sex"
    )
    found = recognise(turned, data.split_ids(), identity(data))
    assert torch.equal(found.batch(found.indices("test")).inputs, VALUES)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize(
    ("dataset", "settings", "message"),
    [
        (Stream(), {}, "of type Stream, which has no length"),
        ([], {}, "found a dataset without samples"),
        ([(VALUES[0], 1)] * 4, {}, "found items of 2 parts, and no '2'"),
        (People(), {"label": "label", "group": "sex"}, "found items of the keys pixels, label"),
        ([(object(), 0, "a")] * 4, {}, "the items of the dataset cannot be collated"),
        ([(VALUES[0], None, "a")] * 4, {}, "4 samples have no label"),
    ],
)
def test_datasets_that_cannot_be_audited(dataset, settings, message):
    with pytest.raises(AuditError, match=message):
        from_dataset(dataset, **settings)


def test_a_data_frame_is_a_table():
    frame = pd.DataFrame(
        {"x": range(80), "sex": ["f", None] * 40, "y": ["no", "no", "yes", "yes"] * 20},
        index=range(100, 180),
    )
    data = from_frame(frame, "y", "sex", drop="sex", name="people")
    assert (data.name, data.group_names) == ("people", ("(missing)", "f"))
    assert data.inputs.shape == (80, 1)


def numbered(number: int = 40) -> list[tuple[torch.Tensor, int, str]]:
    return [(torch.ones(3) * n, n % 2, "ab"[n // 2 % 2]) for n in range(number)]


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({"sampler": SubsetRandomSampler(range(20, 36))}, range(20, 36)),
        ({"sampler": SequentialSampler(range(30))}, range(30)),
        ({"batch_sampler": BatchSampler(SequentialSampler(range(24)), 7, False)}, range(24)),
        ({"shuffle": True}, range(40)),
        ({"drop_last": True, "batch_size": 32}, range(40)),
    ],
)
def test_a_sampler_says_which_items_are_measured(settings, chosen):
    data = from_dataset(DataLoader(numbered(), **settings))
    inputs = data.batch(torch.arange(len(data))).inputs
    assert inputs[:, 0].tolist() == list(chosen)
    assert data.labels.tolist() == [n % 2 for n in chosen]


def test_train_and_test_may_be_parts_of_one_dataset():
    parts = {"train": range(30), "test": range(30, 40)}
    loaders: dict[str, Any] = {
        name: DataLoader(numbered(), sampler=SubsetRandomSampler(rows))
        for name, rows in parts.items()
    }
    data = from_dataset(loaders)
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 30,
        "select": 0,
        "test": 10,
    }
    assert data.batch(data.splits["test"]).inputs[:, 0].tolist() == list(range(30, 40))


def test_a_sampler_that_repeats_items_is_refused():
    loader: Any = DataLoader(numbered(), sampler=WeightedRandomSampler([1.0] * 40, 80))
    with pytest.raises(AuditError, match=r"WeightedRandomSampler.* draws samples more than once"):
        from_dataset(loader)


def test_a_part_that_is_text_is_no_input():
    items = [{"x": torch.ones(2), "path": "a.png", "label": n % 2, "group": "a"} for n in range(4)]
    with pytest.raises(AuditError, match=r"cannot be collated \(under 'path' they make a list"):
        from_dataset(items, input=["x", "path"], label="label", group="group")


class Failing(People):
    """A dataset whose last item cannot be read."""

    def __getitem__(self, row: int) -> dict[str, object]:
        if row == 39:
            raise OSError("the disk is gone")
        return super().__getitem__(row)


def test_an_item_that_a_dataset_fails_at_is_named():
    asked = {"input": "pixels", "label": "label", "group": "sex"}
    said = r"fails at its item 39 \(OSError: the disk is gone\)"
    with pytest.raises(AuditError, match=said):
        from_dataset(Failing(), **asked)
    known = {"labels": [0, 1] * 20, "groups": ["f", "m"] * 20}
    data = from_dataset(Failing(), input="pixels", **known)
    with pytest.raises(AuditError, match=said):
        data.batch(torch.tensor([1, 39]))


@pytest.mark.parametrize("data", [pd.DataFrame({"x": [1.0], "label": [0]}), "data.csv"])
def test_a_frame_and_a_text_are_no_datasets(data):
    with pytest.raises(AuditError, match=r"expected GroupedData: audit\.from_arrays"):
        from_dataset(data)
