"""Names of the user's own code: `package.module:name`, imported only where the user gave them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from audit.errors import AuditError
from audit.names import shown


def is_imported(name: str) -> bool:
    """Whether a name is one to import, and not one of the toolkit's.

    >>> is_imported("my_package.models:build"), is_imported("resnet10")
    (True, False)
    """
    return ":" in name


def imported(name: str, what: str) -> Any:
    """What stands under `package.module:name`; the current folder is looked through last.

    Raises AuditError where it cannot be imported, whatever the module's own code raises.

    >>> imported("math:tau", "number")
    6.283185307179586
    """
    module, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise AuditError(
            f"{what} {shown(name)} cannot be imported ({reason}); expected package.module:name, "
            "from the current folder or an installed package"
        ) from error
