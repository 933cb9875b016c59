"""Images beside tables of labels: any folder with a CSV file, and FairFace as published."""

import subprocess
import sys

import pytest
import torch
from PIL import Image

from audit.data import load_data
from audit.data.folder import FAIRFACE, load_fairface, load_images
from audit.errors import AuditError
from tests.data.conftest import SHARED

HEADER = "file,sex,region,diagnosis"


def write_folder(folder, rows, header=HEADER, size=8):
    """A CSV file, and for every row a plain image whose red part is its number."""
    (folder / "part").mkdir(exist_ok=True)
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    for number, row in enumerate(rows):
        image = Image.new("RGB", (size, size), (number, 0, 9))
        image.save(folder / row.split(",")[0])
    return folder


def patients(number=40):
    return [
        f"part/{n}.png,{'female' if n % 2 else 'male'},{'north' if n % 4 < 2 else 'süd'},"
        f"{'ill' if n % 3 else 'well'}"
        for n in range(number)
    ]


def test_labels_groups_and_pixels_belong_together(tmp_path):
    data = load_images(write_folder(tmp_path, patients()), "diagnosis", "sex", size=8)
    assert data.classes == ("ill", "well")
    assert data.group_names == ("female", "male")
    assert data.inputs[:, 0, 0, 0].tolist() == list(range(40))
    assert data.labels.tolist() == [0 if n % 3 else 1 for n in range(40)]
    assert data.groups.tolist() == [0 if n % 2 else 1 for n in range(40)]
    assert data.samples[7] == "part/7.png"
    assert sum(len(data.indices(name)) for name in ("train", "select", "test")) == 40


def test_attributes_can_be_crossed_and_the_spec_loads_the_same_data(tmp_path):
    folder = write_folder(tmp_path, patients())
    data = load_data(f"images:{folder}?target=diagnosis&group=sex,region&size=8&seed=3")
    assert data.attribute == "sex × region"
    assert data.group_names[0] == "female × north"
    again = load_data(data.spec)
    assert again.split_ids() == data.split_ids()
    assert torch.equal(again.inputs, data.inputs)


def test_a_column_of_splits_is_used_as_it_stands(tmp_path):
    splits = ("train", "select", "test", "train")
    rows = [f"{row},{splits[n % 4]}" for n, row in enumerate(patients())]
    data = load_images(write_folder(tmp_path, rows, f"{HEADER},split"), "diagnosis", "sex", size=8)
    assert data.indices("select").tolist() == list(range(1, 40, 4))
    assert data.indices("test").tolist() == list(range(2, 40, 4))


def test_an_empty_value_is_a_group_of_its_own(tmp_path):
    rows = [row.replace(",male", ",") if n == 6 else row for n, row in enumerate(patients())]
    data = load_images(write_folder(tmp_path, rows), "diagnosis", "sex", size=8)
    assert data.group_names == ("(missing)", "female", "male")
    assert (data.groups == 0).nonzero().flatten().tolist() == [6]


def test_hostile_names_are_kept_as_text(tmp_path):
    rows = [row.replace("süd", "<script>") for row in patients()]
    data = load_images(write_folder(tmp_path, rows), "diagnosis", "region", size=8)
    assert data.group_names == ("<script>", "north")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image,sex,region,diagnosis", "with the columns image, sex, region, diagnosis; expected"),
        ("file,gender,region,diagnosis", "found group"),
        ("file,sex,region,outcome", "found target"),
    ],
)
def test_columns_that_are_not_there(tmp_path, header, message):
    folder = write_folder(tmp_path, patients(), header)
    with pytest.raises(AuditError, match=message):
        load_images(folder, "diagnosis", "sex", size=8)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(AuditError, match=r"there is no file '.*labels\.csv'"):
        load_images(tmp_path, "diagnosis", "sex")
    folder = write_folder(tmp_path, patients())
    (folder / "part" / "3.png").write_bytes(b"no image")
    with pytest.raises(AuditError, match=r"3\.png' cannot be read"):
        load_images(folder, "diagnosis", "sex", size=8)
    (folder / "part" / "3.png").unlink()
    with pytest.raises(AuditError, match=r"3\.png' cannot be read"):
        load_images(folder, "diagnosis", "sex", size=8)


def test_splits_that_do_not_exist(tmp_path):
    rows = [f"{row},dev" for row in patients()]
    folder = write_folder(tmp_path, rows, f"{HEADER},split")
    with pytest.raises(AuditError, match="found split 'dev'; expected train, select, test"):
        load_images(folder, "diagnosis", "sex", size=8)


def test_a_spec_of_images_names_target_and_group(tmp_path):
    with pytest.raises(AuditError, match="'images' needs a target"):
        load_data(f"images:{tmp_path}?group=sex")


@pytest.fixture(scope="module")
def fairface_folder(tmp_path_factory):
    """The first 300 images of each published part of FairFace."""
    packed = SHARED / "data" / "fairface"
    if not packed.is_dir():
        pytest.skip("FairFace is not here (shared/data/fairface)")
    folder = tmp_path_factory.mktemp("fairface")
    for part in ("train", "val"):
        source = packed / f"fairface_{part}_rgb64_jpeg.npz"
        tool = [sys.executable, SHARED / "tools" / "unpack_faces", source, folder, "--most", "300"]
        subprocess.run(tool, check=True, capture_output=True)
    return folder


def test_fairface_tests_on_its_published_validation_part(fairface_folder):
    data = load_fairface(fairface_folder, "gender", "race", size=16)
    assert data.inputs.shape == (600, 3, 16, 16)
    assert data.group_names == FAIRFACE["race"]
    assert data.classes == ("Male", "Female")
    assert all(data.samples[row].startswith("val/") for row in data.indices("test"))
    assert len(data.indices("test")) == 300


def test_a_part_of_fairface_keeps_its_whole_test_split(fairface_folder):
    spec = f"fairface:{fairface_folder}?target=age&group=gender,race&size=16&most=120"
    data = load_data(spec)
    assert len(data.classes) == 9
    assert len(data.indices("test")) == 300
    assert sum(len(data.indices(name)) for name in ("train", "select")) == 120
    assert load_data(data.spec).split_ids() == data.split_ids()


def test_fairface_of_unknown_values(fairface_folder, tmp_path):
    for part in ("train", "val"):
        text = (fairface_folder / f"fairface_label_{part}.csv").read_text(encoding="utf-8")
        changed = text.replace("East Asian", "Martian")
        (tmp_path / f"fairface_label_{part}.csv").write_text(changed, encoding="utf-8")
    with pytest.raises(AuditError, match=r"found race '.*Martian' in FairFace; expected White"):
        load_fairface(tmp_path)
