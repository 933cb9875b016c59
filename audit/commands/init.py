"""`audit init`: an example of a study's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.errors import AuditError
from audit.files import write_atomically


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("study.toml"),
) -> None:
    """Write a commented example of a study's configuration."""
    from importlib.resources import files

    if path.exists():
        raise AuditError(f"'{path}' exists already; give another name or remove it")
    # The folder of audit.study is looked for and not imported, which would load torch.
    write_atomically(path, files("audit").joinpath("study/example.toml").read_text("utf-8"))
    print(f"wrote {path}; run it with: audit run {path}")
