"""The command line: thin commands over the library.

Torch and the rest are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit.errors import AuditError

if TYPE_CHECKING:
    from audit.examine.settings import MeasureSettings
    from audit.findings.results import Results
    from audit.findings.thresholds import Threshold
    from audit.models.training import TrainingSettings

app = typer.Typer(
    help="Did pruning this network hurt some group, why, and how to prune it without that?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


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
    worst_group = "worst-group"
    gradient_curvature = "gradient-curvature"


class Curvature(StrEnum):
    """What computes the Hessian's eigenvalues."""

    lanczos = "lanczos"
    pyhessian = "pyhessian"
    none = "none"


Epochs = Annotated[int, typer.Option(help="Passes over the training samples.", min=1)]
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
FineTuning = Annotated[
    int, typer.Option("--epochs", help="Passes over the training samples; 0: one-shot.", min=0)
]
Seed = Annotated[int, typer.Option(help="Fixes initial weights, batches and resamples.")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Samples a step.", min=1)]
LearningRate = Annotated[float, typer.Option("--learning-rate", help="At the start; falls to 0.")]
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
Json = Annotated[bool, typer.Option("--json", help="Print results.json to standard output.")]
Pdf = Annotated[bool, typer.Option("--pdf", help="Write report.pdf too (needs the library Pango).")]
Gallery = Annotated[
    bool,
    typer.Option(
        "--gallery",
        help="Show the images that pruning broke; the report and gallery.parquet then hold them.",
    ),
]
Card = Annotated[bool, typer.Option("--card", help="Write model_card.md for the last network too.")]
CurvatureOption = Annotated[Curvature, typer.Option(help="What computes λ_max.")]
Samples = Annotated[
    int,
    typer.Option(
        "--samples-per-group", help="Most samples of a group for gradients and curvature.", min=1
    ),
]
Top = Annotated[
    int, typer.Option("--top-eigenvalues", help="How many of the largest eigenvalues.", min=1)
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
DeepFoolOption = Annotated[
    bool, typer.Option("--deepfool", help="The iterated input distance too.")
]
Checkpoint_ = Annotated[Path, typer.Argument(help="A checkpoint file.")]
DATA_HELP = (
    "digits | utkface:FOLDER?target=ethnicity&group=ethnicity&size=32 | adult:FOLDER?group=sex,race"
    " | table:FILE.csv?target=income&group=sex"
)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("reports/demo"),
    seed: Seed = 0,
    device: Device = None,
    gallery: Gallery = False,
    json: Json = False,
    pdf: Pdf = False,
) -> None:
    """Train, prune, mitigate, measure and report on the embedded digits, in a few minutes."""
    from audit.study.demo import demo_settings

    settings = demo_settings(seed, _device(device))
    # One thread a cell, so that every machine with the same kernels shows the same numbers.
    _study(settings, out, 0, 1, gallery, json, pdf)


@app.command()
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
    device: Device = None,
    gallery: Gallery = False,
    json: Json = False,
    pdf: Pdf = False,
) -> None:
    """Run a study: data × model × methods × rates × seeds → measures → report.

    Finished cells are kept under OUT: a stopped study goes on where it was.
    """
    from audit.study.settings import load_settings, on_device

    settings = on_device(load_settings(config), _device(device))
    folder = out or Path("reports") / config.stem
    _study(settings, folder, workers, threads, gallery, json, pdf)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("study.toml"),
) -> None:
    """Write a commented example of a study's configuration."""
    from importlib.resources import files

    from audit.files import write_atomically

    if path.exists():
        raise AuditError(f"'{path}' exists already; give another name or remove it")
    write_atomically(path, files("audit.study").joinpath("example.toml").read_text("utf-8"))
    typer.echo(f"wrote {path}; run it with: audit run {path}")


@app.command()
def notebook(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    config: Annotated[
        Path | None, typer.Option(help="A study in TOML that the notebooks then follow.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace notebooks that exist.")] = False,
) -> None:
    """Copy the notebooks out, on request filled in with a study of your own."""
    from audit.notebook import copy_notebooks
    from audit.study.settings import load_settings

    settings = None if config is None else load_settings(config)
    for path in copy_notebooks(folder, settings, force):
        typer.echo(f"wrote {path}")


