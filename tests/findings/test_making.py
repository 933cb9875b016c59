"""Findings of results whose harm the test chose, and that every sentence says what they hold."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.findings.finding import CLAIMS, Finding, findings_table, from_plain
from audit.findings.making import conclude, make_findings
from audit.findings.words import count, number, percent, points

COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")


def found_in(results, claim: str, **wanted: Any) -> list[Finding]:
    every = make_findings(results.groups, results.samples, results.layers, results.record)
    return [
        one
        for one in every
        if one.claim == claim and all(getattr(one, key) == value for key, value in wanted.items())
    ]


def words(results) -> dict[str, Any]:
    verdict: dict[str, Any] = conclude(
        results.groups, results.samples, results.layers, results.record
    )["verdict"]
    return verdict


def text(results) -> str:
    verdict = words(results)
    return " ".join([verdict["headline"], *verdict["sentences"], verdict["action"]])


# --- who pays -------------------------------------------------------------------------------------


def test_the_harmed_group_pays_and_every_other_has_a_negative_finding(fake):
    results = fake(rates=(0.98,))
    found = found_in(results, "pays", label="magnitude")
    assert [one.group for one in found if one.decision] == ["8"]
    assert {one.group for one in found if one.decision is False} == set("012345679")
    (pays,) = [one for one in found if one.decision]
    assert (pays.low or 0.0) > 0
    assert (1.0 if pays.p_adjusted is None else pays.p_adjusted) < 0.05
    assert pays.interval == "simultaneous"
    assert pays.n == 90


def test_nobody_pays_where_nobody_is_harmed(fake):
    for seed in range(3):
        results = fake(harmed=(), harm=0.0, seeds=seed + 1)
        assert not [one for one in found_in(results, "pays") if one.decision]
        said = text(results)
        assert not re.search(r"group \d pays", said)
        assert "harms" not in said


def test_small_and_absent_groups_are_said_and_never_pay(fake):
    results = fake(small=("8",), absent=("7",))
    assert {one.group for one in found_in(results, "pays")} == set("01234569")
    flags = {one.group: one.details["flag"] for one in found_in(results, "left_out")}
    assert flags == {"8": "small", "7": "absent"}
    assert "Group 8: too small for a verdict" in text(results)
    assert "Group 7: absent" in text(results)


def test_without_a_dense_network_who_pays_is_unknown_and_said_so(fake):
    results = fake(dense=False)
    found = found_in(results, "pays")
    assert found
    assert all(one.decision is None for one in found)
    assert "not known" in words(results)["headline"]
    assert [one.details["do"] for one in found_in(results, "action")] == ["unknown"]


def test_results_without_samples_are_judged_by_their_table_of_groups(fake):
    results = fake(rates=(0.98,))
    parts = []
    samples = results.samples
    dense = samples[samples["model"] == "dense-seed0"].set_index("sample")
    for model, own in samples.groupby("model", sort=False):
        own = own.set_index("sample")
        before = dense["prediction"] == dense["label"]
        after = own["prediction"] == own["label"]
        for group, rows in own.groupby("group", sort=False):
            for metric, share in (("broken", before & ~after), ("mended", ~before & after)):
                parts.append({"model": model, "group": group, "metric": metric,
                              "value": share[rows.index].mean(), "n": len(rows), "flag": "",
                              "split": "test"})  # fmt: skip
    table = pd.concat([results.groups, pd.DataFrame(parts)], ignore_index=True)
    table["group"] = pd.Categorical(table["group"], list("0123456789"), ordered=True)
    whole = found_in(results, "pays", label="magnitude")
    bare = [
        one
        for one in make_findings(table, samples.iloc[:0], results.layers, results.record)
        if one.claim == "pays" and one.label == "magnitude"
    ]
    assert [one.decision for one in bare] == [one.decision for one in whole]
    np.testing.assert_allclose([one.low for one in bare], [one.low for one in whole], atol=1e-9)


def test_the_onset_is_the_lowest_rate_of_the_unbroken_run(fake):
    results = fake(rates=(0.3, 0.9, 0.98))
    (onset,) = found_in(results, "onset", label="magnitude")
    paying = {one.rate for one in found_in(results, "pays", label="magnitude") if one.decision}
    assert onset.decision
    assert onset.rate == min(paying)
    assert onset.details["elsewhere"] == []
    assert f"somebody pays from {percent(onset.rate)} on" in text(results)


def test_harm_below_a_rate_without_any_is_told(fake):
    results = fake(rates=(0.9, 0.98))
    samples = results.samples
    # At the highest rate everybody answers as the dense network does.
    dense = samples[samples["model"] == "dense-seed0"].set_index("sample")["prediction"]
    top = samples["model"] == "magnitude-0.98-seed0"
    samples.loc[top, "prediction"] = dense.reindex(samples.loc[top, "sample"]).to_numpy()
    (onset,) = found_in(results, "onset", label="magnitude")
    assert onset.details["elsewhere"] == [0.9]
    assert "nobody was found to pay at 98%, but somebody does at 90%" in text(results)
    assert words(results)["headline"].startswith("Pruning to 90% by magnitude harms")


def test_a_harm_of_the_fair_method_is_not_passed_over(fake):
    methods = (("magnitude", "none"), ("random", "none"))
    results = fake(methods=methods, rates=(0.98,))
    label = {one.label for one in found_in(results, "pays") if one.decision}
    assert label == {"magnitude", "random"}
    assert "random: at 98%, group 8 pays" in text(results)


# --- mending --------------------------------------------------------------------------------------


def test_who_is_worse_off_under_what_is_advised_is_said_with_the_advice(fake):
    """The baseline got better for one group than the dense network is; the candidate did not."""
    results = fake(rates=(0.98,), compared=COMPARED, n=120)
    assert "accuracy is higher for" not in words(results)["action"]
    samples = results.samples
    group = samples["group"].astype(str) == "3"
    for name in ("dense-seed0", *COMPARED):
        own = samples.index[group & (samples["model"] == name)][:15]
        right = samples.loc[own, "label"].to_numpy()
        wrong = np.where(right == "a", "b", "a")
        samples.loc[own, "prediction"] = right if name == COMPARED[0] else wrong
    action = words(results)["action"]
    assert action.startswith(f"Take {COMPARED[1]} ")
    assert f" instead of {COMPARED[0]}: under it no group was found to pay" in action
    (lost,) = (f for f in found_in(results, "changes") if f.group == "3")
    assert lost.decision
    size = points(-(lost.estimate or 0.0))
    assert f"But under {COMPARED[0]} accuracy is higher for group 3 by {size} points [" in action


def test_the_fairest_is_told_from_one_that_harms_with_its_price(fake):
    results = fake(rates=(0.98,))
    (found,) = found_in(results, "fairest")
    assert found.decision
    assert found.label == "bilevel (excess-accuracy)"
    assert "is the fairest of 2 networks" in text(results)
    assert "its accuracy is" in text(results)


def test_networks_that_cannot_be_told_apart_are_named(fake):
    methods = (("magnitude", "none"), ("random", "none"))
    (found,) = found_in(fake(methods=methods, rates=(0.98,)), "fairest")
    assert found.decision is False
    assert found.details["not_told_apart"] == [
        {"magnitude": "random", "random": "magnitude"}[found.label]
    ]


def test_the_gap_of_several_runs_says_that_it_is_of_their_means(fake):
    """Tables and figures beside it hold every run's own largest gap, whose mean is larger."""
    several = text(fake(rates=(0.98,), seeds=3))
    assert (
        "By the largest excess accuracy gap at 98%, of every group's mean over 3 runs," in several
    )
    assert "mean over" not in text(fake(rates=(0.98,))).split("By the largest", 1)[1].split(";")[0]


