"""Samples of one person are not independent: every interval of an audit is that of the persons.

Each person stands four times in the data. With the persons declared, all numbers and intervals are
those of an audit of the persons alone; without, intervals are half as wide.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import audit
from audit.data import from_arrays
from audit.examine.settings import MeasureSettings
from audit.findings.own_metric import metric_by_group
from audit.findings.results import Results

PERSONS, COPIES = 260, 4
TABLES = ("faithfulness", "boundary", "rates", "comparison")
KEYS = ("model", "candidate_name", "group", "harm", "rate", "metric")
Widths = dict[tuple[Any, ...], float]


def audited(copies: int, declared: bool) -> Results:
    """Two networks on the same persons, each of them standing `copies` times."""
    generator = np.random.default_rng(3)
    inputs = generator.standard_normal((PERSONS, 6)).astype(np.float32)
    labels = inputs[:, 0] + inputs[:, 1] + 0.7 * generator.standard_normal(PERSONS) > 0
    groups = np.where(np.arange(PERSONS) % 2 == 0, "a", "b")
    person = np.repeat(np.arange(PERSONS), copies)
    data = from_arrays(
        inputs[person],
        np.where(labels, "yes", "no")[person],
        groups[person],
        units=person if declared else None,
        splits={"test": np.arange(len(person))},
    )
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2))
    with torch.no_grad():
        dense.get_parameter("2.weight").mul_(3)
    pruned = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2))
    pruned.load_state_dict(dense.state_dict())
    with torch.no_grad():
        for weight in (pruned.get_parameter("0.weight"), pruned.get_parameter("2.weight")):
            weight[weight.abs() < weight.abs().median()] = 0
    settings = MeasureSettings(curvature="none", samples_per_group=PERSONS * COPIES)
    return audit.compare({"dense": dense, "pruned": pruned}, data, settings)


def widths(results: Results) -> Widths:
    """How wide every interval of the results is, by where it stands."""
    rows = results.groups.to_dict("records") + results.record["overall"]
    rows += [row | {"table": name} for name in TABLES for row in results.record["tables"][name]]
    own = metric_by_group(results.samples, "sklearn.metrics:recall_score", positive="yes")
    rows += own.assign(table="own metric").to_dict("records")
    findings = [one for one in results.record["findings"] if one["claim"] in ("pays", "changes")]
    found: Widths = {}
    for row in [*rows, *({"table": one["claim"], **one, "networks": 0} for one in findings)]:
        place = (row.get("table"), *(row.get(key) for key in KEYS))
        for low in [key for key in row if key == "low" or str(key).endswith("ci_low")]:
            high = row[str(low).replace("low", "high")]
            if row[low] is not None and np.isfinite(row[low]) and np.isfinite(high):
                found[(*place, low)] = float(high) - float(row[low])
    return found


@pytest.fixture(scope="module")
def once() -> Results:
    """Each person once."""
    return audited(1, declared=False)


@pytest.fixture(scope="module")
def alone(once: Results) -> Widths:
    """The intervals of each person once."""
    return widths(once)


@pytest.fixture(scope="module")
def declared() -> Results:
    """Each person four times, and said so."""
    return audited(COPIES, declared=True)


def test_every_interval_of_persons_with_several_rows_is_that_of_the_persons(
    alone: Widths, declared: Results
) -> None:
    found = widths(declared)
    assert len(found) > 80
    assert {place[0] for place in found} >= {*TABLES, "own metric", "pays", "changes"}
    wrong = {
        place: (width, alone[place])
        for place, width in found.items()
        if place in alone and not 0.8 * alone[place] <= width <= 1.3 * alone[place] + 1e-9
    }
    assert not wrong
    assert found.keys() == alone.keys()


def test_without_persons_declared_intervals_are_half_as_wide(alone: Widths) -> None:
    found = widths(audited(COPIES, declared=False))
    ratios = [width / alone[place] for place, width in found.items() if alone.get(place)]
    assert 0.45 < np.median(ratios) < 0.6


def test_p_values_of_persons_are_no_smaller_for_their_copies(
    once: Results, declared: Results
) -> None:
    for claim in ("pays", "changes", "beyond_chance", "faithful"):
        pairs = [
            (one["p_adjusted"], other["p_adjusted"])
            for one, other in zip(
                *(
                    [f for f in results.record["findings"] if f["claim"] == claim]
                    for results in (once, declared)
                ),
                strict=True,
            )
        ]
        assert pairs
        for single, copies in pairs:
            assert copies > 0.3 * single, claim


def test_gaps_and_floors_are_those_of_the_persons(once: Results, declared: Results) -> None:
    for row, other in zip(once.record["overall"], declared.record["overall"], strict=True):
        assert row["metric"] == other["metric"]
        if row["floor_p95"] is not None:
            assert other["floor_p95"] == pytest.approx(row["floor_p95"], rel=0.3)
