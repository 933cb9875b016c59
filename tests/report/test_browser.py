"""The report as its readers meet it: opened from disk in a real browser."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from audit.report import write_report

COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")
HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'x'",
    r"$\alpha_{x$",
    "עברית",
    "😀 smile",
    "",
    "x" * 300,
    "two\nlines",
)
DESKTOP, PHONE = (1200, 900), (390, 844)
PATIENCE = 300_000
"""Milliseconds: a machine may be loaded, and a page that fails does so without a limit too."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    if found is None:
        reason = "the browser Chromium is missing (Debian: apt-get install chromium)"
        if os.environ.get("AUDIT_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def reports(fake, tmp_path_factory) -> dict[str, Path]:
    """One report of a study, one of a comparison, one whose groups have hostile names."""
    results = {
        "study": fake(rates=(0.9, 0.98)),
        "comparison": fake(rates=(0.98,), compared=COMPARED),
        "hostile": fake(groups=HOSTILE, harmed=HOSTILE[:4], rates=(0.98,)),
    }
    return {
        name: write_report(found, tmp_path_factory.mktemp(name)) for name, found in results.items()
    }


class Seen:
    """What went wrong while a page was open: errors of the page, and requests that leave it."""

    def __init__(self, page: Page):
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text))
        page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        page.route("**/*", self._route)

    def _route(self, route):
        address = route.request.url
        if address.startswith("file://"):
            return route.continue_()
        self.requests.append(address)
        return route.abort()


@pytest.fixture
def opened(browser, reports):
    """Opens a report by name; afterwards nothing has gone wrong in any page."""
    contexts, seen = [], []

    def open_report(name: str, size=DESKTOP, **options) -> Page:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        contexts.append(context)
        seen.append(Seen(page))
        page.goto(reports[name].as_uri())
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert [(one.errors, one.requests) for one in seen] == [([], [])] * len(seen)


def _unfold(page: Page) -> None:
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def _column(page: Page, table: int, place: int) -> list[str]:
    rows = page.locator("table").nth(table).locator("tbody tr")
    return [
        text.split("\n")[0].strip().replace("\N{NO-BREAK SPACE}", " ")
        for text in rows.locator(f":nth-child({place})").all_inner_texts()
    ]


