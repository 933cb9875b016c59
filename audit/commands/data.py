"""`audit data`: what data are, before anything is made of them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from audit.commands.early import check_data
from audit.commands.options import Json


def data(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="As for --data: table:FILE.csv?target=income&group=sex, …"
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show what was made of every column, the classes, groups and splits, and what to look at."""
    check_data(spec)
    from audit.data import describe_data, load_data

    found = describe_data(load_data(spec))
    print(json.dumps(found.record(), indent=1, ensure_ascii=False) if as_json else found.text())
