"""`audit run`: a study from its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.commands.delivery import Delivery, deliver
from audit.commands.early import check_device, check_study
from audit.commands.exits import command_line, keeping
from audit.commands.options import (
    Device,
    Discover,
    EngineName,
    Gallery,
    Json,
    Log,
    Pdf,
    Redact,
)
from audit.files import check_folder
from audit.names import known_name

if TYPE_CHECKING:
    from audit.study.settings import StudySettings


def run(
    config: Annotated[Path, typer.Argument(help="A study in TOML; 'audit init' writes one.")],
    out: Annotated[Path | None, typer.Option(help="[default: reports/<name of CONFIG>]")] = None,
    workers: Annotated[
        int, typer.Option(help="Cells at a time; 0: one a core (one in all on a GPU).", min=0)
    ] = 0,
    threads: Annotated[
        int,
        typer.Option(
            help="Threads a cell; fixed, a seed gives the same networks. 0: the cores shared out.",
            min=0,
        ),
    ] = 0,
    engine: Annotated[
        str, typer.Option(help="Where cells run: processes, here (one by one), or dask.")
    ] = "processes",
    address: Annotated[
        str, typer.Option(help="Of the Dask scheduler. [default: a cluster on this machine]")
    ] = "",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try cells again that failed before.")
    ] = False,
    device: Device = None,
    discover: Discover = None,
    gallery: Gallery = False,
    json: Json = False,
    pdf: Pdf = False,
    log: Log = None,
    redact: Redact = 0,
) -> None:
    """Run a study: data × model × methods × rates × seeds → measures → report.

    Finished cells are kept under OUT: a stopped study goes on where it was. A cell that fails ends
    no other; the command then ends with 2. 'audit status OUT' tells how far it is.
    """
    check_study(config)
    engine = known_name(engine, EngineName, "engine")
    check_device(device)
    to = Delivery(out or Path("reports") / config.stem, json, gallery, pdf, log=log, redact=redact)
    to.check()
    from audit.data.asked import listed
    from audit.models.training import checked_device
    from audit.study.settings import load_settings, on_device

    settings = on_device(load_settings(config), checked_device(device))
    if discover:
        measure = replace(settings.measure, discover=tuple(listed(discover)))
        settings = replace(settings, measure=measure)
    run_and_deliver(settings, to, workers, threads, engine, address, retry_failed)


def run_and_deliver(
    settings: StudySettings,
    to: Delivery,
    workers: int,
    threads: int,
    engine: str = "processes",
    address: str = "",
    retry_failed: bool = False,
) -> None:
    """Run the study in the folder that its results go to.

    Raises AuditError, once all is written, where networks of it are missing.
    """
    for part in ("models", "cells"):
        check_folder(to.folder / part)
    from audit.study.engines import make_engine
    from audit.study.run import check_complete, run_study

    make_engine(engine, workers, address)

    kept = f"finished cells are kept under '{to.folder}'"
    with keeping(kept, "the same command goes on from there"):
        results = run_study(
            settings,
            to.folder,
            workers,
            command_line(),
            to.gallery,
            threads,
            engine,
            address,
            retry_failed,
        )
        deliver(results, to)
    check_complete(results)
