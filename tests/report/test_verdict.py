import pandas as pd

from audit.study.verdict import compare_verdict

COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")


def _words(results) -> str:
    verdict = results.record["verdict"]
    return " ".join([verdict["headline"], *verdict["sentences"]])


def test_one_harmed_group_is_named_with_what_it_pays(fake):
    results = fake()
    groups = results.groups
    chosen = (groups["model"] == "magnitude-0.98-seed0") & (groups["group"] == "8")
    gap = groups[chosen & (groups["metric"] == "excess_accuracy_gap")].iloc[0]
    assert "group 8 pays most" in results.record["verdict"]["headline"]
    assert f"{100 * gap['value']:.1f} points" in _words(results)
    assert f"[{100 * gap['ci_low']:.1f}, {100 * gap['ci_high']:.1f}]" in _words(results)


def test_a_group_without_a_name_is_called_empty(fake):
    results = fake(groups=("", "b", "c"), harmed=("",))
    assert "group (empty) pays most" in results.record["verdict"]["headline"]
    assert "group  " not in _words(results)


def test_a_negative_change_has_a_minus_sign_and_names_keep_their_hyphen(fake):
    words = _words(fake(groups=("-1", "b", "c"), harmed=("-1",)))
    assert "group -1 pays most" in words
    assert " by −" in words


def test_no_significant_difference_is_a_verdict(fake):
    results = fake(harmed=(), harm=0.0)
    assert "no group's excess accuracy gap" in results.record["verdict"]["headline"]
    assert "hurts" not in _words(results)
    assert "pays most" not in _words(results)


def test_several_seeds_give_mean_and_spread_without_the_sample_interval(fake):
    words = _words(fake(seeds=5))
    assert "5 seeds" in words
    assert "±" in words
    assert "[" not in words


def test_small_and_absent_groups_are_said_and_never_the_worst(fake):
    results = fake(small=("8",), absent=("7",))
    assert "group 8 pays" not in _words(results)
    assert "group 8: too small for a verdict" in _words(results)
    assert "group 7: absent" in _words(results)


def test_of_several_networks_the_fairest_is_named_with_its_price(fake):
    three = ("magnitude-0.9-seed0", "magnitude-0.98-seed0", "random-0.98-seed0")
    methods = (("magnitude", "none"), ("random", "none"))
    results = fake(methods=methods, rates=(0.9, 0.98), compared=three)
    known = {(row["model"], row["metric"]): row for row in results.record["overall"]}
    gaps = {name: known[name, "max_excess_accuracy_gap"]["value"] for name in three}
    least = min(gaps, key=gaps.__getitem__)
    accuracy = {name: known[name, "accuracy"]["value"] for name in three}
    headline = results.record["verdict"]["headline"]
    assert f"{least} has the smallest largest excess accuracy gap" in headline
    assert f"at an accuracy of {accuracy[least]:.1%}" in headline
    best = max(accuracy, key=accuracy.__getitem__)
    assert ("highest of all" in headline) == (best == least)


def test_a_fairest_network_that_is_useless_is_not_praised(fake):
    three = ("magnitude-0.9-seed0", "magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")
    results = fake(rates=(0.9, 0.98), compared=three)
    overall = [dict(row) for row in results.record["overall"]]
    for row in overall:
        if row["model"] == three[1] and row["metric"] in ("accuracy", "max_excess_accuracy_gap"):
            row["value"] = 0.27 if row["metric"] == "accuracy" else 0.0
    table = pd.DataFrame(results.record["tables"]["comparison"])
    headline = compare_verdict(table, overall, three)["headline"]
    assert f"{three[1]} has the smallest" in headline
    assert "at an accuracy of 27.0%" in headline
    assert "is the most accurate" in headline
