"""Inputs on demand: fetched by batch, in order, and the same as if all were in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from audit.data import Inputs, from_arrays, load_data
from audit.data import opening as image_opening
from audit.data.identity import digests, identity, recognise
from audit.data.images import ImageSettings
from audit.data.inputs import DatasetInputs, DictInputs, ImageFiles, MappedInputs
from audit.data.opening import open_images
from audit.errors import AuditError

LABELS, GROUPS = [0, 1] * 20, ["a", "a", "b", "b"] * 10


class Counted(Inputs):
    """Inputs that know what was asked of them."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.shape = values, tuple(values.shape)
        self.asked: list[list[int]] = []

    def fetch(self, rows: torch.Tensor) -> torch.Tensor:
        self.asked.append(rows.tolist())
        return self.values[rows]


@pytest.fixture
def values():
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def test_only_what_is_needed_is_fetched_and_in_order(values):
    inputs = Counted(values)
    data = from_arrays(inputs, LABELS, GROUPS)
    assert inputs.asked == []
    rows = torch.tensor([3, 7, 8, 20, 39])
    batches = list(data.batches(rows, 2))
    assert inputs.asked == [[3, 7], [8, 20], [39]]
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), values[rows])
    assert torch.equal(torch.cat([batch.indices for batch in batches]), rows)
    assert list(data.batches(rows[:0], 2)) == []


def test_inputs_on_demand_are_the_same_samples_as_in_memory(values):
    memory, demand = (from_arrays(own, LABELS, GROUPS) for own in (values, Counted(values)))
    assert (digests(memory) == digests(demand)).all()
    assert demand.input_shape == memory.input_shape
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    found = recognise(demand.take(order), memory.split_ids(), identity(memory))
    rows = memory.indices("test")
    assert torch.equal(found.batch(found.indices("test")).inputs, memory.batch(rows).inputs)


def test_integers_are_made_floats_where_a_network_asks(values):
    codes = torch.arange(120).view(40, 3)
    inputs = Counted(codes)
    assert inputs.fetch(torch.tensor([2])).dtype == torch.int64
    assert inputs.float()[torch.tensor([2])].tolist() == [[6.0, 7.0, 8.0]]
    assert inputs.float()[torch.tensor([2])].dtype == torch.float32


def test_inputs_that_are_not_finite_are_named_when_they_are_read(values):
    values[11, 1] = float("nan")
    data = from_arrays(Counted(values), LABELS, GROUPS)
    with pytest.raises(AuditError, match="input of the sample '000011' is not finite"):
        list(data.batches(torch.arange(40), 8))


def test_a_memory_map_is_read_by_rows(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 5, 5), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    data = from_arrays(mapped, LABELS, GROUPS, scaling="image")
    assert isinstance(data.inputs, MappedInputs)
    expected = torch.from_numpy(images[7:9]).float() / 127.5 - 1
    assert torch.equal(data.batch(torch.tensor([7, 8])).inputs, expected)


def test_tokens_and_masks_stay_integers():
    tokens = torch.arange(120).view(40, 3)
    data = from_arrays({"input_ids": tokens, "attention_mask": tokens % 2}, LABELS, GROUPS)
    batch = data.batch(torch.tensor([1, 2]))
    assert batch.inputs["input_ids"].tolist() == [[3, 4, 5], [6, 7, 8]]
    assert batch.inputs["attention_mask"].dtype == torch.int64
    assert data.input_shape == ()
    changed = from_arrays({"input_ids": tokens + 1, "attention_mask": tokens % 2}, LABELS, GROUPS)
    assert (digests(changed)[:, :16] != digests(data)[:, :16]).any(1).all()
    with pytest.raises(AuditError, match="found inputs of 40 a, 39 b"):
        DictInputs({"a": tokens, "b": tokens[1:]})


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (np.full((40, 2), np.nan), "inputs 'x' that are not finite"),
        (np.full((40, 2), "word"), "inputs 'x' that are not an array of numbers"),
        ([[1], [1, 2]] * 20, "inputs 'x' that are not an array of numbers"),
        (np.ones((40, 2)) + 1j, "inputs 'x' that are complex numbers"),
        (3, "inputs 'x' that are a single number"),
    ],
)
def test_parts_of_inputs_are_finite_numbers(part, said):
    with pytest.raises(AuditError, match=said):
        from_arrays({"x": part}, LABELS, GROUPS)


