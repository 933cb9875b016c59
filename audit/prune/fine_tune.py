"""Fine-tuning that keeps the mask."""

from __future__ import annotations

from torch import Tensor, nn

from audit.data.grouped import GroupedData
from audit.models.training import TrainingSettings, train
from audit.prune.distillation import training_losses
from audit.prune.mask import Mask


def fine_tune(
    model: nn.Module, mask: Mask, data: GroupedData, indices: Tensor, settings: TrainingSettings
) -> int:
    """Prune the dense model by the mask and train what survives, in place; return the steps taken.

    Removed weights are exactly zero after every step.
    """
    model.to(settings.device)
    losses = training_losses(model, data, settings)
    mask.apply(model)
    return train(model, data, indices, settings, mask.apply, "fine-tuning", losses)
