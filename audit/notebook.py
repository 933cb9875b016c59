"""The notebooks, copied out for a user, without outputs and filled in with their own study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from audit.errors import AuditError
from audit.files import write_atomically
from audit.study.settings import StudySettings

PARAMETERS = "parameters"
"""The tag of the cell that says what is studied, the same name in every notebook."""
EXAMPLE = "example"
"""The tag of cells that speak of the notebook's own data; a user's study goes without them."""


def copy_notebooks(
    folder: Path | str, settings: StudySettings | None = None, overwrite: bool = False
) -> list[Path]:
    """Write every notebook to a folder, outputs cleared; return their paths.

    With `settings`, the notebooks study those instead of their example. Raises AuditError where
    one would replace a file and `overwrite` was not asked for, or the study trains no network.
    """
    if settings is not None and settings.dense:
        raise AuditError(
            f"found dense = '{settings.dense}' in the study; expected none, as the notebooks train "
            "a dense network of their own"
        )
    sources = notebook_files()
    targets = [Path(folder) / source.name for source in sources]
    for target in targets:
        if target.exists() and not overwrite:
            raise AuditError(
                f"'{target}' exists already; give another folder, or --force to replace it"
            )
    for source, target in zip(sources, targets, strict=True):
        content = cleared(json.loads(source.read_text("utf-8")))
        if settings is not None:
            content = filled(content, settings)
        write_atomically(target, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return targets


def notebook_files() -> list[Path]:
    """The notebooks, in reading order: inside an installed package, or beside it in the source."""
    package = Path(__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        found = sorted(folder.glob("0*.ipynb"))
        if found:
            return found
    raise AuditError("this installation has no notebooks; install the package again")


def cleared(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """A notebook without outputs."""
    empty: dict[str, Any] = {"outputs": [], "execution_count": None}
    cells = [c | empty if c["cell_type"] == "code" else c for c in notebook["cells"]]
    return {**notebook, "cells": cells}


def filled(notebook: Mapping[str, Any], settings: StudySettings) -> dict[str, Any]:
    """A notebook that studies these settings: its own example's cells are left out."""
    code = study_code(settings).splitlines(keepends=True)
    cells = [
        cell | {"source": code} if _tagged(cell, PARAMETERS) else cell
        for cell in notebook["cells"]
        if not _tagged(cell, EXAMPLE)
    ]
    return {**notebook, "cells": cells}


def study_code(settings: StudySettings) -> str:
    """The settings as Python text that makes them again; paths as they are from anywhere."""
    data = dict(settings.data)
    for place in {"folder", "file"} & data.keys():
        data[place] = str(Path(str(data[place])).resolve())
    return f"study = {_code(replace(settings, data=data))}"


def _tagged(cell: Mapping[str, Any], tag: str) -> bool:
    return tag in cell["metadata"].get("tags", ())


def _code(value: Any, indent: str = "") -> str:
    """A settings object by its public name, without the fields that have their usual value."""
    deeper = indent + "    "
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return "".join(["(\n", *(f"{deeper}{_code(v, deeper)},\n" for v in value), f"{indent})"])
    if not is_dataclass(value) or isinstance(value, type):
        return repr(dict(value) if isinstance(value, Mapping) else value)
    given = {
        entry.name: getattr(value, entry.name) for entry in fields(value) if _set(entry, value)
    }
    parts = [f"{name}={_code(part, deeper)}" for name, part in given.items()]
    text = f"audit.{type(value).__name__}({', '.join(parts)})"
    if not isinstance(value, StudySettings):
        return text
    lines = "".join(f"{deeper}{part},\n" for part in parts)
    return f"audit.StudySettings(\n{lines})"


def _set(entry: Field[Any], value: Any) -> bool:
    """Whether a field of a settings object has another value than usual, or has no usual one."""
    usual = entry.default if entry.default_factory is MISSING else entry.default_factory()
    return bool(getattr(value, entry.name) != usual)
