"""Specs: text and tables mean the same, and what is stored loads the same data again."""

import json

import pytest
import torch

from audit.data import load_data, parse_spec
from audit.errors import AuditError
from audit.specs import check_spec


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("digits", {"dataset": "digits"}),
        ("digits?seed=1", {"dataset": "digits", "seed": "1"}),
        (
            "utkface:my faces/a?target=age&group=gender,age&size=48",
            {
                "dataset": "utkface",
                "folder": "my faces/a",
                "target": "age",
                "group": "gender,age",
                "size": "48",
            },
        ),
        ("adult:C:/adult", {"dataset": "adult", "folder": "C:/adult"}),
    ],
)
def test_text_is_taken_apart(text, settings):
    assert parse_spec(text) == settings


def test_text_and_table_load_the_same_data():
    text = load_data("digits?seed=2&select=0.3")
    table = load_data({"dataset": "digits", "seed": 2, "select": 0.3})
    assert torch.equal(text.inputs, table.inputs)
    assert text.split_ids() == table.split_ids()
    assert text.spec == table.spec == {"dataset": "digits", "seed": 2, "select": 0.3}


def test_a_table_is_left_as_it_was():
    table = {"dataset": "digits", "seed": 2}
    load_data(table)
    assert table == {"dataset": "digits", "seed": 2}


@pytest.mark.parametrize("settings", ["?group=gender,age&most=200&seed=3", "?target=gender&size=8"])
def test_stored_specs_of_faces_load_the_same_data(utkface_folder, settings):
    check_round_trip(f"utkface:{utkface_folder}{settings}")


def test_stored_specs_of_tables_load_the_same_data(adult_folder):
    check_round_trip(f"adult:{adult_folder}?group=sex,race&select=0.1")


def check_round_trip(spec):
    data = load_data(spec)
    # As a checkpoint or results.json keeps it.
    stored = json.loads(json.dumps(dict(data.spec)))
    again = load_data(stored)
    for name in ("inputs", "labels", "groups"):
        assert torch.equal(getattr(data, name), getattr(again, name))
    assert data.split_ids() == again.split_ids()
    assert (data.group_names, data.attribute) == (again.group_names, again.attribute)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "",
            "found dataset ''; expected one of digits, utkface, fairface, images, table, adult, celeba",
        ),
        ({"seed": 1}, "expected one of digits, utkface, fairface, images, table, adult, celeba"),
        ("digits:folder", "'digits' has no setting 'folder'"),
        ("adult:folder?size=3", "'adult' has no setting 'size'; it has folder, group"),
        ("digits?seed=1.5", "found seed='1.5'; expected int"),
        ("digits?seed=-1", "found seed = -1; expected a whole number of 0 or more"),
        ("digits?test=most", "found test='most'; expected float"),
        ("digits?test=nan", "found test = nan; expected a finite number"),
        ("digits?test=0", "the split 'test' has no samples"),
        ({"dataset": "digits", "seed": True}, "found seed=True; expected int"),
        ({"dataset": "digits", "seed": [1]}, r"found seed=\[1\]; expected int"),
    ],
)
def test_specs_that_cannot_be(spec, message):
    with pytest.raises(AuditError, match=message):
        load_data(spec)


def test_a_file_without_the_name_of_what_reads_it_is_told_how(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text("y,sex\n", "utf-8")
    (tmp_path / "faces").mkdir()
    with pytest.raises(AuditError, match=r"expected table:people\.csv\?target=COLUMN&group=COLUMN"):
        check_spec("people.csv")
    with pytest.raises(AuditError, match=r"expected images:faces\?target=COLUMN&group=COLUMN"):
        load_data("faces")
