"""What to do next, from findings that the test chose (J9)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from audit.findings.actions import TOLERANCE, actions, judged_rates, power
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding
from tests.findings.answered import answered, model

RATES = (0.5, 0.8, 0.9)
BLOCKS = [("A", 1, 200, (1,) * 7), ("B", 0, 200, (0,) * 7)]
BLOCKS3 = [("A", 1, 200, (1,) * 3), ("B", 0, 180, (0,) * 3)]


def study() -> Evidence:
    """Two methods at three rates each, whose answers are all right: findings alone decide."""
    names = [(f"{m}-{r}", m, r) for m in ("magnitude", "fair") for r in RATES]
    return answered(["dense", *(model(n, m, rate=r, file=f"{n}.pt") for n, m, r in names)], BLOCKS)


def paid(
    label: str, rate: float, low: float = -0.01, high: float = 0.01, runs_paying: int = 0,
    runs: int = 1, detectable: float = 0.01, **other: Any,
) -> Finding:  # fmt: skip
    return Finding(
        "pays", low > 0, label=label, rate=rate, networks=(f"{label}-{rate}",), group="A",
        estimate=(low + high) / 2, low=low, high=high, n=200, runs=runs,
        details={"detectable": detectable, "runs_paying": runs_paying}, **other,
    )  # fmt: skip


def every(**harmed: Sequence[float]) -> list[Finding]:
    """Findings of all cells; harmed gives the rates at which somebody pays, by method."""
    return [
        paid(label, rate, *((0.1, 0.3) if rate in harmed.get(label, ()) else (-0.01, 0.01)))
        for label in ("magnitude", "fair")
        for rate in RATES
    ]


def changed(found: list[Finding], label: str, rate: float, new: Finding) -> list[Finding]:
    return [new if (one.label, one.rate) == (label, rate) else one for one in found]


def claim(name: str, label: str, rate: float, **details: Any) -> Finding:
    return Finding(name, True, label=label, rate=rate, networks=(f"{label}-{rate}",),
                   details=details)  # fmt: skip


def done(found: list[Finding], evidence: Evidence | None = None) -> tuple[str, str, float]:
    (one,) = actions(evidence or study(), found)
    return str(one.details["do"]), one.label, one.rate


@pytest.mark.parametrize(
    ("harmed", "expected"),
    [
        ({}, ("keep", "magnitude", 0.9)),
        ({"magnitude": (0.9,)}, ("take", "fair", 0.9)),
        ({"magnitude": (0.9,), "fair": (0.9,)}, ("prune_less", "magnitude", 0.8)),
        ({"magnitude": (0.8, 0.9), "fair": RATES}, ("prune_less", "magnitude", 0.5)),
        ({"magnitude": RATES, "fair": RATES}, ("mitigate", "magnitude", 0.5)),
        # Not below a rate at which somebody pays; 0.8 is above 0.5, and 0.5 harms.
        ({"magnitude": (0.5, 0.9), "fair": RATES}, ("mitigate", "magnitude", 0.5)),
        ({"fair": RATES}, ("keep", "magnitude", 0.9)),
    ],
)
def test_the_step_that_follows_from_who_pays(harmed: Any, expected: tuple[str, str, float]) -> None:
    assert done(every(**harmed)) == expected


def test_the_rate_of_the_largest_harm_is_judged_then_the_highest() -> None:
    found = changed(every(magnitude=(0.8,)), "magnitude", 0.9, paid("magnitude", 0.9, 0.0, 0.9))
    assert judged_rates(study(), found) == [0.8, 0.9]
    assert judged_rates(study(), every()) == [0.9]
    assert judged_rates(study(), every(magnitude=(0.9,))) == [0.9]
    assert done(found) == ("take", "fair", 0.8)


def test_harm_that_is_surely_less_than_the_tolerance_is_borne() -> None:
    for high, do in ((TOLERANCE, "keep"), (TOLERANCE + 0.001, "take")):
        small = paid("magnitude", 0.9, 0.005, high)
        (one,) = actions(study(), changed(every(), "magnitude", 0.9, small))
        assert one.details["do"] == do
    (one,) = actions(
        study(), changed(every(), "magnitude", 0.9, paid("magnitude", 0.9, 0.005, 0.02))
    )
    assert one.details["small_harm"] == [{"group": "A", "high": 0.02}]


def test_what_too_few_samples_could_not_show_is_to_be_collected() -> None:
    blind = paid("magnitude", 0.9, detectable=TOLERANCE + 0.001)
    (one,) = actions(study(), changed(every(), "magnitude", 0.9, blind))
    assert one.details["do"] == "collect"
    assert (one.details["needed_group"], one.details["has"], one.details["seen"]) == (
        "A",
        200,
        False,
    )
    # By hand: n = ((z + 0.84)/0.02)² · (2/202 + 0.02), z of 1 − 0.05/4: nothing happened to 200.
    reach = norm.ppf(1 - 0.05 / 4) + norm.ppf(0.8)
    assert one.details["needed"] == np.ceil((reach / 0.02) ** 2 * (2 / 202 + 0.02))


def test_a_group_that_is_not_judged_is_no_reason_to_keep() -> None:
    evidence = study()
    groups = evidence.groups.assign(flag=np.where(evidence.groups["group"] == "B", "small", ""))
    (one,) = actions(replace(evidence, groups=groups), every())
    assert one.details["do"] == "collect"
    assert one.details["unjudged"] == [{"group": "B", "flag": "small"}]


def test_runs_that_disagree_are_to_be_repeated_and_are_no_way_out() -> None:
    single = paid("magnitude", 0.9, runs_paying=1, runs=3)
    (one,) = actions(study(), changed(every(), "magnitude", 0.9, single))
    assert one.details["do"] == "repeat"
    assert one.details["in_single_runs"] == [{"group": "A", "runs": 1}]
    found = changed(every(magnitude=(0.9,)), "fair", 0.9, paid("fair", 0.9, runs_paying=1, runs=3))
    assert done(found)[0] == "prune_less"


@pytest.mark.parametrize(
    ("fault", "do"),
    [
        (claim("collapse", "fair", 0.9), "prune_less"),
        (claim("levelling_down", "fair", 0.9, fell=0.016), "prune_less"),
        (claim("levelling_down", "fair", 0.9, fell=0.015), "take"),
        (claim("loss", "fair", 0.9, ruined=True), "prune_less"),
        (claim("loss", "fair", 0.9, ruined=False), "take"),
        (replace(claim("collapse", "fair", 0.9), decision=False), "take"),
        (claim("collapse", "fair", 0.8), "take"),
    ],
)
def test_a_network_with_a_fault_is_not_taken(fault: Finding, do: str) -> None:
    assert done([*every(magnitude=(0.9,)), fault])[0] == do


def test_a_fault_of_the_baseline_is_to_be_mended_though_nobody_pays() -> None:
    found = [*every(), claim("levelling_down", "magnitude", 0.9, fell=0.1)]
    smaller = changed(found, "fair", 0.9, paid("fair", 0.9, -0.02, 0.01))
    assert done(smaller) == ("take", "fair", 0.9)
    assert done(found) == ("prune_less", "magnitude", 0.8)  # not smaller than the baseline's gap


def test_the_gap_of_a_collapsed_network_is_no_yardstick() -> None:
    found = [*every(), claim("collapse", "magnitude", 0.9)]
    larger = changed(found, "fair", 0.9, paid("fair", 0.9, -0.02, 0.5))
    assert done(larger) == ("take", "fair", 0.9)


def test_a_crossing_that_pays_is_harm() -> None:
    crossed = Finding("discovered", True, networks=("magnitude-0.9",), group="A × old", estimate=0.2,
                      high=0.3)  # fmt: skip
    assert done([*every(), crossed]) == ("take", "fair", 0.9)
    assert done([*every(), replace(crossed, decision=False)])[0] == "keep"
    assert done([*every(), replace(crossed, group=None)])[0] == "keep"


def test_a_network_that_costs_too_much_accuracy_is_not_taken() -> None:
    """Of 400 answers it may lose 4, that is less than 1.5 points, and not 8."""
    for broken, do in ((2, "take"), (4, "mitigate")):
        blocks = [
            (group, label, n, (label, label, label if right else 1 - label))
            for group, label in (("A", 1), ("B", 0))
            for n, right in ((200 - broken, True), (broken, False))
        ]
        networks = ["dense", model("magnitude-0.9", "magnitude"), model("fair-0.9", "fair")]
        found = [one for one in every(magnitude=(0.9,)) if one.rate == 0.9]
        assert done(found, answered(networks, blocks))[0] == do


def test_a_network_that_costs_too_much_of_a_rare_class_is_not_taken() -> None:
    """2 of 400 answers are half a point, and of the 20 of their class five of balanced accuracy."""
    blocks = [("A", 0, 380, (0, 0, 0)), ("B", 1, 18, (1, 1, 1)), ("B", 1, 2, (1, 1, 0))]
    networks = ["dense", model("magnitude-0.9", "magnitude"), model("fair-0.9", "fair")]
    found = [one for one in every(magnitude=(0.9,)) if one.rate == 0.9]
    assert done(found, answered(networks, blocks))[0] == "mitigate"


def test_what_else_is_not_decided_of_a_network_leaves_who_pays_known() -> None:
    open_claims = [replace(claim(name, "magnitude", 0.9), decision=None)
                   for name in ("cause", "boundary", "faithful", "discovered")]  # fmt: skip
    assert done([*every(), *open_claims])[0] == "keep"


def test_of_a_comparison_the_worst_is_named_and_the_best_taken() -> None:
    names = ["dense", "near", "far", "best"]
    evidence = answered(names, [("A", 1, 200, (1,) * 4), ("B", 0, 200, (0,) * 4)], compared=True)
    found = [
        replace(paid(name, 0.9, low, low + 0.2), networks=(name,))
        for name, low in (("near", 0.1), ("far", 0.2), ("best", -0.1))
    ]
    (one,) = actions(evidence, found)
    assert (one.details["do"], one.label, one.details["instead_of"]) == ("take", "best", "far")
    harmed = [replace(one, decision=True, low=0.01) for one in found]
    (one,) = actions(evidence, harmed)
    assert (one.details["do"], one.label) == ("mitigate", "best")


def test_what_says_the_same_as_the_dense_network_is_no_way_out() -> None:
    """It may be that network under another name, of which nothing is to be proposed."""
    evidence = answered(
        ["dense", "bad", "alike"], [*BLOCKS3, ("B", 0, 20, (0, 1, 0))], compared=True
    )
    found = [replace(paid("bad", 0.9, 0.1, 0.3), networks=("bad",)),
             replace(paid("alike", 0.9), networks=("alike",))]  # fmt: skip
    assert done(found, evidence)[0] == "take"
    assert evidence.outcomes is not None
    before = np.zeros_like(evidence.outcomes.loss)
    loss = before.copy()
    loss[evidence.outcomes.names.index("bad")] = 1.0
    same = replace(evidence.outcomes, loss=loss, loss_before=before)
    assert done(found, replace(evidence, outcomes=same))[:2] == ("mitigate", "bad")


def test_beside_the_dense_network_advice_is_on_the_best_that_is_sound_and_not_on_the_last() -> None:
    """near answers 20 samples more right than far, which stands last."""
    blocks = [("A", 1, 200, (1, 1, 1)), ("B", 0, 180, (0, 0, 0)), ("B", 0, 20, (0, 0, 1))]
    evidence = answered(["dense", "near", "far"], blocks, compared=True)
    found = [replace(paid(name, 0.9), networks=(name,)) for name in ("near", "far")]
    (one,) = actions(evidence, found)
    assert (one.details["do"], one.label) == ("keep", "near")
    loss = replace(claim("loss", "near", 0.9), networks=("near",), estimate=0.03, low=0.02,
                   high=0.04, details={"ruined": False, "kept": 0.9, "balanced": None})  # fmt: skip
    (one,) = actions(evidence, [*found, loss])
    assert one.label == "far"


def test_who_is_not_known_to_pay_is_not_kept() -> None:
    unknown = replace(paid("magnitude", 0.9), decision=None, details={"why": "so"})
    (one,) = actions(study(), changed(every(), "magnitude", 0.9, unknown))
    assert (one.decision, one.details) == (None, {"do": "unknown", "why": "so"})
    assert actions(answered(["dense"], [("A", 1, 9, (1,)), ("B", 0, 9, (0,))]), []) == []


def test_power_is_of_the_group_known_least_beside_the_one_known_best() -> None:
    other = replace(paid("magnitude", 0.9, detectable=0.004), group="B", n=300)
    (one,) = power(study(), [*every(), other])
    assert (one.group, one.estimate, one.n, one.decision) == ("A", 0.01, 200, True)
    best = {key: one.details[key] for key in ("best_group", "best", "best_n", "tolerance")}
    assert best == {"best_group": "B", "best": 0.004, "best_n": 300, "tolerance": TOLERANCE}
    for reach, seen in ((TOLERANCE, True), (0.0201, False)):
        (one,) = power(study(), [paid("magnitude", 0.9, detectable=reach)])
        assert one.decision is seen
    assert power(study(), [paid("magnitude", 0.8)]) != []
    assert power(study(), [paid("fair", 0.9)]) == []


def test_the_action_holds_its_file_and_its_price() -> None:
    (one,) = actions(study(), every(magnitude=(0.9,)))
    assert one.details["files"] == ["fair-0.9.pt"]
    assert (one.details["accuracy_change"], one.details["balanced_change"]) == (0.0, 0.0)
    assert one.details["largest_gap"] == pytest.approx(0.0)
    assert (one.details["instead_of"], one.details["instead_rate"]) == ("magnitude", 0.9)
    assert one.details["sought"] == []


def test_of_networks_that_are_cleared_the_one_without_a_large_loss_is_taken() -> None:
    """Their gaps differ by chance; what one of them lost for all does not."""
    names = ["dense", "worse", *(model(name, rate=0.9) for name in ("lossy", "sound"))]
    blocks = [("A", 1, 200, (1,) * 4), ("B", 0, 200, (0,) * 4)]
    evidence = answered(names, blocks, compared=True)
    found = [
        replace(paid(label, 0.9, low, high), networks=(label,))
        for label, low, high in (("worse", 0.1, 0.3), ("lossy", -0.02, 0.02), ("sound", 0.0, 0.04))
    ]
    loss = {"ruined": False, "class_lost": False, "kept": 0.9}
    lossy = [
        Finding("loss", label == "lossy", label=label, networks=(label,), estimate=size, low=size,
                high=size, details=loss)
        for label, size in (("lossy", 0.05), ("sound", 0.0))
    ]  # fmt: skip
    assert done(found + lossy, evidence)[:2] == ("take", "sound")
    assert done([*found, replace(lossy[0], decision=False)], evidence)[:2] == ("take", "lossy")
