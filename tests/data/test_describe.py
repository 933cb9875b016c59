"""What data are is shown: what was made of each column, classes and groups by split."""

import numpy as np
import pandas as pd

from audit.data import describe_data, from_arrays, load_data


def write(folder):
    rows = pd.DataFrame(
        {
            "age": [20.0, np.nan, 30, 40] * 20,
            "job": ["a", "b", "", "c"] * 20,
            "sex": ["<f>", "m"] * 40,
            "who": range(80),
            "note": "x",
            "y": ["no", "no", "yes", "no"] * 20,
        }
    )
    rows.to_csv(folder / "t.csv", index=False)
    return f"table:{folder}/t.csv?target=y&group=sex&id=who&drop=note"


def test_every_column_is_described(tmp_path):
    found = describe_data(load_data(write(tmp_path))).columns
    expected = {
        "age": ("input", "number", 1, 3, 20, "20, 30, 40"),
        "job": ("input", "category", 4, 3, 20, "a, b, c"),
        "sex": ("group, input", "category", 2, 2, 0, "<f>, m"),
        "who": ("id", "number", 0, 80, 0, "0, 1, 2, 3, 4"),
        "note": ("dropped", "text", 0, 1, 0, "x"),
        "y": ("target", "text", 0, 2, 0, "no, yes"),
    }
    assert {name: tuple(row) for name, row in found.iterrows()} == expected


def test_counts_add_up_by_split(tmp_path):
    data = load_data(write(tmp_path))
    found = describe_data(data)
    for table in (found.classes, found.groups):
        assert table.drop(columns="all").sum(axis=1).tolist() == table["all"].tolist()
        assert table["test"].sum() == len(data.indices("test"))
    assert found.classes["all"].to_dict() == {"no": 60, "yes": 20}


def test_text_and_page_hold_everything(tmp_path):
    found = describe_data(load_data(write(tmp_path)))
    text = found.text()
    assert all(name in text for name in ("age", "job", "<f>", "samples: 80", "• One-hot inputs"))
    page = found._repr_html_()
    assert "&lt;f&gt;" in page
    assert "<f>" not in page


def test_arrays_have_no_columns():
    images = np.zeros((40, 3, 4, 4), np.uint8)
    data = from_arrays(images, [0, 1] * 20, ["a"] * 40, scaling="image", units=np.arange(40) // 2)
    found = describe_data(data)
    assert found.columns.empty
    assert found.about["inputs"] == "3×4×4"
    assert found.about["scaling"] == "pixels of 0 to 1, less 0.5, divided by 0.5"
    assert found.about["units"] == "20"
