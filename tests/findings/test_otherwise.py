"""What groups lost that their accuracy does not show: found where planted, and nowhere else."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import audit
from audit.findings.making import findings_from
from audit.findings.otherwise import NATS, lost_otherwise
from audit.findings.pays import who_pays
from audit.findings.sentences import make_verdict
from audit.findings.thresholds import Threshold, judge
from audit.report.facts import facts
from audit.study.mending import plan
from tests.findings.answered import answered, model, there

NAMES = ("dense", "pruned")
SWAPPED = [
    # Group A loses 30 of 200 of class 0 and wins as many of class 1: its accuracy stays.
    ("A", 0, 30, (0, 1)), ("A", 0, 150, (0, 0)), ("A", 0, 20, (1, 1)),
    ("A", 1, 30, (0, 1)), ("A", 1, 150, (1, 1)), ("A", 1, 20, (0, 0)),
    ("B", 0, 380, (0, 0)), ("B", 0, 20, (1, 1)),
    ("B", 1, 380, (1, 1)), ("B", 1, 20, (0, 0)),
]  # fmt: skip


def found(evidence):
    return [one for one in lost_otherwise(evidence, who_pays(evidence)) if one.details["class"]]


def test_what_a_group_loses_in_one_class_and_wins_in_another_is_found():
    evidence = answered(NAMES, SWAPPED, compared=True)
    assert not any(one.decision for one in who_pays(evidence))
    (one,) = (one for one in found(evidence) if one.decision)
    assert (one.group, one.details["class"], one.details["tests"]) == ("A", "0", 4)
    assert one.n == 200
    # What A lost of class 0, less what all 600 of class 0 lost.
    assert one.estimate == pytest.approx(30 / 200 - 30 / 600)
    assert 0 < there(one.low) < there(one.estimate) < there(one.high)


def test_that_others_gained_is_no_loss():
    """Of class 1 group B stands behind the average, which A raised, and lost nothing itself."""
    behind = next(
        one
        for one in found(answered(NAMES, SWAPPED))
        if (one.group, one.details["class"]) == ("B", "1")
    )
    assert there(behind.low) > 0
    assert behind.decision is False


def test_it_stands_in_headline_tile_advice_and_threshold():
    table = pd.DataFrame(
        [
            {"group": group, "label": label, "answers": answers}
            for group, label, n, answers in SWAPPED
            for _ in range(n)
        ]
    ).assign(sample=range(1200))
    tables = {
        name: table.assign(prediction=table["answers"].str[place]).drop(columns="answers")
        for place, name in enumerate(NAMES)
    }
    results = audit.compare_predictions(tables, "group")
    verdict, lost = results.record["verdict"], "group A lost 10.0 points"
    assert verdict["headline"].startswith("Under pruned, no group was found to pay;")
    assert f"; but under pruned {lost}" in verdict["headline"]
    assert any(one.startswith(f"Under pruned, {lost}") for one in verdict["sentences"])
    assert verdict["action"].startswith(
        "Do not ship pruned as it is: a group lost more than the average in one class"
    )
    assert "equalised-odds" in verdict["action"]
    _, tile, todo = facts(results)
    assert (tile.value, tile.harm, todo.value) == ("10.0 points", True, "Do not ship it")
    assert "group A lost more than the average on samples of class 0" in tile.detail
    chosen = plan(results, "pruned")
    assert (chosen.constraint, chosen.reason.startswith(lost)) == ("equalised-odds", True)
    judged = judge(results, [Threshold.parse("any group pays")])
    assert [one.note for one in judged if one.certain] == ["on samples of class 0"]


def test_a_network_under_which_one_class_pays_is_not_proposed():
    """The better of two by accuracy is not taken, and from it the sound one is."""
    blocks = [(group, label, n, (*both, both[0])) for group, label, n, both in SWAPPED]
    names = ("dense", "pruned", "sound")
    action = findings_from(answered(names, blocks, compared=True))[-1]
    assert (action.details["do"], action.label) != ("take", "pruned")
    evidence = answered(("dense", "sound", "pruned"), [
        (g, y, n, (b, b, p)) for g, y, n, (b, p) in SWAPPED
    ], compared=True)  # fmt: skip
    action = findings_from(evidence)[-1]
    assert (action.claim, action.label) == ("action", "sound")


def test_classes_of_few_samples_and_groups_without_others_are_not_judged():
    few = [(group, label, n if group == "B" else n // 10, answers)
           for group, label, n, answers in SWAPPED]  # fmt: skip
    assert {one.group for one in found(answered(NAMES, few))} == set()
    alone = [block for block in SWAPPED if block[:2] != ("B", 0)]
    assert {one.details["class"] for one in found(answered(NAMES, alone))} == {"1"}


def test_nothing_is_said_where_it_is_not_known_who_pays():
    evidence = answered(NAMES, SWAPPED, small=("B",))
    assert lost_otherwise(evidence, who_pays(evidence)) == []


def test_runs_are_a_mean():
    names = [model(f"{m}-{s}", m, seed=s) for m in NAMES for s in (0, 1)]
    blocks = [(g, y, n, (a, a, b, b)) for g, y, n, (a, b) in SWAPPED]
    (one,) = (one for one in found(answered(names, blocks)) if one.decision)
    assert (one.interval, one.runs) == ("seeds", 2)


def test_where_nothing_differs_between_groups_little_is_claimed():
    """All lose ten points alike: of 100 audits five may claim."""
    generator, claimed = np.random.default_rng(0), 0
    for _ in range(100):
        blocks = []
        for name, n in (("A", 100), ("B", 300), ("C", 600)):
            label, right, kept = (generator.random(n) < share for share in (0.5, 0.85, 0.88))
            answers = zip(label, label == right, label == (right & kept), strict=True)
            blocks += [(name, int(y), 1, (int(one), int(other))) for y, one, other in answers]
        claimed += any(one.decision for one in found(answered(NAMES, blocks)))
    assert claimed <= 5


def scores(scale: float) -> dict[str, pd.DataFrame]:
    """Of group A the pruned network is `scale` times as sure as the dense one, and decides alike."""
    generator = np.random.default_rng(3)
    label, group = np.arange(900) % 2, np.repeat(["A", "B", "C"], 300)
    logits = np.where(label == 1, 1, -1) * generator.normal(1.5, 1.2, 900)
    table = pd.DataFrame({"sample": range(900), "label": label, "group": group})
    after = logits * np.where(group == "A", scale, 1.0) + generator.normal(0, 0.01, 900)
    return {
        name: table.assign(score=1 / (1 + np.exp(-z)))
        for name, z in (("dense", logits), ("pruned", after))
    }


@pytest.mark.parametrize("scale", [0.1, 12.0])
def test_probabilities_that_got_worse_for_one_group_are_told(scale: float):
    """Unsure of all, or sure of what is wrong: its decisions are what they were."""
    results = audit.compare_predictions(scores(scale), "group")
    own = [f for f in results.record["findings"] if f["claim"] == "lost_otherwise"]
    (one,) = (f for f in own if f["decision"])
    assert (one["group"], one["metric"], one["details"]) == ("A", "excess_risk", {"class": None})
    assert one["estimate"] > NATS
    # The mean of A less that of all, whose samples are a third A's: 2/3 of (A less the others).
    loss = {name: -np.log(np.where(own["label"] == 1, own["score"], 1 - own["score"]))
            for name, own in scores(scale).items()}  # fmt: skip
    risk = (loss["pruned"] - loss["dense"]).reshape(3, 300)
    assert one["estimate"] == pytest.approx(risk[0].mean() - risk.mean())
    error = np.sqrt((np.array([2, 1, 1]) / 3) ** 2 @ (risk.var(1, ddof=1) / 300))
    assert one["interval"] == "single"
    assert one["high"] - one["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert one["low"] < one["estimate"] < one["high"]
    chosen = plan(results, "pruned")
    assert (chosen.constraint, "; but the loss of group A rose" in chosen.reason) == ("none", True)
    headline = results.record["verdict"]["headline"]
    assert "; but under pruned the loss of group A rose by" in headline
    assert "see its probabilities before they are used" in results.record["verdict"]["action"]
    assert facts(results)[1].value.endswith(" nats")
    (judged,) = (j for j in judge(results, [Threshold.parse("any group pays")]) if "nats" in j.note)
    assert (judged.certain, judged.possible) == (False, True)


def test_probabilities_that_are_as_they_were_are_not_told():
    results = audit.compare_predictions(scores(1.0), "group")
    assert not any(
        f["decision"] for f in results.record["findings"] if f["claim"] == "lost_otherwise"
    )
    assert "nats" not in results.record["verdict"]["headline"]


def test_who_pays_is_not_told_twice():
    """A group that pays in accuracy lost in its classes too: its finding is there, no sentence."""
    blocks = [
        ("A", 0, 60, (0, 1)), ("A", 0, 140, (0, 0)), ("A", 1, 60, (1, 0)), ("A", 1, 140, (1, 1)),
        ("B", 0, 400, (0, 0)), ("B", 1, 400, (1, 1)),
    ]  # fmt: skip
    evidence = answered(NAMES, blocks, compared=True)
    every = findings_from(evidence)
    assert sum(one.decision is True for one in every if one.claim == "lost_otherwise") == 2
    told = make_verdict(every, "dense", NAMES)
    assert not any("accuracy alone" in one.text for one in told.sentences)
    alone = [replace(one, decision=False) if one.claim == "pays" else one for one in every]
    told = make_verdict(alone, "dense", NAMES)
    assert any("accuracy alone" in one.text for one in told.sentences)
