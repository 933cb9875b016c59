"""Learning from the dense network's predictions beside the labels (Hinton et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from audit.data.grouped import Batch, GroupedData
from audit.measure.network import class_logits, evaluating
from audit.models.training import Losses, TrainingSettings

EVALUATION_BATCH = 512


def distilled_losses(
    logits: Tensor, labels: Tensor, dense: Tensor, share: float, temperature: float
) -> Tensor:
    """(1 − κ)·cross entropy + κ·T²·KL(p*_T ‖ p_T), p_T = softmax(z/T), of every sample, in nats.

    What the dense network decides, for every group alike, is part of what is learned.

    logits, dense   [n, C], of the network that learns and of the dense one
    share           κ from 0 to 1; 0: the cross entropy itself
    """
    hard = functional.cross_entropy(logits, labels, reduction="none")
    if share == 0:
        return hard
    teacher = (dense / temperature).log_softmax(1)
    student = (logits / temperature).log_softmax(1)
    soft = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    return (1 - share) * hard + share * temperature**2 * soft


def training_losses(model: nn.Module, data: GroupedData, settings: TrainingSettings) -> Losses:
    """The losses that a network pruned from this dense one is trained by; before it is pruned.

    The dense network's predictions are those on the samples as they are, whatever augmentation
    the network that learns meets.
    """
    share, temperature = settings.distillation, settings.temperature
    dense = evaluated_logits(model, data, settings.device) if share > 0 else None

    def losses(outputs: Tensor, batch: Batch) -> Tensor:
        logits = class_logits(outputs)
        teacher = logits if dense is None else dense[batch.indices].to(logits.device)
        return distilled_losses(logits, batch.labels, teacher, share, temperature)

    return losses


@torch.no_grad()
def evaluated_logits(
    model: nn.Module, data: GroupedData, device: str = "cpu", rows: Tensor | None = None
) -> Tensor:
    """The logits [n, C] of a network in evaluation mode, on the CPU; of all samples, or of rows."""
    rows = torch.arange(len(data)) if rows is None else rows
    with evaluating(model.to(device)):
        batches = data.batches(rows, EVALUATION_BATCH, device)
        return torch.cat([class_logits(model(batch.inputs)).cpu() for batch in batches])
