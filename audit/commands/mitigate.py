"""`audit mitigate`: a network pruned under fairness constraints, or a pruned one mended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.delivery import Delivery, deliver
from audit.commands.early import (
    check_constraints,
    check_data,
    check_device,
    check_own_model,
    check_training,
)
from audit.commands.exits import command_line, keeping
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
    Seed,
)
from audit.errors import AuditError
from audit.escaping import printable
from audit.names import known_name
from audit.rates import check_rate


def mitigate(
    network: Checkpoint,
    out: OutCheckpoint,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Share of the prunable weights to remove from a dense NETWORK. A pruned one is "
            "mended: its dense parent is pruned again as far, in as many steps."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Of a pruned NETWORK: where the comparison goes."),
    ] = None,
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
    """Prune a network under fairness constraints, by default mask and weights together.

    Given a pruned NETWORK instead, without --rate: see whom it harms, choose the constraint by
    that, prune its dense parent again, and compare the two.
    """
    name = known_name(method, MitigationMethod, "method")
    check_constraints(constraint or ())
    if rate is not None:
        check_rate(rate)
    check_training(learning_rate, seed)
    check_device(device)
    check_own_model(model)
    check_data(data)
    check_paths(network, out)
    if rate is None:
        named = "+".join(constraint) if constraint else None
        _mend(network, out, named, report or Path("reports") / out.stem, data, model, device)
        return
    if report is not None:
        raise AuditError("--report is for a pruned network, which needs no --rate")
    from audit.mitigate import MITIGATION_METHODS
    from audit.study.settings import Method, parse_options

    settings = training_settings(epochs, seed, batch_size, learning_rate, device)
    names = "+".join(constraint or [MITIGATION_METHODS[name].constraint])
    options = parse_options(option or [])
    options |= {} if structure is None else {"structure": structure}
    chosen = Method(name, names, tolerance, options)
    make_pruned(network, chosen, rate, settings, out, data, model)


def _mend(
    pruned: Path,
    out: Path,
    constraint: str | None,
    folder: Path,
    data: str | None,
    model: str | None,
    device: str | None,
) -> None:
    """Mend a pruned network, say why and how, and write the comparison."""
    to = Delivery(folder)
    to.check()
    from audit.models.training import checked_device
    from audit.study.mending import mend

    with keeping(f"'{out}' was not written"):
        found = mend(
            pruned, out, constraint, data=data, factory=model, command=command_line(),
            device=checked_device(device),
        )  # fmt: skip
    if found.results is None:
        print(f"nothing to mend: {printable(found.plan.reason)}; '{out}' was not written")
        return
    print(f"wrote {out} under {found.plan.constraint}: {printable(found.plan.reason)}")
    deliver(found.results, to)
