import pandas as pd

from audit.findings.verdict import _odds, beyond_chance, compare_verdict, study_verdict
from audit.findings.words import points

ODDS = "equalized_odds_difference"
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


def _with_odds(results, values, chance=0.1):
    """The overall rows with equalised odds differences by model, and their floor."""
    rows = [row for row in results.record["overall"] if row["metric"] != ODDS]
    models = {model["name"]: model for model in results.record["models"]}
    for name, model in models.items():
        key = model["method"] if model["constraint"] == "none" else "fair"
        row = {"model": name, "metric": ODDS, "value": values[key], "floor_p95": chance}
        rows.append(rows[0] | row)
    return rows


def test_equalised_odds_beyond_chance_are_said_with_the_best_method(fake):
    results = fake(seeds=2)
    overall = _with_odds(results, {"dense": 0.12, "magnitude": 0.2, "fair": 0.04})
    words = " ".join(study_verdict(results.groups, overall, results.record["models"])["sentences"])
    assert "12.0 points under dense, 20.0 points under magnitude and 4.0 points under" in words
    assert "bilevel (excess-accuracy) (within chance)" in words
    assert "at most 10.0 points by chance" in words
    quiet = _with_odds(results, {"dense": 0.02, "magnitude": 0.09, "fair": 0.1})
    words = " ".join(study_verdict(results.groups, quiet, results.record["models"])["sentences"])
    assert "Equalised odds" not in words


def test_a_comparison_says_the_equalised_odds_of_both(fake):
    results = fake(compared=COMPARED)
    overall = _with_odds(results, {"dense": 0.12, "magnitude": 0.2, "fair": 0.04})
    table = pd.DataFrame(results.record["tables"]["comparison"])
    words = " ".join(compare_verdict(table, overall, COMPARED)["sentences"])
    assert f"20.0 points under {COMPARED[0]} and 4.0 points under {COMPARED[1]} (within" in words


def test_of_many_methods_the_verdict_tells_the_first_and_the_best(fake):
    methods = [(f"m{number}", "none") for number in range(8)]
    results = fake(methods=methods, rates=(0.9,))
    overall = [dict(row) for row in results.record["overall"]]
    for row in overall:
        number = int(row["model"][1]) if row["model"][0] == "m" else 9
        if row["metric"] == "accuracy":
            row["value"] = 0.9 if number == 3 else 0.5
        if row["metric"] == "max_excess_accuracy_gap":
            row["value"] = 0.01 if number == 5 else 0.2
    sentences = study_verdict(results.groups, overall, results.record["models"])["sentences"]
    told = [text.split(" at 90%")[0] for text in sentences if " at 90%: accuracy" in text]
    assert told == ["m0", "m3", "m5"]
    assert any("the 5 others stand in the table of models" in text for text in sentences)


def test_no_minus_sign_stands_before_a_zero():
    assert [points(share, "+") for share in (-0.0004, -0.0006, 0.0)] == ["+0.0", "−0.1", "+0.0"]


def test_the_floors_said_are_those_that_each_network_is_judged_by():
    (words,) = _odds({"a": (0.095, 0.09), "b": (0.09, 0.1)})
    assert "9.5 points under a and 9.0 points under b (within chance)" in words
    assert "at most 9.0 to 10.0 points by chance" in words


def test_a_method_at_rate_zero_is_not_averaged_with_the_rate_judged(fake):
    results = fake(rates=(0.0, 0.98))
    overall = _with_odds(results, {"dense": 0.12, "magnitude": 0.2, "fair": 0.04})
    for row in overall:
        if row["metric"] == ODDS and row["model"].startswith("magnitude-seed"):
            row["value"] = 0.5
    words = " ".join(study_verdict(results.groups, overall, results.record["models"])["sentences"])
    assert "20.0 points under magnitude" in words


def test_beyond_chance_is_said_of_means_over_seeds():
    rows = [
        {"metric": ODDS, "method": "m", "rate": 0.9, "value": value, "floor_p95": 0.1}
        for value in (0.11, 0.05, 0.05)
    ]
    assert not beyond_chance(pd.DataFrame(rows))
    assert beyond_chance(pd.DataFrame(rows[:1]))
