"""Sentences of findings that the test chose: each says what they hold, and no more."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from audit.findings.finding import Finding
from audit.findings.making import findings_from
from audit.findings.sentences import Verdict, make_verdict
from tests.findings.answered import answered, model, there

EVERY = ("fine", "worse", "gone", "near", "away")


def paid(label: str, estimate: float, decision: bool, group: str = "A", **details: Any) -> Finding:
    return Finding(
        "pays", decision, label=label, rate=0.9, networks=(label,), attribute="sex", group=group,
        estimate=estimate, low=estimate - 0.05, high=estimate + 0.05, n=200, details=details,
    )  # fmt: skip


def lost(label: str, estimate: float) -> Finding:
    details = {"leads": True, "lost": 1, "judged": 2, "ruined": False}
    return Finding(
        "loss", True, label=label, rate=0.9, networks=(label,), estimate=estimate,
        low=estimate - 0.01, high=estimate + 0.01, details=details,
    )  # fmt: skip


def said(found: Sequence[Finding], compared: Sequence[str] = (), baseline: str = "fine") -> Verdict:
    return make_verdict(found, baseline, compared)


def test_the_first_line_of_many_networks_tells_the_worst_and_counts_the_others() -> None:
    found = [
        paid("fine", 0.0, False),
        paid("worse", 0.2, True),
        paid("gone", 0.01, False),
        paid("near", 0.1, True),
        paid("away", 0.0, False),
        lost("gone", 0.4),
        lost("away", 0.03),
    ]
    assert said(found, ("dense", *EVERY)).headline.text == (
        "Accuracy fell under gone by 40.0 points [39.0, 41.0] and under away by 3.0 points "
        "[2.0, 4.0]; beyond that, under worse group A pays 20.0 points [15.0, 25.0] and under near "
        "group A pays 10.0 points [5.0, 15.0]; under gone, away and fine no group was found to "
        "pay; points of accuracy beyond the average, against the dense network."
    )
    more = [paid(name, 0.3, True) for name in "abcd"]
    assert "and 1 more; points of accuracy" in said(more, ("dense", *"abcd")).headline.text
    unknown = [Finding("pays", None, label=name, details={"why": "so"}) for name in "xy"]
    assert "; who pays under x and y is not known (so); points" in (
        said([*more, *unknown], ("dense", *"abcdxy")).headline.text
    )


def test_the_first_line_of_two_networks_begins_with_the_worse() -> None:
    found = [paid("fine", 0.2, True), paid("gone", 0.0, False), lost("gone", 0.03)]
    text = said(found, ("dense", "fine", "gone")).headline.text
    assert text.startswith(
        "Under fine, group A pays 20.0 points [15.0, 25.0]; under gone, accuracy"
    )
    assert "by 3.0 points [2.0, 4.0], and 1 of 2 groups lost beyond doubt; beyond that, no" in text


def test_who_pays_while_all_together_gain_is_told_with_both() -> None:
    gained = paid("fine", 0.12, True, own_drop=-0.005, whole_drop=-0.125)
    aside = "12.0 points [7.0, 17.0] (its accuracy changed by +0.5, that of all by +12.5)"
    assert aside in said([gained], ("dense", "fine")).headline.text
    assert aside in said([gained]).headline.text
    usual = paid("fine", 0.12, True, own_drop=0.16, whole_drop=0.04)
    assert "(" not in said([usual]).headline.text


@pytest.mark.parametrize(
    ("rate", "elsewhere", "text"),
    [
        (0.5, [], "somebody pays from 50% on, up to 90%, the highest rate measured."),
        (0.8, [], "somebody pays from 80% on, up to 90%, the highest rate measured; nobody "
                  "was found to pay at any lower rate."),
        (0.9, [], "somebody pays at 90%, the highest rate measured; nobody was found to "
                  "pay at any lower rate."),
        (0.9, [0.5], "somebody pays at 90%, the highest rate measured, and at 50%."),
        (0.0, [0.5, 0.8], "nobody was found to pay at 90%, but somebody does at 50% and 80%."),
    ],
)  # fmt: skip
def test_from_which_rate_on_is_told_in_words_that_fit(
    rate: float, elsewhere: list[float], text: str
) -> None:
    details = {"highest": 0.9, "rates": [0.5, 0.8, 0.9], "elsewhere": elsewhere}
    onset = Finding("onset", True, label="fine", rate=rate, details=details)
    sentences = [one.text for one in said([paid("fine", 0.2, True), onset]).sentences]
    assert f"Under fine, {text}" in sentences
    assert not said([Finding("onset", True, details={**details, "rates": [0.9]})]).sentences


@pytest.mark.parametrize(
    ("best", "group", "text"),
    [
        (0.03, "B", "3.0 points (group B, 400 samples) up to 5.0 points (group A, 200 samples);"),
        (0.0502, "B", "5.0 points, whichever it is;"),
        (0.05, "A", "5.0 points (group A, 200 samples);"),
    ],
)
def test_what_could_be_seen_is_told_once(best: float, group: str, text: str) -> None:
    details = {"best": best, "best_group": group, "best_n": 400}
    reach = Finding("detectable", False, group="A", estimate=0.05, n=200, details=details)
    (one,) = said([reach]).because
    assert f"four times in five, that a group pays {text} smaller harm may go unseen" in one.text


def test_a_rate_is_that_of_the_others_judged_where_some_are_not() -> None:
    details = {"rate_of": "selection rate", "rate_of_group": 0.5, "rate_of_others": 0.4,
               "class": "yes", "without": []}  # fmt: skip
    rates = Finding("beyond_chance", True, label="fine", group="A", estimate=0.1,
                    metric="demographic_parity_difference", details=details)  # fmt: skip
    left = Finding("left_out", True, group="C", details={"flag": "small"})
    for found, others in (([rates], "all others"), ([rates, left], "the others judged")):
        text = " ".join(one.text for one in said(found, ("dense", "fine")).sentences)
        assert f"group A is 50.0 %, that of {others} 40.0 % (class yes)" in text


def test_a_clear_verdict_tells_of_a_small_group_that_fell_behind() -> None:
    blocks = [("A", 1, 200, (1, 1)), ("B", 0, 100, (0, 0)), ("C", 1, 12, (1, 0)),
              ("D", 1, 4, (1, 1))]  # fmt: skip
    evidence = answered(("dense", "pruned"), blocks, compared=True, small=("C", "D"))
    told = make_verdict(findings_from(evidence), evidence.baseline, evidence.compared)
    assert "no group was found to pay" in told.headline.text
    behind = "group C (12 samples, too small for a verdict) fell behind the average under pruned by"
    assert f"but {behind} 96.2 points" in told.headline.text
    assert "nothing is known of group D, which is too small" in told.headline.text
    assert any(f"G{behind[1:]}" in one.text for one in told.sentences)
    assert told.action is not None
    assert "Too small for a verdict, but behind the average: group C by 96.2" in told.action.text
    assert "Nothing is known of group D" in told.action.text


def test_a_network_that_a_small_group_falls_behind_under_is_not_proposed() -> None:
    networks = ["dense", model("pruned", "magnitude"), model("fair", "bilevel")]
    blocks = [("A", 1, 70, (1, 1, 1)), ("A", 1, 30, (1, 0, 1)), ("B", 0, 200, (0, 0, 0))]
    for answers, do in (((1, 1, 1), "take"), ((1, 1, 0), "mitigate")):
        found = findings_from(answered(networks, [*blocks, ("C", 1, 12, answers)], small=("C",)))
        (action,) = [one for one in found if one.claim == "action"]
        assert action.details["do"] == do


def test_the_samples_that_are_needed_are_those_of_the_network_that_is_taken() -> None:
    """Under the pruned one A loses 30 of 100; under the fair one, taken instead, nobody any."""
    networks = ["dense", model("pruned", "magnitude"), model("fair", "bilevel")]
    blocks = [("A", 1, 70, (1, 1, 1)), ("A", 1, 30, (1, 0, 1)), ("B", 0, 200, (0, 0, 0))]
    found = findings_from(answered(networks, blocks))
    (action,) = [one for one in found if one.claim == "action"]
    assert action.details["do"] == "take"
    assert action.label == "bilevel"
    # ((z + 0.84)/0.02)² · (2/102 + 0.02), z of 1 − 0.05/4: nothing was seen but Bonett and Price's.
    assert action.details["needed"] == pytest.approx((3.0830 / 0.02) ** 2 * (2 / 102 + 0.02), 1e-2)


def test_two_groups_are_too_few_for_a_cause_and_said_to_be() -> None:
    row = {"model": "pruned", "cause": "group_size", "rho": None, "p_value": None, "n": 2}
    blocks = [("A", 1, 70, (1, 1)), ("A", 1, 30, (1, 0)), ("B", 0, 200, (0, 0))]
    found = findings_from(answered(("dense", "pruned"), blocks, tables={"causes": [row]}))
    (cause,) = [one for one in found if one.claim == "cause"]
    assert (cause.decision, cause.n, cause.metric) == (None, 2, None)
    because = [one.text for one in said(found, baseline="pruned").because]
    assert any(text.startswith("2 groups are too few for any correlation") for text in because)


def test_several_groups_of_single_runs_were_found_to_pay() -> None:
    def single(group: str) -> Finding:
        return replace(paid("fine", 0.1, False, group, runs_paying=1), runs=3, low=-0.1)

    one, two = ([single(name) for name in names] for names in ("A", "AB"))
    assert "; in single runs group A was" in said(one).headline.text
    assert "; in single runs group A and group B were" in said(two).headline.text
    every = [{"group": name, "runs": 1} for name in "ABCD"]
    action = Finding("action", True, label="fine", rate=0.9, attribute="sex", runs=3,
                     details={"do": "repeat", "in_single_runs": every, "unjudged": []})  # fmt: skip
    text = there(said([action]).action).text
    assert (
        "in single ones group A (in 1 of 3), group B (in 1 of 3), group C (in 1 of 3) and 1" in text
    )
    assert " more were. " in text


def less(label: str, estimate: float) -> Finding:
    return Finding(
        "changes_overall", True, label=label, rate=0.9, networks=(label,), metric="accuracy",
        estimate=estimate, low=estimate - 0.02, high=estimate + 0.02, n=400,
        details={"against": "fine"},
    )  # fmt: skip


def test_a_mended_network_that_lost_much_is_said_to_have() -> None:
    """Nobody was found to pay under it, which is no reason to take it."""
    found = [paid("fine", 0.06, False), paid("gone", 0.01, False), less("gone", -0.09)]
    verdict = said(found, ("fine", "gone"))
    assert verdict.headline.text == (
        "Under fine, no group was found to pay; under gone, no group was found to pay, and it is "
        "less accurate than fine by 9.0 points [7.0, 11.0]; each held against the dense network."
    )
    assert (
        "gone is less accurate than fine for all samples together (−9.0 points [−11.0, −7.0])."
        in [one.text for one in verdict.sentences]
    )
    little = said([*found[:2], less("gone", -0.03)], ("fine", "gone"))
    assert "less accurate" not in little.headline.text


def test_the_network_that_lost_much_is_not_to_be_taken() -> None:
    """Of 400 samples, 60 that the mended network alone gets wrong, as many in either group."""
    blocks = [
        (group, label, n, (label, label, label if right else 1 - label))
        for group, label in (("A", 1), ("B", 0))
        for n, right in ((170, True), (30, False))
    ]
    names = ("pruned", "mended")
    evidence = answered(["dense", *(model(name) for name in names)], blocks)
    tables = {**evidence.record["tables"], "compared": list(names)}
    evidence = replace(evidence, record={**evidence.record, "tables": tables})
    verdict = make_verdict(findings_from(evidence), *names[:1], names)
    text = there(verdict.action).text
    assert text.startswith("Collect samples before you rely on pruned")
    assert " Not mended: it loses 15.0 points [11.3, 18.5] of accuracy against pruned." in text
    assert "mended has the smallest" not in " ".join(one.text for one in verdict.sentences)


ADVICE: dict[str, Any] = {
    "do": "collect", "needed": 900, "needed_group": "A", "has": 200, "tolerance": 0.02,
    "seen": False, "unjudged": [], "small_harm": [], "faults": [], "instead_of": "fine",
}  # fmt: skip


def advised(**details: Any) -> str:
    one = Finding("action", True, label="fine", rate=0.9, attribute="sex", details=ADVICE | details)
    return there(said([paid("fine", 0.0, False), one], ("fine", "worse")).action).text


def test_why_another_network_is_not_to_be_taken_is_said_as_it_is() -> None:
    assert " Not worse: harm was found there." in advised(**{"not": ["worse"]})
    faults = {"not": ["worse", "gone", "near"], "not_faults": {"gone": ["collapse"], "near": []}}
    text = advised(**faults)
    assert " Not worse and near: harm was found there. Not gone: it has collapsed." in text
    much = {"worse": {"estimate": 0.09, "low": 0.07, "high": 0.11, "against": "fine"}}
    assert " Not worse: it loses 9.0 points [7.0, 11.0] of accuracy against fine." in advised(
        less=much
    )


def test_a_constraint_that_was_tried_is_not_advised_again() -> None:
    harm = [{"group": "A", "high": 0.3}]
    plain = advised(do="mitigate", small_harm=harm)
    assert "Prune again under a fairness constraint (audit mitigate), or prune less." in plain
    tried = advised(do="mitigate", small_harm=harm, constrained=True)
    assert "with other settings than were tried here" in tried
    assert "(audit mitigate)" not in tried
    spoiled = advised(do="mitigate", faults=["collapse"])
    assert spoiled.endswith("Prune less, or train longer after pruning.")


def test_what_samples_do_not_show_stands_beside_the_advice_to_prune_less() -> None:
    need = "group A would need about 900 samples; it has 200."
    text = advised(do="prune_less", lower=True)
    assert ", as at all below it, no group" in text
    assert need in text
    assert "below it" not in advised(do="prune_less", lower=False)
    assert need not in advised(do="prune_less", seen=True)


def test_one_network_that_is_less_fair_is_one() -> None:
    details = {"of": 3, "not_told_apart": ["b"], "accuracy": {"a": 0.9}, "collapsed": [],
               "balanced_accuracy": {"a": 0.9}, "lost": None}  # fmt: skip
    one = Finding("fairest", False, label="a", metric="max_excess_accuracy_gap", estimate=0.02,
                  details=details)  # fmt: skip
    texts = [own.text for own in said([paid("a", 0.0, False), one], ("a", "b", "c"), "a").sentences]
    assert any(text.endswith("from b; 1 other is significantly less fair.") for text in texts)


def test_two_runs_are_said_to_tell_little_of_a_third() -> None:
    for runs, told in ((2, True), (3, False)):
        one = replace(paid("fine", 0.2, True, runs_paying=runs), runs=runs)
        text = said([one]).headline.text
        assert f"the mean over {runs} runs (in {runs} of {runs} by itself)" in text
        assert ("two runs tell little of a third" in text) == told


def test_where_no_harm_would_have_been_seen_none_is_called_small() -> None:
    details = {"best": 0.3, "best_group": "B", "best_n": 400}
    reach = Finding("detectable", False, group="A", estimate=1.0, n=89, runs=2, details=details)
    verdict = said([paid("fine", 0.0, False), reach])
    assert "; any harm might have gone unseen for group A" in verdict.headline.text
    (text,) = [one.text for one in verdict.because]
    assert text == (
        "No harm to group A would surely have been seen in 89 samples of so few runs that differ: "
        "what was not found is not cleared."
    )
