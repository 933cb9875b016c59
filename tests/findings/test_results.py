import json

import pandas as pd
import pytest

from audit.errors import AuditError
from audit.findings.results import load_results
from audit.report import render


def test_results_come_back_as_they_were_with_the_order_of_groups(fake, tmp_path):
    results = fake(groups=("zebra", "ant", "middle"), harmed=("ant",))
    results.save(tmp_path)
    back = load_results(tmp_path)
    same = results.groups.columns.drop("converged")  # its empty cells come back as None
    pd.testing.assert_frame_equal(back.groups[same], results.groups[same], check_dtype=False)
    assert back.groups["converged"].notna().equals(results.groups["converged"].notna())
    assert list(back.groups["group"].cat.categories) == ["zebra", "ant", "middle"]
    assert back.groups["group"].cat.ordered
    assert back.record == json.loads(results.to_json())


def test_a_report_is_the_same_from_stored_results(fake, tmp_path):
    results = fake(absent=("7",))
    results.save(tmp_path)
    assert render(load_results(tmp_path)) == render(results)


def test_nothing_partial_is_left_behind(fake, tmp_path):
    fake().save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "groups.parquet",
        "layers.parquet",
        "results.json",
        "samples.parquet",
    ]


@pytest.mark.parametrize(
    "name", ["groups.parquet", "layers.parquet", "samples.parquet", "results.json"]
)
def test_a_missing_file_is_named(fake, tmp_path, name):
    fake().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(AuditError, match=name):
        load_results(tmp_path)


@pytest.mark.parametrize(
    "name", ["groups.parquet", "layers.parquet", "samples.parquet", "results.json"]
)
def test_a_damaged_file_is_one_clear_line(fake, tmp_path, name):
    fake().save(tmp_path)
    (tmp_path / name).write_bytes(b"not this\xff")
    with pytest.raises(AuditError, match="cannot be read") as caught:
        load_results(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_table_of_another_run_is_not_taken_for_this_ones(fake, tmp_path):
    fake().save(tmp_path)
    fake(harmed=("3",)).save(tmp_path / "other")
    (tmp_path / "other/groups.parquet").rename(tmp_path / "groups.parquet")
    with pytest.raises(AuditError, match=r"'groups\.parquet' is not the table"):
        load_results(tmp_path)


@pytest.mark.parametrize("text", ['{"schema_version": 0}', "{}", "[]", "3"])
def test_another_version_is_refused(fake, tmp_path, text):
    fake().save(tmp_path)
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(AuditError, match="version"):
        load_results(tmp_path)
