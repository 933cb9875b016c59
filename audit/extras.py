"""Packages that the toolkit can do without, and the command that brings each."""

from __future__ import annotations

from importlib.util import find_spec

from audit.errors import AuditError

EXTRAS = {
    "weasyprint": "pdf",
    "torchvision": "vision",
    "timm": "vision",
    "jupyter": "notebooks",
    "onnxruntime": "onnx",
    "transformers": "hf",
    "datasets": "hf",
    "huggingface_hub": "hf",
    "distributed": "dask",
    "lightning": "lightning",
    "mlflow": "mlflow",
    "wandb": "wandb",
}
"""The extra of pyproject.toml that brings a package, by the name it is imported under."""


def command_for(package: str) -> str:
    """The command that installs a package of an extra.

    >>> command_for("mlflow")
    "pip install 'pruning-audit[mlflow]'"
    """
    return f"pip install 'pruning-audit[{EXTRAS[package]}]'"


def check_extra(package: str, what: str) -> None:
    """Raise AuditError where a package of an extra is not installed; nothing is imported."""
    if find_spec(package) is None:
        raise AuditError(
            f"{what} needs the package '{package}'; install it with: {command_for(package)}"
        )
