"""`audit mitigate`: a dense network, pruned under fairness constraints."""

from __future__ import annotations

from typing import Annotated

import typer

from audit.commands.making import check_paths, make_pruned, training_settings
from audit.commands.options import (
    BatchSize,
    Checkpoint,
    ConstraintName,
    Data,
    Device,
    Epochs,
    LearningRate,
    MitigationMethod,
    Model,
    OutCheckpoint,
    Rate,
    Seed,
)
from audit.imports import is_imported
from audit.names import known_name


def mitigate(
    dense: Checkpoint,
    out: OutCheckpoint,
    rate: Rate,
    method: Annotated[
        str,
        typer.Option(
            help=f"How to prune fairly: {', '.join(MitigationMethod)}.",
            autocompletion=lambda: list(MitigationMethod),
        ),
    ] = "bilevel",
    constraint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=TOLERANCE]",
            help="What must be fair; may be given several times. One of "
            f"{', '.join(ConstraintName)}, or package.module:Class. [default: the method's own]",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(help="Allowed violation, in the unit of each constraint that names none."),
    ] = 0.0,
    structure: Annotated[
        str | None, typer.Option(help="What goes as a whole: weight, layer, filter, or N:M.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A further setting of the method, such as mask_share=0.6; may be given several "
            "times.",
        ),
    ] = None,
    epochs: Epochs = 20,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    learning_rate: LearningRate = 0.05,
    device: Device = None,
    data: Data = None,
    model: Model = None,
) -> None:
    """Prune a dense network under fairness constraints, by default mask and weights together."""
    check_paths(dense, out)
    name = known_name(method, MitigationMethod, "method")
    for part in "+".join(constraint or ()).split("+"):
        if part and not is_imported(part):
            known_name(part.partition("=")[0], ConstraintName, "constraint", "package.module:Class")
    from audit.mitigate import MITIGATION_METHODS
    from audit.study.settings import Method, parse_options

    settings = training_settings(epochs, seed, batch_size, learning_rate, device)
    names = "+".join(constraint or [MITIGATION_METHODS[name].constraint])
    options = parse_options(option or [])
    options |= {} if structure is None else {"structure": structure}
    chosen = Method(name, names, tolerance, options)
    make_pruned(dense, chosen, rate, settings, out, data, model)
