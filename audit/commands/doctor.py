"""`audit doctor`: what this machine has, and what would bring the rest."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib.util import find_spec

from audit.extras import EXTRAS, command_for


def doctor() -> None:
    """Say versions and devices, and what would bring PDF, browser and extras that are missing."""
    for line in (*_versions(), *_devices(), _pdf(), _browser(), *_extras()):
        print(line)


def _versions() -> Iterator[str]:
    yield f"python {platform.python_version()} on {platform.platform()}"
    for name in ("pruning-audit", "torch", "numpy", "pandas", "fairlearn", "weasyprint"):
        yield f"{name} {_version(name) or 'is not installed'}"


def _devices() -> Iterator[str]:
    import torch

    yield f"cpu: {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for place in range(count):
        yield f"cuda:{place}: {torch.cuda.get_device_name(place)}"
    if count == 0:
        yield "cuda: no device is usable"


def _pdf() -> str:
    from audit.errors import AuditError
    from audit.report.html import check_pdf

    try:
        check_pdf()
    except AuditError as error:
        return f"pdf: {error}"
    return "pdf: can be drawn"


def _browser() -> str:
    found = shutil.which("chromium")
    missing = "is missing, and only tests need it (Debian: apt-get install chromium)"
    return f"browser: Chromium {f'is {found}' if found else missing}"


def _extras() -> Iterator[str]:
    for name in EXTRAS:
        # A client such as mlflow-skinny has another name than what is imported.
        found = _version(name) or ("is installed" if find_spec(name) else "")
        yield f"{name}: {found or f'is missing; {command_for(name)}'}"


def _version(name: str) -> str:
    # Imported here, as in all that answers at once: it takes longer than the rest of the help.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""
