"""Files that would take a machine's memory, or name others' files, are refused before they do."""

import gzip
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from audit.data.grouped import GroupedData
from audit.data.images import ImageSettings, read_image
from audit.data.reading import read_table
from audit.errors import AuditError
from audit.files import is_near, replacing, write_atomically
from audit.limits import LARGEST, check_size
from audit.models.checkpoint import (
    Checkpoint,
    Parent,
    Provenance,
    load_checkpoint,
    make_checkpoint,
    parent_path,
    save_checkpoint,
)
from audit.models.zoo import Architecture, build_model
from audit.study.checkpoints import data_of


@pytest.fixture
def checkpoint(two_groups: GroupedData) -> Checkpoint:
    architecture = Architecture("mlp", two_groups.input_shape, 2, {"width": 4, "depth": 1})
    return make_checkpoint(build_model(architecture), architecture, two_groups, Provenance("dense"))


def stored(checkpoint: Checkpoint, path: Path, **changed: object) -> Path:
    save_checkpoint(replace(checkpoint, **changed), path)
    return path


def test_the_bound_is_four_gib_and_the_environment_raises_it(monkeypatch):
    check_size("file", 4 * 2**30)
    with pytest.raises(AuditError, match=r"5\.0 GiB of memory; .* AUDIT_LARGEST_GIB=5"):
        check_size("file", 5 * 2**30)
    monkeypatch.setenv(LARGEST, "16")
    check_size("file", 5 * 2**30)
    monkeypatch.setenv(LARGEST, "much")
    with pytest.raises(AuditError, match="'much'"):
        check_size("file", 1)


def test_a_tensor_larger_than_what_is_stored_of_it_is_refused(checkpoint, tmp_path):
    huge = torch.zeros(1).expand(2**40)
    path = stored(checkpoint, tmp_path / "huge.pt")
    content = torch.load(path, weights_only=True)
    content["state"]["1.weight"] = huge
    torch.save(content, path)
    assert path.stat().st_size < 100_000
    with pytest.raises(AuditError, match="GiB of memory"):
        load_checkpoint(path)


def test_records_that_unpack_to_more_than_the_bound_are_refused(checkpoint, tmp_path, monkeypatch):
    path = stored(checkpoint, tmp_path / "plain.pt")
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + b"\0" * (2**22 if name.endswith("/0") else 0))
    assert packed.stat().st_size < 2**20
    monkeypatch.setenv(LARGEST, str(1 / 512))
    load_checkpoint(path)
    with pytest.raises(AuditError, match="GiB of memory"):
        load_checkpoint(packed)


@pytest.mark.parametrize(
    "arguments", [{"width": 100_000, "depth": 1}, {"width": 4, "depth": 10**8}, {"width": 40}]
)
def test_a_network_larger_than_its_weights_is_refused_unbuilt(checkpoint, tmp_path, arguments):
    architecture = replace(checkpoint.architecture, arguments=arguments)
    found = load_checkpoint(stored(checkpoint, tmp_path / "wide.pt", architecture=architecture))
    with pytest.raises(AuditError, match="do not fit the architecture 'mlp'"):
        found.model()


def test_parquet_of_equal_values_is_counted_by_its_rows(tmp_path, monkeypatch):
    path = tmp_path / "table.parquet"
    pd.DataFrame({"one": np.zeros(200_000), "two": np.zeros(200_000)}).to_parquet(path)
    assert path.stat().st_size < 50_000
    assert len(read_table(path).rows) == 200_000
    monkeypatch.setenv(LARGEST, str(1 / 1024))
    with pytest.raises(AuditError, match="GiB of memory"):
        read_table(path)


@pytest.mark.parametrize("stream", [False, True])
def test_packed_batches_of_arrow_are_counted_as_they_come(tmp_path, monkeypatch, stream):
    path = tmp_path / "table.arrow"
    table = pa.table({"one": np.zeros(200_000)})
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with opened(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=20_000)
    assert len(read_table(path).rows) == 200_000
    monkeypatch.setenv(LARGEST, str(1 / 1024))
    with pytest.raises(AuditError, match="GiB of memory"):
        read_table(path)


def test_a_packed_text_is_unpacked_no_further_than_the_bound(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_bytes(gzip.compress(b"one,two\n" + b"1,2\n" * 500_000))
    assert path.stat().st_size < 10_000
    monkeypatch.setenv(LARGEST, str(1 / 1024))
    with pytest.raises(AuditError, match="GiB of memory"):
        read_table(path)


def test_an_image_of_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("1", (2000, 2000)).save(path)
    read_image(path, ImageSettings(size=8))
    monkeypatch.setenv(LARGEST, str(1 / 8))
    with pytest.raises(AuditError, match="GiB of memory"):
        read_image(path, ImageSettings(size=8))


@pytest.mark.parametrize("place", ["/dev/zero", "fifo", "folder"])
def test_only_ordinary_files_are_read_and_written(tmp_path, place):
    if place == "fifo":
        os.mkfifo(tmp_path / "fifo")
    elif place == "folder":
        (tmp_path / "folder").mkdir()
    path = tmp_path / place
    with pytest.raises(AuditError, match="there is no file"):
        load_checkpoint(path)
    with pytest.raises(AuditError, match="there is no file"):
        read_table(path)
    with pytest.raises(AuditError, match=r"no regular file|is a folder"):
        write_atomically(path, "text")
    assert not path.is_file()
    with pytest.raises(AuditError), replacing(path) as temporary:
        temporary.write_text("never")


def test_what_a_crash_left_of_a_file_is_removed_and_what_is_being_written_is_not(tmp_path):
    path, left = tmp_path / "[a] results.json", tmp_path / ".[a] results.json.99999.partial"
    others = [tmp_path / ".b results.json.99999.partial", tmp_path / ".other.99999.partial"]
    for one in (left, *others):
        one.write_text("half")
    with replacing(path) as temporary:
        temporary.write_text("first")
        being_written = temporary.rename(left)  # as another process would name its own
        write_atomically(path, "second")
        assert being_written.read_text() == "first"
        being_written.rename(temporary)
    assert path.read_text() == "first"
    left.write_text("half")
    write_atomically(path, "third")
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


def test_places_near_a_file_are_known_through_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("/etc")
    assert is_near("data.csv", "model.pt")
    assert not is_near("link/passwd", "model.pt")
    assert not is_near("../proc/self/environ", "model.pt")
    own = tmp_path / "elsewhere"
    own.mkdir()
    monkeypatch.chdir(own)
    assert is_near(tmp_path / "data.csv", tmp_path / "model.pt")
    assert not is_near(tmp_path / "data.csv", own / "model.pt")


@pytest.mark.parametrize("key", ["file", "folder", "labels", "cache"])
def test_data_that_a_checkpoint_names_elsewhere_are_read_on_request_alone(
    checkpoint, tmp_path, key
):
    named = {"dataset": "table", "target": "a", "group": "b", key: "/proc/self/environ"}
    path = stored(checkpoint, tmp_path / "model.pt", data=named)
    with pytest.raises(AuditError, match="--data SPEC") as caught:
        data_of(load_checkpoint(path), path)
    assert "PATH=" not in str(caught.value)


def test_a_dense_parent_elsewhere_is_read_on_request_alone(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    parent = Parent("../../../../../../../etc/passwd", "0" * 64)
    path = stored(
        checkpoint, tmp_path / "models/model.pt", provenance=Provenance("magnitude", parent=parent)
    )
    with pytest.raises(AuditError, match=r"--dense DENSE\.pt"):
        parent_path(load_checkpoint(path), path)
