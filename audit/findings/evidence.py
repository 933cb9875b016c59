"""What findings are made from: the tables of results, and what was answered, if it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings.answers import Answers
from audit.findings.outcomes import Cell, Outcomes, make_cells, make_outcomes

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Tables of one split, and the networks that differ in the seed alone as cells.

    outcomes   what was answered, sample by sample; None where results hold no samples
    """

    groups: pd.DataFrame
    layers: pd.DataFrame
    record: Row
    outcomes: Outcomes | None
    cells: tuple[Cell, ...]

    @property
    def pruned(self) -> list[Cell]:
        """The cells that are not dense."""
        return [cell for cell in self.cells if not cell.dense]

    @property
    def dense(self) -> Cell | None:
        """The dense networks, if they were measured."""
        return next((cell for cell in self.cells if cell.dense), None)

    @property
    def compared(self) -> tuple[str, ...]:
        """The names of a comparison's networks, the baseline first; empty for a study."""
        return tuple(str(name) for name in self.record["tables"].get("compared") or ())

    @property
    def baseline(self) -> str:
        """The label that others are held against: the first method, or the first network."""
        if self.compared:
            return self.compared[0]
        return self.pruned[0].label if self.pruned else ""

    @property
    def attribute(self) -> str:
        """What groups are told apart by."""
        return str(self.record["data"]["attribute"])

    @property
    def names(self) -> tuple[str, ...]:
        """The groups in declared order."""
        return tuple(str(name) for name in self.groups["group"].cat.categories)

    @cached_property
    def large(self) -> NDArray[np.bool_]:
        """The groups of at least minimum size, in declared order."""
        flags = self.groups.astype({"group": str}).drop_duplicates("group").set_index("group")
        return np.array([flags["flag"].get(name, "absent") == "" for name in self.names])

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The samples of each group that were measured."""
        rows = self.groups[self.groups["metric"] == "accuracy"]
        most = rows["n"].groupby(rows["group"].astype(str)).max()
        return {str(name): int(n) for name, n in most.items()}

    def of(self, cell: Cell) -> dict[str, Any]:
        """What every finding about a cell says of it."""
        return {
            "label": cell.label,
            "rate": cell.rate,
            "networks": cell.names,
            "attribute": self.attribute,
            "runs": len(cell.names),
        }

    def overall(self, cell: Cell, metric: str) -> list[Row]:
        """The rows of an overall metric, one a run, in order; those that are known."""
        rows = {r["model"]: r for r in self.record["overall"] if r["metric"] == metric}
        return [rows[name] for name in cell.names if rows.get(name, {}).get("value") is not None]

    def accuracy(self, cell: Cell) -> float:
        """Overall accuracy, the mean over runs."""
        return float(np.mean([row["value"] for row in self.overall(cell, "accuracy")]))


def make_evidence(
    groups: pd.DataFrame,
    samples: pd.DataFrame | Answers,
    layers: pd.DataFrame,
    record: Row,
    outcomes: Outcomes | None = None,
) -> Evidence:
    """The evidence of one split of results, test if it is there: two splits are no two seeds.

    outcomes   of that split, where they were made before: samples are then not looked at again
    """
    splits = list(dict.fromkeys(groups["split"]))
    split = "test" if "test" in splits else splits[0]
    own = groups[groups["split"] == split]
    overall = [row for row in record["overall"] if row["split"] == split]
    chosen = {**record, "overall": overall}
    outcomes = outcomes or make_outcomes(samples, own, chosen, split)
    return Evidence(own, layers, chosen, outcomes, tuple(make_cells(chosen)))
