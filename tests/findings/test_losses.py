"""A loss for all is told before who pays, by every channel, from one finding."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from audit.findings.answers import Answers
from audit.findings.evidence import Evidence
from audit.findings.finding import Finding
from audit.findings.losses import _lost_small_classes, losses, ruined
from audit.findings.making import findings_from
from audit.findings.outcomes import Cell, Outcomes
from audit.findings.pays import who_pays
from audit.findings.results import Results
from audit.findings.sentences import Verdict, make_verdict
from audit.findings.thresholds import RUINED, Threshold, judge
from audit.report.card import _finding
from audit.report.facts import facts
from audit.study.mending import plan
from tests.findings.answered import Block, answered

SAME, RUIN = (0, 0, 0), (40, 40, 40)


def lost(*networks: Sequence[int], compared: bool = False) -> Evidence:
    """Three groups of 200 in two classes, of whom a dense network gets nine tenths right.

    networks   how many of a hundred answers each network breaks, in groups A, B and C
    """
    blocks: list[Block] = []
    for group, broken in zip("ABC", zip(*networks, strict=True), strict=True):
        for label, other in ((0, 1), (1, 0)):
            blocks.append((group, label, 10, (other,) * (1 + len(networks))))
            for place in range(90):
                said = [other if place < share else label for share in broken]
                blocks.append((group, label, 1, (label, *said)))
    names = [f"pruned-{place}" for place in range(len(networks))]
    return answered(("dense", *names), blocks, compared=compared)


def results(evidence: Evidence, found: Sequence[Finding]) -> Results:
    record = {**evidence.record, "findings": [one.plain() for one in found]}
    return Results(evidence.groups, Answers({}), record)


def told(evidence: Evidence) -> tuple[list[Finding], Verdict]:
    found = findings_from(evidence)
    return found, make_verdict(found, evidence.baseline, evidence.compared)


@pytest.mark.parametrize(
    ("broken", "decision", "leads", "groups", "kept"),
    [
        (SAME, False, False, 0, 1.0),
        ((1, 1, 1), None, False, 0, 0.975),
        (RUIN, True, True, 3, 0.0),
        ((54, 0, 0), True, False, 1, 0.55),  # A pays 36 points beyond the 18 that all lose
        ((45, 30, 30), True, True, 3, 0.125),  # A pays 10 points beyond the 35
        ((10, 10, 0), True, True, 2, 5 / 6),
    ],
)
def test_a_loss_is_much_beyond_doubt_and_leads_where_nobody_pays_more(
    broken: tuple[int, ...], decision: bool | None, leads: bool, groups: int, kept: float
) -> None:
    evidence = lost(broken)
    (one,) = losses(evidence, who_pays(evidence))
    assert one.decision is decision
    assert one.estimate == pytest.approx(sum(broken) / 300)
    assert one.n == 600
    assert (one.details["leads"], one.details["lost"], one.details["judged"]) == (leads, groups, 3)
    assert one.details["kept"] == pytest.approx(kept)
    assert ruined(one) is (kept < 0.5)


def test_the_interval_is_that_of_equal_strata() -> None:
    """Bonett and Price's, of each group; w = 1/3 of three alike is √3 narrower than one's."""
    (one,) = losses(lost((10, 10, 10)), [])
    count, total = 202, 20
    error = np.sqrt(total + 2 - total**2 / count) / count
    down = 0.1 - (total / count - norm.ppf(0.975) * error)
    up = total / count + norm.ppf(0.975) * error - 0.1
    assert one.low == pytest.approx(0.1 - down / np.sqrt(3))
    assert one.high == pytest.approx(0.1 + up / np.sqrt(3))
    assert one.interval == "single"


def test_half_of_what_was_known_is_the_border_of_ruin() -> None:
    for broken, gone in ((19, False), (21, True)):
        (one,) = losses(lost((broken,) * 3), [])
        assert one.details["kept"] == pytest.approx(1 - broken / 40)
        assert ruined(one) is gone


def test_without_samples_a_loss_has_no_share_that_is_left() -> None:
    evidence = lost(RUIN)
    shares = [
        {"model": "pruned-0", "group": g, "n": 200, "metric": metric, "value": share, "flag": ""}
        for g in "ABC"
        for metric, share in (("broken", 0.4), ("mended", 0.0))
    ]
    rows = pd.concat([evidence.groups, pd.DataFrame(shares)], ignore_index=True)
    rows["group"] = pd.Categorical(rows["group"], categories=list("ABC"), ordered=True)
    (one,) = losses(replace(evidence, groups=rows, outcomes=None), [])
    assert (one.decision, one.details["leads"]) == (True, True)
    assert (one.details["kept"], ruined(one)) == (None, False)
    assert losses(replace(evidence, outcomes=None), []) == []


def test_every_channel_leads_with_a_loss_for_all() -> None:
    evidence = lost(RUIN)
    found, verdict = told(evidence)
    fell = "accuracy fell by 40.0 points [35.8, 43.7], and every group lost"
    assert verdict.headline.text.startswith(
        f"Under pruned-0 at 90%, {fell}; beyond that, no group "
    )
    assert "no group was found to pay more than the others" in verdict.headline.text
    assert [found[place].claim for place in verdict.headline.findings].count("loss") == 1
    said = (
        "accuracy fell under pruned-0 at 90% by 40.0 points [35.8, 43.7] (every group lost; 0.0 %"
    )
    assert any(said in one.text for one in verdict.sentences)
    assert verdict.action is not None
    assert verdict.action.text.startswith("Do not ship pruned-0 at 90% as it is: most of what ")
    assert verdict.action.text.endswith(" Prune less, or train longer after pruning.")
    made = results(evidence, found)
    who, *_, todo = facts(made)
    assert (who.value, who.harm) == ("Everybody", True)
    assert who.detail == (f"pruned-0, 90% removed: {fell}; beyond that, no group was found to pay")
    assert (todo.value, todo.detail) == ("Do not ship it", "prune less, or train longer")
    card = _finding(made.record, made.record["models"][1])
    assert card.startswith(f"Against the dense network, {fell}. Beyond that: No group was found")
    assert f"; but {fell}; harm below" in plan(made, "pruned-0").reason


def test_thresholds_follow_the_finding() -> None:
    for broken, certain, possible, notes in (
        (RUIN, True, True, {"", RUINED}),
        ((10, 10, 10), True, True, {""}),
        ((1, 1, 1), False, True, {""}),
        (SAME, False, False, {"it answered every sample as the dense network does"}),
    ):
        evidence = lost(broken)
        made = results(evidence, findings_from(evidence))
        (whole,) = judge(made, [Threshold.parse("large loss")])
        assert (whole.certain, whole.possible) == (certain, possible)
        paying = judge(made, [Threshold.parse("any group pays")])
        assert {one.note for one in paying} == notes
        assert any(one.certain for one in paying) is (RUINED in notes)


def test_who_pays_beyond_a_loss_for_all_is_told_after_it() -> None:
    evidence = lost((45, 30, 30))
    found, verdict = told(evidence)
    assert verdict.headline.text.startswith("Under pruned-0 at 90%, accuracy fell by 35.0 points")
    assert "; beyond that, group A pays 10.0 points [" in verdict.headline.text
    assert verdict.headline.text.endswith("] more than the average.")
    assert "somebody pays and most of what " in str(verdict.action)
    (who, *_) = facts(results(evidence, found))
    assert who.detail.endswith("; beyond that, group A pays 10.0 points")
    # Where one group pays more than all lose, it is told first, as ever.
    _, verdict = told(lost((60, 0, 0)))
    assert verdict.headline.text.startswith("Pruning to 90% by pruned-0 harms some groups more")


def test_a_comparison_begins_with_the_network_that_lost_much() -> None:
    evidence = lost(SAME, RUIN, compared=True)
    found, verdict = told(evidence)
    assert verdict.headline.text.startswith("Under pruned-1, accuracy fell by 40.0 points [")
    assert "beyond that, no group was found to pay; under pruned-0, no group" in (
        verdict.headline.text
    )
    assert verdict.action is not None
    assert verdict.action.text.startswith("Take pruned-0 instead of pruned-1")
    dense, fine, gone, _ = facts(results(evidence, found))
    assert (dense.value, fine.harm) == ("Dense", False)
    assert (gone.label, gone.value, gone.harm) == ("pruned-1", "Everybody", True)
    # A ruined network has small gaps because it says nothing: it is the fairest of none.
    (fairest,) = [one for one in told(lost(RUIN, SAME, (1, 0, 0)))[0] if one.claim == "fairest"]
    assert fairest.details["collapsed"] == ["pruned-0"]


def test_a_loss_that_may_be_borne_is_said_with_the_advice() -> None:
    evidence = lost((10, 10, 10))
    found, verdict = told(evidence)
    assert verdict.action is not None
    assert verdict.action.text.startswith("Collect samples before you rely on pruned-0")
    assert " Its accuracy is 10.0 points [7.4, 12.4] below the dense network's." in (
        verdict.action.text
    )
    (action,) = [one for one in found if one.claim == "action"]
    kept = replace(action, details={**action.details, "do": "keep"})
    said = make_verdict([kept], "pruned-0", ()).action
    assert said is not None
    assert said.text.startswith("Keep pruned-0 at 90% if a loss of 10.0 points [7.4, 12.4] for all")
    tile = facts(results(evidence, [kept]))[-1]
    assert tile.value == "Weigh its loss"
    assert tile.detail.startswith("10.0 points for all; beyond that, harm of 2.0 points")


def test_a_loss_is_told_where_nobody_can_say_who_pays_beyond_it() -> None:
    evidence = lost(RUIN)
    flags = np.where(evidence.groups["group"] == "A", "", "small")
    _, verdict = told(replace(evidence, groups=evidence.groups.assign(flag=flags)))
    assert verdict.headline.text == (
        "Under pruned-0 at 90%, accuracy fell by 40.0 points [35.8, 43.7]; who pays "
        "beyond that is not known: fewer than two groups are judged."
    )


def rare(broken: int, *, alarms: int = 0, compared: bool = False) -> Evidence:
    """Two groups of 1,000, 90 of a hundred of class 0; the dense network finds 80 of 100 of class 1.

    broken   of those, how many of a hundred the pruned network calls class 0
    alarms   of a hundred of class 0 how many the dense network alone calls class 1
    """
    blocks: list[Block] = []
    for group in "AB":
        blocks += [(group, 0, 9 * (100 - alarms), (0, 0)), (group, 0, 9 * alarms, (1, 0))]
        blocks += [(group, 1, 20, (0, 0)), (group, 1, 80 - broken, (1, 1))]
        blocks.append((group, 1, broken, (1, 0)))
    return answered(("dense", "pruned-0"), blocks, compared=compared)


def test_a_class_that_is_lost_is_told_first_though_accuracy_hides_it() -> None:
    evidence = rare(15)  # accuracy −1.5 points; κ falls by a fifth
    assert not ruined(losses(evidence, [])[0])
    evidence = rare(60, compared=True)  # every group loses 6 points, and class 1 three quarters
    found, verdict = told(evidence)
    (one,) = losses(evidence, [])
    assert (one.details["class"], one.details["class_before"], one.details["class_after"]) == (
        "1",
        0.8,
        0.2,
    )
    left = "35.3 % is left of what the dense network tells of the labels, by Cohen's κ (class 1"
    assert verdict.headline.text.startswith(
        f"Under pruned-0, {left}: 20.0 % right, before 80.0 %); accuracy"
    )
    assert any(text.text.startswith(f"Under pruned-0, {left}") for text in verdict.sentences)
    tile = next(one for one in facts(results(evidence, found)) if one.label == "pruned-0")
    assert (tile.value, tile.harm) == ("Little is left", True)
    made = results(evidence, found)
    assert any(one.certain and one.note == RUINED for one in judge(
        made, [Threshold.parse("any group pays")]
    ))  # fmt: skip
    (whole,) = judge(made, [Threshold.parse("large loss")])
    assert whole.certain


def test_a_network_can_be_ruined_while_its_accuracy_rises() -> None:
    evidence = rare(80, alarms=10)  # it says class 0 of all, and is right on 90 of a hundred
    _, verdict = told(evidence)
    (one,) = losses(evidence, [])
    assert one.estimate == pytest.approx(-0.01)
    assert (one.decision, ruined(one), one.details["kept"]) == (True, True, 0.0)
    assert "0.0 % right, before 80.0 %); accuracy rose by 1.0 points [" in verdict.headline.text
    assert verdict.action is not None
    assert verdict.action.text.startswith("Do not ship pruned-0")


@pytest.mark.parametrize(("times", "gone"), [(1, True), (0.1, False)])
def test_few_samples_do_not_show_that_a_network_is_ruined(times: float, gone: bool) -> None:
    blocks: list[Block] = [
        (group, label, max(1, round(times * number)), said)
        for group in "AB"
        for label, number, said in (
            (0, 270, (0, 0)),
            (1, 6, (0, 0)),
            (1, 8, (1, 1)),
            (1, 16, (1, 0)),
        )
    ]
    (one,) = losses(answered(("dense", "pruned-0"), blocks), [])
    assert one.details["kept"] < 0.55
    assert ruined(one) is gone


def test_a_class_that_is_a_group_is_told_as_the_group_that_pays() -> None:
    blocks: list[Block] = [("A", 0, 400, (0, 0)), ("C", 1, 54, (1, 0)), ("C", 1, 6, (0, 0))]
    evidence = answered(("dense", "pruned-0"), blocks, compared=True)
    found, verdict = told(evidence)
    (one,) = [one for one in found if one.claim == "loss"]
    assert (one.details["class"], ruined(one), one.details["leads"]) == ("1", True, False)
    assert verdict.headline.text.startswith("Under pruned-0, group C pays ")


def test_of_many_networks_that_lost_a_class_three_are_told_and_the_rest_counted() -> None:
    blocks: list[Block] = [
        (group, label, number, (label, *[said] * 5))
        for group in "AB"
        for label, number, said in ((0, 900, 0), (1, 80, 0), (1, 20, 1))
    ]
    _, verdict = told(
        answered(("dense", *(f"pruned-{n}" for n in range(5))), blocks, compared=True)
    )
    (said,) = [one.text for one in verdict.sentences if "is left of what the dense" in one.text]
    assert said.count("is left of what the dense") == 3
    assert said.endswith("; 2 more lost a class so.")


def of_classes(
    broken: int, *, size: int = 30, classes: int = 4, group: str = "", compared: bool = True
) -> Evidence:
    """Two groups, each with 300 samples of every class but the last, of which there are `size`.

    The dense network is right on 90 of a hundred of each, and the pruned one on all of these but
    for `broken` of a hundred of the last class.

    group   where it is named, all of the last class are in a group of this name
    """
    *large, last = range(classes)
    blocks: list[Block] = []
    for own in "AB":
        for label in large:
            blocks += [(own, label, 270, (label, label)), (own, label, 30, (last, last))]
        gone = round(size * broken / 100)
        right = round(size * 0.9) - gone
        whose = group or own
        blocks += [(whose, last, right, (last, last)), (whose, last, gone, (last, 0))]
        blocks.append((whose, last, size - right - gone, (0, 0)))
    return answered(("dense", "pruned-0"), [one for one in blocks if one[2]], compared=compared)


def test_one_class_of_several_that_is_lost_is_told_though_all_others_are_kept() -> None:
    evidence = of_classes(90)
    found, verdict = told(evidence)
    (one,) = losses(evidence, [])
    assert one.details["kept"] > 0.9
    assert (one.details["class"], one.details["class_after"]) == ("3", 0.0)
    assert (ruined(one), one.details["class_lost"], one.details["leads"]) == (True, True, True)
    lost = "most of class 3 is lost (0.0 % right, before 90.0 %); accuracy fell by 2.9 points ["
    assert verdict.headline.text.startswith(f"Under pruned-0, {lost}")
    assert verdict.action is not None
    assert verdict.action.text == (
        "Do not ship pruned-0 as it is: most of class 3 is lost, and no other network measured "
        "here is cleared. Prune less, or train longer after pruning."
    )
    made = results(evidence, found)
    tile = next(one for one in facts(made) if one.label == "pruned-0")
    assert (tile.value, tile.harm) == ("Class 3 lost", True)
    paying = judge(made, [Threshold.parse("any group pays")])
    assert [one.note for one in paying if one.certain] == [
        "everybody does: most of class 3 is lost"
    ]
    (whole,) = judge(made, [Threshold.parse("large loss")])
    assert whole.certain


@pytest.mark.parametrize(
    ("broken", "size", "classes", "lost"),
    [
        (90, 30, 4, True),
        (40, 30, 4, False),  # more than half is left
        (53, 30, 4, False),  # less than half is left, but not beyond doubt
        (60, 300, 4, True),
        (90, 14, 4, True),  # 28 samples of it, all 26 right answers gone
        (90, 5, 4, True),  # all 8 of 10: one of 256 by chance
        (90, 3, 4, False),  # all 6 of 6: one of 64 by chance
        (50, 14, 4, False),  # 14 of 26
        (90, 30, 60, True),
        (80, 20, 60, False),  # one of sixty classes looks so by chance
        (80, 20, 2, True),
    ],
)
def test_a_class_is_lost_where_less_than_half_is_left_beyond_doubt(
    broken: int, size: int, classes: int, lost: bool
) -> None:
    (one,) = losses(of_classes(broken, size=size, classes=classes), [])
    assert one.details["class_lost"] is lost


def test_a_small_class_that_is_lost_is_told_with_its_samples_and_ends_every_all_clear() -> None:
    evidence = of_classes(90, size=5)
    found, verdict = told(evidence)
    (one,) = losses(evidence, [])
    assert (one.details["class"], one.details["class_n"], one.details["classes_lost"]) == (
        "3",
        10,
        1,
    )
    assert verdict.headline.text.startswith(
        "Under pruned-0, most of class 3 is lost (0.0 % right, before 80.0 %, of 10 samples); "
    )
    assert verdict.action is not None
    assert verdict.action.text.startswith("Do not ship pruned-0 as it is: most of class 3 is lost")
    assert next(f for f in facts(results(evidence, found)) if f.label == "pruned-0").harm


def test_a_class_too_small_for_a_verdict_that_is_gone_is_no_part_of_an_all_clear() -> None:
    for compared in (True, False):
        evidence = of_classes(90, size=3, compared=compared)
        _, verdict = told(evidence)
        (one,) = losses(evidence, [])
        assert one.details["classes_gone"] == [{"class": "3", "right": 6}]
        assert not ruined(one)
        gone = "no right answer is left of class 3 (of 6)"
        assert (
            f"; but under pruned-0{'' if compared else ' at 90%'} {gone}" in verdict.headline.text
        )
        assert any(f"{gone}, too few samples" in said.text for said in verdict.sentences)
        assert verdict.action is not None
        assert f" No{gone[2:]}." in verdict.action.text
        assert not verdict.action.text.startswith("Keep")
    blocks: list[Block] = [(g, c, 200, (c, c)) for g in "AB" for c in (0, 1)]
    blocks.append(("A", 2, 4, (2, 0)))
    for left, told_of in (((2, 0), [{"class": "2", "right": 5}]), ((2, 2), [])):
        (one,) = losses(answered(("dense", "pruned-0"), [*blocks, ("B", 2, 1, left)]), [])
        assert one.details["classes_gone"] == told_of


def test_a_small_class_with_less_than_half_left_is_a_row_though_no_claim() -> None:
    """Of twelve right answers nine went, p = 0.07: nothing is claimed, and nothing kept silent."""
    blocks: list[Block] = [(g, c, 200, (c, c)) for g in "AB" for c in (0, 1)]
    for left, told_of in ((3, True), (6, False), (7, False)):
        rare: list[Block] = [("A", 2, left, (2, 2)), ("B", 2, 12 - left, (2, 0))]
        evidence = answered(("dense", "pruned-0"), [*blocks, *rare], compared=True)
        (one,) = losses(evidence, [])
        assert not one.details["class_lost"]
        row = [{"class": "2", "right": 12, "left": left}]
        assert one.details["classes_few"] == (row if told_of else [])
        _, verdict = told(evidence)
        said = "less than half of the right answers is left of class 2 (3 of 12), too few samples"
        assert any(said in own.text for own in verdict.sentences) is told_of
        assert "class 2" not in verdict.headline.text


def test_where_every_class_is_small_what_is_lost_of_one_is_told() -> None:
    blocks: list[Block] = [("A", 0, 12, (0, 0)), ("B", 0, 12, (0, 0)), ("A", 1, 9, (1, 0))]
    (one,) = losses(answered(("dense", "pruned-0"), blocks), [])
    assert (one.details["class"], one.details["class_n"], one.details["class_lost"]) == (
        "1",
        9,
        True,
    )
    (one,) = losses(answered(("dense", "pruned-0"), blocks[:2]), [])
    assert (one.details["class"], one.details["class_lost"]) == (None, False)


def test_samples_of_one_person_do_not_show_that_a_small_class_is_lost() -> None:
    """Twelve samples of the class: of six persons no loss is beyond doubt, of twelve it is."""
    blocks: list[Block] = [(g, c, 200, (c, c)) for g in "AB" for c in (0, 1)]
    blocks.append(("A", 2, 12, (2, 0)))
    for units, lost in ((1, True), (2, False)):
        (one,) = losses(answered(("dense", "pruned-0"), blocks, units=units), [])
        assert one.details["class_lost"] is lost


def test_small_classes_are_rarely_called_lost_by_chance() -> None:
    """Two networks as good as each other, 40 classes of 2 to 29 samples: under one audit in 100."""
    generator, wrong, audits = np.random.default_rng(0), 0, 200
    for _ in range(audits):
        labels = np.repeat(np.arange(40), generator.integers(2, 30, 40))
        first, second = (
            np.where(generator.random(len(labels)) < 0.3, labels, 39 - labels)[None]
            for _ in range(2)
        )
        alike = Outcomes(
            ("a",), tuple(map(str, range(40))), ("g",), "", np.arange(len(labels)),
            np.zeros_like(labels), labels, second, first, np.zeros(second.shape), np.zeros(second.shape),
        )  # fmt: skip
        cell = Cell("a", 0.9, ("a",), np.array([0]), "none", False)
        wrong += int(_lost_small_classes(alike, cell, np.arange(40)).any())
    assert wrong <= 0.02 * audits


def test_an_all_clear_of_equal_answers_says_that_they_are_equal() -> None:
    _, verdict = told(lost(SAME, (1, 1, 1), compared=True))
    assert "; pruned-0 answered every sample as the dense network does" in verdict.headline.text
    _, verdict = told(lost((1, 1, 1), compared=True))
    assert "answered every sample" not in verdict.headline.text


def test_a_lost_class_that_is_a_group_is_told_as_the_group_that_pays() -> None:
    found, verdict = told(of_classes(90, group="C"))
    (one,) = [one for one in found if one.claim == "loss"]
    assert (one.details["class_lost"], ruined(one)) == (True, False)
    assert verdict.headline.text.startswith("Under pruned-0, group C pays ")


def test_balanced_accuracy_that_is_lost_is_weighed_though_accuracy_hides_it() -> None:
    """The last class falls from 90 to 60 %: a quarter of that in balanced accuracy."""
    found, verdict = told(of_classes(30, size=60))
    (one,) = [one for one in found if one.claim == "loss"]
    balanced = one.details["balanced"]
    assert balanced["estimate"] == pytest.approx(0.3 / 4)
    assert balanced["low"] < 0.3 / 4 < balanced["high"]
    assert (one.decision, ruined(one)) == (None, False)
    (action,) = [one for one in found if one.claim == "action"]
    assert action.details["loss"] == {**balanced, "of": "balanced accuracy"}
    assert verdict.action is not None
    assert " if a loss of 7.5 points [" in verdict.action.text
    assert "] of balanced accuracy can be borne: no group was found" in verdict.action.text
