"""The report as one HTML file and as PDF, of one template: no network, everything escaped."""

from __future__ import annotations

import base64
import gc
import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from audit.durations import timed
from audit.errors import AuditError
from audit.escaping import visible_lines
from audit.extras import command_for
from audit.files import replacing, write_atomically
from audit.findings.results import Results
from audit.findings.words import unparted
from audit.report.tables import HALF, READABLE
from audit.report.view import View, anchor, defined_as, make_view, on_paper

ONE_PAGE = ((30, 8.5), (30, 7.5), (12, 7.5), (6, 7.0), (3, 6.5), (1, 6.0))
"""How many sentences of the verdict in letters of how many points: from all to what must fit."""
POLICY = "content-security-policy-of-this-page"
"""Stands in the template until the page is whole, whose hashes are then known."""


def write_report(results: Results, folder: Path | str) -> Path:
    """Write report.html for a study, a measured model or a comparison; return its path."""
    return _write_html(_viewed(results), Path(folder))


def write_pdf(results: Results, folder: Path | str) -> Path:
    """Write report.pdf: the same page with page numbers and contents, tagged; return its path.

    Raises AuditError where Pango, which draws its text, is not installed.
    """
    return _write_pdf(_viewed(results), Path(folder))


def write_reports(results: Results, folder: Path | str) -> Iterator[Path]:
    """Write report.html, report.pdf and summary.pdf, of figures drawn once; yield their paths.

    Raises AuditError where Pango is not installed; the HTML is written by then.
    """
    view = _viewed(results)
    yield _write_html(view, Path(folder))
    yield _write_pdf(view, Path(folder))
    yield _write_summary(view, Path(folder))


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles meanwhile, which frees little: nearly all lives until the end."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_uncollected()
def _viewed(results: Results) -> View:
    return make_view(results)


@timed("writing the page")
@_uncollected()
def _write_html(view: View, folder: Path) -> Path:
    path = folder / "report.html"
    write_atomically(path, _page(view))
    return path


def check_pdf() -> None:
    """Raise AuditError where a PDF cannot be drawn here."""
    try:
        with warnings.catch_warnings():
            # That the library HarfBuzz-subset is missing; fontTools does its work today.
            warnings.filterwarnings("ignore", "HarfBuzz-Subset", DeprecationWarning)
            import weasyprint  # noqa: F401
    except ModuleNotFoundError as error:
        raise AuditError(
            f"a PDF needs the package weasyprint; install it with: {command_for('weasyprint')}"
        ) from error
    except OSError as error:
        raise AuditError(
            "a PDF needs the library Pango, which was not found; install it "
            "(Debian: apt-get install libpangoft2-1.0-0; macOS: brew install pango)"
        ) from error


@timed("writing the PDF")
@_uncollected()
def _write_pdf(view: View, folder: Path) -> Path:
    check_pdf()
    from weasyprint import HTML

    path = folder / "report.pdf"
    page = HTML(string=_page(view, printed=True))
    with replacing(path) as temporary:
        page.write_pdf(temporary, pdf_variant="pdf/ua-1")
    return path


def write_summary(results: Results, folder: Path | str) -> Path:
    """Write summary.pdf, one page to decide and sign by; return its path.

    Raises AuditError where Pango, which draws its text, is not installed.
    """
    return _write_summary(_viewed(results), Path(folder))


@timed("writing the summary")
@_uncollected()
def _write_summary(view: View, folder: Path) -> Path:
    """Smaller letters, and then fewer sentences, until one page holds it."""
    check_pdf()
    from weasyprint import HTML

    path = folder / "summary.pdf"
    environment = _environment()
    style = _source(environment, "paper.css")
    template = environment.get_template("summary.html.j2")
    for most, size in ONE_PAGE:
        text = template.render(view=view, style=style, most=most, size=size)
        page = HTML(string=text).render(pdf_variant="pdf/ua-1")
        if len(page.pages) == 1:
            break
    with replacing(path) as temporary:
        page.write_pdf(temporary, pdf_variant="pdf/ua-1")
    return path


def render(results: Results, printed: bool = False) -> str:
    """The report as HTML text; `printed`, as it goes to paper: nothing folded, no script."""
    return _page(make_view(results), printed)


def _page(view: View, printed: bool = False) -> str:
    environment = _environment()
    files = ("paper.css" if printed else "style.css", "report.js")
    style, script = (_source(environment, name) for name in files)
    template = environment.get_template("template.html.j2")
    page = template.render(
        view=on_paper(view) if printed else view,
        style=style,
        script=script,
        printed=printed,
        half=HALF,
        readable=READABLE,
    )
    return page if printed else page.replace(POLICY, content_policy(page, script), 1)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("audit.report", "."),
        autoescape=True,
        trim_blocks=True,
        finalize=_seen,
    )
    environment.filters |= {"image": _image, "anchor": anchor, "defined_as": defined_as}
    return environment


def _source(environment: Environment, name: str) -> str:
    loader = environment.loader
    assert loader is not None  # given above
    return loader.get_source(environment, name)[0]


def content_policy(page: str, script: str) -> str:
    """The policy that lets a browser use what is written in the page itself, and nothing else.

    Only these very styles and this very script, by their hashes: a script or a style that some
    name brought along would not run, nor could anything be loaded or sent.
    """
    sheets = re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL)
    attributes = [unescape(text) for text in re.findall(r'\sstyle="([^"]*)"', page)]
    styles = " ".join(dict.fromkeys(map(_hashed, [*sheets, *attributes])))
    return (
        f"default-src 'none'; img-src data:; script-src {_hashed(script)}; "
        f"style-src 'unsafe-hashes' {styles}; base-uri 'none'; form-action 'none'"
    )


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _seen(value: object) -> object:
    """Names as they are written, none turning the text around them; in figures too.

    No line breaks between a number and its unit.
    """
    if isinstance(value, Markup):
        return Markup(visible_lines(value))
    return unparted(visible_lines(value)) if isinstance(value, str) else value


def _image(svg: str) -> str:
    """An SVG as the address of an image, without what only a pointer finds."""
    drawn = re.sub(r'<g class="tips".*?</g>', "", svg, flags=re.DOTALL)
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.encode()).decode()
