"""Rates at every threshold of the score, and calibration, group by group."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.findings.scores import RATES, calibration_by_group, rates_by_threshold
from audit.measure.uncertainty import wilson_interval


@pytest.fixture
def samples() -> pd.DataFrame:
    """Scores of two groups; those of b are twice as high as they should be."""
    generator = np.random.default_rng(0)
    group = np.repeat(["a", "b"], [400, 200])
    chance = generator.random(600)
    label = np.where(generator.random(600) < chance * np.where(group == "a", 1.0, 0.5), "yes", "no")
    return pd.DataFrame({"model": "m", "sample": np.arange(600), "group": group, "label": label,
                         "prediction": np.where(chance > 0.5, "yes", "no"),
                         "score_yes": chance, "score_no": 1 - chance})  # fmt: skip


@pytest.fixture
def groups() -> pd.DataFrame:
    table = pd.DataFrame({"model": "m", "group": ["a", "b", "gone"], "metric": "accuracy",
                          "n": [400, 200, 0], "flag": ["", "", "absent"]})  # fmt: skip
    table["group"] = pd.Categorical(table["group"], ["a", "b", "gone"], ordered=True)
    return table


def test_rates_are_shares_above_the_threshold(samples: pd.DataFrame, groups: pd.DataFrame) -> None:
    found = rates_by_threshold(samples, groups, "m", "yes")
    assert set(found["group"]) == {"a", "b"}
    assert set(found["rate"]) == set(RATES)
    own = samples[(samples["group"] == "b") & (samples["label"] == "yes")]
    row = found[(found["group"] == "b") & (found["rate"] == RATES[1]) & (found["threshold"] == 0.3)]
    hits = int((own["score_yes"] > 0.3).sum())
    assert row["value"].item() == pytest.approx(hits / len(own))
    assert row["ci_low"].item() == pytest.approx(wilson_interval(hits, len(own)).low)
    assert row["n"].item() == len(own)
    # At one half they are the rates of the network's own decisions.
    half = found[(found["group"] == "a") & (found["rate"] == RATES[0])].set_index("threshold")
    said = samples.loc[samples["group"] == "a", "prediction"] == "yes"
    assert half.loc[0.5, "value"] == pytest.approx(said.mean())
    # And they only fall as the threshold rises.
    for _, curve in found.groupby(["group", "rate"]):
        assert (np.diff(curve["value"]) <= 0).all()


def test_calibration_tells_the_group_whose_scores_promise_too_much(
    samples: pd.DataFrame, groups: pd.DataFrame
) -> None:
    found = calibration_by_group(samples, groups, "m", "yes")
    gap = (found["score"] - found["value"]).groupby(found["group"]).mean()
    assert abs(gap["a"]) < 0.06
    assert gap["b"] > 0.15
    assert found.groupby("group")["n"].sum().to_dict() == {"a": 400, "b": 200}


def test_units_widen_the_intervals(samples: pd.DataFrame, groups: pd.DataFrame) -> None:
    copies = pd.concat([samples.assign(unit=samples["sample"])] * 4, ignore_index=True)
    alone = rates_by_threshold(samples, groups, "m", "yes")
    found = rates_by_threshold(copies, groups, "m", "yes")
    width = (found["ci_high"] - found["ci_low"]) / (alone["ci_high"] - alone["ci_low"])
    assert width.between(0.95, 1.05).all()


def test_without_scores_nothing_is_told(samples: pd.DataFrame, groups: pd.DataFrame) -> None:
    bare = samples.drop(columns=["score_yes"])
    assert rates_by_threshold(bare, groups, "m", "yes").empty
    half: dict[str, Any] = {"score_yes": samples["score_yes"].where(samples["group"] == "a")}
    assert calibration_by_group(samples.assign(**half), groups, "m", "yes").empty
