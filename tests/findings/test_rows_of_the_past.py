"""What judgements of pruned networks got wrong in the past, each fault held by a test of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.findings.answers import Answers
from audit.findings.causes import causes_table
from audit.findings.evidence import make_evidence
from audit.findings.finding import Finding
from audit.findings.making import conclude, make_findings
from audit.findings.missing import with_missing
from audit.findings.pays import who_pays
from audit.findings.results import Results
from audit.report.facts import facts
from audit.report.terminal import print_findings

Fake = Callable[..., Results]
DIGITS = "0123456789"


def found_in(results: Results, claim: str, **wanted: Any) -> list[Finding]:
    every = make_findings(results.groups, results.samples, results.layers, results.record)
    return [
        one
        for one in every
        if one.claim == claim and all(getattr(one, key) == value for key, value in wanted.items())
    ]


def verdict_of(results: Results) -> dict[str, Any]:
    made = conclude(results.groups, results.samples, results.layers, results.record)
    found: dict[str, Any] = made["verdict"]
    return found


def text_of(results: Results) -> str:
    verdict = verdict_of(results)
    return " ".join([verdict["headline"], *verdict["sentences"], verdict["action"]])


def judged_anew(results: Results) -> Results:
    made = conclude(results.groups, results.samples, results.layers, results.record)
    return replace(results, record=results.record | made)


# --- results of two classes, made answer by answer ------------------------------------------------

Rates = Mapping[str, tuple[float, float]]
"""Of each group its true and its false positive rate."""


def answers(rates: Rates, n: int, seed: int = 0) -> pd.DataFrame:
    """Half of each group's samples are positive; their answers have these rates, exactly."""
    parts = []
    for group, (hit, alarm) in rates.items():
        label = np.arange(n) % 2
        rank = np.argsort(np.argsort(np.random.default_rng(seed).permutation(n) + label * n))
        share = np.where(label == 1, (rank - n // 2 + 0.5) / (n // 2), (rank + 0.5) / (n // 2))
        said = np.where(label == 1, share < hit, share < alarm).astype(int)
        parts.append(pd.DataFrame({"group": group, "label": label, "prediction": said}))
    table = pd.concat(parts, ignore_index=True).astype({"label": str, "prediction": str})
    return table.assign(
        sample=[f"{i:06d}" for i in range(len(table))],
        loss=np.where(table["label"] == table["prediction"], 0.1, 2.0),
    )


def studied(
    networks: Mapping[str, tuple[str, str, float, int, Rates]],
    n: int = 2000,
    apart: bool = False,
) -> Results:
    """A study of networks: name → (method, constraint, rate, seed, rates of every group).

    The networks answer the same samples rightly, as far as their rates allow; or `apart`, others.
    """
    groups = list(next(iter(networks.values()))[4])
    models, tables, rows, overall = [], [], [], []
    for name, (method, held, rate, seed, rates) in networks.items():
        models.append({"name": name, "method": method, "constraint": held, "rate": rate,
                       "seed": seed, "sparsity": rate, "layer_sparsity": {}, "file": f"{name}.pt",
                       "dense": rate == 0.0})  # fmt: skip
        own = answers(rates, n, len(models) if apart else 0).assign(model=name, split="test")
        tables.append(own)
        right = (own["label"] == own["prediction"]).groupby(own["group"]).mean()
        rows += [
            {"model": name, "split": "test", "group": group, "metric": "accuracy", "n": n,
             "value": right[group], "flag": ""}
            for group in groups
        ]  # fmt: skip
        odds = max(np.ptp([rates[g][k] for g in groups]) for k in (0, 1))
        for metric, value in (("accuracy", right.mean()), ("equalized_odds_difference", odds)):
            overall.append({"model": name, "split": "test", "n": len(own), "metric": metric,
                            "value": float(value), "ci_low": None, "ci_high": None,
                            "floor_p95": None, "group": None})  # fmt: skip
    table = pd.DataFrame(rows)
    table["group"] = pd.Categorical(table["group"], groups, ordered=True)
    record = {
        "models": models,
        "overall": overall,
        "tables": {},
        "data": {"attribute": "group", "classes": ["0", "1"], "groups": []},
    }
    results = Results(table, Answers.of(pd.concat(tables, ignore_index=True)), record)
    return judged_anew(results)


FAIR: Rates = {"a": (0.9, 0.1), "b": (0.9, 0.1)}


# --- false alarms ---------------------------------------------------------------------------------


def test_forty_groups_without_harm_raise_hardly_any_alarm(fake: Fake) -> None:
    names = [f"g{place}" for place in range(40)]
    results = fake(groups=names, methods=(("magnitude", "none"),), rates=(0.9,), n=200, harm=0)
    alarms, single = [], []
    for seed in range(30):
        wrong = np.random.default_rng(seed).random(len(results.samples)) < 0.06
        samples = results.samples.assign(prediction=np.where(wrong, "b", "a"))
        evidence = make_evidence(results.groups, samples, results.layers, results.record)
        pays = who_pays(evidence)
        alarms.append(any(one.decision for one in pays))
        single.append(any((one.p_adjusted or 1.0) < 0.05 * 40 for one in pays))
    # Forty intervals at 95 % each would raise one in most audits.
    assert np.mean(alarms) <= 0.1
    assert np.mean(single) > 0.5


# --- the wrong group, another's number ------------------------------------------------------------


def test_the_headline_gives_the_group_its_own_number(fake: Fake) -> None:
    results = fake(rates=(0.98,), seeds=3, harmed=("2", "8"), methods=(("magnitude", "none"),))
    pays = [one for one in found_in(results, "pays") if one.decision]
    worst = max(pays, key=lambda one: one.estimate or 0.0)
    headline = str(verdict_of(results)["headline"])
    assert f"group {worst.group} pays {100 * (worst.estimate or 0.0):.1f} points" in headline
    # The mean over runs of that group itself, not of the worst group of every run.
    samples = results.samples.assign(right=lambda t: t["label"] == t["prediction"])
    share = samples.groupby(["model", "group"])["right"].mean().unstack("group")
    whole = samples.groupby("model")["right"].mean()
    drops = [
        share.loc[f"dense-seed{s}", worst.group]
        - share.loc[f"magnitude-0.98-seed{s}", worst.group]
        - (whole[f"dense-seed{s}"] - whole[f"magnitude-0.98-seed{s}"])
        for s in range(3)
    ]
    assert worst.estimate == pytest.approx(np.mean(drops))


# --- yardsticks that disagree on one page ---------------------------------------------------------


@pytest.mark.parametrize("harm", [0.02, 0.06, 0.1, 0.14, 0.2])
def test_an_interval_that_touches_zero_and_the_word_pays_never_meet(
    fake: Fake, harm: float
) -> None:
    results = fake(rates=(0.9, 0.98), harm=harm)
    for one in found_in(results, "pays"):
        assert one.decision == ((one.low or 0.0) > 0)
        assert one.decision == ((one.p_adjusted or 1.0) < 0.05)
    tile = next(one for one in facts(results) if one.label.startswith("Who pays"))
    anybody = [one for one in found_in(results, "pays", label="magnitude") if one.decision]
    assert tile.harm == bool(anybody)
    assert ("harms some groups" in str(verdict_of(results)["headline"])) == bool(anybody)


# --- false negations over seeds -------------------------------------------------------------------


def one_seed_of_three(fake: Fake) -> Results:
    """Ten points are taken from a group in one run of three."""
    results = fake(rates=(0.98,), seeds=3, harmed=(), harm=0.0, n=300,
                   methods=(("magnitude", "none"),))  # fmt: skip
    samples = results.samples.copy()
    chosen = (samples["model"] == "magnitude-0.98-seed1") & (samples["group"] == "8")
    places = samples.index[chosen & (samples["prediction"] == "a")]
    samples.loc[places[:36], "prediction"] = "b"
    return judged_anew(replace(results, answers=Answers.of(samples)))


def test_what_one_run_of_three_shows_is_not_denied(fake: Fake) -> None:
    results = one_seed_of_three(fake)
    pays = {one.group: one for one in found_in(results, "pays")}
    assert pays["8"].decision is False
    assert pays["8"].details["runs_paying"] == 1
    (onset,) = found_in(results, "onset")
    assert onset.decision is None
    verdict = verdict_of(results)
    assert "in single runs" in verdict["headline"]
    assert "the runs do not agree" in verdict["headline"]
    assert "in 1 of 3" in " ".join(verdict["sentences"])
    # Nor is it kept.
    assert "Train more runs" in verdict["action"]
    assert [one.details["do"] for one in found_in(results, "action")] == ["repeat"]
    assert "single runs" in " ".join(one.detail for one in facts(results))


# --- only the first method, only the highest rate -------------------------------------------------


def test_the_harm_of_a_second_method_and_of_a_lower_rate_has_its_sentence(fake: Fake) -> None:
    results = fake(rates=(0.9, 0.98), methods=(("magnitude", "none"), ("random", "none")))
    samples = results.samples.copy()
    dense = samples.loc[samples["model"] == "dense-seed0", "prediction"].to_numpy()
    for name in ("magnitude-0.9-seed0", "magnitude-0.98-seed0", "random-0.98-seed0"):
        samples.loc[samples["model"] == name, "prediction"] = dense
    own = replace(results, answers=Answers.of(samples))
    (pays,) = [one for one in found_in(own, "pays") if one.decision]
    assert (pays.label, pays.rate, pays.group) == ("random", 0.9, "8")
    told = text_of(own)
    assert "random: at 90%, group 8 pays" in told
    assert "nobody was found to pay at 98%, but somebody does at 90%" in told


# --- the fairest ----------------------------------------------------------------------------------


def by_odds(fair: Rates, dull: Rates) -> Results:
    held = "equalised-odds"
    return studied({
        "dense": ("dense", "none", 0.0, 0, FAIR),
        "magnitude": ("magnitude", "none", 0.9, 0, {"a": (0.9, 0.1), "b": (0.7, 0.1)}),
        "one": ("bilevel", held, 0.9, 0, fair),
        "two": ("lagrangian", held, 0.9, 0, dull),
    })  # fmt: skip


def test_the_fairest_is_by_what_the_constraint_holds() -> None:
    results = by_odds({"a": (0.85, 0.1), "b": (0.84, 0.1)}, {"a": (0.9, 0.05), "b": (0.7, 0.2)})
    (one,) = found_in(results, "fairest")
    assert one.metric == "equalized_odds_difference"
    assert one.label == "bilevel (equalised-odds)"


def test_a_network_is_called_fairest_only_if_it_differs_from_every_other() -> None:
    alike: Rates = {"a": (0.85, 0.1), "b": (0.84, 0.1)}
    (one,) = found_in(by_odds(alike, alike), "fairest")
    assert one.decision is False
    assert one.details["not_told_apart"]
    assert "It cannot be told apart from" in text_of(by_odds(alike, alike))


def test_a_collapsed_network_is_never_the_fairest() -> None:
    results = by_odds({"a": (0.85, 0.1), "b": (0.8, 0.1)}, {"a": (0.0, 0.0), "b": (0.0, 0.0)})
    (one,) = found_in(results, "fairest")
    assert one.label == "bilevel (equalised-odds)"
    assert one.details["collapsed"] == ["lagrangian (equalised-odds)"]
    assert "Left out: lagrangian (equalised-odds), collapsed or ruined." in text_of(results)


def test_a_fairest_that_costs_too_much_is_not_proposed() -> None:
    results = by_odds({"a": (0.6, 0.1), "b": (0.6, 0.1)}, {"a": (0.9, 0.1), "b": (0.7, 0.1)})
    (one,) = found_in(results, "fairest")
    assert one.details["lost"] > 0.015
    assert "it is not proposed" in text_of(results)
    tile = next(one for one in facts(results) if one.label == "Fairest")
    assert tile.value == "None to propose"


# --- equalised odds' floor ------------------------------------------------------------------------


def test_a_precise_gap_is_not_hidden_by_a_noisy_one() -> None:
    rates: Rates = {"a": (0.70, 0.047), "b": (0.73, 0.076)}
    results = studied({
        "dense": ("dense", "none", 0.0, 0, rates),
        "magnitude": ("magnitude", "none", 0.9, 0, rates),
    }, n=6000)  # fmt: skip
    (one,) = found_in(
        results, "beyond_chance", label="magnitude", metric="equalized_odds_difference"
    )
    assert one.decision
    assert one.details["rate_of"] == "false positive rate"
    assert "Equalised odds differ beyond chance" in text_of(results)


def test_a_rate_that_was_not_found_to_differ_is_not_said_to_be_alike() -> None:
    gap: Rates = {"a": (0.9, 0.1), "b": (0.7, 0.1)}
    results = studied({
        "dense": ("dense", "none", 0.0, 0, FAIR),
        "magnitude": ("magnitude", "none", 0.9, 0, gap),
    })  # fmt: skip
    assert "not found beyond chance under dense" in text_of(results)


def test_a_group_without_positives_is_named_where_rates_are_compared() -> None:
    gap: Rates = {"a": (0.9, 0.1), "b": (0.7, 0.1), "c": (0.9, 0.1)}
    results = studied({
        "dense": ("dense", "none", 0.0, 0, gap),
        "magnitude": ("magnitude", "none", 0.9, 0, gap),
    })  # fmt: skip
    samples = results.samples.copy()
    samples.loc[samples["group"] == "c", ["label", "prediction"]] = "0"
    told = text_of(replace(results, answers=Answers.of(samples)))
    assert "Nothing is known of a rate of which group c has no sample." in told


# --- levelling down -------------------------------------------------------------------------------


def narrowed(after: Rates) -> Results:
    return studied({
        "dense": ("dense", "none", 0.0, 0, {"a": (0.9, 0.1), "b": (0.6, 0.1)}),
        "magnitude": ("magnitude", "none", 0.9, 0, after),
    })  # fmt: skip


def test_odds_that_close_by_predicting_one_class_are_a_collapse_and_levelling_down() -> None:
    results = narrowed({"a": (0.0, 0.0), "b": (0.0, 0.0)})
    assert [one.label for one in found_in(results, "collapse") if one.decision] == ["magnitude"]
    assert [one for one in found_in(results, "levelling_down") if one.decision]
    told = text_of(results)
    assert "has collapsed" in told
    assert "By levelling down" in told
    assert "Do not ship" in told


def test_odds_that_close_by_lowering_everybody_are_levelling_down() -> None:
    results = narrowed({"a": (0.6, 0.1), "b": (0.5, 0.1)})
    (one,) = [o for o in found_in(results, "levelling_down") if o.decision]
    assert one.group == "b"
    assert one.details["rates"]["a"] == [pytest.approx(0.9), pytest.approx(0.6)]
    told = text_of(results)
    assert "group b, the worst off, from 60.0 % to 50.0 % (but balanced" in told
    assert "the best off" not in told


def test_odds_that_close_by_lowering_the_better_off_alone_are_levelling_down() -> None:
    results = narrowed({"a": (0.7, 0.1), "b": (0.6, 0.1)})
    assert [one.decision for one in found_in(results, "levelling_down")] == [True]
    # Who was lowered is said: the worst off was not.
    worst = "group b, the worst off, from 60.0 % to 60.0 %"
    assert f"{worst}, group a, the best off, from 90.0 % to 70.0 %" in text_of(results)


def test_levelling_down_under_several_networks_is_said_once_for_each_kind() -> None:
    levelled: Rates = {"a": (0.6, 0.1), "b": (0.5, 0.1)}
    networks = {
        "dense": ("dense", "none", 0.0, 0, {"a": (0.9, 0.1), "b": (0.6, 0.1)}),
        "magnitude": ("magnitude", "none", 0.9, 0, levelled),
        "random": ("random", "none", 0.9, 0, levelled),
        "fair": ("bilevel", "equalised-odds", 0.9, 0, {"a": (0.9, 0.1), "b": (0.85, 0.1)}),
    }
    results = studied(networks)
    sentences = verdict_of(results)["sentences"]
    (down,) = [one for one in sentences if "By levelling down" in one]
    assert "under magnitude at 90% from 30.0 to 10.0 points, group b" in down
    assert "; random at 90% from 30.0 to 10.0 points, group b" in down
    raised = [one for one in sentences if "with the worst off raised" in one]
    assert [one.count("bilevel") for one in raised] == [1] * len(raised)
    assert len({one.split(" against ")[1].split(" narrows")[0] for one in raised}) == len(raised)
    # The findings of all of them are those that the sentence is made from.
    said = next(o for o in verdict_of(results)["said"] if o["text"] == down)
    assert len(said["findings"]) == 2


def test_a_fall_too_small_to_be_sure_of_is_told_and_not_praised() -> None:
    results = studied({
        "dense": ("dense", "none", 0.0, 0, {"a": (0.9, 0.1), "b": (0.6, 0.1)}),
        "magnitude": ("magnitude", "none", 0.9, 0, {"a": (0.89, 0.1), "b": (0.598, 0.1)}),
    }, apart=True)  # fmt: skip
    (one,) = found_in(results, "levelling_down")
    assert one.decision is None
    assert "too few samples to say whether this is levelling down" in text_of(results)


# --- the wrong why --------------------------------------------------------------------------------


def test_causes_are_those_of_the_dense_network_and_of_training() -> None:
    names = [f"g{place}" for place in range(9)]
    rows = []
    for model, slope in (("dense", 1.0), ("pruned", -1.0)):
        for place, name in enumerate(names):
            rows += [
                {"model": model, "group": name, "metric": metric, "value": value, "flag": "",
                 "n": 100}
                for metric, value in (("excess_risk", 0.1 * place),
                                      ("gradient_norm", slope * place))
            ]  # fmt: skip
    table = pd.DataFrame(rows)
    table["group"] = pd.Categorical(table["group"], names, ordered=True)
    models = [{"name": "dense", "method": "dense", "rate": 0.0, "seed": 0},
              {"name": "pruned", "method": "magnitude", "rate": 0.9, "seed": 0}]  # fmt: skip
    trained = {name: 900 - 100 * place for place, name in enumerate(names)}
    found = causes_table(table, models, trained).set_index("cause")["rho"]
    # The pruned network's own slope says the opposite; all groups are alike in the test split.
    assert found["gradient_norm"] == pytest.approx(1.0)
    assert found["group_size"] == pytest.approx(-1.0)


def test_every_cause_beyond_chance_stands_in_the_sentence(fake: Fake) -> None:
    results = fake(rates=(0.98,), methods=(("magnitude", "none"),))
    rows = results.record["tables"]["causes"]
    for row in rows:
        row["p_value"] = 0.001
    told = " ".join(verdict_of(results)["because"])
    beyond = [one for one in found_in(results, "cause") if one.decision]
    assert len(beyond) == 3  # all groups are alike in size
    assert told.count("adjusted p") == 3
    assert "3 causes were tested" in told


def test_too_few_groups_are_said_and_no_cause_is_denied(fake: Fake) -> None:
    results = fake(groups=("a", "b", "c"), harmed=("a",), rates=(0.98,),
                   methods=(("magnitude", "none"),), n=300)  # fmt: skip
    causes = found_in(results, "cause")
    assert causes
    assert all(one.decision is None for one in causes)
    assert "3 groups are too few" in text_of(results)
    assert "none of the" not in text_of(results)


def test_a_size_that_is_not_known_is_said_to_be_so_and_is_no_cause(fake: Fake) -> None:
    results = fake(rates=(0.98,), methods=(("magnitude", "none"),))
    assert "trained on is not known" not in text_of(results)
    for row in results.record["data"]["groups"]:
        row["train"] = 0
    sizes = [one for one in found_in(results, "cause") if one.metric == "group_size"]
    assert [one.decision for one in sizes] == [None]
    assert "trained on is not known: the data hold no training samples" in text_of(results)
    # Nor is it that of a split which is no more than drawn here.
    results.record["data"]["trained_elsewhere"] = True
    for row in results.record["data"]["groups"]:
        row["train"] = 100
    assert "not known: the split was drawn here, and what the dense network" in text_of(results)
    for row in results.record["data"]["groups"]:
        row["train"] = 0
    assert "not known: all samples are measured, and which of them it was" in text_of(results)


def test_what_is_alike_under_two_networks_is_said_once(fake: Fake) -> None:
    names = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")
    results = fake(rates=(0.98,), compared=names, groups=("a", "b", "c"), harmed=("a",))
    told = " ".join(verdict_of(results)["because"])
    assert told.count("too few for any correlation") == 1
    assert f"under {names[0]} and {names[1]} to be significant" in told


def test_the_boundary_is_told_of_several_networks_in_one_sentence(fake: Fake) -> None:
    methods = (("magnitude", "none"), ("random", "none"))
    results = fake(rates=(0.98,), methods=methods, harm=0.4)
    paying = [one for one in found_in(results, "pays") if one.decision]
    assert {one.label for one in paying} == {"magnitude", "random"}
    results.record["tables"]["boundary"] = [
        {"model": one.networks[0], "group": one.group, "harm": "accuracy", "composition": 0.11,
         "composition_ci_low": 0.07, "composition_ci_high": 0.15, "within": 0.222,
         "within_ci_low": 0.1, "within_ci_high": 0.3, "bins": 5}
        for one in paying
    ]  # fmt: skip
    (told,) = [s for s in verdict_of(results)["because"] if "so near the boundary pay" in s]
    assert "under magnitude at 98%, 11.0 [7.0, 15.0] are what any group's samples" in told
    assert "under random at 98%, 11.0 [7.0, 15.0] and 22.2 [10.0, 30.0]." in told


def test_no_layer_is_said_to_have_cost_nothing(fake: Fake) -> None:
    results = fake(rates=(0.98,))
    layers = results.layers.assign(value=0.0)
    assert not found_in(replace(results, layers=layers), "layer")
    assert "0.00 nats" not in text_of(replace(results, layers=layers))


def test_a_layer_is_told_with_its_kind(fake: Fake) -> None:
    results = fake(rates=(0.98,), methods=(("magnitude", "none"),))
    for row in results.record["tables"]["causes"]:
        row["share"] = 0.1 if row["cause"] == "taylor_remainder" else row["share"]
    if not any(r["cause"] == "taylor_remainder" for r in results.record["tables"]["causes"]):
        row = results.record["tables"]["causes"][0]
        results.record["tables"]["causes"].append(row | {"cause": "taylor_remainder", "share": 0.1})
    for model in results.record["models"]:
        model["layer_kinds"] = {"head": "linear"}
    (layer,) = found_in(results, "layer")
    assert layer.details["kind"] == "linear"
    assert "the change of 'head' (linear) cost" in text_of(results)


# --- no advice (thresholds: test_thresholds.py; λ_min, top-k, theorem 1: tests/measure) -----------


def test_every_verdict_ends_in_what_to_do_and_names_the_file(fake: Fake) -> None:
    results = fake(rates=(0.98,))
    action = str(verdict_of(results)["action"])
    assert action.startswith("Take bilevel (excess-accuracy) at 98% (models/")
    (one,) = found_in(results, "action")
    assert one.details["files"] == ["models/bilevel-excess-accuracy-0.98-seed0.pt"]
    assert facts(results)[-1].label == "What to do"


# --- wrong all-clears -----------------------------------------------------------------------------


def harmless(fake: Fake, **more: Any) -> Results:
    """A pruned network that says what the dense one says."""
    results = fake(rates=(0.8, 0.98), groups=("a", "b", "c"), n=4000, harmed=(),
                   methods=(("magnitude", "none"),), **more)  # fmt: skip
    samples = results.samples.copy()
    dense = samples.loc[samples["model"] == "dense-seed0", "prediction"].to_numpy()
    for name in samples["model"].unique():
        samples.loc[samples["model"] == name, "prediction"] = dense
    return judged_anew(replace(results, answers=Answers.of(samples)))


def without_dense(results: Results, known: str) -> Results:
    """The dense network is not there, and only one network was measured beside it."""
    samples = results.samples[results.samples["model"] != "dense-seed0"]
    own = samples["model"] == known
    models = [m for m in results.record["models"] if m["name"] != "dense-seed0"]
    return replace(
        results,
        answers=Answers.of(samples.assign(dense_prediction=samples["prediction"].where(own))),
        record=results.record | {"models": models},
    )


def test_a_clear_verdict_is_kept_only_where_every_group_was_judged(fake: Fake) -> None:
    assert [o.details["do"] for o in found_in(harmless(fake), "action")] == ["keep"]
    for left in ({"small": ("c",)}, {"absent": ("c",)}):
        results = harmless(fake, **left)
        assert [o.details["do"] for o in found_in(results, "action")] == ["collect"]
        verdict = verdict_of(results)
        assert "nothing is known of group c" in verdict["headline"]
        assert "Nothing is known of group c" in verdict["action"]
        tile = next(one for one in facts(judged_anew(results)) if one.label == "Who pays")
        assert "1 group not judged" in tile.detail


def test_a_clear_verdict_says_which_groups_it_is_about(fake: Fake) -> None:
    action = str(verdict_of(harmless(fake))["action"])
    assert action.endswith("Groups by anything but class were not looked at.")


def test_a_rate_that_is_not_known_is_not_cleared(fake: Fake) -> None:
    half = without_dense(harmless(fake), "magnitude-0.8-seed0")
    pays = {one.rate: one.decision for one in found_in(half, "pays", label="magnitude")}
    assert pays == {0.8: False, 0.98: None}
    verdict = verdict_of(half)
    assert "who pays under magnitude at 98% is not known" in verdict["headline"]
    assert "At 80% pruning by magnitude, no group was found to pay" in verdict["headline"]
    assert "98%, no group was found" not in verdict["headline"]
    assert [o.details["do"] for o in found_in(half, "action")] == ["unknown"]


def test_a_candidate_of_which_nothing_is_known_is_not_cleared(fake: Fake) -> None:
    names = ("magnitude-0.8-seed0", "magnitude-0.98-seed0")
    half = without_dense(harmless(fake, compared=names), names[0])
    verdict = verdict_of(half)
    assert f"who pays under {names[1]} is not known" in verdict["headline"]
    assert f"under {names[1]}, no group" not in verdict["headline"]
    told = " ".join(verdict["sentences"])
    assert f"{names[0]} and {names[1]} no group was found to pay" not in told


def test_networks_that_are_missing_are_said_in_headline_action_and_findings(fake: Fake) -> None:
    results = harmless(fake)
    lost = {"magnitude-0.9-seed0": "out of memory"}
    results.record["missing"] = [{"model": m, "reason": r} for m, r in lost.items()]
    (one,) = found_in(results, "missing")
    assert (one.decision, one.details["reason"]) == (None, "out of memory")
    verdict = with_missing(verdict_of(results), lost, 4)
    assert "Incomplete: 1 of 4 networks are missing" in verdict["headline"]
    assert "Incomplete: 1 of 4 networks are missing" in verdict["action"]


def test_the_samples_whose_attribute_is_missing_are_named_as_what_they_are(fake: Fake) -> None:
    results = fake(groups=("(missing)", "f × m", "f × (missing)"), harmed=(), rates=(0.98,))
    assert [one.group for one in found_in(results, "without_value")] == [
        "(missing)",
        "f × (missing)",
    ]
    told = text_of(results)
    assert "Group (missing) is 90 samples whose class is not known" in told


def test_small_harm_is_not_called_none(fake: Fake) -> None:
    results = fake(groups=("a", "b"), n=40_000, harmed=("a",), harm=0.012, rates=(0.98,),
                   methods=(("magnitude", "none"),))  # fmt: skip
    pays = [one for one in found_in(results, "pays") if one.decision]
    assert [one.group for one in pays] == ["a"]
    action = str(verdict_of(results)["action"])
    assert "what is paid is less than 2.0 points (group a at most" in action
    assert "no group was found to pay" not in action


def test_a_name_in_capitals_keeps_them(fake: Fake) -> None:
    results = fake(groups=("Black", "White"), harmed=(), rates=(0.98,), small=("Black",))
    assert "Group Black: too small for a verdict" in text_of(results)


def test_the_last_line_of_the_terminal_is_what_to_do(fake: Fake) -> None:
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    print_findings(fake(rates=(0.98,)), Console(file=out, width=100))
    assert "What to do" in out.getvalue().strip().split("\n\n")[-1]
