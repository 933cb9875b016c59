"""The site's pages: links lead somewhere, commands and Python in them are what the toolkit has."""

import ast
import re
import runpy
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
import yaml

from audit.cli import app, whole_first

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {"commands.md", "reference.md", "security.md", "changelog.md"}
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with the tags that mkdocs knows."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, tag, node: str(tag))
SITE = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader)


def navigated(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in navigated(part)]


def blocks(page: str, *languages: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


def test_every_page_is_in_the_navigation_once():
    found = navigated(SITE["nav"])
    assert sorted(found) == sorted({*PAGES, *MADE})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in LINK.findall((DOCS / page).read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (DOCS / path) if path else DOCS / page
        if path in MADE:
            continue
        assert file.exists(), f"{page}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_python_in_the_pages_is_python(page):
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("page", [*PAGES, "../README.md"])
def test_commands_in_the_pages_have_the_options_that_they_name(page):
    whole: Any = typer.main.get_command(app)
    for line in "\n".join(blocks(page, "sh", "yaml")).replace("\\\n", " ").splitlines():
        for part in re.split(r" && |; ", line):
            command = re.search(
                r"(?:^|entry: |run: |\$ )audit ((?:[a-z]+|--?[a-z]).*)", part.strip()
            )
            if not command or " … " in f" {part} ":
                continue
            words = whole_first(shlex.split(command[1], comments=True))
            name = next((word for word in words if word in whole.commands), None)
            known = {option for one in whole.params for option in one.opts} | {"--help", "-h"}
            if name is not None:
                known |= {option for one in whole.commands[name].params for option in one.opts}
            used = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert name is not None or used, f"{page}: {part}"
            assert used <= known, f"{page}: {part}: {used - known}"


def test_no_row_of_the_comparison_leaves_us_alone_behind_and_it_is_dated():
    text = (DOCS / "comparison.md").read_text("utf-8")
    rows = re.findall(r"^\| (?!---)(.+) \|$", text, re.MULTILINE)[1:]
    assert len(rows) > 10
    for row in rows:
        _, ours, *others = (cell.strip()[:1] for cell in row.split(" | "))
        assert {ours, *others} <= set("●◐○")
        assert ours != "○" or "○" in others, row
    # Nor is it a table of victories.
    assert sum(row.split(" | ")[1].startswith("○") for row in rows) >= 4
    assert re.search(r"read on \d+ \w+ 20\d\d", text)


def test_aligned_lists_of_docstrings_become_lists():
    pytest.importorskip("mkdocs", reason="mkdocs is missing (make docs brings its own)")
    pages = runpy.run_path(str(DOCS / "hooks" / "pages.py"))
    page = SimpleNamespace(url="reference.html")
    made = pages["on_page_content"](
        "<p>rate      of weights\n          to remove\nseed      fixes it</p><p>Plain.</p>", page
    )
    assert made == (
        "<dl><dt><code>rate</code></dt><dd>of weights to remove</dd>"
        "<dt><code>seed</code></dt><dd>fixes it</dd></dl><p>Plain.</p>"
    )


def test_the_site_loads_nothing_from_elsewhere():
    assert SITE["theme"]["font"] is False
    assert "offline" in SITE["plugins"]
    assert SITE["strict"] is True
    for value in SITE.get("extra_css", []):
        assert not value.startswith("http")
