"""`audit measure`: every group under one network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.delivery import Delivery, deliver, make_checks
from audit.commands.early import check_data, check_device, check_own_model
from audit.commands.exits import command_line, keeping
from audit.commands.options import (
    Card,
    Control,
    Curvature,
    CurvatureBy,
    CurvatureSamples,
    Data,
    DeepFool,
    Density,
    Discover,
    FailIf,
    FailIfPossible,
    Gallery,
    GitHub,
    Json,
    JUnit,
    Layers,
    Log,
    MeasuredModel,
    Measures,
    MeasuringDevice,
    Metric,
    Model,
    OfScores,
    Pdf,
    Positive,
    Products,
    Redact,
    Reference,
    Samples,
    Smallest,
    Theory,
    Top,
)
from audit.commands.own_metric import OwnMetric
from audit.files import check_readable


def measure(
    model_file: MeasuredModel,
    dense: Annotated[
        Path | None, typer.Option(help="Its dense parent, if not where the checkpoint says.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="[default: reports/<name of MODEL>]")] = None,
    curvature: CurvatureBy = Curvature.lanczos,
    samples_per_group: Samples = 500,
    curvature_samples: CurvatureSamples = None,
    max_products: Products = 60,
    device: MeasuringDevice = "cpu",
    top_eigenvalues: Top = 1,
    smallest_eigenvalue: Smallest = False,
    layer_curvature: Layers = False,
    spectral_density: Density = False,
    theory: Theory = False,
    deepfool: DeepFool = False,
    measures: Measures = None,
    data: Data = None,
    model: Model = None,
    metric: Metric = None,
    positive: Positive = None,
    scores: OfScores = False,
    reference: Reference = None,
    control: Control = None,
    discover: Discover = None,
    fail_if: FailIf = None,
    fail_if_possible: FailIfPossible = False,
    junit: JUnit = None,
    github: GitHub = False,
    gallery: Gallery = False,
    json: Json = False,
    pdf: Pdf = False,
    card: Card = False,
    log: Log = None,
    redact: Redact = 0,
) -> None:
    """Measure every group under one model, against its dense parent where it has one."""
    check_readable(model_file, *([] if dense is None else [dense]))
    check_own_model(model)
    check_device(device)
    check_data(data)
    to = Delivery(out or Path("reports") / model_file.stem, json, gallery, pdf, card, log, redact)
    to.check()
    checks = make_checks(fail_if, fail_if_possible, junit, github)
    own = OwnMetric(metric, positive, scores, reference, control)
    own.check()
    from audit.data.asked import listed
    from audit.examine.settings import MeasureSettings
    from audit.study.checkpoints import measure_files

    settings = MeasureSettings(
        curvature=curvature.value,
        samples_per_group=samples_per_group,
        curvature_samples=curvature_samples,
        max_products=max_products,
        device=device,
        top_eigenvalues=top_eigenvalues,
        smallest_eigenvalue=smallest_eigenvalue,
        layer_curvature=layer_curvature,
        spectral_density=spectral_density,
        theory=theory,
        deepfool=deepfool,
        scores=scores,
        measures=tuple(measures or ()),
        discover=tuple(listed(discover or "")),
    )
    with keeping(f"nothing was written to '{to.folder}'"):
        results = measure_files(model_file, dense, data, model, settings, command_line(), gallery)
        results, unmeasured = own.added(results)
    deliver(results, to, checks)
    if unmeasured is not None:
        raise unmeasured
