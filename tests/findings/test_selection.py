"""Impact ratios: by hand, at the edges, and the coverage of their intervals by simulation."""

import math

import numpy as np
import pandas as pd
import pytest

from audit.findings.selection import impact_ratios, ratio_of_shares
from audit.measure.fairness import SELECTION


def rates(*groups: tuple[str, int, int, str]) -> pd.DataFrame:
    """Rows of a table of rates: group, how many selected, of how many, flag; and another rate."""
    rows = [
        {"group": name, "rate": rate, "part": part, "n": n, "flag": flag}
        for name, part, n, flag in groups
        for rate in (SELECTION, "false positive rate")
    ]
    return pd.DataFrame(rows)


def test_the_ratio_is_to_the_most_selected_group_as_the_law_defines_it():
    found = impact_ratios(rates(("A", 40, 100, ""), ("B", 30, 100, ""), ("C", 10, 50, "")))
    assert list(found["group"]) == ["A", "B", "C"]
    assert list(found["rate"]) == [0.4, 0.3, 0.2]
    assert list(found["ratio"]) == pytest.approx([1.0, 0.75, 0.5])
    assert list(found["most"]) == [True, False, False]
    low, high = float(found["ratio_low"][1]), float(found["ratio_high"][1])
    assert low < 0.75 < high
    # Two groups stand beside the most selected: each interval is wider than one of 95 %.
    _, single_low, single_high = ratio_of_shares((30, 100), (40, 100))
    assert low < single_low < single_high < high


def test_a_small_group_is_shown_and_neither_divided_nor_divided_by():
    found = impact_ratios(rates(("A", 20, 100, ""), ("B", 3, 3, "small"), ("C", 0, 0, "absent")))
    assert list(found["most"]) == [True, False, False]
    assert found["ratio"].isna().tolist() == [False, True, True]
    assert found.loc[1, "rate"] == 1.0
    assert math.isnan(found.loc[2, "rate"])


def test_nobody_selected_has_no_ratio():
    found = impact_ratios(rates(("A", 0, 100, ""), ("B", 0, 50, "")))
    assert found["ratio"].isna().all()
    assert not found["most"].any()


def test_none_selected_of_one_group_has_ratio_0_and_an_upper_end():
    ratio, low, high = ratio_of_shares((0, 100), (30, 100))
    assert ratio == 0
    assert low == pytest.approx(0, abs=1e-12)
    assert 0 < high < 0.2


def test_one_event_in_the_denominator_gives_no_wrong_sign():
    for count in range(1, 8):
        ratio, low, high = ratio_of_shares((1, 200), (count, 200))
        assert 0 <= low <= ratio <= high


@pytest.mark.parametrize(
    ("p", "q", "n", "m"), [(0.3, 0.4, 60, 90), (0.05, 0.2, 100, 100), (0.5, 0.9, 40, 300)]
)
def test_intervals_cover_as_often_as_they_say(p, q, n, m):
    generator = np.random.default_rng(0)
    draws = zip(generator.binomial(n, p, 600), generator.binomial(m, q, 600), strict=True)
    found = [ratio_of_shares((int(one), n), (int(other), m)) for one, other in draws if other]
    covered = np.mean([low <= p / q <= high for _, low, high in found])
    assert covered > 0.93
