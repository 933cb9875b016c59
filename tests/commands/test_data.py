"""`audit data`: what data are, on standard output, as text or as JSON."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from audit.cli import app
from audit.errors import AuditError


@pytest.fixture
def spec(tmp_path):
    table = pd.DataFrame({"x": range(80), "sex": ["F", "F "] * 40, "y": ["a", "a", "b", "b"] * 20})
    table.to_csv(tmp_path / "t.csv", index=False)
    return f"table:{tmp_path}/t.csv?target=y&group=sex"


def test_columns_groups_and_notes_are_printed(spec):
    found = CliRunner().invoke(app, ["data", spec])
    assert found.exit_code == 0
    assert "samples: 80" in found.output
    assert "group, input  category" in found.output
    assert "These groups look alike, and are audited as different: 'F' and 'F '" in found.output


def test_json_holds_the_same(spec):
    record = json.loads(CliRunner().invoke(app, ["data", spec, "--json"]).output)
    assert [row["all"] for row in record["groups"]] == [40, 40]
    assert {row["column"]: row["kind"] for row in record["columns"]}["x"] == "number"
    assert any("look alike" in note for note in record["notes"])


def test_letters_that_a_terminal_would_obey_are_not_printed(tmp_path):
    table = pd.DataFrame(
        {"x": range(80), "sex": ["\x1b[31mF", "M"] * 40, "y": ["a", "b", "b", "a"] * 20}
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    found = CliRunner().invoke(app, ["data", f"table:{tmp_path}/t.csv?target=y&group=sex"])
    assert found.exit_code == 0
    assert "\x1b" not in found.output


def test_a_file_that_is_not_there(tmp_path):
    found = CliRunner().invoke(app, ["data", f"table:{tmp_path}/no.csv?target=y&group=sex"])
    assert isinstance(found.exception, AuditError)
    assert "there is no file" in str(found.exception)
