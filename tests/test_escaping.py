"""Names that give orders to no terminal, log, reader or browser."""

import base64
import hashlib
import html
import re
from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console

from audit.escaping import printable, visible, workflow_message
from audit.findings.thresholds import Judgement, Threshold, github, junit
from audit.report import print_findings
from audit.report.card import render_card
from audit.report.html import render

HOSTILE = (
    "::error title=x::all clear",
    "::stop-commands::token",
    "##[error]all clear",
    "few\x1b[2J\x1b]0;title\x07",
    "few\x9b31m",
    "a\u202egro\u202c",
    "\u2066hidden\u2069",
    "line\r\n::warning::two",
    '"><script>alert(1)</script>',
    "' style='position:fixed",
    "</style><style>*{display:none}",
    "[red]markup[/]",
    "x" * 50 + " ::error::wrapped",
)
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_a_printed_line_is_an_order(name):
    found = printable(name)
    assert "\n" not in found
    assert "::" not in found
    assert "##[" not in found
    assert not OBEYED.search(found)
    assert not OBEYED.search(visible(name))


def test_what_scripts_need_to_be_joined_stays():
    assert visible("می\u200cخواهم 👩\u200d👧") == "می\u200cخواهم 👩\u200d👧"


def judged(name: str) -> Judgement:
    threshold = Threshold.parse("max excess_accuracy_gap > 0.02")
    return Judgement(threshold, name, name, 0.3, 0.2, 0.4, True, True)


@pytest.mark.parametrize("name", HOSTILE)
def test_thresholds_give_one_command_each_and_one_case(name):
    (line,) = github([judged(name)])
    assert line.startswith("::error title=audit::")
    assert line.count("::") == 2
    assert "\n" not in line
    assert workflow_message("a%0A::b") == "a%250A: :b"
    suite = ElementTree.fromstring(junit([judged(name)]))
    assert len(suite) == 1
    assert not OBEYED.search(suite[0].attrib["name"])


@pytest.fixture(scope="module")
def hostile(fake):
    """Results whose groups are named so."""
    return fake(groups=HOSTILE, harmed=HOSTILE[:1], rates=(0.9,))


def test_the_terminal_shows_hostile_names_as_text(hostile):
    for width in (40, 80, 200):
        said = StringIO()
        print_findings(hostile, Console(file=said, width=width))
        assert not OBEYED.search(said.getvalue())
        assert "::" not in said.getvalue()


def test_the_page_allows_its_own_script_and_styles_and_nothing_else(hostile):
    page = render(hostile)
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0])
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    sheets = re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL)
    styles = [html.unescape(one) for one in re.findall(r'\sstyle="([^"]*)"', page)]
    assert len(scripts) == 1
    assert styles
    for text in [*scripts, *sheets, *styles]:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in allowed
    assert not re.search(r'\son\w+="', page)
    assert "<script>alert" not in page
    assert not OBEYED.search(page)


def test_the_model_card_shows_hostile_names_as_text(hostile):
    card = render_card(hostile)
    body = card.split("---\n", 2)[2]
    assert "<script>" not in body
    assert not OBEYED.search(card)
