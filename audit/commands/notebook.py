"""`audit notebook`: the notebooks, for a study of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.early import check_study
from audit.files import check_folder


def notebook(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    config: Annotated[
        Path | None, typer.Option(help="A study in TOML that the notebooks then follow.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace notebooks that exist.")] = False,
) -> None:
    """Copy the notebooks out, on request filled in with a study of your own."""
    if config is not None:
        check_study(config)
    check_folder(folder)
    from audit.notebook import copy_notebooks
    from audit.study.settings import load_settings

    settings = None if config is None else load_settings(config)
    for path in copy_notebooks(folder, settings, force):
        print(f"wrote {path}")
