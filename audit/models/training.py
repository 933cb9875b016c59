"""Plain training: stochastic gradient descent with momentum on the mean cross entropy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from audit.checked import Count, CountOrNone, NotNegative, Positive, Seed, Share, checked, one_of
from audit.data.grouped import Batch, GroupedData
from audit.errors import AuditError
from audit.measure.gradient import CUT_OFF
from audit.measure.network import class_logits
from audit.models.augmentation import AUGMENTATIONS, augmented
from audit.models.layout import training_layout
from audit.names import shown

TERMS = ("distillation", "temperature", "augmentation")
"""The training settings on which methods are compared; an entry of a study may set its own."""

Losses = Callable[[Tensor, Batch], Tensor]
"""The loss [n] of every sample of a batch, in nats, from the network's logits [n, C]."""


@checked
class TrainingSettings:
    """How a network is trained; the learning rate falls along half a cosine to zero.

    No epochs at all leave the weights as they are: one-shot pruning, without fine-tuning.

    distillation  κ, the share of the loss that compares with the dense network's predictions and
                  not with the labels; 0: none. For networks that are pruned, by whatever method
    temperature   T of the predictions that are compared
    augmentation  what is done to the images trained on: none, flip, crop, or flip+crop

    Raises AuditError where a value is of another type or out of its range.
    """

    epochs: CountOrNone = 30
    batch_size: Count = 64
    learning_rate: NotNegative = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 5e-4
    seed: Seed = 0
    device: str = "cpu"
    distillation: Share = 0.0
    temperature: Positive = 2.0
    augmentation: Annotated[str, one_of(*AUGMENTATIONS)] = "none"

    def __post_init__(self) -> None:
        try:
            torch.device(self.device)
        except RuntimeError as error:
            raise AuditError(
                f"found device {shown(self.device)}; expected cpu, cuda, cuda:1 …"
            ) from error
        if self.epochs == 0 and (self.distillation > 0 or self.augmentation != "none"):
            raise AuditError(
                "found 0 epochs beside distillation or augmentation; these are of training, and "
                "need at least 1"
            )

    def check_trains(self, what: str) -> None:
        """Raise AuditError where there is no epoch, for what cannot do without training."""
        if self.epochs < 1:
            raise AuditError(f"found 0 epochs; {what} needs at least 1")

    @property
    def notes(self) -> tuple[str, ...]:
        """The terms of this training that a reader must know, in sentences."""
        said = []
        if self.distillation > 0:
            said.append(
                f"{self.distillation:.0%} of the training loss compares with the dense network's "
                "predictions (distillation), not with the labels"
            )
        if self.augmentation != "none":
            said.append(f"the images were varied while training ({self.augmentation})")
        return tuple(said)

    def steps(self, samples: int) -> int:
        """How many optimisation steps this training takes over that many samples."""
        return self.epochs * batches_per_epoch(samples, self.batch_size)


def split_terms(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The terms of training among the options, and the others."""
    terms = {name: value for name, value in options.items() if name in TERMS}
    return terms, {name: value for name, value in options.items() if name not in TERMS}


def check_temperature(values: Mapping[str, Any], share: float = 0.0) -> None:
    """Raise AuditError where a temperature is given, and nothing that it is of.

    values  what is given by name; share: κ where none is given
    """
    if values.get("temperature") is not None and not (values.get("distillation") or share):
        raise AuditError(
            "found a temperature without distillation, whose predictions it is of; expected "
            "distillation above 0 beside it"
        )


def checked_device(device: str | None = None) -> str:
    """The device by name; cuda where there is one, when none is asked for.

    Raises AuditError where this machine has no such device.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise AuditError(f"device '{device}' cannot be used here; 'cpu' always can") from error
    return device


def batches_per_epoch(samples: int, batch_size: int) -> int:
    """How many batches one pass over the samples takes."""
    return max(1, math.ceil(samples / batch_size))


def shuffled_batches(
    indices: Tensor, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Endless batches of positions, reshuffled every pass; a pass is cut into even pieces.

    Even pieces, because batch norm cannot train on the batch of one sample that a ragged end
    may leave.
    """
    while True:
        order = indices[torch.randperm(len(indices), generator=generator)]
        yield from torch.tensor_split(order, batches_per_epoch(len(indices), batch_size))


def cosine(learning_rate: float, step: int, steps: int) -> float:
    """The learning rate at a step, falling along half a cosine from its start to zero."""
    return 0.5 * learning_rate * (1.0 + math.cos(math.pi * step / steps))


def cross_entropies(outputs: Tensor, batch: Batch) -> Tensor:
    """The cross entropy [n] of every sample, in nats."""
    return functional.cross_entropy(outputs, batch.labels, reduction="none")


def train(
    model: nn.Module,
    data: GroupedData,
    indices: Tensor,
    settings: TrainingSettings,
    after_step: Callable[[nn.Module], None] | None = None,
    title: str = "training",
    losses: Losses = cross_entropies,
) -> int:
    """Train the model in place on the samples at these positions; return the steps taken.

    `after_step` is called after every update: a mask is kept by applying it there. The model is
    given back in evaluation mode, on the CPU. Frozen parameters stay where they are. Raises
    AuditError where all are frozen, or the loss diverges.
    """
    train_mode(model.to(settings.device))
    optimizer = optimizer_of(model, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    batches = shuffled_batches(indices, settings.batch_size, generator)
    steps = settings.steps(len(indices))
    with training_layout(model, data, settings.device):
        for step in tqdm(range(steps), title, leave=False, delay=2, unit="step"):
            optimizer.param_groups[0]["lr"] = cosine(settings.learning_rate, step, steps)
            batch = data.batch(next(batches), settings.device)
            inputs = augmented(batch.inputs, settings.augmentation, generator)
            loss = losses(class_logits(model(inputs)), batch).mean()
            check_slope(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if after_step is not None:
                after_step(model)
    check_finite(model)
    model.to("cpu").eval()
    return steps


def check_slope(loss: Tensor) -> None:
    """Raise AuditError where a loss has no gradient by the parameters of its network."""
    if not loss.requires_grad:
        raise AuditError(f"the network cannot be trained: {CUT_OFF}")


def optimizer_of(model: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """Gradient descent with momentum and weight decay, over all parameters that are not frozen."""
    return torch.optim.SGD(
        trainable_parameters(model),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen; raises AuditError where all are."""
    found = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not found:
        raise AuditError(
            "every parameter of the network is frozen (requires_grad is False); expected at least "
            "one to train"
        )
    return found


def train_mode(model: nn.Module) -> nn.Module:
    """The model in training mode, but for the parts that are frozen as a whole.

    They stay in evaluation mode, so that no batch moves the running statistics of a frozen batch
    norm.
    """
    model.train()
    for module in model.modules():
        own = [parameter.requires_grad for parameter in module.parameters()]
        if own and not any(own):
            module.eval()
    return model


def check_finite(model: nn.Module) -> None:
    """Raise AuditError where a weight or a running statistic is not finite."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise AuditError(
                f"training diverged: '{name}' holds values that are not finite; "
                "lower the learning rate"
            )
