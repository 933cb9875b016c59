"""Mitigation: fairness constraints, their multipliers, the bi-level solver and its baselines."""

from audit.mitigate.bilevel import BilevelSettings
from audit.mitigate.constraints import CONSTRAINTS, Constraint, make_constraints
from audit.mitigate.line import LossLine, loss_on_line
from audit.mitigate.methods import MITIGATION_METHODS, MitigationMethod, mitigate
from audit.mitigate.pruner import FairPruner
from audit.mitigate.solution import Solution
from audit.mitigate.solver import solve
from audit.mitigate.stages import StageSettings
from audit.mitigate.statistics import GroupStatistics
from audit.rooms import make_callable

__all__ = [
    "CONSTRAINTS",
    "MITIGATION_METHODS",
    "BilevelSettings",
    "Constraint",
    "FairPruner",
    "GroupStatistics",
    "LossLine",
    "MitigationMethod",
    "Solution",
    "StageSettings",
    "loss_on_line",
    "make_constraints",
    "mitigate",
    "solve",
]

# `audit.mitigate(model, data, …)` is the short way for networks that are held in memory.
make_callable(__name__, "audit.study.live:mitigate_network")
