from dataclasses import replace

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    false_negative_rate,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from sklearn.metrics import precision_score

import audit
from audit.findings.thresholds import Threshold, judge
from audit.study.checkpoints import compare_models

FAST = audit.MeasureSettings(curvature="none", resamples=100, samples_per_group=5)


def measured(data):
    dense = audit.train_model(data, "mlp", audit.TrainingSettings(epochs=3))
    pruned = audit.prune_model(
        dense, data, "magnitude", 0.9, settings=audit.TrainingSettings(epochs=1)
    )
    return compare_models(dense, pruned, dense, data, FAST)


def test_two_classes_have_rates_as_fairlearn_has_them(two_groups):
    results = measured(two_groups)
    own = results.samples[results.samples["model"] == "candidate"]
    true, said = own["label"] == "yes", own["prediction"] == "yes"
    metrics = {
        "selection_rate": selection_rate,
        "true_positive_rate": true_positive_rate,
        "false_positive_rate": false_positive_rate,
        "false_negative_rate": false_negative_rate,
        "precision": precision_score,
    }
    frame = MetricFrame(metrics=metrics, y_true=true, y_pred=said, sensitive_features=own["group"])
    rows = results.groups[results.groups["model"] == "candidate"]
    rows = rows[rows["metric"].isin(metrics)].astype({"group": str})
    assert len(rows) == 2 * len(metrics)
    for row in rows.to_dict("records"):
        assert row["value"] == pytest.approx(frame.by_group[row["metric"]][row["group"]])
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
    sizes = rows.set_index(["metric", "group"])["n"]
    assert sizes["true_positive_rate", "few"] == (true & (own["group"] == "few")).sum()


def test_a_group_without_positives_has_no_such_rate_and_fails_no_threshold(two_groups):
    labels = two_groups.labels.clone()
    labels[two_groups.groups == 0] = 0
    results = measured(replace(two_groups, labels=labels))
    rows = results.groups[results.groups["model"] == "candidate"].astype({"group": str})
    one = rows.set_index(["metric", "group"]).loc[("true_positive_rate", "few")]
    assert one["n"] == 0
    assert np.isnan(one["value"])
    (judgement,) = judge(results, [Threshold.parse("max false_negative_rate > 0.99")])
    assert judgement.group == "many"
