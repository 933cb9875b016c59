"""Harm by the dense network's margin: closed forms, the formula in loops, and simulated truths."""

import numpy as np
import pytest

from audit.errors import AuditError
from audit.measure import decomposition
from audit.measure.decomposition import BINS, decompose
from audit.measure.uncertainty import Interval

NEAR = np.exp(-np.arange(BINS) / 2.5)
FLAT = np.ones(BINS)


def audit_of(
    sizes: tuple[int, ...],
    near: tuple[bool, ...],
    more: tuple[float, ...],
    seed: int,
    lost: float = 0.3,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margins, drops and groups: harm falls with the margin, by as much for all but for `more`."""
    generator = np.random.default_rng(seed)
    parts = []
    for group, (size, is_near, extra) in enumerate(zip(sizes, near, more, strict=True)):
        shares = NEAR if is_near else FLAT
        margin = generator.choice(BINS, size, p=shares / shares.sum())
        chance = lost * np.exp(-margin / 2)
        draw = generator.random(size)
        drop = (draw < chance + extra) - 1.0 * (draw > 1 - chance / 3)
        parts.append((margin.astype(float), drop, np.full(size, group)))
    margins, drops, groups = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return margins, drops, groups


def truth(
    sizes: tuple[int, ...], near: tuple[bool, ...], more: tuple[float, ...], lost: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Composition and within of `audit_of`, from its chances; every margin is a bin."""
    weights = np.array(sizes) / sum(sizes)
    shares = np.array([(NEAR if one else FLAT) for one in near])
    shares = shares / shares.sum(1, keepdims=True)
    harm = lost * np.exp(-np.arange(BINS) / 2) * 2 / 3 + np.array(more)[:, None]
    every = weights @ shares
    mean = weights @ (shares * harm) / every
    expected = shares @ mean
    return expected - every @ mean, (shares * harm).sum(1) - expected


def covers(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def in_loops(
    margin: np.ndarray, harm: np.ndarray, groups: np.ndarray, group: int, starts: list[float]
) -> tuple[float, float]:
    """The formula as it is printed, bin by bin, for bins that start at these margins."""
    ends = [*starts[1:], np.inf]
    composition = within = 0.0
    own = groups == group
    for start, end in zip(starts, ends, strict=True):
        here = (margin >= start) & (margin < end)
        p_a, p = (own & here).sum() / own.sum(), here.mean()
        h_a, h = harm[own & here].mean(), harm[here].mean()
        composition += (p_a - p) * h
        within += p_a * (h_a - h)
    return composition, within


def test_two_bins_by_hand() -> None:
    """Near: 8 of 10 of group 0, 2 of 10 of group 1; everybody near loses one half."""
    margin = np.repeat([0.0, 1.0, 0.0, 1.0], [8, 2, 2, 8])
    drop = np.concatenate([[1, 0] * 4, [0] * 2, [1, 0], [0] * 8]).astype(float)
    groups = np.repeat([0, 1], 10)
    found = decompose(margin, {"accuracy": drop}, groups, 2, bins=2, resamples=50)["accuracy"]
    np.testing.assert_allclose(found.gap, [0.15, -0.15])
    np.testing.assert_allclose(found.composition, [0.15, -0.15])
    np.testing.assert_allclose(found.within, [0.0, 0.0], atol=1e-15)
    assert found.bins.tolist() == [2, 2]


def test_all_loss_at_the_same_margins_is_within() -> None:
    margin = np.tile(np.arange(10.0), 20)
    groups = np.repeat([0, 1], 100)
    drop = (groups == 0) * (np.arange(200) % 4 == 0) * 1.0
    found = decompose(margin, {"accuracy": drop}, groups, 2, resamples=50)["accuracy"]
    np.testing.assert_allclose(found.composition, [0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(found.within, [0.125, -0.125])


def test_it_is_the_printed_formula_over_deciles() -> None:
    generator = np.random.default_rng(0)
    margin, groups = generator.normal(size=2000), generator.integers(0, 3, 2000)
    harm = generator.normal(size=2000) + (margin < 0) * (1 + groups)
    found = decompose(margin, {"loss": harm}, groups, 3, resamples=50)["loss"]
    starts = [-np.inf, *np.quantile(margin, np.arange(1, 10) / 10)]
    for group in range(3):
        composition, within = in_loops(margin, harm, groups, group, starts)
        assert found.composition[group] == pytest.approx(composition, abs=1e-12)
        assert found.within[group] == pytest.approx(within, abs=1e-12)
        own = harm[groups == group].mean() - harm.mean()
        assert found.gap[group] == pytest.approx(own, abs=1e-12)
    np.testing.assert_allclose(found.composition + found.within, found.gap, atol=1e-15)


def test_bins_without_the_group_or_without_others_join_their_neighbours() -> None:
    """Group 1 has no margins below 4 and is alone from 8 on: its bins are [0, 5) … [7, 10)."""
    margin = np.concatenate([np.arange(8.0), np.arange(4.0, 10.0)])
    groups = np.repeat([0, 1], [8, 6])
    edges = np.arange(1.0, 10.0)
    harm = np.random.default_rng(0).normal(size=14)
    place = np.searchsorted(edges, margin, side="right")
    counts = np.zeros((2, 10))
    np.add.at(counts, (groups, place), 1)
    first, second = decomposition._merged(counts)
    assert second.tolist() == [0, 5, 6, 7]
    assert first.tolist() == [0, 5, 6, 7]
    assert in_loops(margin, harm, groups, 1, [0.0, 5.0, 6.0, 7.0])[1] != 0
    weights = np.array([8, 6]) / 14
    sums = decomposition._sums(np.stack([np.ones(14), harm]), groups * 10 + place, 20)
    means = sums.reshape(2, 2, 10) / np.array([8, 6])[:, None]
    gap, composition = decomposition._parts(means, weights, [first, second])
    wanted, within = in_loops(margin, harm, groups, 1, [0.0, 5.0, 6.0, 7.0])
    assert composition[0, 1] == pytest.approx(wanted)
    assert (gap - composition)[0, 1] == pytest.approx(within)


def test_groups_that_never_meet_are_told_to_be_in_one_bin() -> None:
    margin = np.concatenate([np.arange(50.0), 100 + np.arange(50.0)])
    groups = np.repeat([0, 1], 50)
    found = decompose(margin, {"a": (groups == 0) * 1.0}, groups, 2, resamples=50)["a"]
    assert found.bins.tolist() == [1, 1]
    np.testing.assert_allclose(found.within, found.gap)
    for interval in (*found.composition_intervals, *found.within_intervals):
        assert np.isnan(interval.low)
        assert np.isnan(interval.high)


def test_an_absent_group_is_not_a_number_and_shifts_no_other() -> None:
    margin, drop, groups = audit_of((300, 600), (True, False), (0.0, 0.1), 0)
    plain = decompose(margin, {"a": drop}, groups, 2, resamples=50)["a"]
    found = decompose(margin, {"a": drop}, 2 * groups, 3, resamples=50)["a"]
    assert np.isnan([found.gap[1], found.composition[1], found.within[1]]).all()
    assert np.isnan(found.within_intervals[1].low)
    np.testing.assert_array_equal(found.composition[[0, 2]], plain.composition)


def test_the_order_of_samples_and_other_harms_change_nothing() -> None:
    margin, drop, groups = audit_of((300, 600), (True, False), (0.0, 0.1), 0)
    order = np.random.default_rng(1).permutation(900)
    one = decompose(margin, {"a": drop}, groups, 2, resamples=50)["a"]
    both = decompose(
        margin[order], {"loss": drop[order] / 3, "a": drop[order]}, groups[order], 2, resamples=50
    )
    np.testing.assert_allclose(both["a"].within, one.within, atol=1e-15)
    np.testing.assert_allclose(both["loss"].within, one.within / 3, atol=1e-15)


@pytest.mark.parametrize(
    ("near", "more"),
    [((True, False, False), (0.0, 0.0, 0.0)), ((False, False, False), (0.15, 0.0, 0.0))],
    ids=["composition", "within"],
)
def test_what_is_purely_one_part_is_not_called_the_other(
    near: tuple[bool, ...], more: tuple[float, ...]
) -> None:
    margin, drop, groups = audit_of((1500, 3000, 2000), near, more, 3)
    found = decompose(margin, {"accuracy": drop}, groups, 3)["accuracy"]
    composition, within = found.composition_intervals[0], found.within_intervals[0]
    is_composition = near[0]
    there, absent = (composition, within) if is_composition else (within, composition)
    assert there.low > 0.02
    assert covers(absent, 0.0)
    for which, value in zip(
        (composition, within), truth((1500, 3000, 2000), near, more), strict=True
    ):
        assert covers(which, value[0])


@pytest.mark.parametrize("lost", [0.3, 0.06], ids=["often", "seldom"])
def test_intervals_cover(lost: float) -> None:
    """95 % less what 100 audits can miss; small groups without an event are not called certain."""
    sizes, near, more = (60, 200, 400), (True, False, False), (0.0, 0.05, 0.0)
    wanted = truth(sizes, near, more, lost)
    hits = np.zeros((2, 3))
    for seed in range(100):
        margin, drop, groups = audit_of(sizes, near, more, seed, lost)
        found = decompose(margin, {"a": drop}, groups, 3, resamples=300, seed=seed)["a"]
        for part, intervals in enumerate((found.composition_intervals, found.within_intervals)):
            hits[part] += [covers(i, v) for i, v in zip(intervals, wanted[part], strict=True)]
    assert hits.min() >= 89


def test_samples_of_one_unit_are_drawn_together() -> None:
    """Each sample four times over says no more than once; read as four it seems twice as sure."""
    margin, drop, groups = audit_of((200, 400), (True, False), (0.1, 0.0), 0)
    four = [np.repeat(column, 4) for column in (margin, drop, groups)]
    unit = np.repeat(np.arange(600), 4)

    def width(columns: list[np.ndarray], unit: np.ndarray | None) -> float:
        found = decompose(columns[0], {"a": columns[1]}, columns[2], 2, unit=unit)["a"]
        return found.within_intervals[0].high - found.within_intervals[0].low

    once = width([margin, drop, groups], None)
    assert width(four, unit) == pytest.approx(once, rel=1e-9)
    assert width(four, None) == pytest.approx(once / 2, rel=0.1)


def test_blocks_of_many_samples_have_the_spread_of_the_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    margin, drop, groups = audit_of((3000, 6000), (True, False), (0.1, 0.0), 0)
    blocks = decompose(margin, {"a": drop}, groups, 2)["a"]
    monkeypatch.setattr(decomposition, "BLOCKS", 10_000)
    monkeypatch.setattr("audit.measure.uncertainty.BLOCKS", 10_000)
    singly = decompose(margin, {"a": drop}, groups, 2, resamples=500)["a"]
    for one, other in (
        (blocks.composition_intervals[0], singly.composition_intervals[0]),
        (blocks.within_intervals[0], singly.within_intervals[0]),
    ):
        assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.15)


def test_a_wider_level_is_wider() -> None:
    margin, drop, groups = audit_of((300, 600), (True, False), (0.0, 0.1), 0)
    plain, wide = (
        decompose(margin, {"a": drop}, groups, 2, level=level)["a"].within_intervals[0]
        for level in (0.95, 0.995)
    )
    assert wide.low < plain.low < plain.high < wide.high


@pytest.mark.parametrize(
    ("margin", "unit", "said"),
    [
        (np.zeros(3), None, "margins of shape"),
        (np.array([0.0, np.nan, 1.0, 2.0]), None, "not finite"),
        (np.zeros(4), np.zeros(3, int), "units of shape"),
    ],
)
def test_what_does_not_fit_is_refused(
    margin: np.ndarray, unit: np.ndarray | None, said: str
) -> None:
    with pytest.raises(AuditError, match=said):
        decompose(margin, {"a": np.zeros(4)}, np.array([0, 0, 1, 1]), 2, unit=unit)


def test_a_last_group_without_samples_in_the_last_bins_has_fewer() -> None:
    """Ten bins of four; group 1 has two in each of the first five, and what is left joins those."""
    margin = np.repeat(np.arange(10.0), 4)
    groups = np.where((margin < 5) & (np.arange(40) % 4 < 2), 1, 0)
    drop = (groups == 1) * 1.0
    found = decompose(margin, {"accuracy": drop}, groups, 2, resamples=50)["accuracy"]
    assert found.bins.tolist() == [5, 5]
    assert found.gap.tolist() == pytest.approx([-0.25, 0.75])
    # Half of each of the first four bins is lost, and of the last, six bins wide, 2 of 24.
    assert found.composition[1] == pytest.approx(4 * (0.2 - 0.1) * 0.5 + (0.2 - 0.6) * 2 / 24)


def test_events_that_were_not_seen_are_added_to_drops_alone() -> None:
    drops, losses = np.array([0.0, 1.0, -1.0]), np.array([0.1, 1.0, -1.0])
    columns = np.stack([np.ones(3), drops, losses])
    found = decomposition._unseen(columns, 4, 400, np.random.default_rng(0))
    assert found.shape == (400, 3)
    assert (found[:, [0, 2]] == 0).all()
    # The difference of two Poisson counts of mean 1, over 4 units: variance 2/16.
    assert found[:, 1].var() == pytest.approx(2 / 16, rel=0.2)
    assert abs(found[:, 1].mean()) < 0.06
