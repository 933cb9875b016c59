"""Pruning: masks, criteria, and training that keeps a mask."""

from audit.prune.channels import channel_groups, shrink
from audit.prune.mask import Mask, measured_mask, prunable_weights
from audit.prune.methods import PRUNING_METHODS, Pruned, prune
from audit.prune.projection import STRUCTURES, project

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
