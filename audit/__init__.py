"""Did pruning this network hurt some group, why, and how to prune it without that?

The public names load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Architecture": "audit.models",
    "AuditError": "audit.errors",
    "BilevelSettings": "audit.mitigate.bilevel",
    "Constraint": "audit.mitigate.constraints",
    "FairPruner": "audit.mitigate.pruner",
    "GroupedData": "audit.data",
    "Mask": "audit.prune.mask",
    "MeasureSettings": "audit.examine.settings",
    "Method": "audit.study.settings",
    "Results": "audit.findings.results",
    "StudySettings": "audit.study.settings",
    "Threshold": "audit.findings.thresholds",
    "TrainingSettings": "audit.models",
    "compare": "audit.study.live",
    "compare_files": "audit.study.checkpoints",
    "compare_models": "audit.study.checkpoints",
    "describe_data": "audit.data",
    "from_arrays": "audit.data",
    "from_dataset": "audit.data",
    "judge": "audit.findings.thresholds",
    "load_checkpoint": "audit.models",
    "load_data": "audit.data",
    "load_results": "audit.findings.results",
    "load_settings": "audit.study.settings",
    "loss_on_line": "audit.mitigate",
    "measure_model": "audit.examine.measuring",
    "mitigate_model": "audit.study.making",
    "parent_of": "audit.models",
    "prune_model": "audit.study.making",
    "run_study": "audit.study.run",
    "save_checkpoint": "audit.models",
    "train_model": "audit.study.making",
    "write_report": "audit.report",
}

_ROOMS = ("mitigate", "prune")
"""Rooms that can be called: `audit.prune(model, data, rate=0.9)`."""

__all__ = sorted([*_HOMES, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"audit.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'audit' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
