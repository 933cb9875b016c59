"""How results show themselves in a notebook: the verdict, then one small table."""

from html import escape

import numpy as np
import pytest

from audit.findings.summary import summary


def test_a_study_has_a_row_per_method_and_rate(fake):
    results = fake(rates=(0.8, 0.98))
    table = summary(results.record)
    assert list(table.index) == [
        ("dense", "0%"),
        ("magnitude", "80%"),
        ("magnitude", "98%"),
        ("bilevel (excess-accuracy)", "80%"),
        ("bilevel (excess-accuracy)", "98%"),
    ]
    row = next(
        row
        for row in results.record["overall"]
        if row["model"] == "magnitude-0.98-seed0" and row["metric"] == "max_excess_accuracy_gap"
    )
    shown = table.loc[("magnitude", "98%"), :]
    assert shown["largest excess accuracy gap"].startswith(f"{100 * row['value']:.1f} points [")
    assert shown["group"] == "8"
    assert shown["sparsity"] == "98.0 %"


def test_several_seeds_give_means_with_their_spread(fake):
    results = fake(rates=(0.98,), seeds=3)
    shown = summary(results.record).loc[("magnitude", "98%"), :]
    values = [
        100 * row["value"]
        for row in results.record["overall"]
        if row["model"].startswith("magnitude") and row["metric"] == "max_excess_accuracy_gap"
    ]
    assert len(values) == 3
    expected = f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} points"
    assert shown["largest excess accuracy gap"] == expected


def test_a_comparison_has_a_row_per_group_and_every_candidate(fake):
    names = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0", "dense-seed0")
    results = fake(rates=(0.98,), compared=names, small=("3",))
    table = summary(results.record)
    assert list(table.index) == ["0", "1", "2", "3 (small)", *"456789"]
    row = next(
        row
        for row in results.record["tables"]["comparison"]
        if (row["group"], row["metric"], row["candidate_name"]) == ("8", "accuracy", names[1])
    )
    assert table.loc["8", names[1]] == f"{100 * row['candidate']:.1f} %"
    low = f"{100 * row['difference_ci_low']:.1f}".replace("-", "−")
    assert table.loc["8", f"{names[1]} − {names[0]}, points"].endswith(
        f"[{low}, {100 * row['difference_ci_high']:.1f}]"
    )
    assert f"{names[2]} − {names[0]}, points" in table.columns


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"'&<b>", "", "😀", "a" * 300])
def test_what_results_show_is_escaped(fake, name):
    groups = (*"1234567", name)
    for compared in (None, ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")):
        results = fake(groups, rates=(0.98,), harmed=(name,), compared=compared)
        text = results._repr_html_()
        assert "<script" not in text
        assert "<b>" not in text
        # The bare table escapes a name's quotes no further than HTML asks.
        assert escape(name, quote=False) in text
        assert escape(results.record["verdict"]["headline"]) in text
