from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_ratio,
    equalized_odds_ratio,
    false_negative_rate,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from sklearn.metrics import precision_score

from audit.findings.answers import Answers
from audit.findings.error_rates import group_rates, rates_table
from audit.report.predictions import prediction_tables

MODEL = "magnitude-0.98-seed0"


@pytest.fixture(scope="module")
def results(fake):
    """Two classes, predicted at random, in three groups; one group has no positive label."""
    found = fake(groups=("x", "y", "z"), harmed=("x",), rates=(0.98,), n=200)
    generator = np.random.default_rng(0)
    samples = found.samples.copy()
    labels = np.where(generator.random(len(samples)) < 0.3, "b", "a")
    samples["label"] = np.where(samples["group"] == "z", "a", labels)
    flipped = generator.random(len(samples)) < 0.2
    other = np.where(samples["label"] == "a", "b", "a")
    samples["prediction"] = np.where(flipped, other, samples["label"])
    samples["dense_prediction"] = samples["label"]
    return with_rates(replace(found, answers=Answers.of(samples)))


def with_rates(found):
    """The results with the table of rates that their samples give."""
    table = rates_table(found.samples, found.groups, found.record)
    found.record["tables"]["rates"] = table.to_dict("records")
    return found


def test_rates_are_those_of_fairlearn_with_the_samples_they_are_of(results):
    own = results.samples[results.samples["model"] == MODEL]
    true, said = own["label"] == "b", own["prediction"] == "b"
    metrics = {
        "selection rate": selection_rate,
        "true positive rate": true_positive_rate,
        "false positive rate": false_positive_rate,
        "false negative rate": false_negative_rate,
        "precision": lambda y, p: precision_score(y, p, zero_division=0.0),
    }
    frame = MetricFrame(metrics=metrics, y_true=true, y_pred=said, sensitive_features=own["group"])
    found = group_rates(results.samples, results.groups, MODEL, "b")
    assert set(found["rate"]) == set(metrics)
    for row in found.to_dict("records"):
        if row["n"]:
            assert row["value"] == pytest.approx(frame.by_group[row["rate"]][row["group"]])
            assert row["ci_low"] <= row["value"] <= row["ci_high"]
        else:
            assert np.isnan(row["value"])
    sizes = found.set_index(["rate", "group"])["n"]
    assert sizes["true positive rate", "x"] == (true & (own["group"] == "x")).sum()
    assert sizes["true positive rate", "z"] == 0
    assert sizes["precision", "y"] == (said & (own["group"] == "y")).sum()


def test_ratios_are_those_of_fairlearn(results):
    record = results.record | {"tables": dict(results.record["tables"])}
    samples = results.samples[results.samples["group"] != "z"]
    results = with_rates(type(results)(results.groups, Answers.of(samples), record))
    own = results.samples[results.samples["model"] == MODEL]
    args = (own["label"] == "b", own["prediction"] == "b")
    table = next(t for t in prediction_tables(results) if "ratios" in t.title)
    ratio = {
        row.cells[0].value: float(row.cells[-1].value) for row in table.rows if row.name == MODEL
    }
    parity = demographic_parity_ratio(*args, sensitive_features=own["group"])
    odds = equalized_odds_ratio(*args, sensitive_features=own["group"])
    assert ratio["selection rate of b"] == pytest.approx(parity, abs=5e-3)
    smallest = min(ratio["true positive rate of b"], ratio["false positive rate of b"])
    assert smallest == pytest.approx(odds, abs=5e-3)


def test_the_classes_that_broken_samples_go_to_are_counted(results):
    table = next(t for t in prediction_tables(results) if "broken" in t.title)
    own = results.samples[results.samples["model"] == MODEL]
    for row in (row for row in table.rows if row.name == MODEL):
        group, lost, changes = row.cells
        wrong = own[(own["group"] == group.value) & (own["label"] != own["prediction"])]
        assert lost.value == str(len(wrong))
        count = int(((wrong["label"] == "a") & (wrong["prediction"] == "b")).sum())
        assert f"a → b: {count}" in changes.value


def test_small_groups_are_shown_and_kept_out_of_ratios(fake):
    found = fake(groups=("x", "y", "z"), harmed=(), rates=(0.98,), small=("z",))
    found = replace(found, answers=Answers.of(found.samples.assign(dense_prediction=pd.NA)))
    rates, ratios = prediction_tables(found)
    assert any(row.flag == "small" for row in rates.rows)
    assert all("z" not in (cell.interval for cell in row.cells) for row in ratios.rows)


def test_results_without_dense_predictions_have_the_other_tables(fake):
    assert len(prediction_tables(fake(rates=(0.98,)))) == 2
