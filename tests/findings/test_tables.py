"""Tables of findings that are made from samples the test chose: comparison, exemplars, networks."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.findings.comparison import comparison_table
from audit.findings.exemplars import exemplar_table
from audit.findings.missing import left_out, missing_networks, with_missing, without_value
from audit.findings.networks import judged_models, overall_table, shown_models, told_models
from audit.findings.outcomes import cell_label, make_cells
from audit.measure.uncertainty import drop_interval, wilson_interval
from tests.findings.answered import RIGHT, WRONG, answered, model, there

Rows = dict[tuple[Any, Any], dict[Any, Any]]

# --- two networks side by side --------------------------------------------------------------------


def compared(units: int = 1) -> Rows:
    """Of 60 of A the second network mends 15 and breaks 3; of 40 of B it changes none."""
    blocks = [
        ("A", 1, 42, (1, 1)),
        ("A", 1, 15, (0, 1)),
        ("A", 1, 3, (1, 0)),
        ("B", 0, 40, (0, 0)),
    ]
    evidence = answered(("dense", "pruned"), blocks, units=units)
    outcomes = there(evidence.outcomes)
    samples = pd.concat(
        pd.DataFrame(
            {
                "sample": outcomes.samples, "model": name, "prediction": said.astype(str),
                "group": np.array(outcomes.groups)[outcomes.codes],
                "label": outcomes.labels.astype(str),
                "loss": np.where(said == outcomes.labels, RIGHT, WRONG),
            }
        )
        for name, said in zip(outcomes.names, outcomes.predictions, strict=True)
    )  # fmt: skip
    if units > 1:
        samples["unit"] = np.tile(np.arange(100) // units, 2)
    gap = evidence.groups.assign(metric="excess_accuracy_gap", value=0.0)
    bound = evidence.groups.assign(metric="hessian_max_eigenvalue", value=7.0)
    groups = pd.concat([evidence.groups, gap, bound], ignore_index=True)
    groups["group"] = pd.Categorical(groups["group"], categories=["A", "B"], ordered=True)
    converged = [False if one == "hessian_max_eigenvalue" else None for one in groups["metric"]]
    groups = groups.assign(converged=converged, ci_low=groups["value"] - 0.1, ci_high=1.0)
    shuffled = samples.sample(frac=1, random_state=0)  # rows are matched by the sample's name
    table = comparison_table(groups, shuffled, "dense", "pruned")
    return {(row["metric"], row["group"]): dict(row) for row in table.to_dict("records")}


def test_a_difference_is_the_candidate_less_the_baseline_with_its_paired_interval() -> None:
    table = compared()
    row = table["accuracy", "A"]
    assert (row["baseline"], row["candidate"], row["n"]) == (0.75, 0.95, 60)
    assert row["difference"] == pytest.approx(12 / 60)
    assert (row["baseline_ci_low"], row["candidate_ci_low"]) == (0.65, pytest.approx(0.85))
    found = drop_interval(np.repeat([1.0, -1.0, 0.0], [15, 3, 42]))
    assert (row["difference_ci_low"], row["difference_ci_high"]) == pytest.approx(
        (found.low, found.high)
    )
    assert {one["candidate_name"] for one in table.values()} == {"pruned"}


def test_the_change_of_a_gap_is_what_the_group_lost_less_what_all_lost() -> None:
    table = compared()
    for group, change in (("A", -12 / 60 + 12 / 100), ("B", 12 / 100)):
        row = table["excess_accuracy_gap", group]
        assert row["difference_ci_low"] < change < row["difference_ci_high"]


def test_bounds_have_no_difference_and_units_widen_it() -> None:
    table = compared()
    assert np.isnan(table["hessian_max_eigenvalue", "A"]["difference"])
    one, four = (table["accuracy", "A"] for table in (compared(), compared(units=4)))
    width = [row["difference_ci_high"] - row["difference_ci_low"] for row in (one, four)]
    assert width[1] > 1.2 * width[0]


# --- exemplars ------------------------------------------------------------------------------------


def test_exemplars_are_those_that_the_runs_of_a_method_see_otherwise() -> None:
    """Of three runs of A two answer 20 otherwise, and one answers 10 more; nobody B's."""
    networks = [
        *(model(f"dense-{s}", "dense", seed=s) for s in range(3)),
        *(model(f"pruned-{s}", "magnitude", seed=s) for s in range(3)),
    ]
    blocks = [
        ("A", 1, 20, (1, 1, 0, 0, 0, 1)),
        ("A", 1, 10, (1, 1, 1, 0, 1, 1)),
        ("A", 1, 10, (1, 1, 1, 1, 1, 1)),
        ("B", 0, 60, (0, 0, 0, 0, 0, 0)),
    ]
    evidence = answered(networks, blocks)
    outcomes = there(evidence.outcomes)
    a, b = exemplar_table(outcomes, evidence.record["models"]).to_dict("records")
    assert (a["method"], a["rate"], a["networks"]) == ("magnitude", 0.9, 3)
    assert (a["exemplars"], a["n"], a["share"], a["ties"]) == (20, 40, 0.5, 0)
    assert (a["ci_low"], a["ci_high"]) == pytest.approx(
        tuple(vars(wilson_interval(20, 40)).values())
    )
    assert (a["over"], b["over"]) == (pytest.approx(0.5 / 0.2), 0.0)
    assert (b["exemplars"], b["n"]) == (0, 60)
    # Of two runs those that disagree are ties: 10 of A, whom one run of the first two reads otherwise.
    two = [one for one in evidence.record["models"] if one["name"] != "pruned-2"][:5]
    ties = exemplar_table(outcomes, two).set_index("group")["ties"]
    assert ties.to_dict() == {"A": 10, "B": 0}
    only = [one for one in evidence.record["models"] if one["method"] != "dense"]
    assert exemplar_table(outcomes, only).empty


