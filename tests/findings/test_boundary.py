"""The tables of M14 and M15: from the samples of networks beside their dense network."""

import json

import numpy as np
import pandas as pd
import pytest

from audit.findings.boundary import boundary_table
from audit.findings.faithfulness import faithfulness_table
from audit.findings.paired import beside_dense
from audit.findings.why import _own, _shared
from audit.measure.decomposition import decompose
from audit.measure.uncertainty import holm, wilson_interval

NAMES = ("many", "few", "tiny", "gone")
SIZES = (200, 80, 10, 0)


@pytest.fixture
def samples() -> pd.DataFrame:
    """A dense network and two pruned from it, the second of which breaks half of the few."""
    generator = np.random.default_rng(0)
    group = np.repeat(NAMES, SIZES)
    margin = generator.normal(2.0, 1.5, len(group))
    dense = np.where(margin > 0, "yes", "no")
    table = pd.DataFrame(
        {
            "sample": np.arange(len(group)),
            "group": group,
            "label": "yes",
            "dense_prediction": dense,
            "dense_confidence": 0.9,
            "dense_loss": np.logaddexp(0, -margin),
            "dense_margin": margin,
            "divergence": generator.exponential(0.1, len(group)),
        }
    )
    mild = table.assign(model="mild", prediction=np.where(margin > 0.3, "yes", "no"))
    harsh = np.where((group == "few") & (generator.random(len(group)) < 0.5), "no", dense)
    strong = table.assign(model="harsh", prediction=harsh)
    own = table.assign(model="dense", prediction=dense)
    own.loc[:, ["dense_prediction", "dense_loss", "dense_margin", "divergence"]] = np.nan
    found = pd.concat([own, mild, strong], ignore_index=True)
    return found.assign(loss=np.where(found["prediction"] == "yes", 0.1, 2.0))


@pytest.fixture
def groups() -> pd.DataFrame:
    flags = dict(zip(NAMES, ("", "", "small", "absent"), strict=True))
    rows = [
        {"model": model, "method": model, "group": name, "flag": flags[name]}
        for model in ("dense", "mild", "harsh")
        for name in NAMES
    ]
    table = pd.DataFrame(rows)
    table["group"] = pd.Categorical(table["group"], categories=list(NAMES), ordered=True)
    return table


def test_only_pruned_networks_beside_a_dense_one_are_paired(
    samples: pd.DataFrame, groups: pd.DataFrame
) -> None:
    assert [name for name, _ in beside_dense(samples, groups)] == ["mild", "harsh"]
    assert list(beside_dense(samples.drop(columns="dense_margin"), groups)) == []


def test_a_dense_network_is_known_by_what_it_says_whatever_it_is_called(
    samples: pd.DataFrame, groups: pd.DataFrame
) -> None:
    titled = samples.assign(model="dense")[samples["model"] == "mild"]
    assert [name for name, _ in beside_dense(titled, groups)] == ["dense"]
    itself = samples.assign(model="original")[samples["model"] == "mild"]
    itself = itself.assign(prediction=itself["dense_prediction"], loss=itself["dense_loss"])
    known = groups.assign(model="original", method="original", sparsity=0.0)
    assert list(beside_dense(itself, known)) == []
    # A pruned network that changes no answer is still one that was pruned.
    assert [name for name, _ in beside_dense(itself, known.assign(sparsity=0.1))] == ["original"]


def test_every_group_has_a_row_a_harm(samples: pd.DataFrame, groups: pd.DataFrame) -> None:
    found = boundary_table(samples, groups)
    assert len(found) == 2 * 2 * len(NAMES)
    assert found[found["harm"] == "loss"]["group"].tolist() == 2 * list(NAMES)
    assert found.groupby("group")["n"].first().to_dict() == dict(zip(NAMES, SIZES, strict=True))
    assert found.groupby("group")["flag"].first()["tiny"] == "small"
    assert found[found["group"] == "gone"][["gap", "within", "composition"]].isna().all(axis=None)
    known = found[found["n"] > 0]
    np.testing.assert_allclose(known["composition"] + known["within"], known["gap"])


