"""`audit compare`: pruned networks side by side."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit.commands.delivery import Checks, Delivery, deliver, make_checks
from audit.commands.early import check_data, check_device, check_own_model, known_outputs
from audit.commands.exits import THRESHOLD_FAILED, command_line, keeping
from audit.commands.options import (
    Card,
    Checkpoint,
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
    Measures,
    MeasuringDevice,
    Metric,
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
from audit.errors import AuditError
from audit.files import check_readable
from audit.specs import attributes_of, by_attribute

if TYPE_CHECKING:
    from audit.findings.results import Results


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
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FUNCTION",
            help="What builds the networks: package.module:function, torchvision:NAME, timm:NAME "
            "or hf:FOLDER; where they differ, one for the file of each NAME (dense.pth: dense).",
        ),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(help="Of other tools' weights: logits, log-probabilities or probabilities."),
    ] = None,
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
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions",
            help="The files are tables of predictions (CSV, Parquet): columns sample, label, those "
            "of --group, and prediction, score or one probability:CLASS a class; the first is the "
            "dense network's, unless --dense names it.",
        ),
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="What the groups are of, in place of what --data says; crossed with commas, "
            "audited one after another with semicolons: 'sex;race;sex,race'.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Of --predictions: all classes, in order, with commas."),
    ] = None,
) -> None:
    """Compare pruned models group by group: which harms whom, by how much, and why."""
    paths = [baseline, *fair]
    check_readable(*paths, *([] if dense is None else [dense]))
    factories = _factories(model or ())
    given = known_outputs(outputs)
    check_device(device)
    _check_options(predictions, group, classes, [data, model, outputs, gallery or None])
    specs = dict.fromkeys(attributes_of(group or "")) if predictions else by_attribute(data, group)
    for spec in specs.values():
        check_data(spec)
    folder = out or Path("reports") / "-".join(path.stem for path in paths)
    deliveries = {
        name: Delivery(_within(folder, name, specs), json, gallery, pdf, card, log, redact)
        for name in specs
    }
    for to in deliveries.values():
        to.check()
    own = OwnMetric(metric, positive, scores, reference, control)
    own.check()
    checks = {
        name: make_checks(fail_if, fail_if_possible, _beside(junit, name, specs), github)
        for name in specs
    }
    from audit.data.asked import listed
    from audit.examine.settings import MeasureSettings
    from audit.study.checkpoints import compare_files
    from audit.study.predictions import compare_prediction_files

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
    codes = []
    for name, spec in specs.items():
        to = deliveries[name]
        with keeping(f"nothing was written to '{to.folder}'"):
            if predictions:
                named = listed(classes) if classes else None
                results = compare_prediction_files(
                    paths, name, settings, dense, named, command_line()
                )
            else:
                results = compare_files(
                    baseline, fair, dense, spec, factories, settings, command_line(), gallery, given
                )
            results, unmeasured = own.added(results)
        codes.append(_delivered(results, to, checks[name]))
        if unmeasured is not None:
            raise unmeasured
    if any(codes):
        raise typer.Exit(THRESHOLD_FAILED)


def _factories(texts: Sequence[str]) -> dict[str, str] | None:
    """What builds the network of each name; under '' that of all others. None where nothing does.

    Raises AuditError where one cannot be such a function, or a name has two.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, function = text.partition("=")
        if not equals or ":" in name:
            name, function = "", text
        if name in found:
            raise AuditError(f"found --model {text} beside {found[name]}; expected one a network")
        check_own_model(function)
        found[name] = function
    return found or None


def _check_options(
    predictions: bool, group: str | None, classes: str | None, of_networks: list[Any]
) -> None:
    """Raise AuditError where options are not of the files that were given."""
    if predictions and group is None:
        raise AuditError(
            "found --predictions without --group; expected the columns of the groups, such as "
            "--group sex,race"
        )
    if predictions and any(one is not None for one in of_networks):
        raise AuditError(
            "found --data, --model, --outputs or --gallery with --predictions; expected them with "
            "networks alone: the tables hold labels, groups and what was predicted"
        )
    if classes is not None and not predictions:
        raise AuditError("found --classes without --predictions; classes are the data's own")


def _within(folder: Path, attribute: str, all_of_them: Collection[str]) -> Path:
    """The folder of one attribute's results, where there are several."""
    return folder / attribute.replace(os.sep, "_") if len(all_of_them) > 1 else folder


def _beside(junit: Path | None, attribute: str, all_of_them: Collection[str]) -> Path | None:
    if junit is None or len(all_of_them) == 1:
        return junit
    return junit.with_stem(f"{junit.stem}-{attribute.replace(os.sep, '_')}")


def _delivered(results: Results, to: Delivery, checks: Checks) -> int:
    """The exit code: the results of further attributes are still to come."""
    try:
        deliver(results, to, checks)
    except typer.Exit as end:
        return int(end.exit_code)
    return 0
