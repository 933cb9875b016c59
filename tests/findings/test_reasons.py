"""Why a group pays, from rows that were chosen, against numbers that follow by hand (J8)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from audit.findings.evidence import Evidence
from audit.findings.finding import Finding
from audit.findings.reasons import boundaries, causes, explained_cells, faithful, layers
from tests.findings.answered import answered, model

BLOCKS = [("A", 1, 50, (1, 0, 0)), ("B", 0, 50, (0, 0, 0))]
Rows = Sequence[Mapping[str, Any]]


def evidence(
    compared: bool = False, layer_rows: Rows = (), runs: int = 1, **tables: Rows
) -> Evidence:
    """Networks at 80 % and at 90 %, or several runs at 90 %, with these tables beside them."""
    rates = [("p80", 0.8, 0), ("p90", 0.9, 0)] if runs == 1 else [("r0", 0.9, 0), ("r1", 0.9, 1)]
    networks = [
        "dense",
        *(
            model(name, "magnitude", rate=rate, seed=seed, layer_kinds={"conv": "Conv2d"})
            for name, rate, seed in rates
        ),
    ]
    table = pd.DataFrame(layer_rows) if layer_rows else None
    return answered(networks, BLOCKS, compared, tables=dict(tables), layers=table)


def pays(*groups: tuple[str, float, bool], rate: float = 0.9, names=("p90",)) -> list[Finding]:
    return [
        Finding("pays", decision, label="magnitude", rate=rate, networks=tuple(names), group=group,
                estimate=estimate, runs=len(names))
        for group, estimate, decision in groups
    ]  # fmt: skip


# --- which cells are explained --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "rates"),
    [
        ([*pays(("A", 0.2, True), rate=0.8), *pays(("A", 0.1, True))], [0.8]),
        ([*pays(("A", 0.1, True), rate=0.8), *pays(("B", 0.3, False))], [0.8]),
        ([*pays(("A", 0.1, False), rate=0.8), *pays(("B", 0.3, False))], [0.9]),
        (
            [replace(pays(("A", 0.9, True), rate=0.8)[0], label="zzz"), *pays(("A", 0.2, True))],
            [0.9],
        ),
        ([], []),
    ],
)
def test_the_rate_with_the_largest_harm_is_explained(
    found: list[Finding], rates: list[float]
) -> None:
    assert [cell.rate for cell in explained_cells(evidence(), found)] == rates


def test_of_a_comparison_every_network_is_explained() -> None:
    found = explained_cells(evidence(compared=True), [])
    assert [cell.label for cell in found] == ["dense", "p80", "p90"]


# --- causes ---------------------------------------------------------------------------------------


def cause(name: str, p: float | None, rho: float | None = -0.5, n: int = 8, network: str = "p90"):
    return {"model": network, "cause": name, "rho": rho, "p_value": p, "ci_low": -0.9,
            "ci_high": -0.1, "n": n, "share": None}  # fmt: skip


HARMED = pays(("A", 0.2, True))


def test_causes_are_adjusted_over_those_that_are_shown() -> None:
    """Holm by hand: 0.01·3 = 0.03, then 0.026·2 = 0.052, then 0.04 raised to 0.052."""
    rows = [
        cause("gradient_norm", 0.04),
        cause("group_size", 0.01, -0.7),
        cause("boundary_closeness", 0.026),
        cause("hessian_max_eigenvalue", None, None),
        cause("taylor_slope", 0.0001),
        cause("group_size", 0.9, network="p80"),
    ]
    found = {one.metric: one for one in causes(evidence(causes=rows), HARMED)}
    assert list(found) == ["group_size", "gradient_norm", "boundary_closeness"]
    adjusted = {name: one.p_adjusted for name, one in found.items()}
    assert adjusted == pytest.approx(
        {"group_size": 0.03, "gradient_norm": 0.052, "boundary_closeness": 0.052}
    )
    assert [one.decision for one in found.values()] == [True, False, False]
    size = found["group_size"]
    assert (size.estimate, size.low, size.high, size.interval) == (-0.7, -0.9, -0.1, "single")
    assert (size.n, size.networks, size.rate) == (8, ("p90",), 0.9)
    assert size.details == {"causes_tested": 3, "enough_groups": True, "unit": "groups"}


@pytest.mark.parametrize(
    ("shown", "groups", "decision"),
    [(1, 4, None), (1, 5, True), (2, 5, True), (3, 5, True), (4, 5, None), (4, 6, True),
     (1, 40, True)],
)  # fmt: skip
def test_few_groups_leave_a_cause_open(shown: int, groups: int, decision: bool | None) -> None:
    """The least two-sided p of a rank correlation is 2/n!: 4!: 0.083, 5!: 0.0167, 6!: 0.0028."""
    names = ("group_size", "gradient_norm", "hessian_max_eigenvalue", "boundary_closeness")
    rows = [cause(name, 0.001, n=groups) for name in names[:shown]]
    found = causes(evidence(causes=rows), HARMED)
    assert [one.decision for one in found] == [decision] * shown
    assert {one.details["enough_groups"] for one in found} == {decision is not None}


@pytest.mark.parametrize(
    ("p_values", "merged"),
    [((0.01, 0.02), 0.03), ((0.6, 0.8), 1.0), ((0.02, None), 0.02), ((None, None), None)],
)
def test_over_runs_it_is_twice_the_median_p(
    p_values: tuple[float | None, float | None], merged: float | None
) -> None:
    rows = [
        cause("group_size", p, rho, network=name)
        for name, p, rho in zip(("r0", "r1"), p_values, (-0.4, -0.8), strict=True)
    ]
    found = pays(("A", 0.2, True), names=("r0", "r1"))
    (one,) = causes(evidence(runs=2, causes=rows), found)
    assert one.estimate == pytest.approx(-0.6)
    assert (one.low, one.high, one.interval) == (None, None, None)
    assert one.p_adjusted == (None if merged is None else pytest.approx(merged))
    assert one.decision is (None if merged is None else merged < 0.05)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({}, None),
        ({"groups": [{"group": "A", "train": 0}, {"group": "B"}]}, "the data hold no training"),
        ({"trained_elsewhere": True}, "the split was drawn here, and what the dense"),
    ],
)
def test_a_size_in_training_that_is_not_known_is_a_row(
    data: Mapping[str, Any], why: str | None
) -> None:
    own = evidence(causes=[cause("gradient_norm", 0.5)])
    record = {**own.record, "data": {**own.record["data"], **data}}
    first, *rest = causes(replace(own, record=record), HARMED)
    assert first.metric == "gradient_norm"
    assert [(one.metric, one.decision) for one in rest] == [("group_size", None)] * bool(why)
    assert all(one.details["why"].startswith(str(why)) for one in rest)
    assert not causes(evidence(), HARMED)  # nothing shown, nothing to miss


# --- the boundary ---------------------------------------------------------------------------------


def boundary(composition: float | None, low: float, network: str = "p90", **other: Any):
    return {"model": network, "group": "A", "harm": "accuracy", "composition": composition,
            "within": 0.05, "composition_ci_low": low, "composition_ci_high": 0.3,
            "within_ci_low": -0.1, "within_ci_high": 0.2, "bins": 10} | other  # fmt: skip


@pytest.mark.parametrize(("low", "decision"), [(0.02, True), (0.0, False), (-0.02, False)])
def test_what_is_paid_for_the_boundary_is_decided_by_its_interval(
    low: float, decision: bool
) -> None:
    rows = [boundary(0.15, low), boundary(9.0, 9.0, harm="loss"), boundary(9.0, 9.0, group="B")]
    paid = pays(("A", 0.2, True), ("B", 0.1, False))
    (one,) = boundaries(evidence(boundary=rows), paid)
    assert (one.claim, one.group, one.estimate) == ("boundary", "A", 0.2)
    assert one.decision is decision
    assert (one.low, one.high, one.p_adjusted, one.interval) == (None, None, None, "single")
    assert one.details == {
        "composition": 0.15, "within": 0.05, "composition_low": low, "composition_high": 0.3,
        "within_low": -0.1, "within_high": 0.2, "bins": 10,
    }  # fmt: skip


def test_over_runs_the_parts_are_means_and_nothing_is_decided() -> None:
    paid = pays(("A", 0.2, True), names=("r0", "r1"))
    rows = [boundary(0.1, 0.05, "r0"), boundary(0.3, 0.05, "r1")]
    (one,) = boundaries(evidence(runs=2, boundary=rows), paid)
    assert one.details["composition"] == pytest.approx(0.2)
    assert (one.decision, one.interval, one.details["composition_low"]) == (None, None, None)
    # Of a run without rows, or without a decomposition, nothing is told.
    assert not boundaries(evidence(runs=2, boundary=rows[:1]), paid)
    assert not boundaries(evidence(runs=2, boundary=[rows[0], boundary(None, 0, "r1")]), paid)


# --- faithfulness ---------------------------------------------------------------------------------


def agreed(group: str, agreement: float | None, p: float, network: str = "p90", flag: str = ""):
    return {"model": network, "group": group, "agreement": agreement, "flag": flag, "n": 50,
            "p_adjusted": p, "ci_low": 0.7, "ci_high": 0.9, "broken": 0.1, "mended": 0.04,
            "moved": 0.02}  # fmt: skip


def test_faithfulness_is_decided_by_mcnemars_p_and_left_out_where_it_is_not_known() -> None:
    rows = [agreed("A", 0.84, 0.0499), agreed("B", 0.9, 0.05), agreed("A", 0.5, 0.01, "p80", "small"),
            agreed("B", None, 0.01, "p80")]  # fmt: skip
    one, other = faithful(evidence(faithfulness=rows))
    assert (one.group, one.decision, one.estimate, one.p_adjusted) == ("A", True, 0.84, 0.0499)
    assert (other.group, other.decision, other.estimate) == ("B", False, 0.9)
    assert (one.low, one.high, one.interval, one.n) == (0.7, 0.9, "single", 50)
    assert one.details == {"broken": 0.1, "mended": 0.04, "moved": 0.02}
    assert one.metric == "agreement"


def test_over_runs_agreement_is_a_mean_and_not_decided() -> None:
    rows = [agreed("A", 0.8, 0.01, "r0"), agreed("A", 0.6, 0.01, "r1") | {"broken": 0.3}]
    (one,) = faithful(evidence(runs=2, faithfulness=rows))
    assert one.estimate == pytest.approx(0.7)
    assert one.details["broken"] == pytest.approx(0.2)
    assert (one.decision, one.p_adjusted, one.low, one.high) == (None, None, None, None)
    assert not faithful(evidence(runs=2, faithfulness=rows[:1]))


# --- layers ---------------------------------------------------------------------------------------


def term(layer: str, metric: str, value: float, group: str = "A", network: str = "p90"):
    return {"model": network, "group": group, "layer": layer, "n": 50, "metric": metric,
            "value": value}  # fmt: skip


TERMS = [
    term("conv", "taylor_slope", 0.05),
    term("conv", "taylor_curvature", 0.01),
    term("fc", "taylor_slope", -0.02),
    term("fc", "taylor_curvature", 0.04),
    term("conv", "hessian_max_eigenvalue", 9.0),
    term("fc", "taylor_slope", 9.0, "B"),
    term("fc", "taylor_slope", 9.0, "A", "p80"),
]


def remainder(share: float | None, network: str = "p90"):
    return {"model": network, "cause": "taylor_remainder", "rho": None, "share": share}


def test_the_layer_that_cost_the_group_that_pays_most() -> None:
    own = evidence(layer_rows=TERMS, causes=[remainder(-0.5), remainder(9.0, "p80")])
    (one,) = layers(own, pays(("B", 0.1, True), ("A", 0.2, True)))
    assert (one.claim, one.group, one.n, one.metric) == ("layer", "A", 50, "excess_risk")
    assert one.estimate == pytest.approx(0.06)
    expected = {"all_layers": 0.08, "slope": 0.05, "curvature": 0.01, "remainder_share": -0.5}
    assert {key: one.details[key] for key in expected} == pytest.approx(expected)
    assert (one.details["layer"], one.details["kind"]) == ("conv", "Conv2d")


@pytest.mark.parametrize(
    ("rows", "share", "found"),
    [
        (TERMS, -0.51, HARMED),
        (TERMS, 0.51, HARMED),
        (TERMS, None, HARMED),
        (TERMS, 0.1, pays(("A", 0.2, False))),
        ([term("conv", "taylor_slope", 0.0049)], 0.1, HARMED),
        ([term("conv", "taylor_slope", 0.05, "B")], 0.1, HARMED),
        ([], 0.1, HARMED),
    ],
)
def test_no_layer_is_told_where_the_series_or_the_harm_says_nothing(
    rows: Rows, share: float | None, found: list[Finding]
) -> None:
    assert not layers(evidence(layer_rows=rows, causes=[remainder(share)]), found)


def test_the_least_cost_that_is_told_and_its_mean_over_runs() -> None:
    rows = [term("conv", "taylor_slope", v, "A", n) for v, n in ((0.006, "r0"), (0.004, "r1"))]
    own = evidence(runs=2, layer_rows=rows, causes=[remainder(0.2, "r0"), remainder(0.4, "r1")])
    (one,) = layers(own, pays(("A", 0.2, True), names=("r0", "r1")))
    assert one.estimate == pytest.approx(0.005)
    assert (one.details["slope"], one.details["curvature"]) == (pytest.approx(0.005), 0.0)
    assert one.details["remainder_share"] == pytest.approx(0.3)
