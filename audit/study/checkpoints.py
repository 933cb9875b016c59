"""Auditing checkpoints: their data, split and dense parent are found in the files themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

from audit.checked import settings_of
from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.data.identity import recognise
from audit.errors import AuditError
from audit.examine.measured import ModelMeasures
from audit.examine.measuring import measure_model
from audit.examine.settings import MeasureSettings
from audit.files import check_no_copies, is_near, sha256
from audit.findings.results import Results
from audit.imports import is_imported
from audit.models.checkpoint import Checkpoint, called_pruned, load_checkpoint, parent_path
from audit.models.weights import is_checkpoint
from audit.prune.mask import is_pruned
from audit.specs import SPLIT_KEYS
from audit.study.gather import gather
from audit.study.live import compare_weights
from audit.study.pictures import check_images


def compare_models(
    baseline: Checkpoint,
    candidate: Checkpoint,
    dense: Checkpoint,
    data: GroupedData,
    settings: MeasureSettings | None = None,
    names: tuple[str, str] = ("baseline", "candidate"),
    factory: str | None = None,
) -> Results:
    """Measure two networks on the same samples and put them side by side, group by group.

    The dense network is measured beside them, since causes are sought in it.
    """
    settings = settings_of(settings, MeasureSettings())
    models = dict(zip(names, (baseline, candidate), strict=True))
    if dense is not baseline and dense is not candidate:
        models = {_free("dense", names): dense} | models
    measures = [
        measure_model(model, dense, data, settings, name, factory) for name, model in models.items()
    ]
    return gather(measures, data, {"measure": asdict(settings)}, "", names)


def measure_files(
    model: Path,
    dense: Path | None = None,
    data: str | None = None,
    factory: str | None = None,
    settings: MeasureSettings | None = None,
    command: str = "",
    gallery: bool = False,
) -> Results:
    """Measure the network of a checkpoint file, beside its dense parent where it has one.

    With `gallery`, the results hold pictures of the samples that pruning broke.
    """
    settings = settings_of(settings, MeasureSettings())
    checkpoint = load_checkpoint(model)
    parent = None
    if dense is not None or _needs_parent(checkpoint, factory):
        parent = dense or parent_path(checkpoint, model)
    files = {"dense": parent} if parent is not None else {}
    files[model.stem if model.stem != "dense" else "model"] = model
    samples = data_of(checkpoint, model, data)
    samples.columns_of(settings.discover)
    if gallery:
        check_images(samples)
    measures = _measure_all(files, parent, samples, settings, factory)
    return gather(measures, samples, {"measure": asdict(settings)}, command, gallery=gallery)


def compare_files(
    baseline: Path,
    candidates: Path | Sequence[Path],
    dense: Path | None = None,
    data: str | Mapping[str, Any] | None = None,
    factory: str | Mapping[str, str] | None = None,
    settings: MeasureSettings | None = None,
    command: str = "",
    gallery: bool = False,
    outputs: str | None = None,
    state: str | Mapping[str, str] | None = None,
) -> Results:
    """Compare the networks of checkpoint files with the first; a dense baseline is its own parent.

    With `gallery`, the results hold pictures of the samples that pruning broke. Where one is a file
    of weights that another tool left, the first, or `dense`, is the dense network of all others,
    and `factory` and `data` are needed (`compare_weights`); `outputs` says what they give, and
    `state` which of several state dicts in a file is measured.
    Raises AuditError where they are of different data, splits or dense parents.
    """
    settings = settings_of(settings, MeasureSettings())
    others = [candidates] if isinstance(candidates, Path) else list(candidates)
    paths = [*([] if dense is None else [dense]), baseline, *others]
    if not all(is_checkpoint(path) for path in paths):
        if data is None:
            raise AuditError(
                "weights of other tools do not say what data to audit them on; give it by --data, "
                "such as --data 'table:FILE.csv?target=COLUMN&group=COLUMN', and what builds their "
                "network by --model package.module:function"
            )
        check_no_copies(paths)
        files = dict(zip(file_names(paths[0], paths[1:]), paths, strict=True))
        first = next(iter(files))
        made = next((load_checkpoint(path) for path in paths if is_checkpoint(path)), None)
        samples = load_data(data, () if made is None else made.samples.get("preparation", ()))
        if made is None:
            samples = _unless_declared(samples)
        samples.columns_of(settings.discover)
        if gallery:
            check_images(samples)
        return compare_weights(
            files, factory, samples, settings, first, outputs, command, gallery, state
        )
    if state is not None:
        raise AuditError("found --state with checkpoints of audit, each of which is one network")
    if isinstance(factory, Mapping):
        if set(factory) - {""}:
            raise AuditError("checkpoints of one study share a --model; expected it without a name")
        factory = factory.get("")
    one = load_checkpoint(baseline)
    parent = dense
    for candidate in others:
        other = load_checkpoint(candidate)
        _check_pair(one, other, baseline, candidate, grouped=data is not None)
        parent = dense or _shared_parent(one, other, baseline, candidate, factory)
    samples = data_of(one, baseline, data)
    samples.columns_of(settings.discover)
    if gallery:
        check_images(samples)
    compared = dict(zip(file_names(baseline, others), (baseline, *others), strict=True))
    files = _beside_parent(compared, parent)
    measures = _measure_all(files, parent, samples, settings, factory)
    record = {"measure": asdict(settings)}
    return gather(measures, samples, record, command, tuple(compared), gallery)


def _unless_declared(data: GroupedData) -> GroupedData:
    """All samples as test samples, unless the data or its spec say which are.

    What a split drawn here leaves out has nothing to do with what networks of other tools were
    trained on: it would hide most samples of an auditor, and no train sample more.
    """
    if not data.drawn or set(SPLIT_KEYS) & set(data.spec):
        return data
    learnt = any((one.mean, one.spread) != (0.0, 1.0) for one in data.preparation)
    scaled = (
        "; numbers were standardised by these samples (scale=none leaves them as they stand)"
        if learnt
        else ""
    )
    return data.all_as_test(
        f"All {len(data):,} samples are measured, as nothing says which are test samples: those "
        "that a network was trained on show less harm than new ones. A column split names the "
        f"test samples, and test=0.2 draws some{scaled}."
    )


def data_of(
    checkpoint: Checkpoint, path: Path, spec: str | Mapping[str, Any] | None = None
) -> GroupedData:
    """The data that a checkpoint was made with, on the very same splits.

    `spec` says where the data lies now, and may divide it into groups of another attribute. Raises
    AuditError where the checkpoint names no data, or samples of its splits are gone, have changed,
    or have another label or group.
    """
    if spec is None and not checkpoint.data:
        raise AuditError(f"'{path}' does not say what data it was made with; give it by --data")
    dataset = str(checkpoint.data.get("dataset", ""))
    if spec is None and is_imported(dataset):
        raise AuditError(
            f"'{path}' was made with data of the loader '{dataset}'; a checkpoint runs no code "
            "that you did not name: give the data by --data"
        )
    if spec is None and not _is_near(checkpoint.data, path):
        raise AuditError(
            f"'{path}' names data outside of the current folder and its own; if you trust it, say "
            "where the data is with --data SPEC"
        )
    try:
        known = checkpoint.samples
        asked = {key: value for key, value in checkpoint.data.items() if key != "digest"}
        data = load_data(asked if spec is None else spec, known.get("preparation", ()))
    except AuditError as error:
        hint = "" if spec is not None else f" ('{path}' was made with it; --data says where it is)"
        raise AuditError(f"{error}{hint}") from error
    found = recognise(data, checkpoint.splits, known)
    if found.attribute == checkpoint.attribute:
        return found
    note = f"'{path.name}' was made with groups by {checkpoint.attribute}, and not by these."
    return replace(found, notes=(*found.notes, note))


def _beside_parent(compared: Mapping[str, Path], parent: Path | None) -> dict[str, Path]:
    """The networks compared, after their dense parent where it is none of them."""
    if parent is None or sha256(parent) in {sha256(path) for path in compared.values()}:
        return dict(compared)
    return {_free("dense", compared): parent, **compared}


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or where it is taken the name and a number."""
    places = count(2)
    found = name
    while found in taken:
        found = f"{name} {next(places)}"
    return found