def people(results, rates: dict[str, tuple[float, float, float, float]], n: int = 400):
    """Two groups of n yes and n no; of each network the shares predicted yes, group by group."""
    generator = np.random.default_rng(0)
    rows = []
    for model, (yes_a, yes_b, no_a, no_b) in rates.items():
        for group, yes, no in (("a", yes_a, no_a), ("b", yes_b, no_b)):
            for label, share in (("yes", yes), ("no", no)):
                said = np.arange(n) < round(share * n)
                rows += [
                    {"model": model, "sample": f"{group}-{label}-{i}", "split": "test",
                     "group": group, "label": label, "prediction": "yes" if one else "no",
                     "loss": float(generator.random()), "margin": 0.0, "confidence": 0.9}
                    for i, one in enumerate(said)
                ]  # fmt: skip
    samples = pd.DataFrame(rows)
    record = {**results.record, "data": {**results.record["data"], "classes": ["no", "yes"]}}
    odds = {"metric": "equalized_odds_difference", "split": "test", "ci_low": 0.0, "ci_high": 1.0,
            "floor_p95": 0.05, "group": "a"}  # fmt: skip
    known = {row["model"]: row for row in record["overall"] if row["metric"] == "accuracy"}
    record["overall"] = [
        row
        for model, (yes_a, yes_b, no_a, no_b) in rates.items()
        for row in (
            known[model],
            odds | {"model": model, "value": max(abs(yes_a - yes_b), abs(no_a - no_b))},
        )
    ]
    return make_findings(results.groups, samples, results.layers, record), record, samples


