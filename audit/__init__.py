"""Did pruning this network hurt some group, why, and how to prune it without that?

The public names load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "AuditError": "audit.errors",
    "Architecture": "audit.models",
    "BilevelSettings": "audit.mitigate.bilevel",
    "Constraint": "audit.mitigate.constraints",
    "GroupedData": "audit.data",
    "Mask": "audit.prune.mask",
    "MeasureSettings": "audit.study.settings",
    "Method": "audit.study.settings",
    "Results": "audit.study.results",
    "StudySettings": "audit.study.settings",
    "TrainingSettings": "audit.models",
    "compare_models": "audit.study.compare",
    "from_arrays": "audit.data",
    "load_checkpoint": "audit.models",
    "load_data": "audit.data",
    "load_results": "audit.study.results",
    "load_settings": "audit.study.settings",
    "measure_model": "audit.study.measuring",
    "mitigate_model": "audit.study.making",
    "prune_model": "audit.study.making",
    "run_study": "audit.study.run",
    "save_checkpoint": "audit.models",
    "train_model": "audit.study.making",
    "write_report": "audit.report",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'audit' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
