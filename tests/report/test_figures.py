import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from audit.findings.finding import claimed
from audit.findings.words import percent
from audit.report import figures, sections, svg
from audit.report.sections import SIDE_BY_SIDE
from audit.report.shaping import MOST_EMPHASISED, emphasised, marked, parts_of_gaps, told_small
from audit.report.svg import distinct, heading, short


def _by_rate(methods=("magnitude",), groups=("a", "b"), rates=(0.0, 0.9)) -> pd.DataFrame:
    return pd.DataFrame(
        {"method": method, "rate": rate, "group": group, "metric": "accuracy", "value": 0.9,
         "low": 0.8, "high": float("nan")}
        for method in methods for rate in rates for group in groups
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "text"), [(0.995, "99.5%"), (0.9375, "93.75%"), (0.8, "80%"), (0.29, "29%")]
)
def test_a_rate_is_not_rounded_up_to_all(rate, text):
    assert percent(rate) == text


def test_no_two_of_six_methods_look_alike():
    looks = list(zip(figures.COLOURS, figures.MARKERS, figures.DASHES, strict=True))
    assert len(looks) == 6
    assert all(len(set(kind)) == 6 for kind in zip(*looks, strict=True))


def test_a_long_name_is_cut_and_an_empty_one_said():
    assert short("x" * 300, 12) == "x" * 11 + "…"
    assert short("", 12) == "(empty)"
    assert short("two\nlines", 12) == "two lines"


def test_names_stay_apart_when_they_are_cut():
    """Crossed groups begin alike, and what tells them apart stands at the end."""
    crossed = ["Amer-Indian-Eskimo × Female", "Amer-Indian-Eskimo × Male", "a × " + "b" * 40]
    cut = distinct(crossed, 22)
    assert cut == ["Amer-Indian-… × Female", "Amer-Indian-Es… × Male", "a × " + "b" * 17 + "…"]
    assert distinct(["p" * 30 + " one", "p" * 30 + " two"], 12) == ["ppppp…pp one", "ppppp…pp two"]
    same = ["p" * 30 + "1" + "q" * 30, "p" * 30 + "2" + "q" * 30]
    assert distinct(same, 12) == same
    assert distinct(["x", "y" * 30], 12) == ["x", "y" * 11 + "…"]


def test_a_long_name_over_a_narrow_panel_takes_two_lines():
    assert heading("bilevel-equalised-odds-0.98-seed0", 3) == "bilevel-equalised-\nodds-0.98-seed0"
    assert heading("x" * 99, 3) == "x" * 23 + "\n" + "x" * 22 + "…"
    assert heading("bilevel-equalised-odds-0.98-seed0", 2) == "bilevel-equalised-odds-0.98-seed0"


def test_points_of_long_names_have_numbers_and_a_key():
    groups = ["Amer-Indian-Eskimo × Female", "Amer-Indian-Eskimo × Male"]
    table = pd.DataFrame({"group": groups, "closeness": [0.1, 0.2], "excess_risk": [0.1, 0.2]})
    table = table.rename(columns={"closeness": "boundary_closeness"})
    pairs = [("boundary_closeness", "excess_risk")]
    texts = _texts(figures.scatters(table, pairs, "s"))
    assert {"1", "2", *(f"{place}  {group}" for place, group in enumerate(groups, 1))} <= set(texts)
    texts = _texts(figures.scatters(table.assign(group=["left", "right"]), pairs, "s"))
    assert {"left", "right"} <= set(texts)


@pytest.mark.parametrize("name", [r"$\frac{", "漢字", "a_{b}^c", "<b>"])
def test_a_name_is_never_read_as_a_formula_and_never_warns(name):
    svg = figures.groups_by_rate(_by_rate(groups=(name, "b")), ["accuracy"], [name], "test")
    assert svg.startswith("<svg")


def test_the_constraint_of_a_method_stands_on_a_line_of_its_own():
    assert figures._label_lines("magnitude") == ["magnitude"]
    two = ["gradual-excess-accuracy", "(equalised-odds)"]
    assert figures._label_lines(" ".join(two)) == two
    assert figures._label_lines("input distance to the boundary") == [
        "input distance to the",
        "boundary",
    ]