def test_the_gap_is_psi_and_the_parts_are_the_kernels(
    samples: pd.DataFrame, groups: pd.DataFrame
) -> None:
    found = boundary_table(samples, groups).set_index(["model", "harm", "group"])
    own = samples[samples["model"] == "harsh"]
    drop = (own["dense_prediction"] == "yes") * 1.0 - (own["prediction"] == "yes") * 1.0
    few = own["group"] == "few"
    row = found.loc[[("harsh", "accuracy", "few")]].iloc[0]
    assert row["gap"] == pytest.approx(drop[few].mean() - drop.mean())
    codes = np.repeat(range(4), SIZES)
    kernel = decompose(
        own["dense_margin"].to_numpy(), {"a": np.asarray(drop, np.float64)}, codes, 4
    )["a"]
    assert row["within"] == pytest.approx(kernel.within[1])
    assert (row["within_ci_low"], row["within_ci_high"]) == (
        kernel.within_intervals[1].low,
        kernel.within_intervals[1].high,
    )
    assert row["within_ci_low"] > 0.1
    assert abs(row["composition"]) < row["within"] / 5
    excess = own["loss"] - own["dense_loss"]
    gap = found.loc[("harsh", "loss", "few"), "gap"]
    assert gap == pytest.approx(excess[few].mean() - excess.mean())


def test_a_network_is_decomposed_alike_alone_and_beside_others(
    samples: pd.DataFrame, groups: pd.DataFrame
) -> None:
    both = boundary_table(samples, groups)
    alone = boundary_table(samples[samples["model"] == "harsh"], groups)
    other = both[both["model"] == "harsh"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, other, check_exact=True)


def test_units_widen_the_intervals(samples: pd.DataFrame, groups: pd.DataFrame) -> None:
    twice = pd.concat([samples, samples], ignore_index=True)

    def width(table: pd.DataFrame) -> float:
        row = boundary_table(table, groups).set_index(["model", "harm", "group"])
        many = row.loc[("mild", "loss", "many")]
        return float(many["within_ci_high"] - many["within_ci_low"])

    assert width(twice.assign(unit=twice["sample"])) > 1.2 * width(twice)


def test_faithfulness_is_counted_and_adjusted_over_groups_of_minimum_size(
    samples: pd.DataFrame, groups: pd.DataFrame
) -> None:
    found = faithfulness_table(samples, groups).set_index(["model", "group"])
    row = found.loc[[("harsh", "few")]].iloc[0]
    own = samples[(samples["model"] == "harsh") & (samples["group"] == "few")]
    same = own["prediction"] == own["dense_prediction"]
    assert (row["n"], row["agree"]) == (80, same.sum())
    interval = wilson_interval(int(same.sum()), 80)
    assert (row["agreement"], row["ci_low"], row["ci_high"]) == pytest.approx(
        (same.mean(), interval.low, interval.high)
    )
    assert row["broken"] + row["mended"] + row["moved"] + row["agree"] == 80
    assert row["p_adjusted"] < 1e-6
    assert row["divergence"] == pytest.approx(own["divergence"].mean())
    assert row["divergence_ci_low"] < row["divergence"] < row["divergence_ci_high"]
    raw = found.loc["mild"].loc[["many", "few"], "p_value"].to_numpy()
    adjusted = found.loc["mild"].loc[["many", "few"], "p_adjusted"].to_numpy()
    np.testing.assert_allclose(adjusted, holm(raw))
    assert np.isnan(found.loc[("mild", "tiny"), "p_adjusted"])
    gone = found.loc[[("mild", "gone")]].iloc[0]
    assert gone["n"] == 0
    assert np.isnan([gone["agreement"], gone["divergence"], gone["p_value"]]).all()


def test_without_a_dense_network_the_tables_are_empty_with_their_columns(
    samples: pd.DataFrame, groups: pd.DataFrame
) -> None:
    dense = samples[samples["model"] == "dense"]
    for table in (boundary_table(dense, groups), faithfulness_table(dense, groups)):
        assert table.empty
        assert {"model", "group", "n", "flag"} <= set(table)
        assert json.loads(table.to_json(orient="records")) == []


@pytest.mark.parametrize(
    ("composition", "within", "said"),
    [
        (0.02, 0.03, "2.0 are what any group's samples so near the boundary pay; 3.0 are what"),
        (-0.02, 0.07, "−2.0 are for lying where any group's samples pay less than the average; 7"),
        (0.06, -0.01, "; −1.0 are for paying less than others at the same margin"),
    ],
)
def test_a_part_below_zero_is_not_said_to_be_paid(
    composition: float, within: float, said: str
) -> None:
    parts = {"composition": composition, "within": within}
    bounds = {f"{part}_{side}": None for part in parts for side in ("low", "high")}
    text = f"{_shared(parts | bounds)}; {_own(parts | bounds)}"
    assert said in text
