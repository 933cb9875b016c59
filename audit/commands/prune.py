"""`audit prune`: a dense network, pruned and trained on."""

from __future__ import annotations

from typing import Annotated

import typer

from audit.commands.early import (
    check_data,
    check_device,
    check_own_model,
    check_training,
    known_pruning,
)
from audit.commands.making import check_paths, make_pruned, training_settings
from audit.commands.options import (
    Augmentation,
    BatchSize,
    Checkpoint,
    Data,
    Device,
    Distillation,
    FineTuning,
    LearningRate,
    Model,
    OutCheckpoint,
    PruningMethod,
    Rate,
    Seed,
    Temperature,
)
from audit.rates import check_rate


def prune(
    dense: Checkpoint,
    out: OutCheckpoint,
    rate: Rate,
    method: Annotated[
        str,
        typer.Option(
            help=f"How to choose what goes: one of {', '.join(PruningMethod)}, or "
            "package.module:function.",
            autocompletion=lambda: list(PruningMethod),
        ),
    ] = "magnitude",
    epochs: FineTuning = 20,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    learning_rate: LearningRate = 0.05,
    distillation: Distillation = None,
    temperature: Temperature = None,
    augmentation: Augmentation = None,
    device: Device = None,
    data: Data = None,
    model: Model = None,
) -> None:
    """Prune a dense network and train what survives, in as many steps whatever the method."""
    name = known_pruning(method)
    check_rate(rate)
    check_training(learning_rate, seed)
    check_device(device)
    check_own_model(model)
    check_data(data)
    check_paths(dense, out)
    from audit.models.training import check_temperature
    from audit.study.settings import Method

    check_temperature({"temperature": temperature, "distillation": distillation})
    settings = training_settings(
        device, epochs=epochs, seed=seed, batch_size=batch_size, learning_rate=learning_rate,
        distillation=distillation, temperature=temperature, augmentation=augmentation,
    )  # fmt: skip
    make_pruned(dense, Method(name), rate, settings, out, data, model)
