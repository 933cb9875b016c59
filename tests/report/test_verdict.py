from io import StringIO

from rich.console import Console

from audit.report import print_findings

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


def test_the_terminal_shows_the_verdict_and_reads_no_markup_in_names(fake):
    stream = StringIO()
    results = fake(groups=("[red]a[/red]", "b", "c"), harmed=("[red]a[/red]",))
    print_findings(results, Console(file=stream, width=200))
    assert results.record["verdict"]["headline"] in stream.getvalue()


def test_the_terminal_compares_group_by_group(fake):
    stream = StringIO()
    print_findings(fake(rates=(0.98,), compared=COMPARED), Console(file=stream, width=100))
    shown = stream.getvalue()
    assert "difference" in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 100
