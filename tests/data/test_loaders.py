"""Loaders on small files made here, and on the real sets where they are."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from audit.data import load_data
from audit.data.adult import COLUMNS
from audit.errors import AuditError


def write_faces(folder: Path, names: list[str]) -> None:
    generator = np.random.default_rng(0)
    for name in names:
        pixels = generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


def faces(number: int) -> list[str]:
    return [
        f"{5 + row % 70}_{row % 2}_{row % 5}_2017{row:04d}.jpg.chip.jpg" for row in range(number)
    ]


def row(**changes: str) -> str:
    values = dict.fromkeys(COLUMNS, "?") | {
        "age": "39",
        "fnlwgt": "1",
        "education-num": "13",
        "capital-gain": "0",
        "capital-loss": "0",
        "hours-per-week": "40",
        "race": "White",
        "sex": "Male",
        "income": "<=50K",
    }
    return ", ".join((values | {key.replace("_", "-"): v for key, v in changes.items()}).values())


def write_adult(folder: Path, train: list[str], test: list[str]) -> None:
    (folder / "adult.data").write_text("\n".join(train) + "\n")
    with gzip.open(folder / "adult.test.gz", "wt") as file:
        file.write("|1x3 Cross validator\n" + "\n".join(f"{line}." for line in test) + "\n")


def adult_rows() -> list[str]:
    return [
        row(
            age=str(20 + k % 50),
            sex=("Male", "Female")[k % 2],
            income=("<=50K", ">50K")[k % 3 == 0],
        )
        for k in range(60)
    ]


def test_the_digits_have_the_stated_tail():
    data = load_data("digits")
    sizes = data.sizes()
    outside = sizes["train"] + sizes["select"]
    assert (outside["8"], outside["9"], outside["3"]) == (15, 25, 40)
    assert outside.drop(["8", "9", "3"]).min() > 80
    assert sizes["test"].min() > 80
    assert data.input_shape == (1, 8, 8)
    assert (data.inputs.min(), data.inputs.max()) == (-1.0, 1.0)
    assert torch.equal(data.labels, data.groups)


def test_the_test_split_does_not_depend_on_the_select_share():
    one, other = load_data("digits"), load_data("digits?select=0.4")
    assert one.split_ids()["test"] == other.split_ids()["test"]
    assert one.split_ids()["select"] != other.split_ids()["select"]


@pytest.mark.parametrize("spec", ["digits", "digits?seed=3", "digits?select=0.1&least_select=3"])
def test_the_stored_spec_loads_the_same_data(spec):
    data = load_data(spec)
    again = load_data(data.spec)
    assert torch.equal(data.inputs, again.inputs)
    assert data.split_ids() == again.split_ids()
    assert again.spec == data.spec


def test_splits_repeat_by_seed_and_differ_between_seeds():
    assert load_data("digits").split_ids() == load_data("digits").split_ids()
    assert load_data("digits").split_ids()["test"] != load_data("digits?seed=1").split_ids()["test"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mnist", "expected one of digits, utkface, fairface, images, table, adult, celeba"),
        ("digits?sede=1", "'digits' has no setting 'sede'"),
        ("digits?seed=one", "expected int"),
        ("digits?seed", "key=value"),
        ("utkface", "needs the folder"),
        ("utkface:nowhere", "there is no folder 'nowhere'"),
        ("adult:nowhere", "neither adult.data nor adult.data.gz"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(AuditError, match=message):
        load_data(spec)


def test_faces_are_read_by_their_names(tmp_path):
    names = faces(200)
    write_faces(tmp_path, [*names, "no_labels_here.jpg"])
    data = load_data(f"utkface:{tmp_path}?target=age&group=gender,ethnicity&size=16")
    assert data.inputs.shape == (200, 3, 16, 16)
    assert data.inputs.dtype == torch.uint8
    assert data.attribute == "gender × ethnicity"
    position = data.samples.tolist().index("5_0_0_20170000.jpg.chip.jpg")
    assert data.classes[data.labels[position]] == "0-9"
    assert data.group_names[data.groups[position]] == "Male × White"
    assert any("1 images were left out" in note for note in data.notes)


@pytest.mark.parametrize(("age", "band"), [(9, "0-9"), (10, "10-14"), (59, "50-59"), (60, "60+")])
def test_the_edges_of_the_age_classes(tmp_path, age, band):
    write_faces(tmp_path, [*faces(60), f"{age}_1_3_99999999.jpg.chip.jpg"])
    data = load_data(f"utkface:{tmp_path}?target=age&group=gender")
    position = data.samples.tolist().index(f"{age}_1_3_99999999.jpg.chip.jpg")
    assert data.classes[data.labels[position]] == band


def test_identical_images_stay_in_one_split(tmp_path):
    names = faces(100)
    write_faces(tmp_path, names)
    content = (tmp_path / names[0]).read_bytes()
    copies = [f"{30 + k}_{k % 2}_{k % 5}_3000000{k}.jpg.chip.jpg" for k in range(9)]
    for copy in copies:
        (tmp_path / copy).write_bytes(content)
    data = load_data(f"utkface:{tmp_path}")
    holders = [name for name, ids in data.split_ids().items() if {names[0], *copies} & set(ids)]
    assert len(holders) == 1
    assert any("9 images are byte-identical" in note for note in data.notes)


def test_absent_crossed_groups_are_said(tmp_path):
    write_faces(tmp_path, [f"{20 + k}_{k % 2}_{k % 2}_{k:08d}.jpg.chip.jpg" for k in range(40)])
    data = load_data(f"utkface:{tmp_path}?target=gender&group=gender,ethnicity")
    assert data.group_names == ("Male × White", "Female × Black")
    assert any("Male × Black" in note for note in data.notes)


def test_bad_face_folders(tmp_path):
    with pytest.raises(AuditError, match="has no images"):
        load_data(f"utkface:{tmp_path}")
    write_faces(tmp_path, ["portrait.jpg"])
    with pytest.raises(AuditError, match=r"carries labels in its name \(found 'portrait\.jpg'\)"):
        load_data(f"utkface:{tmp_path}")
    write_faces(tmp_path, faces(60))
    with pytest.raises(AuditError, match="found group attribute 'height'"):
        load_data(f"utkface:{tmp_path}?group=height")
    with pytest.raises(AuditError, match="found target 'height'"):
        load_data(f"utkface:{tmp_path}?target=height")
    (tmp_path / faces(1)[0]).write_bytes(b"not an image")
    with pytest.raises(AuditError, match="cannot be read"):
        load_data(f"utkface:{tmp_path}")


def test_faces_of_one_class(tmp_path):
    write_faces(tmp_path, [f"{20 + k}_{k % 2}_0_{k:08d}.jpg.chip.jpg" for k in range(40)])
    with pytest.raises(AuditError, match="found one class only"):
        load_data(f"utkface:{tmp_path}?target=ethnicity&group=gender")


def test_adult_keeps_the_published_test_split(tmp_path):
    write_adult(tmp_path, adult_rows(), adult_rows()[:30])
    data = load_data(f"adult:{tmp_path}?group=sex")
    assert data.split_ids()["test"] == [f"test-{k:05d}" for k in range(30)]
    assert data.classes == ("<=50K", ">50K")
    assert data.labels.float().mean().item() == pytest.approx(1 / 3)


def test_adult_is_standardised_without_the_test_split(tmp_path):
    write_adult(tmp_path, adult_rows(), [row(age="9000"), row(age="9000", income=">50K")])
    data = load_data(f"adult:{tmp_path}")
    known = data.inputs[data.indices("train", "select")]
    assert known[:, 0].mean().abs() < 1e-5
    assert known[:, 0].std(unbiased=False).item() == pytest.approx(1.0, abs=1e-5)
    assert data.inputs[data.indices("test"), 0].min() > 100


def test_bad_adult_files(tmp_path):
    write_adult(tmp_path, ["1, 2, 3"], [row()])
    with pytest.raises(AuditError, match="has 3 columns; expected 15"):
        load_data(f"adult:{tmp_path}")
    write_adult(tmp_path, [row(age="old")], [row()])
    with pytest.raises(AuditError, match="text where a number belongs"):
        load_data(f"adult:{tmp_path}")
    write_adult(tmp_path, [row(income="plenty")], [row()])
    with pytest.raises(AuditError, match="income 'plenty'"):
        load_data(f"adult:{tmp_path}")
    (tmp_path / "adult.data").write_text("")
    with pytest.raises(AuditError, match="cannot be read as UCI Adult"):
        load_data(f"adult:{tmp_path}")


def test_the_real_adult_files(adult_folder):
    data = load_data(f"adult:{adult_folder}?group=sex,race")
    assert (len(data), len(data.splits["test"])) == (48842, 16281)
    assert len(data.group_names) == 10
    assert data.sizes().loc["Male × White"].sum() > 20_000


def test_the_real_faces(utkface_folder):
    data = load_data(f"utkface:{utkface_folder}?most=900")
    assert len(data) == 900
    assert data.sizes().to_numpy().min() > 0
    assert data.inputs.float().std() > 30
