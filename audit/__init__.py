"""Did pruning this network hurt some group, why, and how to prune it without that?

The public names load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For type checkers and editors, which do not see the loader below; a test compares the two.
    from audit.data import GroupedData as GroupedData
    from audit.data import describe_data as describe_data
    from audit.data import from_arrays as from_arrays
    from audit.data import from_dataset as from_dataset
    from audit.data import load_data as load_data
    from audit.errors import AuditError as AuditError
    from audit.examine.measuring import measure_model as measure_model
    from audit.examine.settings import MeasureSettings as MeasureSettings
    from audit.findings.discovery import DiscoverySettings as DiscoverySettings
    from audit.findings.discovery import discover as discover
    from audit.findings.discovery import discovery_table as discovery_table
    from audit.findings.own_metric import metric_by_group as metric_by_group
    from audit.findings.results import Results as Results
    from audit.findings.results import load_results as load_results
    from audit.findings.thresholds import Threshold as Threshold
    from audit.findings.thresholds import judge as judge
    from audit.mitigate import loss_on_line as loss_on_line
    from audit.mitigate.bilevel import BilevelSettings as BilevelSettings
    from audit.mitigate.constraints import Constraint as Constraint
    from audit.mitigate.pruner import FairPruner as FairPruner
    from audit.models import Architecture as Architecture
    from audit.models import TrainingSettings as TrainingSettings
    from audit.models import load_checkpoint as load_checkpoint
    from audit.models import parent_of as parent_of
    from audit.models import save_checkpoint as save_checkpoint
    from audit.prune.mask import Mask as Mask
    from audit.report import write_report as write_report
    from audit.study.checkpoints import compare_files as compare_files
    from audit.study.checkpoints import compare_models as compare_models
    from audit.study.importing import import_weights as import_weights
    from audit.study.live import compare as compare
    from audit.study.live import compare_weights as compare_weights
    from audit.study.making import mitigate_model as mitigate_model
    from audit.study.making import prune_model as prune_model
    from audit.study.making import train_model as train_model
    from audit.study.mending import mend as mend
    from audit.study.predictions import compare_predictions as compare_predictions
    from audit.study.run import run_study as run_study
    from audit.study.settings import Method as Method
    from audit.study.settings import StudySettings as StudySettings
    from audit.study.settings import load_settings as load_settings

_HOMES = {
    "Architecture": "audit.models",
    "AuditError": "audit.errors",
    "BilevelSettings": "audit.mitigate.bilevel",
    "Constraint": "audit.mitigate.constraints",
    "DiscoverySettings": "audit.findings.discovery",
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
    "compare_predictions": "audit.study.predictions",
    "compare_weights": "audit.study.live",
    "describe_data": "audit.data",
    "discover": "audit.findings.discovery",
    "discovery_table": "audit.findings.discovery",
    "from_arrays": "audit.data",
    "from_dataset": "audit.data",
    "import_weights": "audit.study.importing",
    "judge": "audit.findings.thresholds",
    "load_checkpoint": "audit.models",
    "load_data": "audit.data",
    "load_results": "audit.findings.results",
    "load_settings": "audit.study.settings",
    "loss_on_line": "audit.mitigate",
    "measure_model": "audit.examine.measuring",
    "mend": "audit.study.mending",
    "metric_by_group": "audit.findings.own_metric",
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
