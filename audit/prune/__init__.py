"""Pruning: masks, criteria, and training that keeps a mask."""

from audit.prune.channels import channel_groups, shrink
from audit.prune.mask import Mask, measured_mask, prunable_weights
from audit.prune.methods import PRUNING_METHODS, Pruned, prune
from audit.prune.projection import STRUCTURES, project
from audit.rooms import make_callable

__all__ = [
    "PRUNING_METHODS",
    "STRUCTURES",
    "Mask",
    "Pruned",
    "channel_groups",
    "measured_mask",
    "project",
    "prunable_weights",
    "prune",
    "shrink",
]

# `audit.prune(model, data, …)` is the short way for networks that are held in memory.
make_callable(__name__, "audit.study.live:prune_network")