@pytest.fixture
def two(fake):
    return fake(groups=("a", "b"), rates=(0.9,), harmed=("a",), n=800)


DENSE, PRUNED, FAIR = "dense-seed0", "magnitude-0.9-seed0", "bilevel-excess-accuracy-0.9-seed0"


def test_a_gap_in_the_quieter_rate_is_beyond_chance(two):
    rates = {DENSE: (0.8, 0.8, 0.10, 0.10), PRUNED: (0.8, 0.8, 0.05, 0.15),
             FAIR: (0.8, 0.8, 0.10, 0.10)}  # fmt: skip
    found, *_ = people(two, rates)
    odds = {
        one.networks[0]: one
        for one in found
        if one.claim == "beyond_chance" and one.metric == "equalized_odds_difference"
    }
    assert odds[PRUNED].decision
    assert odds[PRUNED].details["rate_of"] == "false positive rate"
    assert odds[DENSE].decision is False
    assert odds[FAIR].decision is False


def test_levelling_down_is_told_with_who_lost(two):
    rates = {DENSE: (0.9, 0.74, 0.1, 0.1), PRUNED: (0.9, 0.74, 0.1, 0.1),
             FAIR: (0.6, 0.55, 0.1, 0.1)}  # fmt: skip
    found, record, samples = people(two, rates)
    levelled = [one for one in found if one.claim == "levelling_down" and one.networks == (FAIR,)]
    assert {one.decision for one in levelled if one.metric == "true positive rate"} == {True}
    (action,) = [one for one in found if one.claim == "action"]
    assert FAIR not in action.networks or action.details["do"] == "mitigate"
    said = conclude(two.groups, samples, two.layers, record)["verdict"]["sentences"]
    assert any(
        s.startswith("By levelling down, ")
        and "group b, the worst off, from 74.0 % to 55.0 % (but balanced accuracy " in s
        for s in said
    )


def test_raising_the_worst_off_is_no_levelling_down(two):
    rates = {DENSE: (0.9, 0.6, 0.1, 0.1), PRUNED: (0.9, 0.6, 0.1, 0.1),
             FAIR: (0.9, 0.85, 0.1, 0.1)}  # fmt: skip
    found, record, samples = people(two, rates)
    own = [one for one in found if one.claim == "levelling_down" and one.networks == (FAIR,)]
    assert own
    assert {one.decision for one in own} == {False}
    said = conclude(two.groups, samples, two.layers, record)["verdict"]["sentences"]
    assert any("with the worst off raised, " in s and "from 60.0 % to 85.0 %" in s for s in said)


def test_a_rise_that_may_be_chance_is_no_praise(two):
    rates = {DENSE: (0.9, 0.84, 0.1, 0.1), PRUNED: (0.9, 0.84, 0.1, 0.1),
             FAIR: (0.9, 0.85, 0.1, 0.1)}  # fmt: skip
    found, record, samples = people(two, rates)
    own = [one for one in found if one.claim == "levelling_down" and one.networks == (FAIR,)]
    assert {one.details["rose"] for one in own} <= {False}
    said = conclude(two.groups, samples, two.layers, record)["verdict"]["sentences"]
    assert not any("raised" in s for s in said)


def test_predicting_one_class_is_a_collapse_whatever_the_odds(two):
    rates = {DENSE: (0.9, 0.6, 0.1, 0.3), PRUNED: (0.9, 0.6, 0.1, 0.3),
             FAIR: (1.0, 1.0, 0.99, 0.99)}  # fmt: skip
    found, record, samples = people(two, rates)
    collapsed = [one for one in found if one.claim == "collapse" and one.decision]
    assert [one.networks for one in collapsed] == [(FAIR,)]
    said = conclude(two.groups, samples, two.layers, record)["verdict"]
    assert any("has collapsed: it predicts class yes for 99.5 %" in s for s in said["sentences"])
    assert "Take bilevel" not in said["action"]


def test_an_empty_layer_is_a_collapse(fake):
    results = fake(rates=(0.98,))
    for model in results.record["models"]:
        if model["method"] == "magnitude":
            model["layer_sparsity"] = {"conv": 1.0}
    collapsed = [one for one in found_in(results, "collapse") if one.decision]
    assert [one.label for one in collapsed] == ["magnitude"]
    assert "has no weight left in conv" in text(results)


# --- what to do -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "do"),
    [
        ({"rates": (0.98,)}, "take"),
        ({"rates": (0.2, 0.98), "methods": (("magnitude", "none"),)}, "prune_less"),
        ({"rates": (0.98,), "methods": (("magnitude", "none"),)}, "mitigate"),
        ({"rates": (0.98,), "harmed": (), "harm": 0.0}, "collect"),
        ({"rates": (0.98,), "harmed": (), "harm": 0.0, "n": 4000, "groups": ("a", "b")}, "keep"),
    ],
)
def test_the_action_follows_from_the_findings(fake, kinds, do):
    (found,) = found_in(fake(**kinds), "action")
    assert found.details["do"] == do


