"""Fine-tuning that keeps the mask."""

from __future__ import annotations

from torch import Tensor, nn

from audit.data.grouped import GroupedData
from audit.models.training import TrainingSettings, train
from audit.prune.mask import Mask


def fine_tune(
    model: nn.Module, mask: Mask, data: GroupedData, indices: Tensor, settings: TrainingSettings
) -> int:
    """Prune the model by the mask and train what survives, in place; return the steps taken.

    Removed weights are exactly zero after every step.
    """
    model.to(settings.device)
    mask.apply(model)
    return train(model, data, indices, settings, after_step=mask.apply, title="fine-tuning")