@app.command()
def train(
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    model: Annotated[
        str, typer.Option(help="mlp, convnet, resnet10, resnet18, or package.module:function.")
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write.")],
    width: Annotated[int | None, typer.Option(help="Width of the model.", min=1)] = None,
    epochs: Epochs = 30,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    learning_rate: LearningRate = 0.05,
    device: Device = None,
) -> None:
    """Train a dense network on the train split of the data."""
    from audit.data import load_data
    from audit.models.checkpoint import save_checkpoint
    from audit.study.making import train_model

    settings = _training(epochs, seed, batch_size, learning_rate, device)
    arguments = {} if width is None else {"width": width}
    checkpoint = train_model(load_data(data), model, settings, arguments)
    save_checkpoint(checkpoint, out)
    typer.echo(f"wrote {out}: {model}, {checkpoint.parameters:,} parameters, dense")


@app.command()
def prune(
    dense: Checkpoint_,
    out: Annotated[Path, typer.Option(help="Checkpoint to write.")],
    rate: Annotated[float, typer.Option(help="Share of the prunable weights to remove.")],
    method: Annotated[
        PruningMethod, typer.Option(help="How to choose what goes.")
    ] = PruningMethod.magnitude,
    epochs: FineTuning = 20,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    learning_rate: LearningRate = 0.05,
    device: Device = None,
    data: Data = None,
    model: Model = None,
) -> None:
    """Prune a dense network and train what survives, in as many steps whatever the method."""
    from audit.study.settings import Method

    settings = _training(epochs, seed, batch_size, learning_rate, device)
    _make_pruned(dense, Method(method.value), rate, settings, out, data, model)


@app.command()
def mitigate(
    dense: Checkpoint_,
    out: Annotated[Path, typer.Option(help="Checkpoint to write.")],
    rate: Annotated[float, typer.Option(help="Share of the prunable weights to remove.")],
    method: Annotated[
        MitigationMethod, typer.Option(help="How to prune fairly.")
    ] = MitigationMethod.bilevel,
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
    """Prune a dense network under fairness constraints, by default mask and weights together."""
    from audit.mitigate import MITIGATION_METHODS
    from audit.study.settings import Method, parse_options

    settings = _training(epochs, seed, batch_size, learning_rate, device)
    names = "+".join(constraint or [MITIGATION_METHODS[method.value].constraint])
    options = parse_options(option or [])
    options |= {} if structure is None else {"structure": structure}
    chosen = Method(method.value, names, tolerance, options)
    _make_pruned(dense, chosen, rate, settings, out, data, model)


@app.command()
def shrink(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help="A checkpoint file.")],
    out: Annotated[Path, typer.Option(help="File to write, in .pt2 (torch.export).")],
    model: Model = None,
) -> None:
    """Take out the channels that a structured method emptied, and export the smaller network."""
    from audit.models.checkpoint import load_checkpoint
    from audit.study.shrinking import export_model, shrink_model

    checkpoint = load_checkpoint(model_file)
    found = shrink_model(checkpoint, model)
    export_model(found.network, checkpoint.architecture.input_shape, out)
    typer.echo("\n".join(found.lines()))
    typer.echo(f"wrote {out}; read it by torch.export.load('{out}').module()")


