"""`audit import`: a dense network that another tool trained, as a checkpoint of this toolkit."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from audit.commands.early import check_data, check_own_model, known_outputs
from audit.commands.exits import keeping
from audit.commands.making import check_paths, naming, say_accuracy
from audit.commands.options import DATA_HELP, OutCheckpoint, Outputs
from audit.errors import AuditError
from audit.escaping import printable

IN_FOLDERS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""What the weights are called in folders that `save_pretrained` wrote."""


def import_(
    weights: Annotated[
        Path,
        typer.Argument(help="A file of weights: a state dict of PyTorch, or safetensors."),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="What builds the network: package.module:function, torchvision:NAME, timm:NAME "
            "or hf:FOLDER."
        ),
    ],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    out: OutCheckpoint,
    state: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Of a file with several state dicts: which one."),
    ] = None,
    outputs: Outputs = None,
) -> None:
    """Take over a dense network that another tool trained, to prune and mitigate it."""
    check_own_model(model)
    given = known_outputs(outputs)
    check_data(data)
    _check_file(weights)
    check_paths(weights, out)
    from audit.data import describe_data, load_data
    from audit.models.checkpoint import save_checkpoint
    from audit.study.importing import import_weights

    samples = load_data(data)
    print(describe_data(samples).text(), file=sys.stderr)
    with keeping(f"'{out}' was not written"):
        checkpoint = import_weights(weights, model, samples, given, state)
    save_checkpoint(checkpoint, out)
    print(f"wrote {out}: {model}, {checkpoint.count_parameters(model):,} parameters, dense")
    for note in checkpoint.provenance.notes:
        print(f"note: {printable(note)}")
    say_accuracy(checkpoint, samples, model)
    path, again = shlex.quote(str(out)), naming(out, model, samples, data)
    trains = len(samples.splits["train"]) > 0
    then = f"prune {path} --rate 0.9 --out pruned.pt" if trains else f"measure {path}"
    print(f"next: audit {then}{again}")


def _check_file(weights: Path) -> None:
    """Raise AuditError where a folder is given in the place of the file of weights in it."""
    if weights.is_dir():
        found = next((name for name in IN_FOLDERS if (weights / name).is_file()), "")
        hint = f", such as '{weights / found}'" if found else ""
        raise AuditError(f"'{weights}' is a folder; expected a file of weights{hint}")
