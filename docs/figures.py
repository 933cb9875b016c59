"""Writes the README's picture from the demo's results: run `make demo`, then this."""

from pathlib import Path

from audit import load_results
from audit.files import write_atomically
from audit.report.view import make_view

PAGE = '<rect width="100%" height="100%" fill="white"/>'


def main() -> None:
    """Draw the first figure of reports/demo on white paper."""
    root = Path(__file__).parents[1]
    view = make_view(load_results(root / "reports" / "demo"))
    svg = view.sections[0].figures[0].svg
    start = svg.index(">") + 1
    path = root / "docs" / "images" / "digits.svg"
    write_atomically(path, svg[:start] + PAGE + svg[start:])


if __name__ == "__main__":
    main()
