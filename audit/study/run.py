"""Running a study: its cells are made once, kept under the output folder, and measured.

A cell is named by what it is and by the hash of all settings that shape it, so that a stopped
study goes on where it was, and a changed setting makes the cell anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, cpu_count, delayed
from tqdm import tqdm

from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.data.identity import whole_digest
from audit.examine.measured import MEASURES_VERSION, ModelMeasures
from audit.examine.measuring import measure_model
from audit.files import sha256
from audit.findings.results import Results
from audit.mitigate.constraints import make_constraints
from audit.mitigate.methods import MITIGATION_METHODS
from audit.models.checkpoint import load_checkpoint, parent_of, save_checkpoint
from audit.study.gather import gather
from audit.study.making import prune_model, train_model
from audit.study.pictures import check_images
from audit.study.settings import Method, StudySettings


@dataclass(frozen=True)
class Cell:
    """One network of a study: the dense one of a seed, or what a method prunes from it."""

    seed: int
    method: Method | None = None
    rate: float = 0.0

    @property
    def name(self) -> str:
        """The name of the model in every result, for instance 'magnitude-0.95-seed0'."""
        if self.method is None:
            return f"dense-seed{self.seed}"
        return f"{self.method.label}-{self.rate:g}-seed{self.seed}"


def run_study(
    settings: StudySettings,
    folder: Path | str,
    workers: int = 0,
    command: str = "",
    gallery: bool = False,
    threads: int = 0,
) -> Results:
    """Make and measure every cell of the study, those not already under the folder.

    `workers` cells run at a time; 0 means one a core, and one in all on a GPU. Each has `threads`
    torch threads; 0 shares out the cores. Sums over another number of threads are rounded
    otherwise, which training amplifies: with `threads` fixed, a seed gives the same networks
    however many workers there are. With `gallery`, the results hold pictures of samples that
    pruning broke.
    """
    folder = Path(folder)
    data = load_data(settings.data)
    if gallery:
        check_images(data)
    # Cells are of these very samples: with others, or in another order, they are made anew.
    settings = replace(settings, data=dict(data.spec) | {"digest": whole_digest(data)})
    workers = workers or (cpu_count() if settings.training.device == "cpu" else 1)
    dense = [Cell(seed) for seed in settings.seeds]
    pruned = [
        Cell(seed, method, rate)
        for seed in settings.seeds
        for method in settings.methods
        for rate in method.rates or settings.rates
    ]
    in_parallel = partial(
        _in_parallel, settings=settings, folder=folder, workers=workers, threads=threads
    )
    in_parallel("dense models", make_cell, cells=dense)
    in_parallel("pruned models", make_cell, cells=pruned)
    measures = in_parallel("measuring", measure_cell, cells=[*dense, *pruned])
    return gather(measures, data, asdict(settings), command, gallery=gallery)


def make_cell(settings: StudySettings, cell: Cell, folder: Path) -> None:
    """Make the checkpoint of a cell under `folder/models`, unless it is already there."""
    path = model_path(cell, folder)
    key = _key(_cell_settings(settings, cell))
    if path.is_file() and load_checkpoint(path).provenance.settings.get("cell") == key:
        return
    data = _data(json.dumps(settings.data))
    if cell.method is None:
        training = replace(settings.training, seed=cell.seed)
        made = train_model(data, settings.model, training, settings.arguments)
    else:
        parent = model_path(Cell(cell.seed), folder)
        made = prune_model(
            load_checkpoint(parent),
            data,
            cell.method,
            cell.rate,
            replace(settings.pruning, seed=cell.seed),
            parent_of(parent, path),
            settings.model,
        )
    stored = {**made.provenance.settings, "cell": key}
    save_checkpoint(replace(made, provenance=replace(made.provenance, settings=stored)), path)


def measure_cell(settings: StudySettings, cell: Cell, folder: Path) -> ModelMeasures:
    """The measures of a cell, read back from `folder/cells` if they are there."""
    path, dense = model_path(cell, folder), model_path(Cell(cell.seed), folder)
    key = _key([MEASURES_VERSION, sha256(path), sha256(dense), asdict(settings.measure)])
    stored = folder / "cells" / f"{cell.name}-{key}"
    if stored.is_dir():
        return ModelMeasures.load(stored)
    data = _data(json.dumps(settings.data))
    parent = None if cell.method is None else load_checkpoint(dense)
    measures = measure_model(
        load_checkpoint(path), parent, data, settings.measure, cell.name, settings.model
    )
    measures = measures.with_file(path.relative_to(folder).as_posix(), sha256(path))
    if cell.method is not None and cell.method.title:
        measures = measures.with_method(cell.method.title)
    measures.save(stored)
    return measures


def model_path(cell: Cell, folder: Path) -> Path:
    """Where the checkpoint of a cell lies."""
    return folder / "models" / f"{cell.name}.pt"


def _cell_settings(settings: StudySettings, cell: Cell) -> list[Any]:
    """All that shapes a cell; where it runs and what else the study holds do not."""
    training = asdict(settings.training) | {"device": "", "seed": cell.seed}
    shared = [dict(settings.data), settings.model, dict(settings.arguments), training]
    if cell.method is None:
        return shared
    pruning = asdict(settings.pruning) | {"device": "", "seed": cell.seed}
    kind = MITIGATION_METHODS.get(cell.method.name)
    solver = {} if kind is None else asdict(kind.configured(settings.pruning, cell.method.options))
    method = asdict(cell.method)
    for told_elsewhere in ("title", "rates"):
        del method[told_elsewhere]
    constraints = make_constraints(cell.method.constraint, cell.method.tolerance)
    duals = [constraint.dual_settings() for constraint in constraints]
    return [*shared, pruning, method, solver | {"training": None}, duals, cell.rate]


def _key(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@lru_cache(maxsize=1)
def _data(spec: str) -> GroupedData:
    """The data, loaded once a process."""
    return load_data(json.loads(spec))


def _in_parallel(
    title: str,
    function: Callable[..., Any],
    settings: StudySettings,
    cells: Sequence[Cell],
    folder: Path,
    workers: int,
    threads: int,
) -> list[Any]:
    """The function of every cell, in order, some at a time, with a bar of those done."""
    workers = min(workers, len(cells))
    # Never more threads than this process was given: OMP_NUM_THREADS stays in force.
    threads = threads or max(1, min(torch.get_num_threads(), cpu_count() // workers))
    runs = Parallel(n_jobs=workers, return_as="generator")(
        delayed(_with_threads)(threads, function, settings, cell, folder) for cell in cells
    )
    return list(tqdm(runs, title, total=len(cells), unit="model", leave=False))


def _with_threads(threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the function with so many torch threads, and leave their number as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(before)
