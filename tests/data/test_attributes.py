"""Values in any container: what is missing is alike in all, numbers are ordered as numbers."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from audit.data import from_arrays
from audit.data.attributes import from_column, in_bands, renamed
from audit.errors import AuditError

NAN = float("nan")
TEXTS = {
    "list with NaN": ["a", NAN],
    "list with None": ["a", None],
    "list with NaT": ["a", pd.NaT],
    "list with NA": ["a", pd.NA],
    "list with empty text": ["a", ""],
    "list with blank text": ["a", " \t"],
    "list with a blank that does not break": ["a", "\u00a0"],
    "tuple": ("a", None),
    "array of text": np.array(["a", np.nan]),
    "array of objects": np.array(["a", None], dtype=object),
    "Series": pd.Series(["a", None]),
    "Series of objects": pd.Series(["a", NAN], dtype=object),
    "strings of pandas": pd.array(["a", None], dtype="string"),
    "strings of Arrow": pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())),
    "categorical": pd.Categorical(["a", None]),
    "index": pd.Index(["a", None]),
}
NUMBERS = {
    "list": [1, None],
    "list of floats": [1.0, NAN],
    "array": np.array([1.0, np.nan]),
    "tensor": torch.tensor([1.0, NAN]),
    "Int64": pd.array([1, None], dtype="Int64"),
    "Arrow": pd.Series([1, None], dtype=pd.ArrowDtype(pa.int64())),
    "text": ["1", ""],
}


@pytest.mark.parametrize("values", TEXTS.values(), ids=TEXTS)
def test_missing_text_is_alike_in_every_container(values):
    found = from_column(values)
    assert (found.names, found.codes.tolist()) == (("(missing)", "a"), [1, 0])
    assert found.missing == 1


@pytest.mark.parametrize("values", NUMBERS.values(), ids=NUMBERS)
def test_missing_numbers_are_alike_in_every_container(values):
    assert from_column(values).names == ("(missing)", "1")


@pytest.mark.parametrize("values", [*TEXTS.values(), *NUMBERS.values()])
def test_a_missing_label_is_refused_and_a_missing_group_is_one(values):
    # Not through another container: numpy makes text of NaN in an array of text.
    many = np.tile(values, 20) if isinstance(values, np.ndarray) else [*values] * 20
    with pytest.raises(AuditError, match="20 samples have no label"):
        from_arrays(np.eye(40), many, [0, 1] * 20)
    data = from_arrays(np.eye(40), [0, 0, 1, 1] * 10, many)
    assert data.group_names[0] == "(missing)"
    assert data.groups.tolist() == [1, 0] * 20
    assert "20 samples have no group: they are the group (missing)." in data.notes


def test_words_for_missing_are_declared():
    assert from_column(["NA", "a"]).names == ("NA", "a")
    assert from_column(["NA", "a", " NA "], missing=["NA"]).names == ("(missing)", "a")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 1], ("1", "9", "10")),
        (["10", "9", "1"], ("1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["01", "1", "2"], ("01", "1", "2")),
        (["-1", "+1", "1e1"], ("-1", "+1", "1e1")),
        ([2.0, 10.0, 2.5], ("2.0", "2.5", "10.0")),
        ([2.0, 10.0], ("2", "10")),
        ([True, False], ("False", "True")),
        (["a", 1], ("1", "a")),
        ([datetime.date(2024, 3, 1)], ("2024-03-01",)),
        (pd.Categorical(["low", "high"], ["low", "mid", "high"], ordered=True), ("low", "high")),
        (pd.Categorical(["low", "high"], ["low", "mid", "high"]), ("high", "low")),
    ],
)
def test_numbers_are_ordered_as_numbers(values, names):
    found = from_column(values)
    assert found.names == names
    assert [found.names[code] for code in found.codes] == [
        name
        for value in values
        for name in names
        if name in (str(value), str(value).removesuffix(".0"))
    ]


def test_declared_names_decide_over_positions():
    labels = from_arrays(np.eye(40), [1, 2] * 20, [0, 1] * 20, classes=["2", "1"])
    assert labels.labels.tolist() == [1, 0] * 20
    positions = from_arrays(np.eye(40), [0.0, 1.0] * 20, [True, False] * 20, classes=["no", "yes"])
    assert positions.labels.tolist() == [0, 1] * 20
    with pytest.raises(AuditError, match="found label '1'; expected one of no, yes"):
        from_arrays(np.eye(40), [1, 2] * 20, [0, 1] * 20, classes=["no", "yes"])
    with pytest.raises(AuditError, match=r"found group '\(missing\)'; expected one of a"):
        from_arrays(np.eye(40), [0, 1] * 20, ["a", None] * 20, group_names=["a"])


def test_bands_reach_from_their_edge_up_to_the_next():
    found = in_bands([17.9, 18, 64, 65, 120], [18, 65], "age")
    assert found.names == ("under 18", "18 to under 65", "65 and over")
    assert found.codes.tolist() == [0, 1, 1, 2, 2]
    with pytest.raises(AuditError, match="expected ascending numbers"):
        in_bands([1], [65, 18], "age")
    with pytest.raises(AuditError, match="found 'old' in 'age'"):
        in_bands(["old", "3"], [18], "age")


def test_names_merge_values_and_leave_the_others():
    found = renamed(from_column([1, 2, 3, 9]), {"1": "male", "2": "female", "3": "female"})
    assert [found.names[code] for code in found.codes] == ["male", "female", "female", "9"]


def test_text_that_is_no_unicode_is_refused():
    with pytest.raises(AuditError, match=r"found text with '\\ud800', which is no letter"):
        from_column(["a\ud800", "b"])
