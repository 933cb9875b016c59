"""`audit status`: how far a study is."""

from __future__ import annotations

import json as to_json
from pathlib import Path
from typing import Annotated

import typer

from audit.escaping import printable


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Tell what a study has done, what runs, what failed and what is left, from its files alone."""
    from audit.study.status import study_status

    found = study_status(folder)
    if json:
        print(to_json.dumps(found.record(), indent=1))
        return
    for line in found.lines():
        print(printable(line))
