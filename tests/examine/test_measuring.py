"""One network on its samples, into rows: against hand counts, and whatever order and part fails."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from audit.columns import GROUP_COLUMNS, LAYER_COLUMNS, SCORE
from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.examine import causes
from audit.examine.causes import MEASURES as OF_GROUPS
from audit.examine.found import Found, Row
from audit.examine.measured import ModelMeasures
from audit.examine.measuring import MEASURES, examine, measure_model, measured
from audit.examine.settings import OPTIONAL_MEASURES, MeasureSettings
from audit.examine.subject import Subject, make_subject
from audit.measure.curvature import top_eigenvalues
from audit.models.checkpoint import Checkpoint, Provenance, make_checkpoint
from audit.models.zoo import ZOO, Architecture, build_model
from audit.prune.magnitude import magnitude_mask

QUICK = MeasureSettings(resamples=50, samples_per_group=20, minimum_group_size=5)
FULL = MeasureSettings(
    resamples=50,
    samples_per_group=20,
    theory=True,
    deepfool=True,
    layer_curvature=True,
    spectral_density=True,
    top_eigenvalues=2,
)


def checkpoint_of(
    data: GroupedData, name: str = "mlp", rate: float = 0.0, arguments: dict[str, int] | None = None
) -> Checkpoint:
    """A network of the zoo as it starts, or pruned by magnitude without any training."""
    arguments = {"width": 6} if arguments is None else arguments
    architecture = Architecture(name, data.input_shape, len(data.classes), arguments)
    network = build_model(architecture, 0)
    if rate == 0.0:
        return make_checkpoint(network, architecture, data, Provenance("dense"))
    mask = magnitude_mask(network, rate)
    mask.apply(network)
    made = Provenance("magnitude", rate=rate)
    return make_checkpoint(network, architecture, data, made, dict(mask.parts))


def values(found: ModelMeasures, metric: str) -> pd.Series:
    rows = found.groups[found.groups["metric"] == metric]
    return rows.set_index("group")["value"]


@pytest.fixture
def subject(two_groups: GroupedData) -> Subject:
    pruned, dense = checkpoint_of(two_groups, rate=0.5), checkpoint_of(two_groups)
    return make_subject(pruned, dense, two_groups, QUICK, "pruned")


def test_means_and_gaps_are_those_counted_by_hand(two_groups):
    dense, pruned = checkpoint_of(two_groups), checkpoint_of(two_groups, rate=0.5)
    found = measure_model(pruned, dense, two_groups, QUICK, "pruned")
    rows = two_groups.indices("test")
    groups, labels = two_groups.groups[rows], two_groups.labels[rows]
    before, after = (
        one.model()(two_groups.inputs[rows]).detach().double() for one in (dense, pruned)
    )
    drop = (before.argmax(1) == labels).double() - (after.argmax(1) == labels).double()
    risk = nn.functional.cross_entropy(after, labels, reduction="none")
    risk -= nn.functional.cross_entropy(before, labels, reduction="none")
    for code, name in enumerate(two_groups.group_names):
        own = groups == code
        assert values(found, "excess_risk")[name] == pytest.approx(risk[own].mean().item())
        gap = (drop[own].mean() - drop.mean()).item()
        assert values(found, "excess_accuracy_gap")[name] == pytest.approx(gap)
    overall = {row["metric"]: row for row in found.overall}
    spread = values(found, "excess_risk")
    assert overall["fairness_violation"]["value"] == pytest.approx(spread.max() - spread.min())
    worst = values(found, "excess_accuracy_gap")
    assert overall["max_excess_accuracy_gap"]["value"] == pytest.approx(worst.max())
    assert overall["excess_risk"]["n"] == len(rows)


def test_taylor_terms_add_up_to_the_excess_risk_of_the_samples_they_are_of(two_groups):
    everybody = MeasureSettings(resamples=50, samples_per_group=10_000)
    dense, pruned = checkpoint_of(two_groups), checkpoint_of(two_groups, rate=0.5)
    found = measure_model(pruned, dense, two_groups, everybody)
    names = ("taylor_slope", "taylor_curvature", "taylor_buffers", "taylor_remainder")
    total = sum(values(found, name) for name in names)
    np.testing.assert_allclose(total, values(found, "excess_risk"), atol=1e-6)
    layers = found.layers.groupby(["group", "metric"])["value"].sum()
    for group in two_groups.group_names:
        assert layers[group, "taylor_slope"] == pytest.approx(values(found, "taylor_slope")[group])


def test_a_samples_part_of_a_metric_is_what_its_group_is_the_mean_of(two_groups):
    dense, pruned = checkpoint_of(two_groups), checkpoint_of(two_groups, rate=0.5)
    found = measure_model(pruned, dense, two_groups, FULL)
    means = found.samples.groupby("group")
    for metric in ("gradient_norm", "hessian_max_eigenvalue", "taylor_slope", "error_term"):
        name = "prediction_error_term" if metric == "error_term" else metric
        np.testing.assert_allclose(
            means[name].mean(), values(found, name)[means[name].mean().index], rtol=1e-4, atol=1e-6
        )
        assert (means[name].count() == 20).all()


def test_the_sample_table_does_not_depend_on_what_was_asked_before(subject):
    """Once a table read before the rows of the whole network lacked their columns."""
    found = examine(subject)
    again = examine(subject)
    one, other = measured(subject, found), measured(subject, again)
    pd.testing.assert_frame_equal(one.samples, other.samples, check_exact=True)
    pd.testing.assert_frame_equal(one.groups, other.groups, check_exact=True)
    assert {"gradient_norm", "input_distance", "hessian_max_eigenvalue"} <= set(one.samples)
    assert list(one.groups) == list(GROUP_COLUMNS)
    assert list(one.layers) == list(LAYER_COLUMNS)


def test_finds_add_up_and_say_a_note_once():
    one = Found(rows=({"n": 1},), spectra={"a": 1}, notes=("x",))
    both = one + Found(rows=({"n": 2},), spectra={"b": 2}, notes=("x", "y"))
    assert both.rows == ({"n": 1}, {"n": 2})
    assert both.spectra == {"a": 1, "b": 2}
    assert both.notes == ("x", "y")


def test_an_absent_group_has_a_row_of_every_metric_without_a_value(two_groups):
    test = two_groups.splits["test"]
    many = test[two_groups.groups[test] == 1]
    data = make_absent(two_groups, many)
    found = measure_model(checkpoint_of(data, rate=0.5), checkpoint_of(data), data, FULL)
    own = found.groups[found.groups["group"] == "few"]
    others = found.groups[found.groups["group"] == "many"]
    assert own["metric"].tolist() == others["metric"].tolist()
    assert own["value"].isna().all()
    assert (own["flag"] == "absent").all()
    assert others.set_index("metric")["n"]["accuracy"] > 0


def make_absent(data: GroupedData, test: torch.Tensor) -> GroupedData:
    return replace(data, splits={**data.splits, "test": test})


def test_a_small_group_is_flagged_and_kept_out_of_the_gaps(two_groups):
    few = MeasureSettings(resamples=50, minimum_group_size=30, curvature="none")
    found = measure_model(checkpoint_of(two_groups), None, two_groups, few)
    flags = found.groups.groupby("group")["flag"].unique()
    assert flags["few"].tolist() == ["small"]
    assert flags["many"].tolist() == [""]
    assert "accuracy_violation" not in {row["metric"] for row in found.overall}


def test_a_measure_that_is_left_out_takes_no_other_with_it(subject):
    settings = replace(FULL, minimum_group_size=5, resamples=10, samples_per_group=4)
    whole = examine(replace(subject, settings=settings))
    for name in OPTIONAL_MEASURES:
        less = examine(replace(subject, settings=replace(settings, without=(name,))))
        gone = names(whole.rows) - names(less.rows)
        kept = [row for row in whole.rows if row["metric"] not in gone]
        assert repr(kept) == repr(list(less.rows))
        fewer = len(whole.overall) > len(less.overall) or len(whole.layers) > len(less.layers)
        assert gone or fewer or (whole.spectra and not less.spectra), name


def names(rows: Sequence[Row]) -> set[str]:
    return {row["metric"] for row in rows}


def test_every_measure_but_the_heart_can_be_left_out(two_groups):
    assert set(OPTIONAL_MEASURES) == (set(MEASURES) | set(OF_GROUPS)) - {"harm", "gaps", "causes"}
    alone = MeasureSettings(resamples=50, minimum_group_size=5, without=OPTIONAL_MEASURES)
    dense, pruned = checkpoint_of(two_groups), checkpoint_of(two_groups, rate=0.5)
    found = measure_model(pruned, dense, two_groups, alone)
    assert {"accuracy", "excess_risk", "excess_accuracy_gap"} <= set(found.groups["metric"])
    assert not {"gradient_norm", "taylor_slope"} & set(found.groups["metric"])
    with pytest.raises(AuditError, match="hessien"):
        MeasureSettings(without=("hessien",))


class OnceOnly(torch.autograd.Function):
    """A square that has a first derivative and refuses a second one."""

    @staticmethod
    def forward(context, inputs):
        context.save_for_backward(inputs)
        return inputs.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context, slope):
        (inputs,) = context.saved_tensors
        return 2 * inputs * slope


class Squared(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(inputs, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(OnceOnly.apply(self.head(inputs)).repeat(1, 2))
        return logits


def test_an_operation_without_a_second_derivative_leaves_rows_that_say_so(two_groups, monkeypatch):
    monkeypatch.setitem(ZOO, "squared", lambda shape, classes: Squared(shape[0], classes))
    network = checkpoint_of(two_groups, "squared", arguments={})
    found = measure_model(network, None, two_groups, QUICK, "squared")
    rows = found.groups.set_index(["metric", "group"])
    for metric in ("hessian_max_eigenvalue", "hessian_min_eigenvalue"):
        assert np.isnan(rows.loc[(metric, "many"), "value"])
        assert rows.loc[(metric, "many"), "note"]
        assert rows.loc[(metric, "many"), "n"] == 0
    assert np.isfinite(rows.loc[("input_distance", "many"), "value"])
    assert np.isfinite(rows.loc[("accuracy", "many"), "value"])
    assert any(note.startswith("hessian could not be measured") for note in found.model["notes"])


class Worded(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(9, 5), nn.Linear(5, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.words(inputs.abs().long() % 9).mean(1))
        return logits


def test_what_has_no_input_gradient_has_no_input_distance_and_a_hessian_all_the_same(
    two_groups, monkeypatch
):
    monkeypatch.setitem(ZOO, "worded", lambda shape, classes: Worded(classes))
    found = measure_model(
        checkpoint_of(two_groups, "worded", arguments={}), None, two_groups, QUICK
    )
    rows = found.groups.set_index(["metric", "group"])
    assert np.isnan(rows.loc[("input_distance", "many"), "value"])
    assert rows.loc[("input_distance", "many"), "note"]
    assert np.isfinite(rows.loc[("hessian_max_eigenvalue", "many"), "value"])
    assert np.isfinite(rows.loc[("gradient_norm", "many"), "value"])


def test_measures_are_read_back_as_they_were_written(two_groups, tmp_path):
    found = measure_model(checkpoint_of(two_groups), None, two_groups, QUICK)
    found.save(tmp_path / "cell")
    again = ModelMeasures.load(tmp_path / "cell")
    plain = found.groups.drop(columns="converged"), again.groups.drop(columns="converged")
    pd.testing.assert_frame_equal(*plain, check_exact=True)
    assert found.groups["converged"].eq(True).equals(again.groups["converged"].eq(True))
    assert found.samples.equals(again.samples.astype(found.samples.dtypes))
    assert again.overall == found.overall


def test_what_the_dense_network_says_stands_beside_each_sample(two_groups):
    dense, pruned = checkpoint_of(two_groups), checkpoint_of(two_groups, rate=0.5)
    found = measure_model(pruned, dense, two_groups, QUICK, "pruned").samples
    rows = two_groups.indices("test")
    labels = two_groups.labels[rows]
    before, after = (
        one.model()(two_groups.inputs[rows]).detach().double() for one in (dense, pruned)
    )
    own = before.gather(1, labels[:, None])[:, 0]
    margin = own - before.gather(1, 1 - labels[:, None])[:, 0]
    np.testing.assert_allclose(found["dense_margin"], margin, rtol=1e-6)
    assert ((found["dense_margin"] > 0) == (found["dense_prediction"] == found["label"])).all()
    loss = nn.functional.cross_entropy(before, labels, reduction="none")
    np.testing.assert_allclose(found["dense_loss"], loss, rtol=1e-6)
    log_after, log_before = after.log_softmax(1), before.log_softmax(1)
    far = nn.functional.kl_div(log_after, log_before, reduction="none", log_target=True).sum(1)
    np.testing.assert_allclose(found["divergence"], far, atol=1e-6)


def test_the_scores_of_all_classes_are_kept_on_request(two_groups):
    network = checkpoint_of(two_groups)
    plain = measure_model(network, None, two_groups, QUICK).samples
    found = measure_model(network, None, two_groups, replace(QUICK, scores=True)).samples
    assert not [name for name in plain if str(name).startswith(SCORE)]
    scores = found[[SCORE + name for name in two_groups.classes]]
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-6)
    said = scores.idxmax(axis=1).astype(str).str.removeprefix(SCORE)
    assert (said == found["prediction"]).all()
    np.testing.assert_allclose(scores.max(axis=1), found["confidence"], rtol=1e-6)


def test_a_dense_network_pays_nothing_by_definition_and_without_an_interval(two_groups):
    found = measure_model(checkpoint_of(two_groups), None, two_groups, QUICK, "dense")
    shares = found.groups[found.groups["metric"].isin(["excess_accuracy_gap", "broken", "mended"])]
    assert len(shares) > 0
    assert (shares[["value", "ci_low", "ci_high"]] == 0.0).all(axis=None)
    gaps = {row["metric"]: row for row in found.overall}
    for name in ("max_excess_accuracy_gap", "excess_accuracy_gap_range"):
        assert [gaps[name][key] for key in ("value", "ci_low", "ci_high")] == [0.0, 0.0, 0.0]


def test_groups_that_are_the_classes_have_no_parity(two_groups):
    data = replace(two_groups, groups=two_groups.labels, group_names=two_groups.classes)
    found = measure_model(checkpoint_of(data), None, data, QUICK, "dense")
    assert not {"demographic_parity_difference", "equalized_odds_difference"} & {
        row["metric"] for row in found.overall
    }
    assert any("the groups are the classes" in note for note in found.model["notes"])


def test_the_bound_of_theorem_1_stands_on_the_far_side_of_the_largest_eigenvalue(
    two_groups: GroupedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """λ_max is known up to its error; a bound made of its value alone could be too low (M8)."""
    pruned, dense = checkpoint_of(two_groups, rate=0.5), checkpoint_of(two_groups)
    settings = replace(QUICK, theory=True)
    bounds = []
    for error in (0.0, 2.0):

        def known(*given: Any, error: float = error, **more: Any) -> list[Any]:
            return [replace(one, error=error) for one in top_eigenvalues(*given, **more)]

        monkeypatch.setattr(causes, "top_eigenvalues", known)
        bounds.append(values(measure_model(pruned, dense, two_groups, settings), "loss_bound"))
    parts = zip(dense.model().parameters(), pruned.model().parameters(), strict=True)
    square = sum(float(((one - other) ** 2).sum().detach()) for one, other in parts)
    np.testing.assert_allclose(bounds[1] - bounds[0], 0.5 * 2.0 * square, rtol=1e-5)


def test_a_dense_network_that_is_measured_beside_itself_pays_nothing_either(two_groups):
    found = measure_model(
        checkpoint_of(two_groups), checkpoint_of(two_groups), two_groups, QUICK, "dense"
    )
    (gap,) = [row for row in found.overall if row["metric"] == "max_excess_accuracy_gap"]
    assert [gap[key] for key in ("value", "ci_low", "ci_high")] == [0.0, 0.0, 0.0]
