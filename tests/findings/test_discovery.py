"""Groups that nobody named: what is planted is found, what is not there is not confirmed."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from audit.errors import AuditError
from audit.findings import discovery
from audit.findings.discovery import DiscoverySettings, discover, discovery_table


def people(n: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "sex": generator.choice(["f", "m"], n),
            "region": generator.choice(["north", "south", "west"], n, p=[0.5, 0.3, 0.2]),
            "age": generator.integers(18, 90, n),
        }
    )


def drops_of(chance: np.ndarray, seed: int, gained: float = 0.03) -> np.ndarray:
    draw = np.random.default_rng(seed).random(len(chance))
    return np.asarray((draw < chance) - 1.0 * (draw > 1 - gained))


def test_a_planted_crossing_is_found_and_its_gap_is_that_of_the_second_half() -> None:
    table = people(3000, 0)
    member = ((table["region"] == "south") & (table["sex"] == "f")).to_numpy()
    drops = drops_of(0.03 + 0.2 * member, 1)
    found = discover(table, drops)
    best = found.proposed.iloc[0]
    assert best["group"] == "sex f × region south"
    assert best["confirmed"]
    assert best["p_adjusted"] < 1e-3
    assert best["ci_low"] > 0.02
    second = np.random.default_rng(0).permutation(3000) < 1500
    assert best["n"] == (member & second).sum()
    assert best["proposed_n"] == (member & ~second).sum()
    assert best["gap"] == pytest.approx(drops[member & second].mean() - drops[second].mean())
    first = drops[member & ~second].mean() - drops[~second].mean()
    assert best["proposed_gap"] == pytest.approx(first)


def test_a_band_of_numbers_is_found() -> None:
    table = people(3000, 0)
    drops = drops_of(0.03 + 0.2 * (table["age"] > 70).to_numpy(), 1)
    best = discover(table, drops).proposed.iloc[0]
    assert best["group"].startswith("age 7")
    assert best["group"].endswith(" to 89")
    assert best["confirmed"]


def test_under_no_harm_nothing_is_confirmed_in_more_than_5_percent_of_audits() -> None:
    """200 audits whose groups are unequally uncertain: at most 5 % and two standard errors."""
    wrong = 0
    for seed in range(200):
        table = people(400, seed)
        chance = np.where(table["sex"] == "f", 0.12, 0.02)
        draw = np.random.default_rng(1000 + seed).random(400)
        drops = (draw < chance) - 1.0 * (draw > 1 - chance)
        proposed = discover(table, drops, DiscoverySettings(seed=seed)).proposed
        wrong += int(proposed["confirmed"].any())
    assert wrong <= 16


def test_what_the_first_half_shows_alone_is_not_confirmed() -> None:
    """The harm is in the proposing half only: it must come to nothing in the other."""
    table = people(2000, 0)
    second = np.random.default_rng(0).permutation(2000) < 1000
    drops = ((table["region"] == "south").to_numpy() & ~second) * 1.0
    found = discover(table, drops).proposed
    assert found["proposed_gap"].max() > 0.5
    assert not found["confirmed"].any()


def test_the_second_half_has_no_say_in_what_is_proposed() -> None:
    table = people(2000, 0)
    second = np.random.default_rng(0).permutation(2000) < 1000
    drops = drops_of(np.full(2000, 0.1), 3)
    other = np.where(second, -drops, drops)
    one, two = (discover(table, column).proposed for column in (drops, other))
    assert set(one["group"]) == set(two["group"])
    assert len(one) <= 20
    assert (one["proposed_gap"] > 0).all()


def test_small_crossings_are_no_candidates_in_either_half() -> None:
    table = pd.DataFrame({"a": ["x"] * 59 + ["y"] * 141})
    found = discover(table, np.zeros(200), DiscoverySettings(minimum_size=30))
    assert found.candidates == 0
    assert found.proposed.empty
    assert list(found.proposed) == list(discovery.COLUMNS)
    assert discover(table, np.zeros(200), DiscoverySettings(minimum_size=20)).candidates == 2


def test_a_crossing_of_the_same_samples_is_looked_at_once() -> None:
    """Every south is on a phone: 'south × phone' is 'south'."""
    region = np.tile(["south", "north", "north"], 200)
    device = np.where(region == "south", "phone", np.tile(["phone", "desk"], 300))
    table = pd.DataFrame({"region": region, "device": device})
    found = discover(table, (region == "south") * (np.arange(600) % 3 == 0) * 1.0)
    assert found.candidates == 2 + 2 + 1
    assert "region south × device phone" not in set(found.proposed["group"])


def test_depth_is_how_many_columns_are_crossed() -> None:
    table = people(4000, 0)
    sizes = [
        discover(table, np.zeros(4000), DiscoverySettings(depth=depth)).candidates
        for depth in (1, 2, 3)
    ]
    assert sizes == [2 + 3 + 4, 9 + 6 + 8 + 12, 35 + 24]


def test_holm_is_over_the_proposed_and_the_interval_agrees_with_the_decision() -> None:
    rows = [
        {"group": str(p), "n": 50, "gap": 0.1, "p_value": p, "proposed_n": 50, "proposed_gap": 0.1,
         "centre": float(student.isf(p, 40)), "error": 1.0, "freedom": 40}
        for p in (0.03, 0.001, 0.02, 0.024)
    ]  # fmt: skip
    found = discovery._adjusted(rows)
    assert found["p_value"].tolist() == [0.001, 0.02, 0.024, 0.03]
    np.testing.assert_allclose(found["p_adjusted"], [0.004, 0.06, 0.06, 0.06])
    assert found["confirmed"].tolist() == [True, False, False, False]
    assert (found["ci_low"] > 0).tolist() == found["confirmed"].tolist()


def test_units_stay_in_one_half_and_count_once() -> None:
    """Each sample ten times over must not look ten times as sure."""
    table = people(300, 0)
    drops = drops_of(0.03 + 0.12 * (table["sex"] == "f").to_numpy(), 4)
    many, repeated = table.loc[table.index.repeat(10)], np.repeat(drops, 10)
    unit = np.repeat(np.arange(300), 10)
    once = discover(table, drops).proposed.set_index("group").loc["sex f"]
    grouped = discover(many, repeated, unit=unit).proposed.set_index("group").loc["sex f"]
    assert grouped["n"] == 10 * once["n"]
    assert grouped["gap"] == pytest.approx(once["gap"])
    assert grouped["p_value"] == pytest.approx(once["p_value"], rel=1e-6)
    apart = discover(many, repeated).proposed.set_index("group").loc["sex f"]
    assert apart["p_value"] < once["p_value"] / 10


def test_missing_values_are_a_group_of_their_own() -> None:
    table = pd.DataFrame({"age": np.where(np.arange(800) % 4 == 0, np.nan, np.arange(800) % 71)})
    drops = (np.arange(800) % 8 == 0) * 1.0
    best = discover(table, drops).proposed.iloc[0]
    assert best["group"] == "age (missing)"
    assert best["confirmed"]


def test_the_table_has_the_same_halves_for_every_network() -> None:
    table = people(1000, 0)
    ids = [f"s{i}" for i in range(1000)]
    drops = drops_of(0.02 + 0.2 * (table["sex"] == "f").to_numpy(), 1, gained=0.0)
    own = pd.DataFrame(
        {"sample": ids, "group": "g", "label": "y", "dense_prediction": "y", "loss": 0.1,
         "prediction": np.where(drops > 0, "n", "y"), "dense_confidence": 1.0, "dense_loss": 0.1,
         "dense_margin": 1.0, "divergence": 0.0}
    )  # fmt: skip
    samples = pd.concat([own.assign(model="a"), own.assign(model="b")])
    groups = pd.DataFrame({"model": ["a", "b"], "method": "magnitude"})
    shuffled = table.set_index(pd.Index(ids)).sample(frac=1, random_state=0)
    found = discovery_table(samples, groups, shuffled)
    one, other = (
        found[found["model"] == name].drop(columns="model").reset_index(drop=True) for name in "ab"
    )
    pd.testing.assert_frame_equal(one, other)
    direct = discover(table, drops)
    assert one["group"].tolist() == direct.proposed["group"].tolist()
    assert (one["candidates"] == direct.candidates).all()
    assert discovery_table(own.assign(model="a"), groups.assign(method="dense"), table).empty


@pytest.mark.parametrize(
    ("columns", "drops", "said"),
    [
        (pd.DataFrame({"a": ["x"] * 3}), np.zeros(4), "a row and a drop for every sample"),
        (pd.DataFrame(index=range(4)), np.zeros(4), "at least one column"),
        (pd.DataFrame({"a": ["x"] * 4}), np.full(4, 0.5), "other than"),
        (pd.DataFrame([["x", "y"]] * 4, columns=["a", "a"]), np.zeros(4), "of one name"),
    ],
)
def test_what_does_not_fit_is_refused(columns: pd.DataFrame, drops: np.ndarray, said: str) -> None:
    with pytest.raises(AuditError, match=said):
        discover(columns, drops)


@pytest.mark.parametrize("name", ["depth", "bins", "minimum_size", "most"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(AuditError, match=name):
        DiscoverySettings(**{name: 0})
