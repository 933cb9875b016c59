"""`audit report`: the report of stored results, drawn anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.delivery import Delivery, write_reports
from audit.commands.options import Card, Log, Pdf
from audit.errors import AuditError
from audit.files import check_folder


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where results were stored.")],
    pdf: Pdf = False,
    card: Card = False,
    log: Log = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write every figure there too, as SVG and as PNG."),
    ] = None,
) -> None:
    """Draw the report anew from stored results; no model is needed."""
    if not (folder / "results.json").is_file():
        raise AuditError(
            f"'{folder / 'results.json'}' is missing; expected a folder of results, which "
            "audit measure, compare, run and demo write"
        )
    to = Delivery(folder, pdf=pdf, card=card, log=log)
    to.check()
    if figures is not None:
        check_folder(figures)
    from audit.findings.results import load_results

    results = load_results(folder)
    for path in write_reports(results, to):
        print(f"report: {path}")
    if log is not None:
        print(f"logged: {results.log_to(log)}")
    if figures is not None:
        from audit.report import write_figures

        print(f"figures: {len(write_figures(results, figures))} files in {figures}")