# --- which networks, and what is missing ----------------------------------------------------------

MODELS = [
    model("dense"),
    *(model(f"m{r}-{s}", "magnitude", rate=r, seed=s) for r in (0.5, 0.9) for s in (0, 1)),
    model("fair", "bilevel", rate=0.5, constraint="no-harm"),
]


def test_the_networks_judged_are_those_at_each_methods_highest_rate() -> None:
    assert judged_models(MODELS) == ["dense", "m0.9-0", "m0.9-1", "fair"]
    record = {"models": MODELS, "tables": {}}
    assert shown_models(record) == ["dense", "m0.9-0", "fair"]
    second_first = sorted(MODELS, key=lambda one: -int(one["seed"]))
    assert shown_models({**record, "models": second_first}) == ["m0.9-1"]
    assert shown_models({**record, "tables": {"compared": ["a", "b"]}}) == ["a", "b"]


def test_a_verdict_on_a_comparison_speaks_of_all_that_are_compared() -> None:
    """Of two networks of one method at two rates, the lower one too."""
    record = {"models": MODELS, "tables": {"compared": ["m0.5-0", "m0.9-0"]}}
    assert told_models(record) == ["dense", "m0.5-0", "m0.9-0"]
    assert told_models({**record, "tables": {}}) == judged_models(MODELS)


def test_networks_that_differ_in_the_seed_alone_are_a_cell() -> None:
    cells = make_cells({"models": MODELS, "tables": {}})
    assert [(one.label, one.rate, one.names, one.dense) for one in cells] == [
        ("dense", 0.0, ("dense",), True),
        ("magnitude", 0.5, ("m0.5-0", "m0.5-1"), False),
        ("magnitude", 0.9, ("m0.9-0", "m0.9-1"), False),
        ("bilevel (no-harm)", 0.5, ("fair",), False),
    ]
    assert cells[-1].constraint == "no-harm"
    backwards = make_cells({"models": MODELS[::-1], "tables": {}})
    assert backwards[1].names == ("m0.9-0", "m0.9-1")  # in order of the seed
    alone = make_cells({"models": MODELS, "tables": {"compared": ["dense"]}})
    assert [one.label for one in alone] == [str(one["name"]) for one in MODELS]
    assert cell_label(MODELS[-1]) == "bilevel (no-harm)"


def test_overall_numbers_stand_beside_what_their_network_is() -> None:
    models = [one | {"sparsity": 0.4} for one in MODELS]
    (row,) = overall_table([{"model": "m0.9-1", "value": 0.7}], models).to_dict("records")
    assert row == {"model": "m0.9-1", "value": 0.7, "method": "magnitude", "rate": 0.9, "seed": 1,
                   "sparsity": 0.4}  # fmt: skip


def test_what_is_not_known_of_groups_is_a_finding_each() -> None:
    blocks = [("A", 1, 50, (1, 1)), ("(missing)", 0, 40, (0, 0)), ("B × (missing)", 0, 9, (0, 0))]
    evidence = answered(("dense", "pruned"), blocks, small=("B × (missing)",))
    assert [(one.group, one.n, one.details) for one in left_out(evidence)] == [
        ("B × (missing)", 9, {"flag": "small"})
    ]
    assert [(one.group, one.n) for one in without_value(evidence)] == [
        ("(missing)", 40),
        ("B × (missing)", 9),
    ]
    assert missing_networks(evidence) == []


@pytest.mark.parametrize(
    ("missing", "planned", "said"),
    [(1, 1, "1 of 1 network is missing"), (2, 9, "2 of 9 networks are missing")],
)
def test_a_verdict_with_missing_networks_says_so_first(
    missing: int, planned: int, said: str
) -> None:
    verdict = {"headline": "All is well.", "sentences": ["So."], "action": "Keep it."}
    reasons = {f"m{place}": "it failed." for place in range(missing)}
    found = with_missing(verdict, reasons, planned)
    assert found["headline"] == f"All is well. Incomplete: {said}."
    assert found["action"] == f"Keep it. Incomplete: {said}, and may change this."
    first, second = found["sentences"]
    assert first.startswith(f"{said}, and nothing here is said of them: m0 (it failed)")
    assert second == "So."
    assert with_missing({**verdict, "action": ""}, reasons, planned)["action"] == ""
    assert with_missing(verdict, {}, planned) == verdict


def test_of_many_missing_networks_five_are_named() -> None:
    verdict = {"headline": "All is well.", "sentences": []}
    for number, more in ((5, ""), (6, "; and 1 more, listed in results.json")):
        reasons = {f"m{place}": "gone" for place in range(number)}
        (first,) = with_missing(verdict, reasons, 9)["sentences"]
        assert first.endswith(f"m4 (gone){more}.")