@pytest.mark.parametrize("number", [2, 3])
def test_methods_side_by_side_have_a_panel_a_metric(number):
    metrics = list(SIDE_BY_SIDE)[:number]
    table = pd.concat([_by_rate(("m", "n")).assign(metric=metric) for metric in metrics])
    table["floor"] = [0.02, *[float("nan")] * (len(table) - 1)]
    svg = figures.methods_by_rate(table, metrics, {"accuracy": 0.96}, "test")
    tips = [text.split("</title>")[0] for text in svg.split("<title>")[1:]]
    dense = [tip for tip in tips if tip == "dense: 96.0 %"]
    assert len(dense) == metrics.count("accuracy")
    assert "noise floor, 95th percentile" in svg
    assert len(tips) == len(table) + len(dense)
    assert sum(tip.startswith("n, 90%") for tip in tips) == 2 * number


def test_many_methods_stand_below_one_another():
    def size(methods):
        table = _by_rate(methods=methods)
        svg = figures.groups_by_rate(table, ["accuracy", "accuracy"], ["a"], "test")
        width, height = svg.split('viewBox="0 0 ')[1].split('"')[0].split()
        return float(width), float(height)

    assert size(["m1", "m2", "m3"])[1] < size(["m1", "m2", "m3", "m4"])[1]


def test_only_harmed_groups_are_emphasised(fake):
    results = fake(harmed=("8", "3"))
    named = results.groups.assign(label=results.groups["method"])
    pays = claimed(results.record, "pays")
    assert emphasised(named, 0.98, "magnitude", pays) == ["3", "8"]


def test_the_groups_that_the_baseline_harms_are_emphasised_first(fake):
    results = fake(harmed=("8",))
    groups = results.groups.assign(label=results.groups["method"])
    other = (groups["label"] == "bilevel") & (groups["metric"] == "excess_accuracy_gap")
    groups.loc[other, "value"] = 0.9
    pays = {
        key: replace(one, decision=True) if key[0].startswith("bilevel") else one
        for key, one in claimed(results.record, "pays").items()
    }
    found = emphasised(groups, 0.98, "magnitude", pays)
    assert "8" in found
    assert len(found) == MOST_EMPHASISED


def test_without_harm_the_largest_gap_alone_is_emphasised(fake):
    results = fake(harmed=(), harm=0.0)
    named = results.groups.assign(label=results.groups["method"])
    assert len(emphasised(named, 0.98, "magnitude", claimed(results.record, "pays"))) == 1


def test_every_gap_is_drawn_as_two_parts_that_add_up_to_it():
    rows = pd.DataFrame(
        {"label": "pruned", "group": list("ab"), "gap": [0.1, -0.1], "composition": [0.14, -0.1],
         "within": [-0.04, 0.0]}
    )  # fmt: skip
    svg = figures.parts_of_gaps(rows, ["pruned"], "test")
    tips = [text.split("</title>")[0] for text in svg.split("<title>")[1:]]
    assert len(tips) == 4
    assert sum(tip.startswith("a: 14.0 points for being near the boundary") for tip in tips) == 1
    assert sum(tip.startswith("a: −4.0 points beyond others") for tip in tips) == 1
    assert "the gap: both together" in svg


def test_the_parts_of_a_method_are_the_mean_over_its_networks():
    rows = [
        {"model": model, "group": "a", "harm": harm, "gap": gap, "composition": gap, "within": 0.0}
        for model, gap in (("m0", 0.1), ("m1", 0.3), ("other", 0.9))
        for harm in ("accuracy", "loss")
    ]
    table = parts_of_gaps({"tables": {"boundary": rows}}, {"m": ["m0", "m1"]})
    assert table[["label", "group"]].to_numpy().tolist() == [["m", "a"]]
    assert table["gap"].tolist() == pytest.approx([0.2])
    assert parts_of_gaps({"tables": {}}, {"m": ["m0"]}).empty


