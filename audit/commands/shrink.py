"""`audit shrink`: a network without the channels that pruning emptied."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.early import check_own_model
from audit.commands.making import check_paths
from audit.commands.options import MeasuredModel, Model


def shrink(
    model_file: MeasuredModel,
    out: Annotated[Path, typer.Option(help="File to write, in .pt2 (torch.export).")],
    model: Model = None,
) -> None:
    """Take out the channels that a structured method emptied, and export the smaller network."""
    check_own_model(model)
    check_paths(model_file, out)
    from audit.models.checkpoint import load_checkpoint
    from audit.study.shrinking import export_model, shrink_model

    checkpoint = load_checkpoint(model_file)
    found = shrink_model(checkpoint, model)
    export_model(found.network, checkpoint.architecture.input_shape, out)
    print("\n".join(found.lines()))
    print(f"wrote {out}; read it by torch.export.load('{out}').module()")
