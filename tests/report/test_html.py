import gc
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pandas as pd
import pytest

from audit.findings.words import interval, number
from audit.report import render, write_report
from tests.fakes import bounds

HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'x'",
    r"$\alpha_{x$",
    "עברית",
    "😀 smile",
    "漢字",
    "",
    "x" * 300,
    "two\nlines",
    "{{ 7 * 7 }}",
)


class Page(HTMLParser):
    """The tags with their attributes, and the text of every table cell and interval."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._open = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self.cells.append("")
            self._open = True

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data):
        if self._open:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def study(fake):
    """One study with a small group, and its page, drawn once for the tests that only read it."""
    results = fake(harmed=("8", "9"), small=("9",), rates=(0.9, 0.98))
    return results, render(results)


COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")
METHODS = (
    ("magnitude", "none"),
    ("random", "none"),
    ("bilevel", "none"),
    ("bilevel", "excess-accuracy"),
    ("bilevel", "group-loss"),
)


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"seeds": 3},
        {"rates": (0.98,)},
        {"dense": False},
        {"methods": ()},
        {"groups": ("all",), "harmed": ()},
        {"harmed": (), "harm": 0.0},
        {"small": ("9",), "absent": ("7",)},
        {"groups": HOSTILE, "harmed": HOSTILE[:3]},
        {"groups": [f"group {i}" for i in range(20)], "methods": METHODS, "rates": (0.5, 0.9)},
        {"rates": (0.98,), "compared": COMPARED},
        {"rates": (0.98,), "compared": COMPARED, "small": ("9",), "absent": ("7",)},
        {"rates": (0.98,), "compared": COMPARED, "groups": HOSTILE, "harmed": HOSTILE[:1]},
    ],
)
def test_every_kind_of_results_gives_a_page_that_loads_nothing(fake, choice, tmp_path):
    path = write_report(fake(**choice), tmp_path)
    page = Page(path.read_text("utf-8"))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"link", "iframe", "img", "object", "embed", "image", "base"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        target = next((v for k, v in attributes.items() if k in ("src", "href", "xlink:href")), "#")
        assert target is not None
        assert target.startswith("#"), (tag, target)
    style = re.sub(r'"[^"]*"', "", path.read_text("utf-8").split("</style>")[0])
    assert "url(" not in style
    assert "@import" not in style


def test_names_are_shown_as_they_are_and_run_nothing(fake):
    html = render(fake(groups=HOSTILE, harmed=HOSTILE[:1]))
    assert html.count("<script") == 1
    assert "49" not in [cell.strip() for cell in Page(html).cells]
    cells = {" ".join(cell.split()) for cell in Page(html).cells}
    for name in HOSTILE:
        assert (" ".join(name.split()) or "(empty)") in cells


def test_group_numbers_are_those_of_the_results(study):
    results, html = study
    text = [" ".join(cell.split()) for cell in Page(html).cells]
    rows = results.groups[(results.groups["model"] == "magnitude-0.98-seed0")]
    for metric in ("accuracy", "excess_accuracy_gap", "excess_risk", "gradient_norm"):
        for row in rows[rows["metric"] == metric].to_dict("records"):
            low, high = bounds(results, "pays", row["model"], row)
            wanted = number(row["value"], metric) + interval(low, high, metric)
            assert wanted in text


def test_overall_numbers_are_those_of_the_record(study):
    results, html = study
    text = {" ".join(cell.split()) for cell in Page(html).cells}
    for row in results.record["overall"]:
        if row["metric"] == "accuracy":
            between = interval(row["ci_low"], row["ci_high"], "accuracy")
            assert f"{100 * row['value']:.1f} %{between}" in text


def test_comparison_numbers_are_those_of_the_record(fake):
    results = fake(rates=(0.98,), compared=COMPARED)
    text = {" ".join(cell.split()) for cell in Page(render(results)).cells}
    for row in results.record["tables"]["comparison"]:
        if row["metric"] == "accuracy":
            low, high = bounds(results, "changes", row["candidate_name"], row, "difference_")
            wanted = number(row["difference"], "accuracy", signed=True)
            assert wanted + interval(low, high, "accuracy") in text


def test_no_line_breaks_between_a_number_and_its_unit(study):
    _, html = study
    text = re.sub(r"<(svg|script|style).*?</\1>", "", html, flags=re.DOTALL)
    assert not re.search(r"\d (%|nats\b)", text)
    assert len(re.findall(r"\d\N{NO-BREAK SPACE}%", text)) > 100


def test_the_verdict_stands_on_top_word_for_word(study):
    results, html = study
    body = unescape(html.split("<body>")[1]).replace("\N{NO-BREAK SPACE}", " ")
    for sentence in results.record["verdict"]["sentences"]:
        assert sentence in body
    assert body.index(results.record["verdict"]["headline"]) < body.index("<h2>")


def test_a_small_group_is_flagged_and_never_coloured(study):
    _, html = study
    rows = re.findall(r'<tr>\s*<th scope="row">9<span class="flag">small.*?</tr>', html, re.DOTALL)
    assert rows
    assert all('class="worse"' not in row for row in rows)


def test_a_small_group_is_not_coloured_in_a_comparison_either(fake):
    fair, plain = COMPARED[1], COMPARED[0]
    html = render(fake(rates=(0.98,), compared=(fair, plain), small=("8",)))
    rows = re.findall(r'<tr>\s*<th scope="row">8<span class="flag">small.*?</tr>', html, re.DOTALL)
    assert rows
    assert all('class="worse"' not in row for row in rows)


def test_two_splits_are_not_taken_for_two_seeds(study):
    results, html = study
    table = results.groups.assign(split="select", value=results.groups["value"] / 2)
    overall = [row | {"split": "select"} for row in results.record["overall"]]
    both = type(results)(
        pd.concat([results.groups, table]),
        results.answers,
        results.record | {"overall": [*results.record["overall"], *overall]},
        results.layers,
    )
    both.groups["group"] = both.groups["group"].astype(results.groups["group"].dtype)
    assert render(both) == html


def test_the_page_says_every_file_whole(study):
    results, html = study
    for model in results.record["models"]:
        assert model["sha256"] in html
        assert model["name"] in html


def test_the_same_results_give_the_same_page(study):
    results, html = study
    assert render(results) == html


def test_a_report_is_drawn_without_torch():
    code = "import audit.report, audit.findings.results, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_report_is_drawn_without_what_is_slow_to_load():
    code = (
        "import audit.report, audit.findings.results, sys; "
        "sys.exit(bool({'scipy.stats', 'matplotlib.pyplot', 'seaborn'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_search_for_cycles_goes_on_after_a_page_even_one_that_failed(study, tmp_path):
    with pytest.raises(KeyError):
        write_report(replace(study[0], record={}), tmp_path)
    assert gc.isenabled()
    gc.disable()
    try:
        write_report(study[0], tmp_path)
        assert not gc.isenabled()  # as it was found
    finally:
        gc.enable()


@pytest.mark.parametrize("rivals", [1, 2])
def test_a_figure_of_two_networks_says_how_many_there_are(fake, rivals):
    methods = (("magnitude", "none"), ("random", "none"))[:rivals]
    names = ["dense-seed0", *(f"{method}-0.98-seed0" for method, _ in methods)]
    results = fake(methods=methods, rates=(0.98,), compared=names)
    told = "The first two of 3 networks; samples.parquet has the margins of all."
    assert (told in render(results)) == (rivals == 2)