def test_parts_and_maps_are_read_in_any_order_of_bytes(tmp_path):
    numbers = np.arange(80, dtype=">f4").reshape(40, 2)
    np.save(tmp_path / "x.npy", numbers)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert from_arrays(mapped, LABELS, GROUPS).inputs[[1, 3]].tolist() == [[2, 3], [6, 7]]
    parts = from_arrays({"x": numbers}, LABELS, GROUPS)
    assert parts.inputs[[1, 3]]["x"].tolist() == [[2, 3], [6, 7]]
    np.save(tmp_path / "z.npy", numbers.astype(complex))
    with pytest.raises(AuditError, match="complex numbers"):
        from_arrays(np.load(tmp_path / "z.npy", mmap_mode="r"), LABELS, GROUPS)


def write_images(folder: Path, number: int = 40) -> list[Path]:
    generator = np.random.default_rng(0)
    files = [folder / f"{row:02d}.png" for row in range(number)]
    for file in files:
        Image.fromarray(generator.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(file)
    return files


def test_image_files_give_the_same_pixels_however_they_are_kept(tmp_path, monkeypatch):
    files, settings = write_images(tmp_path), ImageSettings(size=8)
    rows = torch.tensor([5, 0, 39])
    memory = open_images(files, settings)
    monkeypatch.setattr(image_opening, "IN_MEMORY", 100)
    demand = open_images(files, settings)
    assert isinstance(demand.inputs, ImageFiles)
    for _ in range(2):
        cache = open_images(files, settings, str(tmp_path / "cache"))
        assert isinstance(cache.inputs, MappedInputs)
        assert torch.equal(cache.inputs[rows], memory.inputs[rows])
        assert (cache.contents == memory.contents).all()
    assert torch.equal(demand.inputs[rows], memory.inputs[rows])
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1
    open_images(files, ImageSettings(size=4), str(tmp_path / "cache"))
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_a_broken_image_is_named_whichever_way_it_is_kept(tmp_path, monkeypatch):
    files = write_images(tmp_path)
    files[3].write_bytes(files[3].read_bytes()[:50])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as WeasyPrint leaves it
    for limit, cache in ((2**30, ""), (100, ""), (2**30, str(tmp_path / "cache"))):
        monkeypatch.setattr(image_opening, "IN_MEMORY", limit)
        with pytest.raises(AuditError, match=r"03\.png' cannot be read"):
            open_images(files, ImageSettings(size=8), cache)
        found = open_images(files, ImageSettings(size=8, unreadable="skip"), cache)
        assert found.read.tolist() == [row for row in range(40) if row != 3]
        assert found.inputs[torch.arange(39)].shape == (39, 3, 8, 8)
        assert "1 of 40 images could not be read" in found.notes[-1]


def test_a_folder_of_images_on_demand_is_the_same_data(tmp_path, monkeypatch):
    files = write_images(tmp_path)
    lines = [f"{file.name},{'ab'[n % 2]},{'xy'[n // 2 % 2]}" for n, file in enumerate(files)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,y,g", *lines]))
    spec = f"images:{tmp_path}?target=y&group=g&size=8"
    memory = load_data(spec)
    monkeypatch.setattr(image_opening, "IN_MEMORY", 100)
    demand = load_data(spec)
    assert isinstance(demand.inputs, ImageFiles)
    assert (digests(memory) == digests(demand)).all()
    rows = memory.indices("train", "test")
    pairs = zip(memory.batches(rows, 7), demand.batches(rows, 7), strict=True)
    assert all(torch.equal(one.inputs, other.inputs) for one, other in pairs)


class Noisy:
    def __len__(self) -> int:
        return 40

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.rand(3)


def test_a_random_transform_is_refused():
    with pytest.raises(AuditError, match="gives another input each time"):
        DatasetInputs(Noisy())
