"""What can be seen to be wrong before torch is loaded: names, rates, files, the words of a study.

Loading torch takes seconds, and a misspelt name should not cost them. What is not decided here is
decided by the same rules, later.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from audit.commands.exits import exit_code
from audit.commands.options import (
    ConstraintName,
    MitigationMethod,
    ModelName,
    OutputKind,
    PruningMethod,
    Tracker,
)
from audit.errors import AuditError
from audit.extras import check_extra
from audit.files import check_readable, permitted
from audit.imports import is_imported
from audit.names import known_name, shown
from audit.rates import check_rate
from audit.specs import check_spec

FUNCTION = "package.module:function"
METHODS = (*PruningMethod, *MitigationMethod)


def known_model(name: str) -> str:
    """The network of the toolkit that a name means, or the function of one's own that it is."""
    return name if is_imported(name) else known_name(name, ModelName, "model", FUNCTION)


def known_pruning(name: str) -> str:
    """The pruning method that a name means, or the criterion of one's own that it is."""
    return name if is_imported(name) else known_name(name, PruningMethod, "method", FUNCTION)


def check_own_model(name: str | None) -> None:
    """Raise AuditError where the function that builds one's own network cannot be one's own."""
    if name is not None and not is_imported(name):
        known_name(name, ModelName, "model", FUNCTION)


def check_constraints(texts: Iterable[str]) -> None:
    """Raise AuditError where a constraint is unknown, or its tolerance is no number."""
    for part in "+".join(texts).split("+"):
        name, equals, tolerance = part.partition("=")
        if not part or is_imported(part):
            continue
        known_name(name, ConstraintName, "constraint", "package.module:Class")
        if equals and not _is_tolerance(tolerance):
            raise AuditError(
                f"found tolerance {shown(tolerance)} for '{name}'; expected a number of at least 0"
            )


def known_outputs(name: str | None) -> str | None:
    """What a network of one's own is said to give; None where nothing is said."""
    return None if name is None else known_name(name, OutputKind, "outputs")


def check_data(spec: str | Mapping[str, Any] | None) -> None:
    """Raise AuditError where a spec names no dataset, or a file that is not there."""
    if spec is not None:
        check_spec(spec)


def check_device(name: str | None) -> None:
    """Raise AuditError where a device's name cannot be one; whether it is there, torch knows."""
    if name is not None and not re.fullmatch(r"[a-z]+(:\d+)?", name):
        raise AuditError(f"found device {shown(name)}; expected cpu, cuda, cuda:1 …")


def check_training(learning_rate: float, seed: int) -> None:
    """Raise AuditError where no network could be trained so."""
    if not (math.isfinite(learning_rate) and learning_rate >= 0):
        raise AuditError(f"found learning rate {learning_rate:g}; expected a number of at least 0")
    if not 0 <= seed < 2**32:
        raise AuditError(f"found seed {seed}; expected a whole number, 0 ≤ seed < 2^32")


def check_tracker(name: str) -> None:
    """Raise AuditError where an experiment tracker is unknown or not installed."""
    known = known_name(name, Tracker, "tracker")
    check_extra(known, f"--log {known}")


@permitted()
def check_study(path: Path) -> None:
    """Raise AuditError where a study's file is missing, no TOML, or names what is not known."""
    if not path.is_file():
        raise AuditError(f"there is no file '{path}'; 'audit init' writes an example")
    import tomllib

    check_readable(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise AuditError(f"'{path}' is not TOML: {error}") from error
    try:
        _check_words(content)
    except AuditError as error:
        raise AuditError(f"'{path}': {error}") from error


def _check_words(content: Mapping[str, Any]) -> None:
    """The names in a study; what is of another kind than text is left to the study's own check."""
    data, model, study = (_table(content.get(name)) for name in ("data", "model", "study"))
    if isinstance(data.get("dataset"), str):
        check_spec(data)
    if isinstance(model.get("name"), str):
        known_model(model["name"])
    if isinstance(study.get("dense"), str) and study["dense"]:
        check_readable(Path(study["dense"]))
    rates, methods = study.get("rates"), study.get("methods")
    for rate in rates if isinstance(rates, list) else ():
        if isinstance(rate, int | float):
            check_rate(rate)
    for entry in methods if isinstance(methods, list) else ():
        _check_entry(_table(entry) or {"method": entry})


def _check_entry(entry: Mapping[str, Any]) -> None:
    method, constraint = entry.get("method"), entry.get("constraint")
    if isinstance(method, str) and not is_imported(method):
        known_name(method, METHODS, "method", FUNCTION)
    if isinstance(constraint, str):
        check_constraints([constraint])


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_tolerance(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False


def main() -> None:
    """Check the files of studies that are given as arguments: for a hook before commits."""

    def check() -> None:
        for name in sys.argv[1:]:
            check_study(Path(name))

    sys.exit(exit_code(check))


if __name__ == "__main__":
    main()
