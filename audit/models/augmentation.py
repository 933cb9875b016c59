"""Images varied while a network trains on them: mirrored, and shifted by a few pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from audit.errors import AuditError

AUGMENTATIONS = ("none", "flip", "crop", "flip+crop")

SHIFT = 8
"""A crop shifts an image by up to one part in so many of its side."""


def augmented(inputs: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """The images [n, channels, height, width] of a batch, each varied by chance.

    `flip` mirrors half of them from left to right. `crop` shifts each by up to an eighth of its
    side, and fills the border with the pixels next to it. 'none' draws nothing from the generator.
    Raises AuditError where the inputs are no images.
    """
    if name == "none":
        return inputs
    if inputs.dim() != 4:
        raise AuditError(
            f"found inputs of shape {tuple(inputs.shape)}; augmentation is for images [samples, "
            "channels, height, width]"
        )
    if "flip" in name:
        chosen = torch.rand(len(inputs), generator=generator) < 0.5
        mirrored = chosen[:, None, None, None].to(inputs.device)
        inputs = torch.where(mirrored, inputs.flip(3), inputs)
    return _shifted(inputs, generator) if "crop" in name else inputs


def _shifted(inputs: Tensor, generator: torch.Generator) -> Tensor:
    number, _, height, width = inputs.shape
    down, across = height // SHIFT, width // SHIFT
    padded = functional.pad(inputs, (across, across, down, down), mode="replicate")
    tops = torch.randint(0, 2 * down + 1, (number, 1), generator=generator)
    lefts = torch.randint(0, 2 * across + 1, (number, 1), generator=generator)
    rows = (tops + torch.arange(height)).to(inputs.device)
    columns = (lefts + torch.arange(width)).to(inputs.device)
    sample = torch.arange(number, device=inputs.device)[:, None, None]
    # Advanced indices around a slice put the channels last; they belong second.
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
