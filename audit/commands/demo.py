"""`audit demo`: the whole toolkit on embedded data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.delivery import Delivery
from audit.commands.options import Device, Gallery, Json, Log, Pdf, Redact, Seed
from audit.commands.run import run_and_deliver


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("reports/demo"),
    seed: Seed = 0,
    device: Device = None,
    gallery: Gallery = False,
    json: Json = False,
    pdf: Pdf = False,
    log: Log = None,
    redact: Redact = 0,
) -> None:
    """Train, prune, mitigate, measure and report on the embedded digits, in a few minutes."""
    to = Delivery(out, json, gallery, pdf, log=log, redact=redact)
    to.check()
    from audit.models.training import checked_device
    from audit.study.demo import demo_settings

    settings = demo_settings(seed, checked_device(device))
    # One thread a cell, so that every machine with the same kernels shows the same numbers.
    run_and_deliver(settings, to, workers=0, threads=1)
