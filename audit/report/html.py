"""The report as one HTML file and as PDF, of one template: no network, everything escaped."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, PackageLoader

from audit.errors import AuditError
from audit.files import replacing, write_atomically
from audit.report.view import DEFINITIONS, make_view
from audit.study.results import Results


def write_report(results: Results, folder: Path | str) -> Path:
    """Write report.html for a study, a measured model or a comparison; return its path."""
    path = Path(folder) / "report.html"
    write_atomically(path, render(results))
    return path


def write_pdf(results: Results, folder: Path | str) -> Path:
    """Write report.pdf: the same page with page numbers and contents, tagged; return its path.

    Raises AuditError where Pango, which draws its text, is not installed.
    """
    try:
        from weasyprint import HTML
    except OSError as error:
        raise AuditError(
            "a PDF needs the library Pango, which was not found; install it "
            "(Debian: apt-get install libpangoft2-1.0-0; macOS: brew install pango)"
        ) from error
    path = Path(folder) / "report.pdf"
    page = HTML(string=render(results, printed=True))
    with replacing(path) as temporary:
        page.write_pdf(temporary, pdf_variant="pdf/ua-1")
    return path


def render(results: Results, printed: bool = False) -> str:
    """The report as HTML text; `printed`, as it goes to paper: nothing folded, no script."""
    environment = Environment(
        loader=PackageLoader("audit.report", "."), autoescape=True, trim_blocks=True
    )
    environment.filters["image"] = _image
    loader = environment.loader
    assert loader is not None  # given above
    style, script = (loader.get_source(environment, name)[0] for name in ("style.css", "report.js"))
    template = environment.get_template("template.html.j2")
    return template.render(
        view=make_view(results),
        style=style,
        script=script,
        definitions=DEFINITIONS,
        printed=printed,
    )


def _image(svg: str) -> str:
    """An SVG as the address of an image."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
