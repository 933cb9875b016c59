"""Intervals, floors and p-values: by hand, by simulation, and against scipy."""

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_ind

from audit.measure import uncertainty
from audit.measure.uncertainty import (
    Interval,
    combined_interval,
    drop_floor,
    drop_interval,
    gap_contrasts,
    group_intervals,
    holm,
    largest_range_interval,
    maximum_interval,
    mean_floor,
    mean_interval,
    mean_intervals,
    range_interval,
    resample_means,
    rest_p_values,
    share_floor,
    spread,
    wilson_interval,
)


def test_a_bootstrap_is_a_draw_with_replacement():
    """Counts of n rows: mean 1, variance 1 − 1/n, covariance −1/n."""
    counts = 5 * resample_means(np.eye(5), 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(counts.sum(1), 5)
    np.testing.assert_allclose(np.cov(counts.T), np.eye(5) - 0.2, atol=0.03)


@pytest.mark.parametrize("size", [1000, 1001, 2999, 30_000])
def test_large_and_small_groups_are_resampled_alike(size):
    """Above 1,000 rows, blocks are resampled: the same mean and spread of the resampled means."""
    values = np.random.default_rng(0).gamma(0.5, size=(size, 1))
    draws = resample_means(values, 3000, np.random.default_rng(1))
    expected = values.std() / np.sqrt(size)
    assert draws.mean() == pytest.approx(values.mean(), abs=4 * expected / np.sqrt(3000))
    assert draws.std() == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("size", [50, 5000])
def test_columns_share_their_resample(size):
    values = np.random.default_rng(0).normal(size=(size, 1))
    draws = resample_means(np.hstack([values, 2 * values]), 100, np.random.default_rng(1))
    np.testing.assert_allclose(draws[:, 1], 2 * draws[:, 0], rtol=1e-4, atol=1e-6)
    assert draws[:, 0].std() > 0


def test_the_seed_decides_and_one_group_does_not_disturb_another():
    values = np.random.default_rng(0).normal(size=(300, 2))
    groups = np.repeat([0, 1, 2], 100)
    one = group_intervals(values, groups, 3, 200, seed=4)
    assert group_intervals(values, groups, 3, 200, seed=4) == one
    moved = values.copy()
    moved[groups == 2] += 5.0
    assert group_intervals(moved, groups, 3, 200, seed=4)[:2] == one[:2]
    assert group_intervals(values, groups, 3, 200, seed=5)[0] != one[0]


def test_nothing_is_said_of_absent_groups_and_single_samples():
    found = group_intervals(np.ones((3, 1)), np.array([0, 0, 2]), 3, 50, seed=0)
    assert found[0] == [Interval(1.0, 1.0)]
    assert np.isnan(found[1][0].low)
    assert np.isnan(found[2][0].high)
    assert np.isnan(mean_interval(np.array([1.0, np.nan, 2.0]), 50, seed=0).low)
    assert np.isnan(wilson_interval(0, 0).low)
    assert np.isnan(drop_interval(np.array([])).low)


@pytest.mark.parametrize("size", [30, 300])
def test_the_studentised_interval_covers_a_skewed_mean(size):
    """Within three standard errors of the simulation, at skewness 2.8."""
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        found = mean_interval(generator.gamma(0.5, 2.0, size), 600, int(generator.integers(2**31)))
        covered.append(found.low <= 1.0 <= found.high)
    assert abs(np.mean(covered) - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / 300)


def test_wilson_does_not_collapse_at_the_ends():
    found = wilson_interval(30, 30)
    assert found.low == pytest.approx(0.8865, abs=1e-3)
    assert found.high == 1.0


def test_a_drop_by_hand():
    """Bonett and Price: 3 lost, 1 won of 18: (4 − 2)/20 ± 1.96·√((6 − 4/20)/400)."""
    drops = np.array([1.0] * 3 + [-1.0] + [0.0] * 14)
    found = drop_interval(drops)
    reach = 1.959964 * np.sqrt(5.8 / 400)
    assert (found.low, found.high) == pytest.approx((0.1 - reach, 0.1 + reach), rel=1e-5)
    unchanged = drop_interval(np.zeros(30))
    assert unchanged.low < 0 < unchanged.high
    assert drop_interval(np.ones(1)).high == 1.0
    assert drop_interval(-np.ones(1)).low == -1.0


def test_a_combination_of_normal_intervals_is_normal():
    own = [Interval(1 - 0.3, 1 + 0.3), Interval(2 - 0.4, 2 + 0.4)]
    found = combined_interval(np.array([1.0, -1.0]), np.array([1.0, 2.0]), own)
    assert (found.low, found.high) == pytest.approx((-1.5, -0.5))
    skewed = [Interval(0.9, 1.3), Interval(1.6, 2.1)]
    found = combined_interval(np.array([1.0, -1.0]), np.array([1.0, 2.0]), skewed)
    assert found.low == pytest.approx(-1 - np.hypot(0.1, 0.1))
    assert found.high == pytest.approx(-1 + np.hypot(0.3, 0.4))


def test_gap_contrasts_are_the_definition():
    counts, drops = np.array([1.0, 3.0]), np.array([0.4, 0.1])
    overall = (0.4 + 0.3) / 4
    np.testing.assert_allclose(gap_contrasts(counts) @ drops, drops - overall)


def around(values, reach):
    return [Interval(value - reach, value + reach) for value in values]


def test_a_leader_far_ahead_has_the_plain_interval():
    values = np.array([5.0, 0.0, 0.0])
    found = maximum_interval(np.eye(3), values, around(values, 1.0))
    assert found.high == pytest.approx(6.0)
    assert found.low == pytest.approx(4.0, abs=0.05)


def test_equals_pay_for_being_chosen_from():
    """Of nine equal numbers the largest estimate is too high; its lower bound reaches further."""
    values = np.zeros(9)
    found = maximum_interval(np.eye(9), values, around(values, 1.0))
    assert found.high == pytest.approx(1.0)
    assert -1.35 < found.low < -1.2  # the 95 % point of nine normal errors is 2.53 of them
    assert np.isnan(
        maximum_interval(np.eye(2), values[:2], [Interval(0, 1), Interval(np.nan, 1)]).low
    )
    exact = maximum_interval(np.eye(2), np.array([1.0, 2.0]), [Interval(1, 1), Interval(2, 2)])
    assert exact == Interval(2.0, 2.0)


@pytest.mark.parametrize("truth", [(0, 0, 0, 0, 0), (3, 0, 0, 0, 0), (3, 2, 1, 0, -1)])
def test_maximum_and_range_cover_the_truth(truth):
    generator = np.random.default_rng(1)
    errors = np.array([0.1, 0.3, 0.5, 1.0, 1.5])
    covered, ranged = [], []
    for _ in range(400):
        values = np.array(truth) + errors * generator.standard_normal(5)
        own = [Interval(v - 1.96 * e, v + 1.96 * e) for v, e in zip(values, errors, strict=True)]
        found = maximum_interval(np.eye(5), values, own)
        covered.append(found.low <= max(truth) <= found.high)
        found = range_interval(values, own)
        ranged.append(found.low <= max(truth) - min(truth) <= found.high)
    assert np.mean(covered) >= 0.925
    assert np.mean(ranged) >= 0.925


def test_the_largest_range_of_equal_families_is_no_alarm():
    """Ten families of four equal numbers: the widest looks unequal; its interval still has zero."""
    generator, covered, single = np.random.default_rng(0), [], []
    for _ in range(300):
        families = [(v, around(v, 1.96)) for v in generator.standard_normal((10, 4))]
        covered.append(largest_range_interval(families).low == 0.0)
        widest = max(families, key=lambda own: np.ptp(own[0]))
        single.append(range_interval(*widest).low == 0.0)
    assert np.mean(covered) >= 0.95
    assert np.mean(single) < 0.9
    one = generator.standard_normal(4)
    few = [(one[:1], around(one[:1], 1.0)), (one[:0], [])]
    assert largest_range_interval([(one, around(one, 1.0)), *few]) == range_interval(
        one, around(one, 1.0)
    )
    assert np.isnan(largest_range_interval(few).low)


def test_a_range_is_never_below_zero_and_needs_two():
    values = np.array([0.1, 0.0])
    assert range_interval(values, around(values, 1.0)).low == 0.0
    assert np.isnan(range_interval(values[:1], around(values[:1], 1.0)).high)


def test_the_floor_of_shares_is_what_equal_groups_show():
    counts = np.array([40.0, 400.0, 4000.0])
    floor = share_floor(0.9 * counts, counts)
    generator = np.random.default_rng(7)
    gaps = spread(generator.binomial(counts.astype(int), 0.9, (4000, 3)) / counts)
    assert floor.median == pytest.approx(np.median(gaps), rel=0.08)
    assert floor.p95 == pytest.approx(np.quantile(gaps, 0.95), rel=0.08)
    assert floor.corrected(floor.median) == 0.0
    assert floor.corrected(0.0) < 0.0


@pytest.mark.parametrize("counts", [(100, 25), (10_000, 2500)])
def test_the_floor_of_two_means_by_hand(counts):
    """|x − y| of two normal means: median 0.6745·√(σ²/n + σ²/m)."""
    within = np.random.default_rng(0).normal(0.0, 2.0, 20_000)
    floor = mean_floor(within, np.array(counts, dtype=float))
    error = 2 * np.sqrt(1 / counts[0] + 1 / counts[1])
    assert floor.median == pytest.approx(0.6745 * error, rel=0.05)
    assert floor.p95 == pytest.approx(1.96 * error, rel=0.05)


def test_the_floor_of_means_with_few_large_losses_is_what_equal_groups_show():
    counts = np.array([1000.0, 100.0, 30.0])

    def losses(size):
        large = generator.random(size) < 0.05
        return np.where(large, generator.lognormal(size=size), generator.normal(0, 0.1, size))

    generator = np.random.default_rng(0)
    gaps = [spread(np.array([losses(int(n)).mean() for n in counts])) for _ in range(2000)]
    pooled = losses(100_000)
    floor = mean_floor(pooled - pooled.mean(), counts)
    assert floor.median == pytest.approx(np.median(gaps), rel=0.08)
    assert floor.p95 == pytest.approx(np.quantile(gaps, 0.95), rel=0.08)


def test_the_floor_of_drops_shrinks_with_the_groups():
    drops = np.repeat([1.0, -1.0, 0.0], [10, 5, 85])
    small, large = (
        drop_floor(drops, np.array([size, size]), lambda gaps: gaps.max(-1)) for size in (50, 5000)
    )
    assert small.median > 5 * large.median > 0
    nothing = drop_floor(np.zeros(9), np.array([4, 5]), spread)
    assert (nothing.median, nothing.p95) == (0.0, 0.0)


def test_a_small_group_against_the_rest_is_the_exact_test():
    """Reshuffling 4 and 5 samples at random comes near counting all 126 ways of doing it."""
    own, rest = np.array([3.1, 4.0, 2.2, 5.5]), np.array([1.0, 2.5, 0.3, 3.0, 1.7])

    def welch(first, second, axis):
        return ttest_ind(first, second, equal_var=False, axis=axis).statistic

    exact = permutation_test((own, rest), welch, n_resamples=np.inf, vectorized=True)
    exact = np.mean(np.abs(exact.null_distribution) >= abs(exact.statistic) - 1e-9)
    found = rest_p_values(np.r_[own, rest], np.repeat([0, 1], [4, 5]), 2)
    assert found == pytest.approx(exact, abs=0.015)


def test_a_large_group_against_the_rest_is_welchs_test():
    generator = np.random.default_rng(0)
    values, groups = generator.normal(size=9000), np.repeat([0, 1, 3], [5000, 3000, 1000])
    values[groups == 1] += 0.04
    found = rest_p_values(values, groups, 5)
    expected = ttest_ind(values[groups == 1], values[groups != 1], equal_var=False).pvalue
    assert 0.02 < expected < 0.2
    assert found[1] == pytest.approx(expected, abs=0.03)
    assert np.isnan(found[[2, 4]]).all()
    values[groups == 3] += 1.0
    assert rest_p_values(values, groups, 4)[3] == pytest.approx(1 / 2001)


def test_a_group_like_the_rest_is_not_accused():
    """30 samples with few large losses: 5 % of alarms, within three standard errors."""
    generator, groups = np.random.default_rng(0), np.repeat([0, 1], [30, 1000])
    alarms = []
    for _ in range(300):
        large = generator.random(1030) < 0.05
        values = np.where(large, generator.lognormal(size=1030), generator.normal(0, 0.1, 1030))
        alarms.append(rest_p_values(values, groups, 2)[0] <= 0.05)
    assert abs(np.mean(alarms) - 0.05) <= 3 * np.sqrt(0.05 * 0.95 / 300)


def test_nothing_to_test():
    assert rest_p_values(np.ones(8), np.repeat([0, 1], 4), 2).tolist() == [1.0, 1.0]
    assert np.isnan(rest_p_values(np.arange(4.0), np.array([0, 1, 1, 1]), 2)).all()


def test_holm_by_hand():
    found = holm(np.array([0.01, np.nan, 0.04, 0.03]))
    np.testing.assert_allclose(found, [0.03, np.nan, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_all_columns_of_a_group_at_once():
    values = np.random.default_rng(0).normal([0.0, 100.0], [1.0, 0.01], size=(200, 2))
    first, second = mean_intervals(values, 500, np.random.default_rng(0))
    assert first.low < values[:, 0].mean() < first.high
    assert second.high - second.low == pytest.approx(4 * 0.01 / np.sqrt(200), rel=0.2)


def test_kept_draws_are_those_that_would_be_drawn_again() -> None:
    values = np.random.default_rng(0).lognormal(size=(300, 2))
    uncertainty._draws.cache_clear()
    first, again, other = (np.random.default_rng(seed) for seed in (1, 1, 2))
    drawn = uncertainty.resample_means(values, 50, first)
    kept = uncertainty.resample_means(values, 50, again)
    assert uncertainty._draws.cache_info()[:2] == (1, 1)  # hits, misses
    assert (kept == drawn).all()
    assert first.random() == again.random()
    assert (uncertainty.resample_means(values, 50, other) != drawn).any()
    assert (uncertainty.resample_means(values[:, 1:], 50, first) != drawn[:, 1:]).any()
    for seed in range(2 * uncertainty.DRAWS_KEPT):
        uncertainty.resample_means(values, 50, np.random.default_rng(seed))
    assert uncertainty._draws.cache_info().currsize == uncertainty.DRAWS_KEPT
