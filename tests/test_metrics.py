"""Every number that is measured is told once in audit/metrics.py, and shown somewhere."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.data.grouped import GroupedData
from audit.examine.measuring import measure_model
from audit.examine.settings import MeasureSettings
from audit.findings.results import Results
from audit.metrics import DEFINITIONS, METRICS, NUMBERED, definition_of, metric, shown
from audit.report import figures
from audit.report.html import render
from audit.report.view import make_view
from audit.study.gather import gather
from tests.conftest import make_groups
from tests.examine.test_measuring import checkpoint_of

EVERYTHING = MeasureSettings(
    resamples=20,
    samples_per_group=6,
    minimum_group_size=5,
    top_eigenvalues=2,
    layer_curvature=True,
    spectral_density=True,
    theory=True,
    deepfool=True,
)
DERIVED = ("gradient_norm", "input_distance", "deepfool", "hessian", "layer_curvature",
           "spectral_density", "taylor", "logit_slopes")  # fmt: skip
TABLES = {
    "boundary": {"boundary_composition": "composition", "boundary_within": "within"},
    "faithfulness": {name: name for name in ("agreement", "moved", "divergence")},
}
"""Tables of the record whose columns are metrics."""
DRAWN = ("groups_by_rate", "methods_by_rate", "scatters", "trade_off", "heat_map", "distributions",
         "dumbbells", "reliability", "spectral_densities")  # fmt: skip


@pytest.fixture(scope="module")
def data() -> GroupedData:
    import torch

    generator = torch.Generator().manual_seed(0)
    groups = (torch.arange(80) >= 30).long()
    labels = torch.arange(80) % 2
    inputs = torch.randn(80, 3, generator=generator)
    inputs[:, 0] += (2 * labels - 1) * (0.5 + 0.5 * groups)
    return make_groups(inputs, labels, groups)


@pytest.fixture(scope="module")
def results(data: GroupedData) -> Results:
    """A dense and a pruned network, and everything that can be measured of them."""
    dense, pruned = checkpoint_of(data), checkpoint_of(data, rate=0.5)
    measures = [
        measure_model(dense, None, data, EVERYTHING, "dense"),
        measure_model(pruned, dense, data, EVERYTHING, "pruned"),
    ]
    return gather(measures, data, {})


def names(results: Results) -> set[str]:
    found = set(results.groups["metric"]) | set(results.layers["metric"])
    found |= {row["metric"] for row in results.record["overall"]}
    found |= {m for table, of in TABLES.items() if results.record["tables"][table] for m in of}
    if any(model["spectra"] for model in results.record["models"]):
        found.add("spectral_density")
    return found


def measured(results: Results) -> set[str]:
    """Those that one network's measures give, before networks are put together."""
    return names(results) - {name for metrics in TABLES.values() for name in metrics}