def is_found_unasked(spec: Mapping[str, Any], path: Path) -> bool:
    """Whether the data that the file at `path` names are loaded where nobody names them again."""
    return not is_imported(str(spec.get("dataset", ""))) and _is_near(spec, path)


def _is_near(spec: Mapping[str, Any], path: Path) -> bool:
    """A file of others may name any place; only those near it or the person are read unasked."""
    places = [spec[key] for key in ("folder", "file", "labels", "cache") if key in spec]
    return all(is_near(str(place), path) for place in places if place is not None)


def _measure_all(
    files: Mapping[str, Path],
    parent: Path | None,
    data: GroupedData,
    settings: MeasureSettings,
    factory: str | None,
) -> list[ModelMeasures]:
    dense = None if parent is None else load_checkpoint(parent)
    found = []
    for name, path in files.items():
        own = dense if dense is not None and path == parent else load_checkpoint(path)
        measures = measure_model(own, dense, data, settings, name, factory)
        found.append(measures.with_file(path.name, sha256(path)))
    return found


def _check_pair(
    one: Checkpoint, other: Checkpoint, first: Path, second: Path, grouped: bool
) -> None:
    """Raise AuditError where two are not of one study; `grouped`: by groups that are given anew."""
    if one.architecture != other.architecture:
        raise AuditError(
            f"'{first}' is a {_architecture(one)}, '{second}' a {_architecture(other)}; "
            "two models are compared on one architecture and one dense parent"
        )
    if (one.group_names, one.attribute) != (other.group_names, other.attribute) and not grouped:
        raise AuditError(
            f"'{first}' has the groups of {one.attribute}, '{second}' those of {other.attribute}; "
            "expected two models of the same data and groups: say by --data SPEC which to measure"
        )
    if dict(one.splits) != dict(other.splits):
        raise AuditError(
            f"'{first}' and '{second}' were made with different data or splits; expected two "
            "models with the very same test samples"
        )


