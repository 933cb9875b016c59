"""`audit report`: the report of stored results, drawn anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.delivery import Delivery, write_reports
from audit.commands.options import Card, Pdf
from audit.errors import AuditError


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where results were stored.")],
    pdf: Pdf = False,
    card: Card = False,
) -> None:
    """Draw the report anew from stored results; no model is needed."""
    if not (folder / "results.json").is_file():
        raise AuditError(
            f"'{folder / 'results.json'}' is missing; expected a folder of results, which "
            "audit measure, compare, run and demo write"
        )
    to = Delivery(folder, pdf=pdf, card=card)
    to.check()
    from audit.findings.results import load_results

    for path in write_reports(load_results(folder), to):
        print(f"report: {path}")
