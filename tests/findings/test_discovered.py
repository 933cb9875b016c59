"""Groups that nobody named, from the data to the verdict (M16)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import audit
from audit.data import from_arrays
from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings
from audit.data.table import from_frame
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.findings.discovery import confirming_half, members
from audit.findings.making import conclude
from audit.findings.redacting import redacted
from audit.findings.results import Results
from audit.findings.thresholds import Threshold, judge

N = 3000
SOUGHT = ("age", "region")


class Rule(nn.Module):
    """Right but for those whom its second input marks, if it is pruned."""

    def __init__(self, harms: bool) -> None:
        super().__init__()
        self.harms = harms
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        sign = 1 - 2 * inputs[:, 1] * self.harms
        return torch.stack([-inputs[:, 0] * sign, inputs[:, 0] * sign], 1) * self.weight


def people(harmed: bool = True) -> GroupedData:
    """Both sexes are harmed alike; of the old in the south a third lose their right answer."""
    generator = np.random.default_rng(1)
    columns = pd.DataFrame(
        {"age": generator.uniform(18, 90, N), "region": generator.choice(["n", "s", "w"], N)}
    )
    label = generator.integers(2, size=N)
    hit = (columns["age"] > 70) & (columns["region"] == "s") & (generator.random(N) < 0.35)
    rare = hit.to_numpy() if harmed else generator.random(N) < 0.01
    inputs = np.stack([2.0 * label - 1, rare], 1).astype(np.float32)
    sex = np.where(generator.random(N) < 0.5, "f", "m")
    return from_arrays(inputs, label, sex, attribute="sex", splits={"test": np.arange(N)},
                       further=columns)  # fmt: skip


def audited(data: GroupedData, *sought: str) -> Results:
    settings = MeasureSettings(curvature="none", discover=sought,
                               without=("gradient_norm", "input_distance", "taylor"))  # fmt: skip
    return audit.compare({"dense": Rule(False), "pruned": Rule(True)}, data, settings)


@pytest.fixture(scope="module")
def found() -> Results:
    return audited(people(), *SOUGHT)


def test_what_is_confirmed_is_measured_and_a_finding(found: Results) -> None:
    rows = [row for row in found.record["tables"]["discovered"] if row["confirmed"]]
    assert rows
    # Whoever holds many of them pays too: the south, the old.
    assert all("region s" in row["group"] or "age 7" in row["group"] for row in rows)
    assert any("region s" in row["group"] and "age 7" in row["group"] for row in rows)
    worst = max(rows, key=lambda row: float(row["gap"]))
    second = confirming_half(N, 0)
    columns = people().columns_of(SOUGHT)
    member = members(columns, worst["group"]) & second
    own = found.samples[found.samples["model"] == "pruned"]
    right = (own["prediction"] == own["label"]).to_numpy()
    assert worst["n"] == member.sum()
    assert worst["accuracy"] == pytest.approx(right[member].mean())
    assert worst["gap"] == pytest.approx((~right)[member].mean() - (~right)[second].mean())
    claims = [f for f in found.record["findings"] if f["claim"] == "discovered"]
    assert [f["decision"] for f in claims if f["group"] is None] == [True]
    assert {f["group"] for f in claims if f["decision"] and f["group"]} == {
        row["group"] for row in rows
    }


def test_no_verdict_is_clear_where_a_crossing_pays(found: Results) -> None:
    verdict = found.record["verdict"]
    assert "a crossing that nobody named, pays" in verdict["headline"]
    assert any("Among crossings that nobody named" in text for text in verdict["sentences"])
    assert verdict["action"].startswith("Do not ship")
    judged = judge(found, [Threshold.parse("any group pays")])
    assert any(one.certain and one.note == "discovered" for one in judged)


def test_where_nothing_is_confirmed_it_is_said_how_many_were_looked_at() -> None:
    results = audited(people(harmed=False), *SOUGHT)
    claims = [f for f in results.record["findings"] if f["claim"] == "discovered"]
    assert claims[0]["group"] is None
    assert not any(claim["decision"] for claim in claims)
    seen = results.record["tables"]["discovery"][0]["candidates"]
    text = f"No crossing of age and region was confirmed to pay that nobody named (at most {seen}"
    assert any(text in one for one in results.record["verdict"]["sentences"])
    action = str(results.record["verdict"]["action"])
    assert "anything but sex and what age and region tell apart were not looked at" in action


def test_too_few_samples_are_no_all_clear() -> None:
    data = people()
    few = data.take(torch.arange(60))
    results = audited(few, *SOUGHT)
    (claim,) = [f for f in results.record["findings"] if f["claim"] == "discovered"]
    assert claim["decision"] is None
    assert any("none has enough samples" in one for one in results.record["verdict"]["sentences"])


def test_without_being_asked_nothing_is_sought() -> None:
    results = audited(people())
    assert "discovered" not in results.record["tables"]
    assert not [f for f in results.record["findings"] if f["claim"] == "discovered"]


def test_a_column_that_is_not_kept_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(
        AuditError, match=r"found discover 'device'; expected one of .* age, region"
    ):
        audited(people(), "device")
    plain = replace(people(), further=None)
    with pytest.raises(AuditError, match="it keeps none"):
        audited(plain, "age")


def test_tables_keep_their_columns_with_the_samples(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0), "y": ["no", "yes"] * 20, "sex": list("fm") * 20,
                          "device": ["desk"] * 20 + ["phone"] * 20})  # fmt: skip
    split = SplitSettings(test=0.5)
    data = from_frame(frame, "y", "sex", drop="device", split=split)
    kept = data.columns_of(["device", "x"])
    assert kept.loc[data.samples[25]].tolist() == ["phone", 25.0]
    taken = data.take(torch.arange(39, -1, -1))
    assert taken.columns_of(["device"])["device"].tolist() == ["phone"] * 20 + ["desk"] * 20
    with pytest.raises(AuditError, match="40 labels"):
        replace(data, further=data.further.iloc[:3] if data.further is not None else None)


def test_a_value_may_hold_the_sign_of_crossing() -> None:
    columns = pd.DataFrame({"a": ["x × b y", "x"] * 5, "b": ["y", "z"] * 5})
    assert members(columns, "a x × b y").tolist() == [True, False] * 5
    assert members(columns, "a x × b z").tolist() == [False, True] * 5


def test_small_discovered_groups_are_not_shown_where_small_groups_are_not(
    found: Results, fake: Callable[..., Results]
) -> None:
    results = fake(small=("8",), rates=(0.98,), methods=(("magnitude", "none"),))
    row: dict[str, Any] = {"model": "magnitude-0.98-seed0", "group": "age 7 to 9", "n": 9,
                           "gap": 0.1, "ci_low": 0.01, "ci_high": 0.2, "p_adjusted": 0.01,
                           "confirmed": True, "accuracy": 0.5, "dense_accuracy": 0.9}  # fmt: skip
    sought = {"model": row["model"], "columns": ["age"], "candidates": 4, "proposed": 1,
              "confirmed": 1}  # fmt: skip
    results.record["tables"] |= {"discovered": [row], "discovery": [sought]}
    made = conclude(results.groups, results.samples, results.layers, results.record)
    shown = redacted(replace(results, record=results.record | made), 10)
    assert "age 7 to 9" not in shown.to_json()