def _architecture(checkpoint: Checkpoint) -> str:
    architecture = checkpoint.architecture
    settings = ", ".join(f"{key}={value}" for key, value in architecture.arguments.items())
    shape = "×".join(str(size) for size in architecture.input_shape)
    return f"{architecture.name}({settings}) for {shape} inputs"


def _shared_parent(
    one: Checkpoint, other: Checkpoint, first: Path, second: Path, factory: str | None
) -> Path:
    """The dense network that both were pruned from; one of the two may be it."""
    parents = [
        parent_path(checkpoint, path) if _needs_parent(checkpoint, factory) else path
        for checkpoint, path in ((one, first), (other, second))
    ]
    if sha256(parents[0]) != sha256(parents[1]):
        raise AuditError(
            f"'{first}' and '{second}' were pruned from different dense networks; "
            "excess risk needs one: give it with --dense DENSE.pt"
        )
    return parents[0]


def _needs_parent(checkpoint: Checkpoint, factory: str | None) -> bool:
    """Whether its weights are, or are called, pruned: such a network is no dense one."""
    return called_pruned(checkpoint) or is_pruned(checkpoint.model(factory))


def file_names(baseline: Path, candidates: Sequence[Path]) -> tuple[str, ...]:
    """The files' names without their ending, numbered where two are alike."""
    stems = [path.stem for path in (baseline, *candidates)]
    if len(set(stems)) == len(stems):
        return tuple(stems)
    roles = ["baseline", *(f"candidate {place + 1}" for place in range(len(candidates)))]
    if len(candidates) == 1:
        roles[1] = "candidate"
    return tuple(f"{stem} ({role})" for stem, role in zip(stems, roles, strict=True))