def test_a_small_group_carries_a_mark_that_the_caption_tells(fake):
    names = marked(fake(small=("9",)).groups)
    assert names["9"] == "9°"
    assert names["8"] == "8"
    assert "too few samples" in told_small(names)
    assert told_small(marked(fake().groups)) == ""


def test_a_heat_map_whose_fields_are_too_narrow_says_so_and_where_its_numbers_are() -> None:
    few = pd.DataFrame([[0.5, 0.25]], columns=["conv", "head"], index=["a"])
    many = pd.DataFrame(np.full((30, 40), 0.123), columns=[f"layer {i}" for i in range(40)])
    many.index = pd.Index([f"group {i}" for i in range(30)])
    assert figures.has_numbers(few, "share")
    assert figures.has_numbers(few.set_axis(["a-method-with-a-long-name-0.98-se"]), "share")
    assert not figures.has_numbers(many, "nats")
    assert sections._colour_alone(few, "share", "results.json") == ""
    assert "layers.parquet holds" in sections._colour_alone(many, "nats", "layers.parquet")


def test_of_very_many_groups_those_that_changed_most_are_drawn_and_it_says_so():
    def table(number):
        rows = [
            {
                "group": f"group {place:03}",
                "metric": "accuracy",
                "baseline": 0.9,
                "candidate": 0.9 - place / 1000,
                "baseline_ci_low": 0.88,
                "baseline_ci_high": 0.92,
                "candidate_ci_low": 0.4,
                "candidate_ci_high": 0.93,
            }
            for place in range(number)
        ]
        return pd.DataFrame(rows)

    many = figures.dumbbells(table(70), ["accuracy"], ("dense", "pruned"), "many")
    assert "60 of 70 groups: those whose accuracy changed most; the tables have all" in many
    assert "group 010" in many
    assert "group 069" in many
    assert "group 009" not in many
    whole = figures.dumbbells(table(60), ["accuracy"], ("dense", "pruned"), "whole")
    assert "changed most" not in whole
    assert "group 000" in whole


def test_a_pair_of_networks_has_no_panel_of_what_is_not_known_of_either():
    rows = [
        {"group": group, "metric": metric, "baseline": value, "candidate": value}
        | {
            f"{side}_ci_{end}": value
            for side in ("baseline", "candidate")
            for end in ("low", "high")
        }
        for group in "ab"
        for metric, value in (("accuracy", 0.9), ("excess_risk", float("nan")))
    ]
    (drawn,) = sections._side_by_side(
        pd.DataFrame(rows), ("dense", "pruned"), 0, {"a": "a", "b": "b"}
    )
    assert drawn.alt == "accuracy of every group under dense and pruned."
    assert drawn.svg.count("excess risk") == 0


def _texts(svg):
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_a_difference_of_shares_is_drawn_in_points_and_a_share_in_percent():
    """Who reads 20 % where 20 points are meant takes a group to lose a fifth of its accuracy."""
    table = pd.DataFrame({"method": ["a", "b"], "gap": [0.05, 0.19], "gap_low": [0.0, 0.1],
                          "gap_high": [0.1, 0.3], "accuracy": [0.9, 0.8], "accuracy_low": [0.8, 0.7],
                          "accuracy_high": [0.95, 0.9]})  # fmt: skip
    texts = _texts(figures.trade_off(table, None, "t"))
    assert "20" in texts
    assert "20%" not in texts
    assert "90%" in texts
    assert "largest excess accuracy gap (points): further left is fairer" in texts
    parts = pd.DataFrame({"label": "n", "group": ["a"], "gap": [0.1], "composition": [0.04],
                          "within": [0.06]})  # fmt: skip
    texts = _texts(figures.parts_of_gaps(parts, ["n"], "p"))
    assert "accuracy lost beyond the average (points)" in texts
    assert not [text for text in texts if text.endswith("%")]