def test_a_network_that_loses_more_than_it_must_is_not_proposed(fake):
    results = fake(rates=(0.98,))
    for row in results.record["overall"]:
        if row["metric"] == "accuracy" and row["model"].startswith("bilevel"):
            row["value"] = 0.5
    (found,) = found_in(results, "action")
    assert found.details["do"] == "mitigate"


def test_a_comparison_says_whose_accuracy_changes(fake):
    results = fake(rates=(0.98,), compared=COMPARED)
    changed = [one for one in found_in(results, "changes") if one.decision]
    assert [one.group for one in changed] == ["8"]
    start = f"{COMPARED[1]} is more accurate than {COMPARED[0]} for all samples together"
    assert start in text(results)
    assert ") and group 8 (" in text(results)


# --- findings are data ----------------------------------------------------------------------------


def test_findings_survive_json_and_become_a_table(fake):
    results = fake(rates=(0.98,))
    every = make_findings(results.groups, results.samples, results.layers, results.record)
    assert {one.claim for one in every} <= set(CLAIMS)
    assert [from_plain(one.plain()).plain() for one in every] == [one.plain() for one in every]
    table = findings_table(every)
    assert len(table) == len(every)
    assert {"claim", "decision", "estimate", "low", "high", "p_adjusted"} <= set(table.columns)


def leaves(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        yield float(len(value))
        for item in value:
            yield from leaves(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def written(values: list[float]) -> set[str]:
    """All the ways in which a sentence may write a number or a difference of two of them."""
    found: set[str] = set()
    for value in values:
        found |= {points(value), points(value, "+"), points(-value), number(value, "accuracy")}
        found |= {percent(value), count(round(value)), f"{value:.3f}", number(value)}
        found |= {f"{value:+.2f}".replace("-", "−"), points(100 * value)}
    for one in values:
        found |= {points(one - other, "+") for other in values}
    return {text.rstrip(" %").rstrip("%") for text in found}


@pytest.mark.parametrize(
    "kinds",
    [
        {"rates": (0.9, 0.98)},
        {"rates": (0.9, 0.98), "seeds": 3},
        {"rates": (0.98,), "compared": COMPARED},
        {"rates": (0.98,), "harmed": (), "harm": 0.0},
        {"rates": (0.98,), "small": ("8",), "absent": ("7",)},
    ],
)
def test_every_number_of_every_sentence_is_one_of_its_findings(fake, kinds):
    results = fake(**kinds)
    made = conclude(results.groups, results.samples, results.layers, results.record)
    names = [model["name"] for model in results.record["models"]]
    assert made["verdict"]["said"]
    for said in made["verdict"]["said"]:
        own = [made["findings"][place] for place in said["findings"]]
        allowed = written([value for one in own for value in leaves(one)] + [float(len(own)), 2.0])
        bare = said["text"]
        for name in sorted(names, key=len, reverse=True):
            bare = bare.replace(f"models/{name}.pt", "").replace(name, "")
        bare = re.sub(r"group \S+|0\.001|four times in five|Group \S+", "", bare)
        for token in re.findall(r"[+−]?\d[\d,]*(?:\.\d+)?", bare):
            assert token.rstrip(",") in allowed, (token, said["text"])
        assert own or "dense network was measured" in said["text"]


def test_where_one_network_harms_and_another_does_not_it_says_which_to_take(fake):
    results = fake(rates=(0.98,), compared=("dense-seed0", *COMPARED))
    assert [one.label for one in found_in(results, "pays") if one.decision] == [COMPARED[0]]
    (action,) = found_in(results, "action")
    assert action.details["do"] == "take"
    assert action.label == COMPARED[1]
    assert action.details["instead_of"] == COMPARED[0]
    assert "nobody was found to pay" not in words(results)["action"]


def test_of_several_that_pay_the_first_line_gives_the_most_its_own_number(fake):
    results = fake(rates=(0.98,), harmed=("8", "9"), compared=COMPARED)
    first = words(results)["headline"]
    paying = [one for one in found_in(results, "pays", label=COMPARED[0]) if one.decision]
    worst = max(paying, key=lambda one: one.estimate or 0.0)
    assert f"group {worst.group} pays {points(worst.estimate or 0.0)} points" in first
    assert (f"the most of {len(paying)} groups that pay" in first) is (len(paying) > 1)
    assert len(paying) > 1
