"""Options that several commands share, each told once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class PruningMethod(StrEnum):
    """Methods of `audit prune`, those of audit.prune.PRUNING_METHODS."""

    magnitude = "magnitude"
    magnitude_layerwise = "magnitude-layerwise"
    magnitude_2of4 = "magnitude-2of4"
    gradual = "gradual"
    lottery_ticket = "lottery-ticket"
    snip = "snip"
    grasp = "grasp"
    synflow = "synflow"
    l1_filter = "l1-filter"
    l2_filter = "l2-filter"
    fpgm = "fpgm"
    fairgrape = "fairgrape"
    fairprune = "fairprune"
    random = "random"


class MitigationMethod(StrEnum):
    """Methods of `audit mitigate`, those of audit.mitigate.MITIGATION_METHODS."""

    bilevel = "bilevel"
    lagrangian_dual = "lagrangian-dual"
    lagrangian_dual_before = "lagrangian-dual-before"
    lagrangian_dual_both = "lagrangian-dual-both"
    prune_then_fair = "prune-then-fair"
    fair_then_prune = "fair-then-prune"
    prune_in_rounds_then_fair = "prune-in-rounds-then-fair"
    gradual_excess_accuracy = "gradual-excess-accuracy"


class ConstraintName(StrEnum):
    """Constraints of `audit mitigate`, those of audit.mitigate.CONSTRAINTS."""

    none = "none"
    group_loss = "group-loss"
    excess_loss = "excess-loss"
    excess_accuracy = "excess-accuracy"
    equal_accuracy = "equal-accuracy"
    demographic_parity = "demographic-parity"
    equalised_odds = "equalised-odds"
    no_harm = "no-harm"
    worst_group = "worst-group"
    gradient_curvature = "gradient-curvature"


class ModelName(StrEnum):
    """The toolkit's own networks, those of audit.models.ZOO."""

    mlp = "mlp"
    convnet = "convnet"
    resnet10 = "resnet10"
    resnet18 = "resnet18"


class OutputKind(StrEnum):
    """What a network of one's own may give, those of audit.models.outputs.OUTPUTS."""

    logits = "logits"
    log_probabilities = "log-probabilities"
    probabilities = "probabilities"


class EngineName(StrEnum):
    """Where the cells of a study run, those of audit.study.engines.ENGINES."""

    processes = "processes"
    here = "here"
    dask = "dask"


class Tracker(StrEnum):
    """Experiment trackers, those of audit.report.trackers.TRACKERS."""

    mlflow = "mlflow"
    wandb = "wandb"


class Curvature(StrEnum):
    """What computes the Hessian's eigenvalues."""

    lanczos = "lanczos"
    pyhessian = "pyhessian"
    none = "none"


