"""Folders of images as their owners publish them: CelebA, LFW, and a folder for every class."""

import numpy as np
import pytest
from PIL import Image

from audit.data import load_data
from audit.errors import AuditError


def save(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (level, 0, 0)).save(path)


@pytest.fixture
def celeba(tmp_path):
    names = [f"{number:06d}.png" for number in range(1, 41)]
    rows = [
        f"{name} {'-1' if n % 2 else ' 1'} {'-1' if n // 2 % 2 else '1'}"
        for n, name in enumerate(names)
    ]
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(["40", "Blond_Hair Male ", *rows]))
    parts = [f"{name} {0 if n < 24 else 1 if n < 32 else 2}" for n, name in enumerate(names)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    for n, name in enumerate(names):
        save(tmp_path / "img_align_celeba" / name, n)
    return tmp_path


def test_celeba_as_published(celeba):
    data = load_data(f"celeba:{celeba}?target=Blond_Hair&group=Male&size=6")
    assert data.classes == ("not Blond_Hair", "Blond_Hair")
    assert data.group_names == ("Female", "Male")
    assert data.inputs[:, 0, 0, 0].tolist() == list(range(40))
    assert data.labels.tolist() == [1 - n % 2 for n in range(40)]
    assert data.groups.tolist() == [1 - n // 2 % 2 for n in range(40)]
    splits = {name: rows.tolist() for name, rows in data.splits.items()}
    assert splits["train"] == list(range(24))
    assert splits["select"] == list(range(24, 32))
    assert splits["test"] == list(range(32, 40))


def test_a_part_of_celeba_and_its_spec(celeba):
    data = load_data(f"celeba:{celeba}?group=Male,Blond_Hair&most=8&size=6")
    assert [len(rows) for rows in data.splits.values()] == [8, 8, 8]
    assert load_data(data.spec).split_ids() == data.split_ids()
    (celeba / "list_eval_partition.txt").unlink()
    assert len(load_data(f"celeba:{celeba}?size=6").indices("test")) == 8


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("list_attr_celeba.txt", "1\nMale\n1.png yes\n", "not in CelebA's published format"),
        ("list_attr_celeba.txt", "1\nBlond_Hair Male\n000001.png 0 1\n", "found 0 for Blond_Hair"),
        ("list_eval_partition.txt", "000001.png 0\n", "no part 0, 1 or 2 for '000002.png'"),
    ],
)
def test_files_that_are_not_celebas(celeba, file, text, message):
    (celeba / file).write_text(text)
    with pytest.raises(AuditError, match=message):
        load_data(f"celeba:{celeba}?size=6")
    with pytest.raises(AuditError, match="there is no file"):
        load_data(f"celeba:{celeba}/nowhere")


@pytest.fixture
def lfw(tmp_path):
    lines = ["# lfw_attributes.txt\tv1.21", "#\tperson\timagenum\tMale\tWavy Hair"]
    for n in range(40):
        person = f"Ann Bee{chr(97 + n // 2)}"
        lines.append(
            f"{person}\t{n % 2 + 1}\t{1.5 if n // 2 % 2 else -0.2}\t{0.1 if n % 2 else -3}"
        )
        name = person.replace(" ", "_")
        save(tmp_path / "lfw" / name / f"{name}_{n % 2 + 1:04d}.jpg", 6 * n)
    (tmp_path / "lfw_attributes.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_lfw_as_published_keeps_a_person_in_one_split(lfw):
    data = load_data(f"lfw:{lfw}?target=Wavy Hair&group=Male&size=6")
    assert data.classes == ("not Wavy Hair", "Wavy Hair")
    assert data.group_names == ("Female", "Male")
    assert data.labels.tolist() == [n % 2 for n in range(40)]
    assert data.groups.tolist() == [n // 2 % 2 for n in range(40)]
    assert data.samples[3] == "Ann_Beeb/Ann_Beeb_0002.jpg"
    np.testing.assert_allclose(data.inputs[:, 0, 0, 0], 6 * np.arange(40), atol=6)
    people = [{name.split("/")[0] for name in ids} for ids in data.split_ids().values()]
    assert sum(map(len, people)) == 20


def test_files_that_are_not_lfws(lfw):
    with pytest.raises(AuditError, match="found target 'Smile'"):
        load_data(f"lfw:{lfw}?target=Smile")
    (lfw / "lfw_attributes.txt").write_text("# x\nAnn\t1\n")
    with pytest.raises(AuditError, match="not in LFW's published format"):
        load_data(f"lfw:{lfw}")
    with pytest.raises(AuditError, match="there is no file"):
        load_data(f"lfw:{lfw}/nowhere")


def write_classes(folder, parts=("",)):
    for part in parts:
        for n in range(40):
            save(folder / part / ("dog", "cat")[n % 2] / f"{n:02d}.png", n)
    (folder / "README.txt").write_text("no image")


def test_a_folder_for_every_class(tmp_path):
    write_classes(tmp_path)
    data = load_data(f"imagefolder:{tmp_path}?size=6")
    assert data.classes == data.group_names == ("cat", "dog")
    assert data.samples[0] == "cat/01.png"
    assert data.labels.tolist() == [0] * 20 + [1] * 20
    rows = "\n".join(f"{name},{'ab'[n % 2]}" for n, name in enumerate(data.samples))
    (tmp_path / "who.csv").write_text(f"file,sex\n{rows}\n")
    grouped = load_data(f"imagefolder:{tmp_path}?size=6&labels=who.csv&group=sex,class")
    assert grouped.group_names == ("a × cat", "a × dog", "b × cat", "b × dog")
    (tmp_path / "who.csv").write_text("file,sex\ncat/01.png,a\n")
    with pytest.raises(AuditError, match="39 images are not in"):
        load_data(f"imagefolder:{tmp_path}?size=6&labels=who.csv&group=sex")


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        (("train", "val", "test"), [40, 40, 40]),
        (("train", "val"), [40, 0, 40]),
        (("test",), [0, 0, 40]),
    ],
)
def test_folders_that_name_the_splits(tmp_path, parts, sizes):
    write_classes(tmp_path, parts)
    data = load_data(f"imagefolder:{tmp_path}?size=6")
    assert [len(data.indices(name)) for name in ("train", "select", "test")] == sizes
    assert data.classes == ("cat", "dog")


def test_folders_without_images(tmp_path):
    with pytest.raises(AuditError, match="has no folders of images"):
        load_data(f"imagefolder:{tmp_path}")
    with pytest.raises(AuditError, match="there is no folder"):
        load_data(f"imagefolder:{tmp_path}/nowhere")
