"""Running a study: its cells are made once, kept under the output folder, and measured.

A cell is named by what it is and by the hash of the data and of all settings that shape it, so
that a stopped study goes on where it was, and other data or a changed setting makes it anew. A
cell that fails ends no other: what is missing is part of the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from joblib import cpu_count

from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.data.identity import check_made_alike
from audit.errors import AuditError
from audit.files import check_readable
from audit.findings.results import Results
from audit.models.checkpoint import load_checkpoint
from audit.prune.mask import check_dense
from audit.study.cells import Task, cells_of
from audit.study.engines import Engine, make_engine
from audit.study.estimate import tell_study
from audit.study.events import log
from audit.study.gather import gather
from audit.study.keeping import clean, forget_failure, leftovers, measures_path
from audit.study.locks import alone
from audit.study.pictures import check_images
from audit.study.progress import watched
from audit.study.settings import StudySettings
from audit.study.working import Outcome, load_measures, remember, writing_under


def run_study(
    settings: StudySettings,
    folder: Path | str,
    workers: int = 0,
    command: str = "",
    gallery: bool = False,
    threads: int = 0,
    engine: str = "processes",
    address: str = "",
    retry_failed: bool = False,
) -> Results:
    """Make and measure every cell of the study, those not already under the folder.

    `workers` cells run at a time; 0 means one a core, and one in all on a GPU. Each has `threads`
    torch threads; 0 shares out the cores. Sums over another number of threads are rounded
    otherwise, which training amplifies: with `threads` fixed, a seed gives the same networks
    however many workers there are. With `gallery`, the results hold pictures of samples that
    pruning broke. `engine` says where cells run (processes, here, or dask, on the cluster at
    `address`).

    A cell that fails ends no other; results.json lists it under `missing`, and it is tried again
    with `retry_failed`. Raises AuditError where no cell could be finished.
    """
    folder = Path(folder).resolve()
    data = load_data(settings.data)
    data.columns_of(settings.measure.discover)
    if gallery:
        check_images(data)
    # Cells are of these very samples: with others, or in another order, they are made anew.
    settings = replace(settings, data=dict(data.spec) | {"digest": remember(data)})
    if settings.dense:
        _check_dense(settings, data)
    workers = workers or (cpu_count() if settings.training.device == "cpu" else 1)
    dense, pruned = cells_of(settings)
    # Never more threads than this process was given: OMP_NUM_THREADS stays in force.
    threads = threads or max(1, min(torch.get_num_threads(), cpu_count() // workers))
    tasks = {cell.name: Task(settings, cell, folder, threads) for cell in (*dense, *pruned)}
    with writing_under(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for task in tasks.values() if retry_failed else ():
            forget_failure(task)
        _clean_kept(folder, tasks)
        log(folder, "planned", cells=list(tasks), workers=workers, engine=engine)
    to_do = [task.cell for task in tasks.values() if not measures_path(task).is_dir()]
    tell_study(settings, to_do, data, workers)
    several = folder if workers > 1 and engine != "here" else None
    outcomes = _outcomes(tasks, make_engine(engine, workers, address), several)
    missing = {name: outcomes[name].reason for name in tasks if outcomes[name].measures is None}
    with writing_under(folder):
        log(folder, "worked", missing=len(missing))
    if all(cell.name in missing for cell in pruned):
        name, reason = next(iter(missing.items()))
        raise AuditError(f"no pruned network of the study could be made; '{name}': {reason}")
    measures = [load_measures(outcomes[name]) for name in tasks if name not in missing]
    return gather(measures, data, asdict(settings), command, gallery=gallery, missing=missing)


def _check_dense(settings: StudySettings, data: GroupedData) -> None:
    """Raise AuditError unless the dense network of a study is the one that its tables tell of."""
    path = Path(settings.dense)
    check_readable(path)
    checkpoint = load_checkpoint(path)
    built = checkpoint.architecture
    if (built.name, dict(built.arguments)) != (settings.model, dict(settings.arguments)):
        told = "".join(f", {name} = {value!r}" for name, value in built.arguments.items())
        raise AuditError(
            f"'{path}' is a {built.name} and the study's [model] another; expected "
            f"name = '{built.name}'{told}"
        )
    if checkpoint.samples.get("digest") != settings.data["digest"]:
        spec = ", ".join(f"{name} = {value!r}" for name, value in checkpoint.data.items())
        raise AuditError(
            f"'{path}' was made with other data than the study's [data], or with another split of "
            f"them; expected {spec}"
        )
    check_made_alike(data, checkpoint.samples)
    check_dense(checkpoint.model(settings.model), checkpoint.mask)


def _outcomes(
    tasks: Mapping[str, Task], engine: Engine, folder: Path | None = None
) -> dict[str, Outcome]:
    """Dense cells first; what is pruned from one that failed fails with it."""
    dense = [task for task in tasks.values() if task.cell.method is None]
    first = _work("dense networks", dense, engine, folder)
    failed = {name: outcome.reason for name, outcome in first.items() if outcome.measures is None}
    pruned = [task for task in tasks.values() if task.cell.method is not None]
    ready = [task for task in pruned if task.cell.dense.name not in failed]
    orphans = {
        task.cell.name: Outcome(
            task.cell, reason=f"its dense network failed: {failed[task.cell.dense.name]}"
        )
        for task in pruned
        if task.cell.dense.name in failed
    }
    return first | orphans | _work("pruned networks", ready, engine, folder)


def _clean_kept(folder: Path, tasks: Mapping[str, Task]) -> None:
    """Remove what a crash left beside finished cells; others are cleaned when worked on."""
    for name, paths in leftovers(folder, tasks.values()).items():
        if paths and measures_path(tasks[name]).is_dir():
            with alone(folder, name):
                clean(tasks[name])


def _work(
    title: str, tasks: Sequence[Task], engine: Engine, folder: Path | None
) -> dict[str, Outcome]:
    outcomes = watched(title, engine(tasks) if tasks else (), len(tasks), folder)
    return {outcome.cell.name: outcome for outcome in outcomes}


def check_complete(results: Results) -> None:
    """Raise AuditError, once everything is written, where networks of the study are missing."""
    missing = results.record.get("missing", [])
    if missing:
        planned = len(missing) + len(results.record["models"])
        first = missing[0]
        raise AuditError(
            f"{len(missing)} of {planned} networks are missing; '{first['model']}': "
            f"{first['reason']}; the report is of the others; --retry-failed tries again"
        )
