"""A metric of the user's own by group: fairlearn's numbers, intervals that cover, clear refusals."""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

import audit
from audit.errors import AuditError
from audit.findings.own_metric import metric_by_group, with_own_metric
from audit.findings.results import Results


def table_of(n: int = 400, seed: int = 0, model: str = "m") -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    group = generator.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    truth = generator.integers(0, 2, n)
    score = 1 / (1 + np.exp(-(2 * truth - 1 + generator.normal(0, 1.2, n) - (group == "b"))))
    classes = np.array(["no", "yes"])
    return pd.DataFrame(
        {
            "model": model,
            "sample": np.arange(n),
            "group": group,
            "label": classes[truth],
            "prediction": classes[(score > 0.5).astype(int)],
            "score_yes": score,
            "region": generator.choice(["north", "south"], n),
        }
    )


@pytest.mark.parametrize(
    "metric", [recall_score, f1_score, selection_rate, true_positive_rate, false_positive_rate]
)
def test_values_are_those_of_fairlearns_frame(metric: Any) -> None:
    samples = table_of()
    found = metric_by_group(samples, metric, positive="yes", resamples=20).set_index("group")
    frame = MetricFrame(
        metrics=metric,
        y_true=(samples["label"] == "yes").astype(int),
        y_pred=(samples["prediction"] == "yes").astype(int),
        sensitive_features=samples["group"],
    )
    np.testing.assert_allclose(found["value"].loc[["a", "b", "c"]], frame.by_group)
    assert (found["n"] == samples["group"].value_counts()[found.index]).all()


def test_groups_stand_in_their_declared_order() -> None:
    samples = table_of()
    declared = ["c", "none of it", "a", "b"]
    found = metric_by_group(
        samples, accuracy_score, groups=declared, control="region", resamples=20
    )
    assert found["group"].tolist() == declared * samples["region"].nunique()
    assert set(found["n"][found["group"] == "none of it"]) == {0}
    assert found["value"][found["group"] == "none of it"].isna().all()
    ordered = samples.assign(group=pd.Categorical(samples["group"], ["z", "b", "c", "a"]))
    again = metric_by_group(ordered, accuracy_score, resamples=20)
    assert again["group"].tolist() == ["b", "c", "a"]


def test_names_of_classes_are_given_as_they_are_without_a_positive_one() -> None:
    samples = table_of()
    found = metric_by_group(samples, "sklearn.metrics:accuracy_score", resamples=20)
    own = samples[samples["group"] == "b"]
    wanted = accuracy_score(own["label"], own["prediction"])
    assert found.set_index("group").loc["b", "value"] == pytest.approx(wanted)


def test_scores_of_the_positive_class() -> None:
    samples = table_of()
    found = metric_by_group(samples, roc_auc_score, positive="yes", scores=True, resamples=20)
    own = samples[samples["group"] == "c"]
    wanted = roc_auc_score(own["label"] == "yes", own["score_yes"])
    assert found.set_index("group").loc["c", "value"] == pytest.approx(wanted)


def test_differences_against_a_reference_within_strata() -> None:
    samples = table_of(1200)
    found = metric_by_group(
        samples, recall_score, positive="yes", reference="a", control="region", resamples=50
    )
    frame = MetricFrame(
        metrics=recall_score,
        y_true=(samples["label"] == "yes").astype(int),
        y_pred=(samples["prediction"] == "yes").astype(int),
        sensitive_features=samples["group"],
        control_features=samples["region"],
    )
    rows = found.set_index(["control", "group"])
    for region in ("north", "south"):
        for group in "abc":
            wanted = frame.by_group.loc[(region, group)] - frame.by_group.loc[(region, "a")]
            assert rows.loc[(region, group), "difference"] == pytest.approx(wanted)
        assert rows.loc[(region, "a"), "difference_ci_high"] == 0.0
        low, value, high = (
            rows[f"difference{end}"][region, "b"] for end in ("_ci_low", "", "_ci_high")
        )
        assert low < value < high


