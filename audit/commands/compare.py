"""`audit compare`: pruned networks side by side."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit.commands.blocks import Forms, Measuring, Thresholds, with_blocks
from audit.commands.delivery import Checks, Delivery, deliver
from audit.commands.early import check_data, check_own_model, known_outputs
from audit.commands.exits import THRESHOLD_FAILED, command_line, keeping
from audit.commands.options import (
    Checkpoint,
    Classes,
    Data,
    Dense,
    Group,
    Models,
    Outputs,
    Predictions,
    States,
    Unit,
)
from audit.commands.own_metric import OwnMetric
from audit.errors import AuditError
from audit.files import check_readable
from audit.specs import attributes_of, by_attribute

if TYPE_CHECKING:
    from audit.findings.results import Results

Others = Annotated[
    list[Path], typer.Argument(help="Others of the same data, each compared with BASELINE.")
]
Out = Annotated[Path | None, typer.Option(help="[default: reports/<BASELINE>-<FAIR>]")]


@with_blocks
def compare(
    baseline: Checkpoint,
    fair: Others,
    *,
    dense: Dense = None,
    out: Out = None,
    measuring: Measuring,
    data: Data = None,
    model: Models = None,
    state: States = None,
    outputs: Outputs = None,
    own: OwnMetric,
    thresholds: Thresholds,
    forms: Forms,
    predictions: Predictions = False,
    group: Group = None,
    unit: Unit = None,
    classes: Classes = None,
) -> None:
    """Compare pruned models group by group: which harms whom, by how much, and why."""
    paths = [baseline, *fair]
    check_readable(*paths, *([] if dense is None else [dense]))
    factories, given = _factories(model or ()), known_outputs(outputs)
    states = _by_name("--state", [_named(text) for text in state or ()])
    measuring.check()
    _check_options(
        predictions,
        group,
        {"--classes": classes, "--unit": unit},
        [data, model, state, outputs, forms.gallery or None],
    )
    specs = dict.fromkeys(attributes_of(group or "")) if predictions else by_attribute(data, group)
    for spec in specs.values():
        check_data(spec)
    folder = out or Path("reports") / "-".join(path.stem for path in paths)
    deliveries = {name: forms.to(_within(folder, name, specs)) for name in specs}
    own.check()
    checks = {
        name: replace(thresholds, junit=_beside(thresholds.junit, name, specs)).checks(measuring)
        for name in specs
    }
    from audit.data.asked import listed
    from audit.examine.estimate import told_before
    from audit.measure.ranks import across_ranks
    from audit.study.checkpoints import compare_files
    from audit.study.predictions import compare_prediction_files

    settings, line = measuring.settings(own.scores), command_line()
    codes = {0}
    with across_ranks() as ranks, told_before():
        for name, spec in specs.items():
            to = deliveries[name]
            with keeping(f"nothing was written to '{to.folder}'"):
                if predictions:
                    named = listed(classes) if classes else None
                    results = compare_prediction_files(
                        paths, name, settings, dense, named, unit or "", line
                    )
                else:
                    results = compare_files(
                        baseline,
                        fair,
                        dense,
                        spec,
                        factories,
                        settings,
                        line,
                        forms.gallery,
                        given,
                        states,
                    )
                results, unmeasured = own.added(results)
            if ranks.rank > 0:
                continue
            codes.add(_delivered(results, to, checks[name]))
            if unmeasured is not None:
                raise unmeasured
    if codes != {0}:
        raise typer.Exit(THRESHOLD_FAILED if THRESHOLD_FAILED in codes else max(codes))


def _factories(texts: Sequence[str]) -> dict[str, str] | None:
    """What builds the network of each name; under '' that of all others. None where nothing does.

    Raises AuditError where one cannot be such a function, or a name has two.
    """
    # An '=' behind the colon is the function's own.
    pairs = [_named(text) if ":" not in text.partition("=")[0] else ("", text) for text in texts]
    for _, function in pairs:
        check_own_model(function)
    return _by_name("--model", pairs)


def _named(text: str) -> tuple[str, str]:
    """NAME and VALUE of NAME=VALUE; the name is empty where none is given."""
    name, equals, value = text.partition("=")
    return (name, value) if equals else ("", text)


def _by_name(option: str, pairs: Iterable[tuple[str, str]]) -> dict[str, str] | None:
    """What an option says of the network of each name; AuditError where one has two."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise AuditError(f"found {option} {value} beside {found[name]}; expected one a network")
        found[name] = value
    return found or None


def _check_options(
    predictions: bool,
    group: str | None,
    of_predictions: Mapping[str, str | None],
    of_networks: list[Any],
) -> None:
    """Raise AuditError where options are not of the files that were given."""
    if predictions and group is None:
        raise AuditError(
            "found --predictions without --group; expected the columns of the groups, such as "
            "--group sex,race"
        )
    if predictions and any(one is not None for one in of_networks):
        raise AuditError(
            "found --data, --model, --state, --outputs or --gallery with --predictions; expected "
            "them with networks alone: the tables hold labels, groups and what was predicted"
        )
    for option, value in of_predictions.items():
        if value is not None and not predictions:
            raise AuditError(
                f"found {option} without --predictions; those of data are declared with the data: "
                f"--data 'table:FILE?{option.removeprefix('--')}=…'"
            )


def _within(folder: Path, attribute: str, all_of_them: Collection[str]) -> Path:
    """The folder of one attribute's results, where there are several."""
    return folder / attribute.replace(os.sep, "_") if len(all_of_them) > 1 else folder


def _beside(junit: Path | None, attribute: str, all_of_them: Collection[str]) -> Path | None:
    if junit is None or len(all_of_them) == 1:
        return junit
    return junit.with_stem(f"{junit.stem}-{attribute.replace(os.sep, '_')}")


def _delivered(results: Results, to: Delivery, checks: Checks) -> int:
    """Deliver, and the exit code that this asks for: results of further attributes may follow."""
    try:
        deliver(results, to, checks)
    except typer.Exit as end:
        return end.exit_code
    return 0
