"""`audit measure`: every group under one network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.blocks import Forms, Measuring, Thresholds, with_blocks
from audit.commands.delivery import deliver
from audit.commands.early import check_data, check_own_model
from audit.commands.exits import command_line, keeping
from audit.commands.options import Data, Dense, MeasuredModel, Model
from audit.commands.own_metric import OwnMetric
from audit.files import check_readable


@with_blocks
def measure(
    model_file: MeasuredModel,
    *,
    dense: Dense = None,
    out: Annotated[Path | None, typer.Option(help="[default: reports/<name of MODEL>]")] = None,
    measuring: Measuring,
    data: Data = None,
    model: Model = None,
    own: OwnMetric,
    thresholds: Thresholds,
    forms: Forms,
) -> None:
    """Measure every group under one model, against its dense parent where it has one."""
    check_readable(model_file, *([] if dense is None else [dense]))
    check_own_model(model)
    measuring.check()
    check_data(data)
    to = forms.to(out or Path("reports") / model_file.stem)
    checks = thresholds.checks(measuring)
    own.check()
    from audit.examine.estimate import told_before
    from audit.measure.ranks import across_ranks
    from audit.study.checkpoints import measure_files

    settings = measuring.settings(own.scores)
    nothing = f"nothing was written to '{to.folder}'"
    with across_ranks() as ranks, told_before(), keeping(nothing):
        results = measure_files(
            model_file, dense, data, model, settings, command_line(), forms.gallery
        )
        results, unmeasured = own.added(results)
    if ranks.rank > 0:
        return
    deliver(results, to, checks)
    if unmeasured is not None:
        raise unmeasured