def test_the_interval_has_the_width_of_the_samples_share() -> None:
    samples = table_of(2000).assign(group="a")
    found = metric_by_group(samples, accuracy_score).iloc[0]
    error = np.sqrt(found["value"] * (1 - found["value"]) / 2000)
    assert found["ci_high"] - found["ci_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_samples_of_one_unit_are_drawn_together() -> None:
    samples = table_of(300).assign(group="a")
    many = samples.loc[samples.index.repeat(9)].reset_index(drop=True)

    def width(table: pd.DataFrame) -> float:
        row = metric_by_group(table, accuracy_score).iloc[0]
        return float(row["ci_high"] - row["ci_low"])

    assert width(many.assign(unit=many["sample"])) == pytest.approx(width(samples), rel=0.15)
    assert width(many) == pytest.approx(width(samples) / 3, rel=0.15)


def test_each_network_has_its_rows_and_the_same_resamples() -> None:
    both = pd.concat([table_of(model="m"), table_of(model="other")], ignore_index=True)
    found = metric_by_group(both, accuracy_score, resamples=50)
    one, other = (
        found[found["model"] == name].drop(columns="model").reset_index(drop=True)
        for name in ("m", "other")
    )
    pd.testing.assert_frame_equal(one, other)


def test_what_is_undefined_is_not_zero() -> None:
    """scikit-learn gives a recall of 0 where there is no positive: no number was measured."""
    samples = table_of()
    samples.loc[samples["group"] == "c", "label"] = "no"
    found = metric_by_group(samples, recall_score, positive="yes", resamples=50)
    row = found.set_index("group").loc["c"]
    assert np.isnan([row["value"], row["ci_low"], row["ci_high"]]).all()
    samples.loc[samples["group"] == "c", "prediction"] = "no"
    found = metric_by_group(samples, precision_score, positive="yes", resamples=50)
    assert np.isnan(found.set_index("group").loc["c", "value"])
    assert found.set_index("group")["value"]["a"] > 0


def test_a_group_of_one_sample_has_no_interval() -> None:
    samples = table_of()
    samples.loc[0, "group"] = "alone"
    row = metric_by_group(samples, accuracy_score, resamples=50).set_index("group").loc["alone"]
    assert row["n"] == 1
    assert np.isnan(row["ci_low"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"positive": "maybe"}, "expected one of no, yes"),
        ({"scores": True}, "needs the positive class"),
        ({"scores": True, "positive": "no"}, "hold no scores of 'no'"),
        ({"reference": "z"}, "expected one of a, b, c"),
        ({"control": "planet"}, "control column 'planet'"),
        ({"control": "regoin"}, r"; did you mean 'region'\?$"),
        ({"control": "sample"}, "400 values in the control column 'sample'; expected at most 100"),
    ],
)
def test_what_is_not_there_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(AuditError, match=said):
        metric_by_group(table_of(), accuracy_score, **settings)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (recall_score, "with a positive class they are 1 and 0"),
        (lambda label, given: [1.0, 2.0], "gave no number"),
        ("sklearn.metrics:no_such", "cannot be imported"),
        (3, "found 3 as a metric"),
        (roc_auc_score, "'roc_auc_score' is of scores"),
        (lambda label, given: sys.exit(0), "gave no number for \\d+ samples: 0;"),
    ],
)
def test_a_metric_that_fails_is_one_line(metric: Any, said: str) -> None:
    with pytest.raises(AuditError, match=said) as caught:
        metric_by_group(table_of(), metric)
    assert "\n" not in str(caught.value)


def test_a_metric_of_labels_is_not_given_scores() -> None:
    """Of scores, of which none is exactly 1, a selection rate would be zero."""
    with pytest.raises(AuditError, match="'selection_rate' is of predicted labels"):
        metric_by_group(table_of(), selection_rate, positive="yes", scores=True)


def test_of_decisions_alone_no_metric_of_scores_is_told() -> None:
    samples = pd.concat([table_of(), table_of(model="p").assign(score_yes=np.nan)])
    with pytest.raises(AuditError, match="of 'p' only decisions are known"):
        metric_by_group(samples, roc_auc_score, positive="yes", scores=True)


@pytest.mark.parametrize("unknown", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_known(unknown: float) -> None:
    found = metric_by_group(table_of(), lambda label, given: unknown, resamples=20)
    assert found[["value", "ci_low", "ci_high"]].isna().all(axis=None)


def test_a_metric_may_write_on_what_it_is_given() -> None:
    def writing(label: np.ndarray, given: np.ndarray) -> float:
        right = float((label == given).mean())
        label[:] = given
        return right

    found = metric_by_group(table_of(), writing, resamples=50)
    wanted = metric_by_group(table_of(), accuracy_score, resamples=50)
    pd.testing.assert_frame_equal(found, wanted)


def test_numbers_name_the_classes_and_groups_that_are_called_so() -> None:
    samples = table_of().replace({"group": {"a": "1"}, "label": {"yes": "1"}})
    samples["prediction"] = samples["prediction"].replace("yes", "1")
    pd.testing.assert_frame_equal(
        metric_by_group(samples, recall_score, positive=1, reference=1, resamples=20),
        metric_by_group(samples, recall_score, positive="1", reference="1", resamples=20),
    )


def test_a_group_that_a_stratum_lacks_has_a_row_there() -> None:
    samples = table_of()
    samples = samples[(samples["group"] != "a") | (samples["region"] != "south")]
    found = metric_by_group(
        samples, accuracy_score, control="region", reference="a", resamples=20
    ).set_index(["control", "group"])
    assert found.loc[("south", "a"), "n"] == 0
    assert np.isnan(found["value"]["south", "a"])
    # Without the reference no difference of the others is known there.
    assert found["difference"]["south"].isna().all()
    assert found["difference"]["north"].notna().all()


def test_a_resample_that_the_metric_refuses_is_left_out() -> None:
    def strict(label: np.ndarray, given: np.ndarray) -> float:
        if len(np.unique(label)) < 2:
            raise ValueError("one class only")
        return float((label == given).mean())

    samples = table_of(400).assign(group="a")
    samples.loc[0, "group"] = "few"
    samples.loc[1:3, "group"] = "few"
    samples.loc[:3, "label"] = ["yes", "no", "no", "no"]
    found = metric_by_group(samples, strict).set_index("group")
    assert np.isnan(found.loc["few", "ci_low"])
    assert found.loc["few", "n"] == 4
    assert found["ci_low"]["a"] < found["value"]["a"] < found["ci_high"]["a"]


def test_the_table_goes_into_the_record_as_json_has_it(fake: Callable[..., Results]) -> None:
    before = fake(rates=(0.9,), groups=("8", "3"))
    after = with_own_metric(before, "sklearn.metrics:accuracy_score", reference="3")
    assert "own_metric" not in before.record["tables"]
    rows = json.loads(after.to_json())["tables"]["own_metric"]
    assert len(rows) == 2 * len(before.record["models"])
    assert {row["metric"] for row in rows} == {"sklearn.metrics:accuracy_score"}
    accuracy = before.groups[before.groups["metric"] == "accuracy"]
    wanted = accuracy.set_index(["model", "group"])["value"]
    for row in rows:
        assert row["value"] == pytest.approx(wanted[row["model"], row["group"]], abs=0.01)


def test_it_is_a_public_name() -> None:
    assert audit.metric_by_group is metric_by_group
