"""`audit train`: a dense network."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from audit.commands.early import (
    check_data,
    check_device,
    check_training,
    known_model,
    known_outputs,
)
from audit.commands.exits import keeping
from audit.commands.making import naming, say_accuracy, training_settings
from audit.commands.options import (
    DATA_HELP,
    Augmentation,
    BatchSize,
    Device,
    Epochs,
    LearningRate,
    OutCheckpoint,
    Seed,
)
from audit.files import check_file


def train(
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    model: Annotated[
        str, typer.Option(help="mlp, convnet, resnet10, resnet18, or package.module:function.")
    ],
    out: OutCheckpoint,
    width: Annotated[int | None, typer.Option(help="Width of the model.", min=1)] = None,
    outputs: Annotated[
        str | None,
        typer.Option(help="Of your own model: logits, log-probabilities or probabilities."),
    ] = None,
    epochs: Epochs = 30,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    learning_rate: LearningRate = 0.05,
    augmentation: Augmentation = None,
    device: Device = None,
) -> None:
    """Train a dense network on the train split of the data."""
    name = known_model(model)
    given = known_outputs(outputs)
    check_training(learning_rate, seed)
    check_device(device)
    check_data(data)
    check_file(out)
    from audit.data import describe_data, load_data
    from audit.models.checkpoint import save_checkpoint
    from audit.models.zoo import Architecture, build_model
    from audit.study.estimate import tell_training
    from audit.study.making import train_model

    settings = training_settings(
        device, epochs=epochs, seed=seed, batch_size=batch_size, learning_rate=learning_rate,
        augmentation=augmentation,
    )  # fmt: skip
    arguments = {} if width is None else {"width": width}
    samples = load_data(data)
    # What was made of the data belongs to the person who trains on them, not to a pipe.
    print(describe_data(samples).text(), file=sys.stderr)
    with keeping(f"'{out}' was not written"):
        network = Architecture(name, samples.input_shape, len(samples.classes), arguments, given)
        tell_training(build_model(network, seed), samples, settings)
        checkpoint = train_model(samples, name, settings, arguments, given)
    save_checkpoint(checkpoint, out)
    count = checkpoint.count_parameters(name)
    print(f"wrote {out}: {name}, {count:,} parameters, dense")
    say_accuracy(checkpoint, samples, name)
    path, again = shlex.quote(str(out)), naming(out, name, samples, data)
    print(f"next: audit prune {path} --rate 0.9 --out pruned.pt{again}")