@pytest.mark.parametrize("name", ["study", "comparison", "hostile"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_page_itself_never_scrolls_sideways(opened, name, size):
    page = opened(name, size)
    _unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    outside = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter((one) =>
             !one.closest('.table, .plot, .visually-hidden')
             && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML)"""
    )
    assert outside == []


@pytest.mark.parametrize("name", ["study", "comparison", "hostile"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(opened, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(name, color_scheme=scheme)
    _unfold(page)
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_the_verdict_is_seen_first_without_scrolling(opened):
    for size in (DESKTOP, PHONE):
        page = opened("study", size)
        box = page.locator(".verdict strong").bounding_box()
        assert box["y"] + box["height"] < size[1]
        facts = page.locator(".facts b").all_inner_texts()
        assert facts[0] == "Group 8"
        assert facts[1].endswith(" points")


def test_a_click_sorts_a_table_and_another_turns_it_over(opened):
    page = opened("study")
    head = page.locator("thead").first.get_by_role("button", name="accuracy", exact=True)
    column = 1 + page.locator("thead").first.locator("th").all_inner_texts().index("accuracy")
    before = _column(page, 0, column)
    head.click()
    shares = [float(text.removesuffix(" %")) for text in _column(page, 0, column)]
    assert shares == sorted(shares)
    assert shares != [float(text.removesuffix(" %")) for text in before]
    head.click()
    assert [float(text.removesuffix(" %")) for text in _column(page, 0, column)] == shares[::-1]


def test_the_keyboard_reaches_and_sorts_a_table(opened):
    page = opened("study")
    for _ in range(200):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.closest('th')?.innerText ?? ''")
        if focused.startswith("steps"):
            break
    else:
        pytest.fail("the keyboard did not reach the head of a table")
    page.keyboard.press("Enter")
    assert page.locator("th", has_text="steps").first.get_attribute("aria-sort") == "ascending"
    # What a reader of the keyboard cannot see, cannot be used: the focus is drawn.
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_filter_hides_the_rows_without_its_words(opened):
    page = opened("study")
    _unfold(page)
    details = page.locator("details", has_text="The other eigenvalues, with their residuals")
    rows = details.locator("tbody tr")
    assert rows.count() == 50
    details.get_by_role("searchbox").fill("bilevel-excess-accuracy-0.98")
    assert rows.filter(visible=True).count() == 10


def test_picking_a_group_highlights_its_lines_and_no_others(opened):
    page = opened("study")
    figure = page.locator("figure").first
    figure.get_by_role("checkbox", name="3", exact=True).check()
    picked = figure.locator("g.picked")
    assert picked.count() == 4  # two methods × two measures
    assert (
        len(
            {
                identity.split("-")[3]
                for identity in picked.evaluate_all("(all) => all.map((one) => one.id)")
            }
        )
        == 1
    )
    assert (
        picked.first.evaluate("(one) => getComputedStyle(one.querySelector('path')).strokeWidth")
        == "3px"
    )
    figure.get_by_role("checkbox", name="3", exact=True).uncheck()
    assert picked.count() == 0


def test_a_mark_says_its_group_rate_and_value_on_hover(opened):
    page = opened("study")
    figure = page.locator("figure").first
    tip = figure.locator(".tips circle", has_text="8, 98%").first
    tip.scroll_into_view_if_needed()
    box = tip.bounding_box()
    under = page.evaluate(
        "([x, y]) => document.elementsFromPoint(x, y).map((one) => one.querySelector('title')?.textContent)",
        [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2],
    )
    assert tip.text_content() in under


def test_a_link_in_a_table_leads_to_the_definition(opened):
    page = opened("study")
    page.get_by_role("link", name="Definition of fairness violation").first.click()
    target = page.locator(":target")
    assert target.inner_text() == "Fairness violation ξ"
    assert target.evaluate("(one) => one.getBoundingClientRect().top") < DESKTOP[1]


def test_every_link_leads_somewhere(opened):
    for name in ("study", "comparison"):
        lost = opened(name).evaluate(
            """() => [...document.querySelectorAll('a[href^="#"]')].map((one) => decodeURIComponent(one.hash.slice(1)))
                 .filter((id) => !document.getElementById(id))"""
        )
        assert lost == []


def test_no_id_is_used_twice(opened):
    ids = opened("study").evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))


def test_printing_shows_the_folded_parts_and_no_controls(opened):
    page = opened("study")
    page.emulate_media(media="print")
    cell = page.locator("details td").first
    assert cell.bounding_box()["height"] > 0
    assert page.locator("details tbody").last.is_visible()
    assert not page.locator("fieldset.groups").first.is_visible()


def test_without_script_every_number_is_there(opened):
    plain = opened("study", java_script_enabled=False)
    scripted = opened("study")
    texts = [page.locator("td").all_text_contents() for page in (plain, scripted)]
    assert texts[0] == texts[1]
    assert len(texts[0]) > 1000
    assert not plain.locator("fieldset.groups").first.is_visible()


def test_hostile_names_are_shown_and_run_nothing(opened):
    page = opened("hostile")
    names = page.locator("figure text").all_text_contents()
    assert HOSTILE[0][:17] in " ".join(names)
    assert "עברית" in names
    assert page.locator("script").count() == 1


def test_a_table_is_saved_as_csv_without_network(opened, reports):
    page = opened("study")
    _unfold(page)
    region = page.get_by_role("region", name="Models", exact=True)
    save = page.locator("div.table:has(table) + p.save button").first
    shown = region.locator("tbody th").all_inner_texts()
    with page.expect_download() as started:
        region.locator("xpath=following-sibling::p[1]/button").click()
    assert save.is_visible()
    assert started.value.suggested_filename == "models.csv"
    table = pd.read_csv(started.value.path(), encoding="utf-8-sig")
    assert list(table["model"]) == shown
    (accuracy,) = table.filter(regex="^accuracy.*, beside it$")
    assert table[accuracy].str.match(r"\[\d+\.\d, \d+\.\d\]").all()


def test_names_are_no_formulas_in_the_csv(browser, fake, tmp_path):
    groups = ("=1+1", "-x", "@x", 'a "b", c', "plain")
    path = write_report(fake(groups=groups, harmed=groups[:1], rates=(0.98,)), tmp_path)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(path.as_uri())
    region = page.get_by_role("region", name=re.compile("^Samples per"))
    with page.expect_download() as started:
        region.locator("xpath=following-sibling::p[1]/button").click()
    names = list(pd.read_csv(started.value.path(), encoding="utf-8-sig")["group"])
    assert names == ["'=1+1", "'-x", "'@x", 'a "b", c', "plain"]
    page.close()


@pytest.mark.parametrize(("kind", "start"), [("SVG", b"<svg"), ("PNG", b"\x89PNG")])
def test_a_figure_is_saved_without_network(opened, kind, start):
    page = opened("study")
    with page.expect_download() as started:
        page.get_by_role("button", name=f"Save as {kind}").first.click()
    content = Path(started.value.path()).read_bytes()
    assert content.startswith(start)
    assert len(content) > 10_000


def test_nothing_is_offered_without_javascript(opened):
    page = opened("study", java_script_enabled=False)
    assert page.locator("p.save").count() == 0
