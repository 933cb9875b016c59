"""A user's own table: numbers standardised, categories one-hot, splits and groups as asked."""

import numpy as np
import pandas as pd
import pytest
import torch

from audit.data import load_data
from audit.data.table import from_frame, load_table
from audit.errors import AuditError

SPLITS = ("train", "train", "select", "test")


def people(number=80):
    rows = np.arange(number)
    return pd.DataFrame(
        {
            "age": rows.astype(float),
            "sex": np.where(rows % 2, "female", "male"),
            "region": rows // 2 % 4,
            "income": np.where(rows // 4 % 2, "high", "low"),
        }
    )


def write(folder, table, name="people.csv"):
    path = folder / name
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return path


def test_columns_become_inputs_labels_and_groups(tmp_path):
    table = people()
    data = load_table(write(tmp_path, table), "income", "sex", categories="region")
    known = np.setdiff1d(np.arange(80), data.indices("test").numpy())
    ages = (np.arange(80) - known.mean()) / known.std()
    one_hot = [np.eye(2)[1 - np.arange(80) % 2], np.eye(4)[np.arange(80) // 2 % 4]]
    np.testing.assert_allclose(data.inputs, np.hstack([ages[:, None], *one_hot]), rtol=1e-5)
    assert data.name == "people"
    assert data.classes == ("high", "low")
    assert [data.classes[code] for code in data.labels] == table["income"].tolist()
    assert [data.group_names[code] for code in data.groups] == table["sex"].tolist()
    assert "Among the inputs: sex" in " ".join(data.notes)


def test_parquet_and_csv_hold_the_same_data(tmp_path):
    table = people().astype({"region": float})
    found = [
        load_table(
            write(tmp_path, table, name), "income", "sex,region", categories="region", drop="sex"
        )
        for name in ("people.csv", "people.parquet")
    ]
    assert torch.equal(found[0].inputs, found[1].inputs)
    assert found[0].split_ids() == found[1].split_ids()
    # Codes that were stored as 2.0 read as 2.
    assert found[1].group_names[:2] == ("female × 0", "female × 1")
    assert found[0].inputs.shape == (80, 5)


def test_what_is_missing_is_a_category_or_the_mean(tmp_path):
    table = people()
    table.loc[5, ["sex", "age"]] = None
    data = load_table(write(tmp_path, table), "income", "sex", drop="region")
    assert data.group_names == ("(missing)", "female", "male")
    assert data.inputs[5].tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_column_of_splits_is_used_and_is_no_input(tmp_path):
    table = people().assign(split=[SPLITS[row % 4] for row in range(80)])
    path = write(tmp_path, table)
    data = load_table(path, "income", "sex", drop="sex,region")
    assert data.indices("select").tolist() == list(range(2, 80, 4))
    assert data.inputs.shape == (80, 1)
    # The test split takes no part in the standardisation.
    assert data.inputs[np.arange(80) % 4 != 3].mean().item() == pytest.approx(0, abs=1e-6)
    assert "not among the inputs" in " ".join(data.notes)


def test_the_spec_loads_the_same_rows(tmp_path):
    path = write(tmp_path, people())
    data = load_data(f"table:{path}?target=income&group=sex&categories=region&most=60&seed=2")
    again = load_data(data.spec)
    assert len(data) == 60
    assert data.spec["file"] == str(path)
    assert again.split_ids() == data.split_ids()
    assert torch.equal(again.inputs, data.inputs)


def test_hostile_names_are_kept_as_text(tmp_path):
    table = people()
    table["sex"] = table["sex"].replace("male", "<script>alert(1)</script>")
    data = load_table(write(tmp_path, table), "income", "sex")
    assert data.group_names == ("<script>alert(1)</script>", "female")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "income,age"}, "found target 'income,age'; expected one of the columns"),
        ({"target": ""}, "found target ''"),
        ({"target": "wage"}, "found target 'wage'; expected one of age, sex, region, income"),
        ({"group": "sex,race"}, "found group 'race'"),
        ({"drop": "sex,age,region"}, "no column left to predict 'income' from"),
        ({"categories": "town"}, "found categories 'town'"),
        ({"most": 0}, "found most=0"),
    ],
)
def test_settings_that_do_not_fit_the_table(tmp_path, settings, message):
    given = {"target": "income", "group": "sex"} | settings
    with pytest.raises(AuditError, match=message):
        load_table(write(tmp_path, people()), **given)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([f"id {row}" for row in range(1200)], "1200 values in 1200 rows; expected at most 600"),
        ([np.inf] * 1200, "'more' has an infinite number"),
        ([None] * 1200, "'more' has no number outside the test split"),
    ],
)
def test_columns_that_are_no_inputs(tmp_path, column, message):
    table = people(1200).assign(more=column)
    with pytest.raises(AuditError, match=message):
        load_table(write(tmp_path, table), "income", "sex")


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(AuditError, match="there is no file"):
        load_table(tmp_path / "none.csv", "income", "sex")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(AuditError, match="cannot be read as a table"):
        load_table(tmp_path / "bad.parquet", "income", "sex")
    (tmp_path / "empty.csv").write_text("age,sex,income\n")
    with pytest.raises(AuditError, match="has no rows"):
        load_table(tmp_path / "empty.csv", "income", "sex")
    with pytest.raises(AuditError, match="'table' needs the file where its data is: table:FILE"):
        load_data("table?target=income&group=sex")