def without(results: Results, name: str) -> Results:
    """The same results, had the metric not been measured."""
    record = dict(results.record)
    record["overall"] = [row for row in record["overall"] if row["metric"] != name]
    tables = dict(record["tables"])
    tables["causes"] = [row for row in tables["causes"] if row["cause"] != name]
    told = metric(name).title
    tables["rates"] = [row for row in tables["rates"] if row["rate"] != told]
    for table, metrics in TABLES.items():
        if name in metrics:
            tables[table] = [row | {metrics[name]: None} for row in tables[table]]
    models = record["models"]
    if name == "spectral_density":
        models = [model | {"spectra": {}} for model in models]
    groups = results.groups[results.groups["metric"] != name]
    layers = results.layers[results.layers["metric"] != name]
    record |= {"tables": tables, "models": models}
    return replace(results, groups=groups, layers=layers, record=record)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that are only what they would be drawn from, as text: drawing takes its time."""

    def text(one: Any) -> str:
        return one.to_csv() if isinstance(one, pd.DataFrame) else repr(one)

    def drawing(*arguments: Any) -> str:
        return f'<svg viewBox="0 0 100 100">{" ".join(map(text, arguments))}</svg>'

    for name in DRAWN:
        monkeypatch.setattr(figures, name, drawing)


def test_whatever_is_measured_is_in_the_dictionary(results):
    numbered = {name for name in names(results) if NUMBERED.fullmatch(name)}
    assert numbered == {"hessian_eigenvalue_2"}
    assert names(results) - numbered == set(METRICS) - {"group_size", "hessian_eigenvalue"}


@pytest.mark.usefixtures("plain")
def test_whatever_is_measured_is_shown(results):
    page = make_view(results)
    needed = {"accuracy", "excess_accuracy_gap"}  # no page is written without these
    unseen = [n for n in sorted(names(results) - needed) if make_view(without(results, n)) == page]
    assert unseen == []
    shorter = results.groups.assign(value=results.groups["value"].where(
        ~results.groups["metric"].isin(needed), 0.123))  # fmt: skip
    assert make_view(replace(results, groups=shorter)) != page


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("title", [
    "DeepFool distance", "bound of theorem 1", "bound of proposition 2", "first term of theorem 2",
    "error in theorem 2", "The spectrum of every layer", "Spectral density",
])  # fmt: skip
def test_what_costs_time_on_request_stands_in_the_report(results, title):
    assert title in render(results)


def test_each_metric_needs_what_it_says(data, results):
    """Of outputs alone come those that need no more; without a dense network, none of pruning."""
    dense = checkpoint_of(data)
    settings = replace(EVERYTHING, without=DERIVED)
    outputs = measure_model(checkpoint_of(data, rate=0.5), dense, data, settings)
    found = {*outputs.groups["metric"], *(row["metric"] for row in outputs.overall)}
    assert found == {
        name for name in measured(results) if set(metric(name).needs) <= {"outputs", "dense"}
    } - {"taylor_buffers"}
    alone = measure_model(checkpoint_of(data, rate=0.5), None, data, EVERYTHING)
    found = {*alone.groups["metric"], *(row["metric"] for row in alone.overall)}
    assert found == {
        name for name in measured(results) if "dense" not in metric(name).needs
    } - {"spectral_density"}  # fmt: skip


def test_a_flat_metric_is_a_mean_over_samples_as_its_pairing_says(results):
    """A comparison pairs by columns of samples: their group means are the group's numbers."""
    own = results.groups[(results.groups["model"] == "pruned") & (results.groups["n"] > 0)]
    samples = results.samples[results.samples["model"] == "pruned"]
    samples = samples.assign(correct=(samples["label"] == samples["prediction"]).astype(float))
    means = samples.groupby("group")[list({m.paired for m in METRICS.values() if m.paired})].mean()
    # M1 is a difference of losses, M5 a norm of a mean; eigenvalues are told by the mean's vector.
    beyond = ("excess_risk", "gradient_norm", "taylor_curvature")
    compared = set()
    for row in own.to_dict("records"):
        name, column = row["metric"], metric(row["metric"]).paired
        if column not in means or name in beyond or not np.isfinite(row["value"]):
            continue
        mean = means.loc[row["group"], column]
        # Of an eigenvalue that nobody can vouch for, the samples' parts are not known.
        if np.isfinite(mean) or not name.startswith("hessian"):
            assert mean == pytest.approx(row["value"], rel=0.02), row
            compared.add(name)
    assert len(compared) > 10


def test_every_definition_is_used_and_every_word_leads_to_one():
    used = {one.definition.term for one in METRICS.values()}
    assert used <= {one.term for one in DEFINITIONS}
    assert len({one.term for one in DEFINITIONS}) == len(DEFINITIONS)
    for one in DEFINITIONS:
        for words in one.words:
            assert definition_of(words) is not None
    titles = {name: definition_of(one.head) for name, one in METRICS.items()}
    led = {name: found.term for name, found in titles.items() if found is not None}
    assert {name for name in led if led[name] != METRICS[name].definition.term} == set()


def test_a_place_has_its_metrics_in_the_order_of_the_dictionary():
    assert shown("every group")[:3] == ["accuracy", "excess_accuracy_gap", "excess_risk"]
    assert shown("harm by rate") == ["accuracy", "excess_risk"]
    assert all(one.shown for one in METRICS.values())


def test_what_nobody_told_is_called_by_its_name():
    unknown = metric("prediction_entropy")
    assert (unknown.title, unknown.unit) == ("prediction entropy", "number")
    assert unknown.shown == ("further measures",)