def test_no_share_on_an_axis_is_below_zero_or_above_one():
    ticks = [figures.PERCENT(value) for value in (-0.2, 0.0, 0.5, 1.0, 1.2)]
    assert ticks == ["", "0%", "50%", "100%", ""]
    assert figures.POINTS(-0.125) == "−12.5"


def test_a_short_logarithmic_axis_has_numbers():
    table = pd.DataFrame(
        {"group": list("ab"), "gradient_norm": [2.1, 4.4], "excess_risk": [0.1, 0.2]}
    )
    texts = _texts(figures.scatters(table, [("gradient_norm", "excess_risk")], "s"))
    assert {"2", "5"} & set(texts)
    wide = table.assign(gradient_norm=[0.2, 4000.0])
    texts = _texts(figures.scatters(wide, [("gradient_norm", "excess_risk")], "s"))
    assert "1" in texts
    assert not {"2", "5", "20", "50", "200"} & set(texts)


@pytest.mark.parametrize("rows", [1, 2, 5, 12])
def test_the_rows_of_a_heat_map_are_as_high_as_their_names(rows):
    columns = [f"6.shortcut.{place} BatchNorm2d" for place in range(24)]
    table = pd.DataFrame(0.1, index=[f"group {row}" for row in range(rows)], columns=columns)
    svg = figures.heat_map(table, "nats", "slope + curvature (nats)", ("layer", "group"), "h")
    heights = []
    for path in re.findall(r'<path d="(M [^"]*?)"[^>]*clip-path', svg):
        ys = [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
        heights += [max(ys) - min(ys)] if len(ys) > 2 else []
    names = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>group \d+<', svg)]
    names += [float(y) for y in re.findall(r"translate\([\d.]+ ([\d.]+)\)[^>]*>group \d+<", svg)]
    gaps = np.diff(sorted(names))
    assert len(gaps) == rows - 1
    assert (gaps >= figures.SMALLEST * 1.2).all()
    # The label of the bar of colours stands in lines, whole.
    assert {"slope +", "curvature (nats)"} <= set(_texts(svg))


def test_the_marks_of_a_line_and_its_bars_are_one_path_each():
    table = _by_rate(groups=("a",), rates=(0.0, 0.5, 0.9))
    drawn = figures.groups_by_rate(table, ["accuracy"], ["a"], "figure")
    assert "<use" not in drawn
    strokes = re.findall(r'<path d="([^"]*)"[^>]*stroke: #d55e00; stroke-width: 0.9"', drawn)
    assert len(strokes) == 1
    assert strokes[0].count("M") == 3
    marks = re.findall(r'<path d="([^"]*)"[^>]*style="fill: #d55e00; stroke: #d55e00"', drawn)
    assert [path.count("M") for path in marks[:1]] == [3]


@pytest.mark.parametrize(
    ("style", "paths"),
    [("fill: none; stroke: #000", 1), ("fill: none; opacity: 0.5; stroke: #000", 2),
     ("fill: #000; stroke: #000", 2)],
)  # fmt: skip
def test_only_opaque_strokes_of_one_look_become_one_path(style, paths):
    one = f'<path d="M 0 0\nL 1 1\n" style="{style}"/>\n'
    found = svg._slim(one + one.replace("M 0 0", "M 2 2"))
    assert found.count("<path") == paths
    assert "M 0 0" in found
    assert "M 2 2" in found


def test_the_numbers_of_a_heat_map_stand_in_their_fields_and_can_be_read():
    table = pd.DataFrame({"left": [1.0, np.nan], "right": [0.0, 0.5]}, index=["first", "second"])
    drawn = figures.heat_map(table, "share", "share", ("layer", "network"), "heat")
    texts = re.findall(r'<text style="[^"]*fill: (#\w+)"[^>]*>([\d.]+ %)</text>', drawn)
    assert [text for _, text in texts] == ["100.0 %", "0.0 %", "50.0 %"]
    assert texts[0][0] == "#ffffff"
    assert texts[1][0] == "#262626"
    assert drawn.index(">first<") < drawn.index(">second<")