def test_an_empty_target_is_no_class(tmp_path):
    table = people()
    table.loc[[3, 4], "income"] = None
    with pytest.raises(AuditError, match="target 'income' is empty in 2 rows"):
        load_table(write(tmp_path, table), "income", "sex")


def test_rows_longer_than_the_header_are_refused(tmp_path):
    path = write(tmp_path, people())
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{row},7" for row in rows)]) + "\n")
    with pytest.raises(AuditError, match="cannot be read as a table"):
        load_table(path, "income", "sex")


def test_a_column_named_split_can_be_dropped(tmp_path):
    path = write(tmp_path, people().assign(split="a"))
    with pytest.raises(AuditError, match="found split 'a'"):
        load_table(path, "income", "sex")
    assert load_table(path, "income", "sex", drop="split,sex").inputs.shape == (80, 2)


def test_a_column_that_is_constant_outside_the_test_split_stays_small(tmp_path):
    table = people().assign(split=[SPLITS[row % 4] for row in range(80)], more=0.1)
    table.loc[3, "more"] = 5.0
    data = load_table(write(tmp_path, table), "income", "sex", drop="sex,region,age")
    assert data.inputs[3].item() == pytest.approx(4.9)


def test_codes_beyond_whole_floats_are_text(tmp_path):
    table = people().assign(more=np.where(np.arange(80) % 2, 1e20, 2.0))
    data = load_table(write(tmp_path, table, "people.parquet"), "income", "more")
    assert data.group_names == ("2.0", "1e+20")


def test_columns_that_became_categories_are_named(tmp_path):
    table = people().assign(region=lambda own: own["region"].map("zone {}".format))
    data = load_table(write(tmp_path, table), "income", "sex")
    assert "One-hot inputs: sex, region; the other columns are numbers." in data.notes


def test_a_frame_is_read_whatever_its_columns_are_called():
    table = people()
    numbered = from_frame(table.set_axis(range(4), axis=1), "3", "1")
    assert numbered.group_names == ("female", "male")
    crossed = from_frame(
        table.rename(columns={"region": "region, 1"}), "income", ["sex", "region, 1"]
    )
    assert crossed.attribute == "sex × region, 1"
    with pytest.raises(AuditError, match="the frame has two columns named 'a'; rename"):
        from_frame(table.set_axis(["a", "a", "sex", "income"], axis=1), "income", "sex")
    with pytest.raises(AuditError, match="the frame has no rows"):
        from_frame(table[:0], "income", "sex")


def test_a_frame_is_noted_as_a_file_is(tmp_path):
    table = people().assign(sex=["F", "F ", "M", "m"] * 20)
    spec = f"table:{write(tmp_path, table, 'people.parquet')}?target=income&group=sex"
    frame, file = from_frame(table, "income", "sex").notes, load_data(spec).notes
    assert frame == file
    assert any("look alike" in note for note in frame)


def test_values_of_several_parts_are_text_and_complex_numbers_are_refused(tmp_path):
    table = people().assign(tags=[["a", "b"], ["c"]] * 40)
    data = load_table(write(tmp_path, table, "people.parquet"), "income", "sex", drop="age,region")
    assert data.inputs.shape == (80, 4)
    with pytest.raises(AuditError, match="the column 'age' has complex numbers"):
        from_frame(people().assign(age=lambda own: own["age"] + 1j), "income", "sex")


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("is_train", [True, False], True),
        ("In Train", ["yes", "no"], True),
        ("test_set", [0, 1], True),
        ("training", [0, 1], False),
        ("is_train", [0, 7], False),
    ],
)
def test_a_column_that_marks_train_rows_is_told(name, values, told):
    data = from_frame(people().assign(**{name: values * 40}), "income", "sex")
    assert any("tells of train rows" in note for note in data.notes) is told
