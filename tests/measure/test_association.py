"""Rank correlations and explained shares against scipy, permutations and a known correlation."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from audit.errors import AuditError
from audit.measure.association import explained_shares, rank_correlation


def test_rank_correlation_is_spearmans():
    generator = np.random.default_rng(0)
    one = generator.normal(size=30)
    other = one + generator.normal(size=30)
    found = rank_correlation(one, other)
    expected = spearmanr(one, other)
    assert (found.rho, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    reach = 1.959964 * np.sqrt((1 + found.rho**2 / 2) / 27)
    assert np.arctanh(found.high) - np.arctanh(found.rho) == pytest.approx(reach, rel=1e-5)
    assert found.low < found.rho < found.high


def test_few_points_have_an_exact_p_value_and_very_few_none():
    found = rank_correlation(np.arange(5.0), np.arange(5.0))
    assert found.rho == pytest.approx(1.0)
    assert found.p_value == pytest.approx(2 / 120)  # both perfect orders of 5! pairings
    three = rank_correlation(np.array([1.0, 2.0, 3.0, np.nan]), np.array([1.0, 3.0, 2.0, 9.0]))
    assert three.n == 3
    assert np.isnan(three.low)
    assert np.isnan(rank_correlation(np.ones(6), np.arange(6.0)).rho)
    # Where all ranks agree the interval is unknown, and no point.
    assert np.isnan([found.low, found.high, three.high]).all()
    four = rank_correlation(np.arange(4.0), np.array([0.0, 2.0, 1.0, 3.0]))
    assert [four.rho, four.p_value] == pytest.approx([0.8, 8 / 24])
    assert -1 < four.low < four.high < 1
    for n, known in ((2, False), (3, True)):
        few = rank_correlation(np.arange(float(n)), np.arange(float(n)))
        assert (few.n, bool(np.isfinite(few.rho))) == (n, known)
    with pytest.raises(AuditError, match="to correlate"):
        rank_correlation(np.ones(3), np.ones(4))


def test_the_interval_covers_a_known_correlation():
    """ρ = 0.5 of normal pairs: Spearman's is (6/π)·arcsin(ρ/2) = 0.4826."""
    generator = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(0.25)
    covered = []
    for _ in range(500):
        pairs = generator.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], size=25)
        found = rank_correlation(pairs[:, 0], pairs[:, 1])
        covered.append(found.low <= truth <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_explained_shares_add_up():
    generator = np.random.default_rng(0)
    terms = {name: generator.normal(size=7) for name in "abc"}
    shares = explained_shares(terms, sum(terms.values()))
    assert sum(shares.values()) == pytest.approx(1.0)
    assert np.isnan(explained_shares({"a": np.ones(3)}, np.ones(3))["a"])
