"""The report as one HTML file: no network, nothing to run, everything from files escaped."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader

from audit.files import write_atomically
from audit.report.view import DEFINITIONS, make_view
from audit.study.results import Results


def write_report(results: Results, folder: Path | str) -> Path:
    """Write report.html for a study, a measured model or a comparison; return its path."""
    path = Path(folder) / "report.html"
    write_atomically(path, render(results))
    return path


def render(results: Results) -> str:
    """The report as HTML text."""
    environment = Environment(
        loader=PackageLoader("audit.report", "."), autoescape=True, trim_blocks=True
    )
    loader = environment.loader
    assert loader is not None  # given above
    style = loader.get_source(environment, "style.css")[0]
    template = environment.get_template("template.html.j2")
    return template.render(view=make_view(results), style=style, definitions=DEFINITIONS)
