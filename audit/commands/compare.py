"""`audit compare`: pruned networks side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.delivery import Delivery, deliver, make_checks
from audit.commands.early import check_data, check_own_model, known_outputs
from audit.commands.exits import command_line, keeping
from audit.commands.options import (
    Card,
    Checkpoint,
    Control,
    Curvature,
    CurvatureBy,
    Data,
    DeepFool,
    Density,
    FailIf,
    FailIfPossible,
    Gallery,
    GitHub,
    Json,
    JUnit,
    Layers,
    Log,
    Measures,
    Metric,
    Model,
    OfScores,
    Pdf,
    Positive,
    Reference,
    Samples,
    Smallest,
    Theory,
    Top,
)
from audit.commands.own_metric import OwnMetric
from audit.files import check_readable


def compare(
    baseline: Checkpoint,
    fair: Annotated[
        list[Path], typer.Argument(help="Others of the same data, each compared with BASELINE.")
    ],
    dense: Annotated[
        Path | None, typer.Option(help="Their dense parent, if not where the checkpoints say.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="[default: reports/<BASELINE>-<FAIR>]")] = None,
    curvature: CurvatureBy = Curvature.lanczos,
    samples_per_group: Samples = 500,
    top_eigenvalues: Top = 1,
    smallest_eigenvalue: Smallest = False,
    layer_curvature: Layers = False,
    spectral_density: Density = False,
    theory: Theory = False,
    deepfool: DeepFool = False,
    measures: Measures = None,
    data: Data = None,
    model: Model = None,
    outputs: Annotated[
        str | None,
        typer.Option(help="Of other tools' weights: logits, log-probabilities or probabilities."),
    ] = None,
    metric: Metric = None,
    positive: Positive = None,
    scores: OfScores = False,
    reference: Reference = None,
    control: Control = None,
    fail_if: FailIf = None,
    fail_if_possible: FailIfPossible = False,
    junit: JUnit = None,
    github: GitHub = False,
    gallery: Gallery = False,
    json: Json = False,
    pdf: Pdf = False,
    card: Card = False,
    log: Log = None,
) -> None:
    """Compare pruned models group by group: which harms whom, by how much, and why."""
    check_readable(baseline, *fair, *([] if dense is None else [dense]))
    check_own_model(model)
    given = known_outputs(outputs)
    check_data(data)
    stems = "-".join(path.stem for path in (baseline, *fair))
    to = Delivery(out or Path("reports") / stems, json, gallery, pdf, card, log)
    to.check()
    checks = make_checks(fail_if, fail_if_possible, junit, github)
    own = OwnMetric(metric, positive, scores, reference, control)
    own.check()
    from audit.examine.settings import MeasureSettings
    from audit.study.checkpoints import compare_files

    settings = MeasureSettings(
        curvature=curvature.value,
        samples_per_group=samples_per_group,
        top_eigenvalues=top_eigenvalues,
        smallest_eigenvalue=smallest_eigenvalue,
        layer_curvature=layer_curvature,
        spectral_density=spectral_density,
        theory=theory,
        deepfool=deepfool,
        scores=scores,
        measures=tuple(measures or ()),
    )
    with keeping(f"nothing was written to '{to.folder}'"):
        results = compare_files(
            baseline, fair, dense, data, model, settings, command_line(), gallery, given
        )
        results, unmeasured = own.added(results)
    deliver(results, to, checks)
    if unmeasured is not None:
        raise unmeasured
