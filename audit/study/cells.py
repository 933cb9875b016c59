"""The cells of a study: what each one is, and the key that everything that shapes it goes into."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from audit.errors import AuditError
from audit.examine.measured import MEASURES_VERSION
from audit.files import sha256
from audit.mitigate.constraints import make_constraints
from audit.mitigate.methods import MITIGATION_METHODS
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

    @property
    def dense(self) -> Cell:
        """The cell of the network that this one is pruned from; itself where it is that one."""
        return self if self.method is None else Cell(self.seed)


@dataclass(frozen=True)
class Task:
    """A cell to make and to measure, with all that a worker needs to know.

    settings   of the study; the digest in its `data` tells the very samples that it is of
    folder     of the study, absolute: every worker sees the same one
    threads    of torch, while the cell is worked on
    """

    settings: StudySettings
    cell: Cell
    folder: Path
    threads: int = 1

    @property
    def model(self) -> Path:
        """Where the checkpoint of the cell lies."""
        return model_path(self.cell, self.folder)

    @cached_property
    def key(self) -> str:
        """Changes with all that shapes the network: the samples, and every setting of its own."""
        return key_of(cell_settings(self.settings, self.cell))

    @cached_property
    def measured_key(self) -> str:
        """Changes with all that shapes the network or its measures, whatever is sought in them."""
        measure = asdict(self.settings.measure)
        measure.pop("discover")
        return key_of([self.key, MEASURES_VERSION, measure])


def cells_of(settings: StudySettings) -> tuple[list[Cell], list[Cell]]:
    """The dense cells of a study, and those that are pruned from them.

    Raises AuditError where two would have one name.
    """
    dense = [Cell(seed) for seed in settings.seeds]
    pruned = [
        Cell(seed, method, rate)
        for seed in settings.seeds
        for method in settings.methods
        for rate in method.rates or settings.rates
    ]
    ((name, count),) = Counter(cell.name for cell in (*dense, *pruned)).most_common(1)
    if count > 1:
        raise AuditError(f"the study has {count} cells '{name}'; give each rate and seed once")
    return dense, pruned


def model_path(cell: Cell, folder: Path) -> Path:
    """Where the checkpoint of a cell lies."""
    return folder / "models" / f"{cell.name}.pt"


def cell_settings(settings: StudySettings, cell: Cell) -> list[Any]:
    """All settings that shape a cell; where it runs and what else the study holds do not."""
    training = asdict(settings.training) | {"device": "", "seed": cell.seed}
    shared = [dict(settings.data), settings.model, dict(settings.arguments), training]
    if settings.dense:
        shared.append(sha256(Path(settings.dense)))
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


def key_of(values: Sequence[Any]) -> str:
    """Eight hexadecimal digits that change with the values."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