@app.command()
def measure(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help="A checkpoint file.")],
    dense: Annotated[
        Path | None, typer.Option(help="Its dense parent, if not where the checkpoint says.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="[default: reports/<name of MODEL>]")] = None,
    curvature: CurvatureOption = Curvature.lanczos,
    samples_per_group: Samples = 500,
    top_eigenvalues: Top = 1,
    layer_curvature: Layers = False,
    spectral_density: Density = False,
    theory: Theory = False,
    deepfool: DeepFoolOption = False,
    data: Data = None,
    model: Model = None,
    fail_if: FailIf = None,
    fail_if_possible: FailIfPossible = False,
    junit: JUnit = None,
    github: GitHub = False,
    gallery: Gallery = False,
    json: Json = False,
    pdf: Pdf = False,
) -> None:
    """Measure every group under one model, against its dense parent where it has one."""
    from audit.study.checkpoints import measure_files

    checks = _Checks(_thresholds(fail_if), fail_if_possible, junit, github)
    settings = _measures(
        curvature,
        samples_per_group,
        top_eigenvalues=top_eigenvalues,
        layer_curvature=layer_curvature,
        spectral_density=spectral_density,
        theory=theory,
        deepfool=deepfool,
    )
    results = measure_files(model_file, dense, data, model, settings, _command(), gallery)
    _deliver(results, out or Path("reports") / model_file.stem, json, pdf)
    checks.run(results)


@app.command()
def compare(
    baseline: Annotated[Path, typer.Argument(help="A checkpoint file.")],
    fair: Annotated[
        list[Path], typer.Argument(help="Others of the same data, each compared with BASELINE.")
    ],
    dense: Annotated[
        Path | None, typer.Option(help="Their dense parent, if not where the checkpoints say.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="[default: reports/<BASELINE>-<FAIR>]")] = None,
    curvature: CurvatureOption = Curvature.lanczos,
    samples_per_group: Samples = 500,
    top_eigenvalues: Top = 1,
    layer_curvature: Layers = False,
    spectral_density: Density = False,
    theory: Theory = False,
    deepfool: DeepFoolOption = False,
    data: Data = None,
    model: Model = None,
    fail_if: FailIf = None,
    fail_if_possible: FailIfPossible = False,
    junit: JUnit = None,
    github: GitHub = False,
    gallery: Gallery = False,
    json: Json = False,
    pdf: Pdf = False,
    card: Card = False,
) -> None:
    """Compare pruned models group by group: which harms whom, by how much, and why."""
    from audit.study.checkpoints import compare_files

    checks = _Checks(_thresholds(fail_if), fail_if_possible, junit, github)
    settings = _measures(
        curvature,
        samples_per_group,
        top_eigenvalues=top_eigenvalues,
        layer_curvature=layer_curvature,
        spectral_density=spectral_density,
        theory=theory,
        deepfool=deepfool,
    )
    results = compare_files(baseline, fair, dense, data, model, settings, _command(), gallery)
    stems = "-".join(path.stem for path in (baseline, *fair))
    _deliver(results, out or Path("reports") / stems, json, pdf, card)
    checks.run(results)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where results were stored.")],
    pdf: Pdf = False,
    card: Card = False,
) -> None:
    """Draw the report anew from stored results; no model is needed."""
    from audit.findings.results import load_results

    _write_reports(load_results(folder), folder, pdf, card)


def main() -> None:
    """Run the command line: errors go to stderr in one line, with exit code 2."""
    try:
        code = app(standalone_mode=False)
    except AuditError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    typer.echo(f"audit: {' '.join(message.split())}", err=True)
    sys.exit(2)


def _device(device: str | None) -> str:
    from audit.models.training import checked_device

    return checked_device(device)


def _training(
    epochs: int, seed: int, batch_size: int, learning_rate: float, device: str | None
) -> TrainingSettings:
    from audit.models.training import TrainingSettings

    return TrainingSettings(epochs, batch_size, learning_rate, seed=seed, device=_device(device))


def _measures(curvature: Curvature, samples_per_group: int, **more: Any) -> MeasureSettings:
    from audit.examine.settings import MeasureSettings

    return MeasureSettings(curvature=curvature.value, samples_per_group=samples_per_group, **more)


def _make_pruned(
    dense: Path,
    method: Any,
    rate: float,
    settings: TrainingSettings,
    out: Path,
    data: str | None,
    model: str | None,
) -> None:
    from audit.models.checkpoint import load_checkpoint, parent_of, save_checkpoint
    from audit.prune.mask import Mask, check_rate
    from audit.study.checkpoints import data_of
    from audit.study.making import prune_model

    check_rate(rate)
    checkpoint = load_checkpoint(dense)
    samples = data_of(checkpoint, dense, data)
    parent = parent_of(dense, out)
    pruned = prune_model(checkpoint, samples, method, rate, settings, parent, model)
    save_checkpoint(pruned, out)
    assert pruned.mask is not None
    sparsity = Mask(pruned.mask).sparsity
    typer.echo(f"wrote {out}: {method.label}, {sparsity:.2%} of the prunable weights removed")


def _thresholds(texts: list[str] | None) -> list[Threshold]:
    """Read before anything is measured, so that a misspelt one costs no time."""
    from audit.findings.thresholds import Threshold

    return [Threshold.parse(text) for text in texts or ()]


@dataclass(frozen=True)
class _Checks:
    """The thresholds of a command, and how their outcome is told."""

    thresholds: list[Threshold]
    if_possible: bool
    junit_file: Path | None
    github: bool

    def run(self, results: Results) -> None:
        """Judge, tell, and exit with 1 where one failed."""
        from audit.files import write_atomically
        from audit.findings.thresholds import github, judge, junit

        judgements = judge(results, self.thresholds)
        if self.junit_file is not None:
            write_atomically(self.junit_file, junit(judgements, self.if_possible))
        for line in github(judgements, self.if_possible) if self.github else ():
            typer.echo(line)
        failed = [one for one in judgements if one.failed(self.if_possible)]
        for one in failed:
            typer.echo(f"failed: {one.sentence()}", err=True)
        if failed:
            raise typer.Exit(1)


def _study(
    settings: Any, out: Path, workers: int, threads: int, gallery: bool, json: bool, pdf: bool
) -> None:
    from audit.study.run import run_study

    results = run_study(settings, out, workers, _command(), gallery, threads)
    _deliver(results, out, json, pdf)


def _command() -> str:
    """What was typed, as a shell reads it again."""
    return shlex.join(["audit", *sys.argv[1:]])


def _deliver(results: Results, out: Path, json: bool, pdf: bool, card: bool = False) -> None:
    """Write the results and their reports; say the finding, or print the record."""
    from rich.console import Console

    from audit.report import print_findings
    from audit.report.gallery import whose

    results.save(out)
    if not results.gallery.empty:
        typer.echo(" ".join(whose(results.record["data"], len(results.gallery))), err=True)
    if json:
        typer.echo((out / "results.json").read_text("utf-8"))
    else:
        print_findings(results, Console())
        typer.echo(f"numbers: {out / 'results.json'} and the tables beside it")
    _write_reports(results, out, pdf, card, quiet=json)


def _write_reports(
    results: Results, folder: Path, pdf: bool, card: bool, quiet: bool = False
) -> None:
    """The PDF last, so that all else stands even where it cannot be drawn."""
    from audit.report import write_card, write_report, write_reports

    cards = (write_card(results, folder),) if card else ()
    pages = write_reports(results, folder) if pdf else (write_report(results, folder),)
    for path in chain(cards, pages):
        if not quiet:
            typer.echo(f"report: {path}")


if __name__ == "__main__":
    main()
