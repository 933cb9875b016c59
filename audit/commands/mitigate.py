"""`audit mitigate`: a network pruned under fairness constraints, or a pruned one mended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from audit.commands.delivery import Delivery, deliver
from audit.commands.early import (
    check_constraints,
    check_data,
    check_device,
    check_own_model,
    check_training,
)
from audit.commands.exits import command_line
from audit.commands.making import asked, check_paths, make_pruned, training_settings
from audit.commands.options import (
    Augmentation,
    Checkpoint,
    ConstraintName,
    Data,
    Dense,
    Device,
    Distillation,
    MitigationMethod,
    Model,
    OutCheckpoint,
    Temperature,
)
from audit.errors import AuditError
from audit.escaping import printable
from audit.names import known_name
from audit.rates import check_rate

OWN = "of a pruned NETWORK: its own]"
EpochsIfGiven = Annotated[
    int | None,
    typer.Option("--epochs", help=f"Passes over the samples. [default: 20; {OWN}", min=1),
]
SeedIfGiven = Annotated[
    int | None, typer.Option("--seed", help=f"Fixes the batches. [default: 0; {OWN}")
]
BatchSizeIfGiven = Annotated[
    int | None, typer.Option("--batch-size", help=f"Samples a step. [default: 64; {OWN}", min=1)
]
LearningRateIfGiven = Annotated[
    float | None,
    typer.Option("--learning-rate", help=f"At the start; falls to 0. [default: 0.05; {OWN}"),
]


RateIfDense = Annotated[
    float | None,
    typer.Option(
        help="Share of the prunable weights to remove from a dense NETWORK. A pruned one is "
        "mended: its dense parent is pruned again as far, in as many steps."
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Of a pruned NETWORK: where the comparison goes."),
]
FairMethod = Annotated[
    str,
    typer.Option(
        help=f"How to prune fairly: {', '.join(MitigationMethod)}.",
        autocompletion=lambda: list(MitigationMethod),
    ),
]
Constraints = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        metavar="NAME[=TOLERANCE]",
        help="What must be fair; may be given several times. One of "
        f"{', '.join(ConstraintName)}, or package.module:Class. [default: the method's own; "
        "of a pruned NETWORK: by what is found of it]",
    ),
]
Tolerance = Annotated[
    float,
    typer.Option(help="Allowed violation, in the unit of each constraint that names none."),
]
Structure = Annotated[
    str | None, typer.Option(help="What goes as a whole: weight, layer, filter, or N:M.")
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="A further setting of the method, such as mask_share=0.6; may be given several times.",
    ),
]


def mitigate(
    network: Checkpoint,
    out: OutCheckpoint,
    rate: RateIfDense = None,
    report: Report = None,
    method: FairMethod = "bilevel",
    constraint: Constraints = None,
    tolerance: Tolerance = 0.0,
    structure: Structure = None,
    option: Options = None,
    epochs: EpochsIfGiven = None,
    seed: SeedIfGiven = None,
    batch_size: BatchSizeIfGiven = None,
    learning_rate: LearningRateIfGiven = None,
    distillation: Distillation = None,
    temperature: Temperature = None,
    augmentation: Augmentation = None,
    device: Device = None,
    data: Data = None,
    model: Model = None,
    dense: Dense = None,
) -> None:
    """Prune a network under fairness constraints, by default mask and weights together.

    Given a pruned NETWORK instead, without --rate: see whom it harms, choose the constraint by
    that, prune its dense parent again, and compare the two. It is trained as the pruned one was,
    but for what is given.
    """
    name = known_name(method, MitigationMethod, "method")
    check_constraints(constraint or ())
    if rate is not None:
        check_rate(rate)
    check_training(learning_rate or 0.0, seed or 0)
    check_device(device)
    check_own_model(model)
    check_data(data)
    check_paths(network, out)
    if rate is not None and report is not None:
        raise AuditError("--report is for a pruned network, which needs no --rate")
    if rate is not None and dense is not None:
        raise AuditError("--dense is for a pruned network, which needs no --rate")
    training = {
        "epochs": epochs, "seed": seed, "batch_size": batch_size, "learning_rate": learning_rate,
        "distillation": distillation, "temperature": temperature, "augmentation": augmentation,
    }  # fmt: skip
    from audit.study.settings import Method

    named = "+".join(constraint) if constraint else None
    options = _options(option or [], {**training, "structure": structure})
    if rate is None:
        _mend(
            network, out, report or Path("reports") / out.stem,
            constraint=named, method=name, tolerance=tolerance, options=options,
            training=asked(training), data=data, factory=model, device=device, dense=dense,
        )  # fmt: skip
        return
    from audit.mitigate import MITIGATION_METHODS
    from audit.models.training import check_temperature

    check_temperature({**options, **asked(training)})
    settings = training_settings(device, **{"epochs": 20, **asked(training)})
    chosen = Method(name, named or MITIGATION_METHODS[name].constraint, tolerance, options)
    make_pruned(network, chosen, rate, settings, out, data, model)


def _options(texts: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the method; raises AuditError where an option of the command says one too."""
    from audit.study.settings import parse_options

    options = parse_options(texts)
    for name, value in asked(given).items():
        if name in options:
            raise AuditError(
                f"found --{name.replace('_', '-')} {printable(str(value))} and --option {name}; "
                "give one of them"
            )
    return options | asked({"structure": given["structure"]})


def _mend(pruned: Path, out: Path, folder: Path, device: str | None, **asked_for: Any) -> None:
    """Mend a pruned network, say why and how, and write the comparison."""
    to = Delivery(folder)
    to.check()
    from audit.models.training import checked_device
    from audit.study.mending import mend

    found = mend(pruned, out, command=command_line(), device=checked_device(device), **asked_for)
    if found.results is None:
        print(f"found nothing to mend: {printable(found.plan.reason)}; '{out}' was not written")
        return
    print(f"wrote {out} under {found.plan.constraint}: {printable(found.plan.reason)}")
    deliver(found.results, to)
