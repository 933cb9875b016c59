from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from audit.findings.words import interval, number
from audit.report import print_findings
from audit.report.terminal import _broken
from tests.fakes import bounds

COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")
PEOPLE = [f"{sex} × {race}" for sex in ("Female", "Male")
          for race in ("Asian", "Black", "Indian", "Latino", "White", "Other", "Mixed")]  # fmt: skip


def printed(results, width, **console):
    stream = StringIO()
    print_findings(results, Console(file=stream, width=width, **console))
    return stream.getvalue()


def rows_of(text, names):
    """The table's lines by group; a group that takes no line, or several, is not there once."""
    lines = [line.strip() for line in text.splitlines()]
    return {name: [line for line in lines if line.startswith(f"{name} ")] for name in names}


@pytest.fixture(scope="module")
def compared(fake):
    harmed = ("Male × Indian", "Female × Other")
    return fake(groups=PEOPLE, harmed=harmed, rates=(0.98,), compared=COMPARED)


@pytest.mark.parametrize("width", [80, 120])
def test_fourteen_groups_take_a_line_each_and_nothing_is_wider(compared, width):
    text = printed(compared, width)
    assert max(len(line) for line in text.splitlines()) <= width
    # Sentences above may start a line with a group; of the table's own there is one each.
    for lines in rows_of(text, PEOPLE).values():
        assert sum("[" in line and "90  " in line for line in lines) == 1


def test_who_pays_stands_first_and_is_named_in_words(compared):
    text = printed(compared, 120)
    rows = rows_of(text, PEOPLE)
    order = sorted(PEOPLE, key=lambda name: text.index(rows[name][0]))
    assert set(order[:2]) == {"Male × Indian", "Female × Other"}
    for name in PEOPLE:
        assert ("pays" in rows[name][0]) == (name in order[:2])
        assert ("gains" in rows[name][0]) == (name in order[:2])
    assert "the report keeps the declared order" in " ".join(text.split())


def test_the_numbers_are_those_of_the_record(compared):
    wide, narrow = (rows_of(printed(compared, width), PEOPLE) for width in (200, 80))
    for row in compared.record["tables"]["comparison"]:
        if row["metric"] != "accuracy":
            continue
        for side in ("baseline", "candidate"):
            value = number(row[side], "accuracy").removesuffix(" %")
            between = interval(row[f"{side}_ci_low"], row[f"{side}_ci_high"], "accuracy")
            assert f"{value} {between}" in wide[row["group"]][0]
            assert value in narrow[row["group"]][0]
        low, high = bounds(compared, "changes", row["candidate_name"], row, "difference_")
        change = number(row["difference"], "accuracy", signed=True)
        for shown in (wide, narrow):
            assert f"{change} {interval(low, high, 'accuracy')}" in shown[row["group"]][0]


def test_the_verdict_stands_before_the_table_and_its_reasons_after(compared):
    text = " ".join(printed(compared, 200).split())
    verdict = compared.record["verdict"]
    table = text.index("Accuracy in %, its difference")
    assert text.index(" ".join(verdict["headline"].split())) < table
    assert verdict["because"]
    for sentence in verdict["sentences"]:
        assert (text.index(sentence) > table) == (sentence in verdict["because"])


def test_every_candidate_has_its_table(fake):
    three = (*COMPARED, "magnitude-0.9-seed0")
    text = printed(fake(rates=(0.9, 0.98), compared=three), 80)
    for candidate in three[1:]:
        assert f"{three[0]} (baseline) against {candidate} (candidate)" in " ".join(text.split())
    assert len(rows_of(text, ["all"])["all"]) == 2


def test_small_and_absent_groups_stand_last_and_are_named(fake):
    results = fake(rates=(0.98,), compared=COMPARED, small=("8",), absent=("7",))
    text = printed(results, 80)
    small, absent = text.index("8 (small)"), text.index("7 (absent)")
    assert max(text.index(f"\n{name}  ") for name in "0123459") < min(small, absent)
    assert "pays" not in rows_of(text, ["8 (small)"])["8 (small)"][0]


def test_names_are_shown_as_text_and_command_no_terminal(fake):
    names = ("[red]a[/red]", "\x1b[2Jb", "c")
    text = printed(fake(groups=names, rates=(0.98,), harmed=names[:1], compared=COMPARED), 120)
    assert "[red]a[/red]" in text
    assert "\x1b" not in text