DATA_HELP = (
    "digits | utkface:FOLDER?target=ethnicity&group=ethnicity&size=32 | adult:FOLDER?group=sex,race"
    " | table:FILE.csv?target=income&group=sex"
)
Checkpoint = Annotated[Path, typer.Argument(help="A checkpoint file.")]
MeasuredModel = Annotated[Path, typer.Argument(metavar="MODEL", help="A checkpoint file.")]
OutCheckpoint = Annotated[Path, typer.Option("--out", help="Checkpoint to write.")]
Rate = Annotated[float, typer.Option(help="Share of the prunable weights to remove.")]
Epochs = Annotated[int, typer.Option(help="Passes over the training samples.", min=1)]
FineTuning = Annotated[
    int, typer.Option("--epochs", help="Passes over the training samples; 0: one-shot.", min=0)
]
Seed = Annotated[int, typer.Option(help="Fixes initial weights, batches and resamples.")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Samples a step.", min=1)]
LearningRate = Annotated[float, typer.Option("--learning-rate", help="At the start; falls to 0.")]
Distillation = Annotated[
    float | None,
    typer.Option(
        help="κ from 0 to 1: the share of the loss that compares with the dense network's "
        "predictions and not with the labels. [default: 0]"
    ),
]
Temperature = Annotated[
    float | None, typer.Option(help="Of the predictions that distillation compares. [default: 2]")
]
Augmentation = Annotated[
    str | None,
    typer.Option(help="Images varied in training: none, flip, crop, flip+crop. [default: none]"),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1 … [default: cuda where there is one]")
]
Data = Annotated[
    str | None,
    typer.Option(help="Where the data lies now, if not where the checkpoint says (a SPEC)."),
]
Model = Annotated[
    str | None,
    typer.Option(help="package.module:function that builds the network, if it is your own."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="[NAME=]FUNCTION",
        help="What builds the networks: package.module:function, torchvision:NAME, timm:NAME "
        "or hf:FOLDER; where they differ, one for the file of each NAME (dense.pth: dense).",
    ),
]
States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="[NAME=]KEY",
        help="Of other tools' files with several state dicts, as of an average: which one; where "
        "files differ, one for the file of each NAME (dense.pth: dense).",
    ),
]
Outputs = Annotated[
    str | None,
    typer.Option(help="Of other tools' weights: logits, log-probabilities or probabilities."),
]
Dense = Annotated[
    Path | None, typer.Option(help="The dense parent, if not where the checkpoint says.")
]
Unit = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Of --predictions: the persons (or other units) that samples are of, where several "
        "are of one; every interval is then that of the persons. Of data: unit= in SPEC.",
    ),
]
Predictions = Annotated[
    bool,
    typer.Option(
        "--predictions",
        help="The files are tables of predictions (CSV, Parquet): columns sample, label, those "
        "of --group, and prediction, score or one probability:CLASS a class; the first is the "
        "dense network's, unless --dense names it.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMNS",
        help="What the groups are of, in place of what --data says; crossed with commas, "
        "audited one after another with semicolons: 'sex;race;sex,race'.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="Of --predictions: all classes, in order, with commas."),
]

CurvatureBy = Annotated[Curvature, typer.Option("--curvature", help="What computes λ_max.")]
Samples = Annotated[
    int,
    typer.Option(
        "--samples-per-group", help="Most samples of a group for gradients and curvature.", min=1
    ),
]
CurvatureSamples = Annotated[
    int | None,
    typer.Option(
        "--curvature-samples", help="Most of these for curvature alone, the slowest part.", min=1
    ),
]
Products = Annotated[
    int,
    typer.Option("--max-products", help="Most Hessian products a group; then a bound.", min=1),
]
MeasuringDevice = Annotated[
    str, typer.Option("--device", help="Where networks run: cpu, cuda, cuda:1, mps.")
]
Top = Annotated[
    int, typer.Option("--top-eigenvalues", help="How many of the largest eigenvalues.", min=1)
]
Smallest = Annotated[
    bool,
    typer.Option("--smallest-eigenvalue", help="λ_min too, and not only a bound of it (slower)."),
]
Layers = Annotated[
    bool, typer.Option("--layer-curvature", help="Eigenvalues of every layer's own block too.")
]
Density = Annotated[
    bool, typer.Option("--spectral-density", help="The density of the whole spectrum too (slow).")
]
Theory = Annotated[
    bool, typer.Option("--theory", help="The bounds of theorems 1 and 2 and proposition 2 too.")
]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        metavar="NAME",
        help="A measure of your own too, as package.module:name. May be given several times.",
    ),
]
DeepFool = Annotated[bool, typer.Option("--deepfool", help="The iterated input distance too.")]

Metric = Annotated[
    str | None,
    typer.Option(
        metavar="package.module:function",
        help="A metric of your own by group: a function of labels and predictions, such as "
        "sklearn.metrics:recall_score; drawn in the report, kept in tables.own_metric.",
    ),
]
Positive = Annotated[
    str | None,
    typer.Option(metavar="CLASS", help="Give the metric 1 for this class and 0 for all others."),
]
OfScores = Annotated[
    bool,
    typer.Option(
        "--scores",
        help="Keep every class's probability; a metric of scores is given those of --positive.",
    ),
]
Reference = Annotated[
    str | None, typer.Option(metavar="GROUP", help="The metric's differences against this group.")
]
Control = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN", help="The metric within each value of a column of samples.parquet."
    ),
]

Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Leave a measure out, such as taylor, input_distance or calibration. May be given "
        "several times.",
    ),
]

Discover = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMNS",
        help="Seek groups that nobody named among crossings of these columns of the data, such as "
        "age,region,device; found in one half of the samples, confirmed in the other.",
    ),
]

FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="THRESHOLD",
        help="Exit with 1 where it holds beyond the interval; such as "
        "'max excess_accuracy_gap > 0.02'. May be given several times.",
    ),
]
FailIfPossible = Annotated[
    bool, typer.Option("--fail-if-possible", help="Fail where the interval does not exclude it.")
]
JUnit = Annotated[
    Path | None, typer.Option("--junit", help="Write the thresholds' outcome as JUnit XML.")
]
GitHub = Annotated[
    bool, typer.Option("--github", help="Print the thresholds' outcome as GitHub annotations.")
]

Redact = Annotated[
    int,
    typer.Option(
        "--redact",
        metavar="N",
        help="Write nothing of groups with fewer than N measured samples but how many they are.",
        min=0,
        show_default=False,
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="TRACKER",
        help="Log numbers, findings and report to mlflow or wandb, wherever its own settings say; "
        "samples and gallery stay here.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print results.json to standard output.")]
Pdf = Annotated[
    bool,
    typer.Option("--pdf", help="Write report.pdf, and summary.pdf of one page (needs Pango)."),
]
Card = Annotated[bool, typer.Option("--card", help="Write model_card.md for the last network too.")]
Gallery = Annotated[
    bool,
    typer.Option(
        "--gallery",
        help="Show the images that pruning broke; the report and gallery.parquet then hold them.",
    ),
]
