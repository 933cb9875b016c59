"""Every figure of a report as files, for slides and papers."""

from __future__ import annotations

from pathlib import Path

from audit.files import write_atomically
from audit.findings.results import Results
from audit.report.svg import rastered
from audit.report.view import make_view


def write_figures(results: Results, folder: Path | str) -> list[Path]:
    """Write every figure of the report as NAME.svg and NAME.png (200 dots an inch); their paths."""
    with rastered() as drawn:
        make_view(results)
    paths = []
    for name, (vector, raster) in drawn.items():
        for ending, content in ((".svg", vector.encode()), (".png", raster)):
            path = Path(folder) / f"{name}{ending}"
            write_atomically(path, content)
            paths.append(path)
    return paths
