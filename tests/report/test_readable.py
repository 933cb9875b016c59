"""Of more networks than anybody reads, a page lists those judged, and says where the others are."""

from typing import Any

import pytest

from audit.report import readable as module
from audit.report.html import render
from audit.report.readable import readable, told_left


def test_of_many_networks_those_judged_of_the_first_seed_are_listed(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = fake(rates=(0.9, 0.98), seeds=3)
    assert readable(results) is results
    assert told_left(results.record) == []
    whole = render(results)
    monkeypatch.setattr(module, "MOST_NETWORKS", 8)
    few = readable(results)
    names = ["dense-seed0", "magnitude-0.98-seed0"]
    kept = [model["name"] for model in few.record["models"] if "bilevel" not in model["name"]]
    assert kept == names
    assert set(few.groups["model"]) == {model["name"] for model in few.record["models"]}
    assert {row["model"] for row in few.record["overall"]} == set(few.groups["model"])
    assert {row["model"] for row in few.record["tables"]["causes"]} < set(few.groups["model"])
    assert few.record["tables"]["exemplars"] == results.record["tables"]["exemplars"]
    assert few.record["findings"] == results.record["findings"]
    (told,) = told_left(results.record)
    total = len(results.record["models"])
    assert told.startswith(f"Of {total} networks {len(few.record['models'])} are listed")
    page = render(results)
    assert told in page
    assert "magnitude-0.9-seed2" in whole
    assert "magnitude-0.9-seed2" not in page
    assert results.record["verdict"]["headline"] in page
