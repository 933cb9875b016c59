"""How the numbers of an image become the inputs of a network: declared, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from audit.errors import AuditError


@dataclass(frozen=True)
class Scaling:
    """Images of 0 to 255 as (x / 255 − mean) / std, one of each a channel or one for all.

    The default gives [-1, 1]. Raises AuditError where a std is not above zero, or a mean is not one
    of numbers from 0 to 1.
    """

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        if not all(value > 0 for value in self.std) or not self.mean:
            raise AuditError(f"found mean={self.mean}, std={self.std}; expected each std > 0")
        if not all(0 <= value <= 1 for value in self.mean):
            raise AuditError(f"found mean={self.mean}; expected that of x / 255, from 0 to 1")

    @property
    def rule(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation."""
        return self.mean, self.std

    def check(self, images: Any) -> None:
        """Raise AuditError where some inputs, [n, channels, …], are no images of 0 to 255."""
        if not isinstance(images, Tensor) or images.ndim < 2:
            raise AuditError(
                "found inputs that are no images and a scaling for images; leave scaling= away"
            )
        channels, rules = images.shape[1], {len(self.mean), len(self.std)} - {1}
        if rules and channels != 1 and rules != {channels}:
            raise AuditError(
                f"found images of shape {tuple(images.shape[1:])} and a mean or std of "
                f"{max(rules)} channels; expected the channels first, and one of each a channel"
            )
        low, high = float(images.min()), float(images.max())
        if low < 0 or high > 255 or 0 < high <= 1:
            raise AuditError(
                f"found inputs from {low:g} to {high:g} that were declared images of 0 to 255; "
                "leave scaling= away where they are as the network takes them, or give them as 0 "
                "to 255"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """float [n, channels, height, width] of images uint8 or float of 0 to 255."""
        shape = (-1, *[1] * (images.ndim - 2))
        inputs = images.float()
        std = inputs.new_tensor(self.std).view(shape) * 255.0
        shift = inputs.new_tensor(
            [m / s for m, s in zip(*_as_long(self.mean, self.std), strict=True)]
        )
        return inputs.div(std).sub_(shift.view(shape))


IMAGES = Scaling()
IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NAMED = {"image": IMAGES, "imagenet": IMAGENET}


def make_scaling(scaling: Scaling | str | None) -> Scaling | None:
    """The rule of that name: image is [-1, 1], imagenet has that set's mean and std."""
    if scaling is None or isinstance(scaling, Scaling):
        return scaling
    if not isinstance(scaling, str):
        raise AuditError(
            f"found scaling of type {type(scaling).__name__}; expected a name or a Scaling"
        )
    if scaling == "none":
        return None
    if scaling not in NAMED:
        raise AuditError(f"found scaling '{scaling}'; expected none, {', '.join(NAMED)}")
    return NAMED[scaling]


def _as_long(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    longest = max(len(mean), len(std))
    return (
        mean if len(mean) == longest else mean * longest,
        std if len(std) == longest else std * longest,
    )