def test_results_from_before_reasons_stood_apart_are_still_told(fake):
    results = fake(rates=(0.98,), compared=COMPARED)
    del results.record["verdict"]["because"]
    assert "Why" not in printed(results, 200)


def test_a_study_is_told_with_its_models(fake):
    results = fake(groups=("[red]a[/red]", "b", "c"), harmed=("[red]a[/red]",))
    text = printed(results, 80)
    assert max(len(line) for line in text.splitlines()) <= 80
    headline = " ".join(results.record["verdict"]["headline"].split())
    assert headline in " ".join(text.split())
    assert "magnitude-0.98-seed0" in text


def test_what_was_read_is_told_with_the_networks_that_it_is_of(compared):
    record = compared.record
    models = [
        one | {"notes": [*notes, "alike", "hessian could not be measured: it is a program"]}
        for one, notes in zip(record["models"], ([], ["its own"], []), strict=False)
    ]
    data = record["data"] | {"notes": ["test samples stand in train"]}
    told = replace(compared, record=record | {"models": models, "data": data})
    text = " ".join(printed(told, 200).split())
    assert f"• every network: alike • {models[1]['name']}: its own • test samples stand in" in text
    assert "could not be measured" not in text
    many = [one | {"notes": [f"note {place}" for place in range(14)]} for one in models]
    text = printed(replace(told, record=told.record | {"models": many}), 200)
    assert "note 9" in text
    assert "note 10" not in text
    assert "5 more notes: results.json" in text


def test_long_names_break_where_their_parts_end_and_lose_no_letter(fake):
    """At 80 columns a name takes lines of its own, none of which ends amid a word."""
    groups = ["Asian-Pac-Islander × Female", "Amer-Indian-Eskimo × Male", "White × Male"]
    for results, names in (
        (fake(groups=groups, rates=(0.98,), compared=COMPARED), groups),
        (fake(), ["bilevel-excess-accuracy-0.9-seed0"]),
    ):
        lines = printed(results, 80).splitlines()
        for name in names:
            begin = next(
                at
                for at, line in enumerate(lines)
                if line.strip() and name.startswith(line.strip().split("  ")[0])
                and "  " in line.strip() and line[0] != "•"
            )  # fmt: skip
            parts, left = [], name
            for line in lines[begin:]:
                part = line.strip().split("  ")[0].strip()
                if not part or not left.lstrip().startswith(part):
                    break
                parts.append(part)
                left = left.lstrip()[len(part) :]
            assert left == ""
            assert all(part[-1] in "-×" or name.endswith(part) or " " in part for part in parts)


@pytest.mark.parametrize("room", [8, 12, 16, 40])
def test_a_broken_name_is_the_whole_name(room):
    for name in ("Amer-Indian-Eskimo × Male", "abcdefghijklmnopqrstuvwxyz", "a_b/c.d, e", "é – ü"):
        lines = _broken(name, room).splitlines()
        assert "".join(lines).replace(" ", "") == name.replace(" ", "")
        assert max(map(len, lines)) <= room


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_number_is_cut_off_beside_long_names(fake, width):
    results = fake()
    gaps = [row for row in results.record["overall"] if row["metric"] == "max_excess_accuracy_gap"]
    assert len(gaps) > 4
    text = " ".join(printed(results, width).split())
    for row in gaps:
        assert f"{100 * row['value']:.1f}" in text.split("Models", 1)[1].split("What to do")[0]
    assert text.count("(group ") >= sum(row["value"] > 0 for row in gaps)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("long", ["women of working age between 25 and 64", "w" * 50])
def test_no_number_of_a_pair_is_cut_off_beside_long_names(fake, width, long):
    text = printed(
        fake(groups=[long, "b", "c"], harmed=[long], rates=(0.98,), compared=COMPARED, n=1900),
        width,
    )
    table = text.split("(candidate)\n", 1)[1].split("Why, and how sure", 1)[0]
    assert "…" not in table
    assert ("1,900" in table, "pays" in table, "gains" in table) == (True, True, True)


def test_what_was_read_is_told_of_one_network_that_is_measured_too(fake):
    results = fake(rates=(0.98,), methods=(("magnitude", "none"),))
    dense, pruned = results.record["models"]
    record = results.record | {"models": [dense, pruned | {"notes": ["trained elsewhere"]}]}
    told = replace(results, record=record | {"data": record["data"] | {"notes": ["by others"]}})
    text = " ".join(printed(told, 120).split())
    assert f"• {pruned['name']}: trained elsewhere" in text
    assert "• by others" in text
