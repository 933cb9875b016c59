"""Networks, their training, and their checkpoints."""

from audit.models.checkpoint import (
    Checkpoint,
    Parent,
    Provenance,
    load_checkpoint,
    make_checkpoint,
    parent_of,
    parent_path,
    save_checkpoint,
)
from audit.models.training import TrainingSettings, checked_device, train
from audit.models.zoo import ZOO, Architecture, build_model

__all__ = [
    "ZOO",
    "Architecture",
    "Checkpoint",
    "Parent",
    "Provenance",
    "TrainingSettings",
    "build_model",
    "checked_device",
    "load_checkpoint",
    "make_checkpoint",
    "parent_of",
    "parent_path",
    "save_checkpoint",
    "train",
]
