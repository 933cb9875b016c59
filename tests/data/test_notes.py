"""What a person should know of data before an audit: look-alikes, leaks, ids, small groups."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from audit.data import from_arrays, load_data
from audit.data.notes import looks
from audit.errors import AuditError


@pytest.mark.parametrize(
    "names",
    [
        ("F", "F "),
        ("F", "f"),
        ("female", " Female"),
        ("é", "e\u0301"),
        ("a b", "a\u00a0b"),
        ("a b", "a  b"),
        ("ab", "a\u200bb"),
        ("1", "1.0"),
        ("01", "1"),
        ("O'Brien", "O’Brien"),
        ("a-b", "a_b"),
        ("ﬁ", "fi"),
        ("F × old", "F  × old"),
        ("M", "\u041c"),
        ("Other", "\u039fther"),
        ("F", "F\x07"),
        ("F\tM", "F M"),
        ("-1", "-1.0"),
    ],
)
def test_names_that_look_alike_are_named(names):
    note = looks("group", (*names, "other"))[0]
    assert note.startswith("These groups look alike, and are audited as different: ")
    assert all(repr(name) in note for name in names)


@pytest.mark.parametrize(
    "names",
    [
        ("F", "M"),
        ("1", "2"),
        ("10", "1"),
        ("a b", "ab"),
        ("é", "e"),
        ("-1", "1"),
        ("A", "A-", "A+"),
    ],
)
def test_names_that_differ_are_not(names):
    assert looks("group", names) == []


@pytest.mark.parametrize("name", ["?", "NA", "N/A", "nan", "None", "NULL", "Unknown", "F × ?"])
def test_names_that_read_like_missing_ones(name):
    (note,) = looks("class", ("x", name))
    assert note.startswith("These classes read like a missing value")
    assert repr(name) in note


def table(number=600):
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, number)
    return pd.DataFrame(
        {
            "x": generator.normal(size=number),
            "income": generator.integers(0, 90_000, number),
            "sex": generator.choice(["F", "M"], number),
            "y": np.where(y == 1, "yes", "no"),
        }
    ), y


def notes(folder, rows, extra=""):
    rows.to_csv(folder / "t.csv", index=False)
    return load_data(f"table:{folder}/t.csv?target=y&group=sex{extra}").notes


def test_a_column_that_decides_the_target_alone_is_named(tmp_path):
    rows, y = table()
    wrong = np.arange(600) % 50 == 0
    code = np.where(y ^ wrong, "A", "B")
    number = np.where(y ^ wrong, 5.0, -5.0) + np.random.default_rng(1).normal(size=600)
    found = notes(tmp_path, rows.assign(code=code, number=number))
    rest = load_data(f"table:{tmp_path}/t.csv?target=y&group=sex").indices("select", "test")
    named = [note for note in found if "alone decides the target" in note]
    assert [note.split("'")[1] for note in named] == ["code", "number"]
    assert f"in {1 - wrong[rest.numpy()].mean():.1%} of the rows" in named[0]
    hints = np.where(np.random.default_rng(2).random(600) < 0.3, 1 - y, y)
    assert not any("alone" in note for note in notes(tmp_path, rows.assign(hints=hints)))


def test_a_column_that_identifies_is_named(tmp_path):
    rows, _ = table()
    found = notes(tmp_path, rows.assign(encounter_id=np.arange(600) * 7 + 1000))
    assert any("another whole number in 'encounter_id'" in note for note in found)
    assert not any("another whole number" in note for note in notes(tmp_path, rows))


def test_test_rows_that_are_in_train_too_are_counted(tmp_path):
    rows, _ = table(300)
    found = notes(tmp_path, pd.concat([rows, rows]))
    assert any("test samples have the same inputs as a train sample" in note for note in found)
    people = pd.concat([rows.assign(who=range(300))] * 2)
    assert not any("same inputs" in note for note in notes(tmp_path, people, "&unit=who"))


def test_more_groups_than_the_samples_can_carry():
    many = from_arrays(np.eye(400), [0, 1] * 200, np.arange(400) // 2 % 20)
    assert "20 of the 20 groups have fewer than 30 test samples" in many.notes[-1]
    few = from_arrays(np.eye(400), [0, 1] * 200, np.arange(400) // 200)
    assert few.notes == ()


def test_units_that_stand_on_both_sides_are_counted():
    data = from_arrays(
        np.eye(40),
        [0, 1] * 20,
        ["a"] * 40,
        units=np.arange(40) // 2,
        splits={"train": range(15), "test": range(15, 40)},
    )
    assert any("1 of the 13 units in the test split have samples in train" in n for n in data.notes)


def test_rows_of_persons_and_of_train_that_were_not_declared_are_told(tmp_path):
    rows, _ = table(300)
    named = rows.assign(patient=np.arange(300) // 3, Part=["train"] * 200 + ["test"] * 100)
    found = " ".join(notes(tmp_path, named))
    assert "Several samples have the same 'patient'" in found
    assert "declare it with unit=patient." in found
    assert "The column 'Part' tells of train rows and was not used so" in found
    found = " ".join(notes(tmp_path, named.rename(columns={"Part": "split"}), "&unit=patient"))
    assert "not independent" not in found
    assert "was not used so" not in found


def test_test_samples_that_are_in_train_too_are_counted_of_any_data(tmp_path):
    inputs = np.random.default_rng(0).normal(size=(60, 4))
    splits = {"train": np.arange(30), "test": np.arange(30, 60)}
    fresh = from_arrays(inputs, [0, 1] * 30, ["a"] * 60, splits=splits)
    inputs[40:45] = inputs[:5]
    seen = from_arrays(inputs, [0, 1] * 30, ["a"] * 60, splits=splits)
    assert "same inputs" not in " ".join(fresh.notes)
    assert "5 of the 30 test samples have the same inputs as a train sample" in " ".join(seen.notes)
    assert "same inputs" not in " ".join(
        from_arrays(inputs, [0, 1] * 30, ["a"] * 60, splits={"test": range(60)}).notes
    )
    for place in range(8):
        for part, own in (("train", place), ("test", place + 2)):
            file = tmp_path / part / "ab"[place % 2] / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 9 * own, np.uint8)).save(file)
    folders = load_data(f"imagefolder:{tmp_path}?size=8")
    assert "6 of the 8 test samples have the same inputs" in " ".join(folders.notes)


def test_a_unit_is_no_group_and_amounts_are_no_classes(tmp_path):
    rows, _ = table(300)
    with pytest.raises(AuditError, match=r"found unit '.*', which is the target or a group"):
        notes(tmp_path, rows, "&unit=sex")
    ages = rows.assign(y=np.arange(300) % 50)
    assert "The 50 classes are numbers, and an answer that is off" in " ".join(
        notes(tmp_path, ages)
    )
