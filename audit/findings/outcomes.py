"""What every network answered on the samples that all were measured on, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings.paired import units_of

Row = Mapping[str, Any]
Array = NDArray[np.float64]
Codes = NDArray[np.int64]
UNKNOWN = -1


@dataclass(frozen=True)
class Cell:
    """Networks made alike but for the seed: a method at a rate, or one network that was named.

    networks     positions among the outcomes' networks, in order of the seed
    constraint   what it was pruned under; 'none' for the dense and for most
    """

    label: str
    rate: float
    names: tuple[str, ...]
    networks: NDArray[np.intp]
    constraint: str = "none"
    dense: bool = False


@dataclass(frozen=True)
class Outcomes:
    """Labels, groups and predictions of n samples under M networks.

    predictions   int [M, n] positions in `classes`
    before        the same for each network's dense parent; UNKNOWN where it has none
    loss          float [M, n], in nats; NaN where it is unknown
    loss_before   that of the dense parent; NaN where it is unknown
    units         who a sample is of, where samples of one person are several; else None
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    attribute: str
    samples: NDArray[Any]
    codes: Codes
    labels: Codes
    predictions: Codes
    before: Codes
    loss: Array
    loss_before: Array
    units: Codes | None = None

    @property
    def right(self) -> Array:
        """1 where a network's prediction is the label: [M, n]."""
        return np.asarray(self.predictions == self.labels, dtype=float)

    @property
    def drops(self) -> Array:
        """What pruning took from each sample's right answer, in {−1, 0, 1}: [M, n] (M3).

        NaN under a network whose dense parent is not known.
        """
        dense = (self.before == self.labels).astype(float)
        return np.where(self.before == UNKNOWN, np.nan, dense - self.right)

    @property
    def counts(self) -> Codes:
        """Samples of every group [G]."""
        return np.bincount(self.codes, minlength=len(self.groups))

    def knows(self, cell: Cell) -> bool:
        """Whether every network of the cell has a dense parent beside it."""
        return bool((self.before[cell.networks] != UNKNOWN).all())

    def balanced_accuracy(self, networks: NDArray[np.intp], group: int | None = None) -> float:
        """The mean over true classes of the share that is right; over runs, of a group or all."""
        own = np.ones(len(self.codes), bool) if group is None else self.codes == group
        right = self.right[networks].mean(0)
        shares = [
            right[own & (self.labels == label)].mean()
            for label in range(len(self.classes))
            if (own & (self.labels == label)).any()
        ]
        return float(np.mean(shares)) if shares else float("nan")

    def predicted_shares(self, networks: NDArray[np.intp]) -> Array:
        """The share of all samples that is predicted as each class, the mean over runs: [C]."""
        flat = self.predictions[networks].ravel()
        counts = np.bincount(flat, minlength=len(self.classes))
        return np.asarray(counts / max(1, len(flat)))


def make_outcomes(samples: pd.DataFrame, groups: pd.DataFrame, record: Row) -> Outcomes | None:
    """The outcomes of results; None where they hold no samples, as summaries of studies do not.

    Networks of one study are measured on the same samples; rows are matched by the sample's name.
    """
    if samples.empty or "prediction" not in samples:
        return None
    names = [str(model["name"]) for model in record["models"]]
    classes = [str(name) for name in record["data"]["classes"]]
    order = [str(name) for name in groups["group"].cat.categories]
    parts = {str(name): own for name, own in samples.groupby("model", sort=False, observed=True)}
    first = parts[names[0]].set_index("sample")
    aligned = [_aligned(parts[name], first.index) for name in names]
    codes = pd.Index(order).get_indexer(pd.Index(first["group"].astype(str))).astype(np.int64)
    dense = _dense_rows(aligned, record)
    return Outcomes(
        tuple(names),
        tuple(classes),
        tuple(order),
        str(record["data"]["attribute"]),
        first.index.to_numpy(),
        codes,
        _positions(first["label"], classes),
        np.stack([_positions(own["prediction"], classes) for own in aligned]),
        np.stack(
            [_before(own, classes, before) for own, before in zip(aligned, dense, strict=True)]
        ),
        np.stack([own["loss"].to_numpy(float) for own in aligned]),
        np.stack(
            [
                np.full(len(codes), np.nan) if own is None else own["loss"].to_numpy(float)
                for own in dense
            ]
        ),
        units_of(first),
    )


def make_cells(record: Row) -> list[Cell]:
    """The cells of a study in the order of its models; of a comparison, one a network."""
    names = [str(model["name"]) for model in record["models"]]
    compared = record["tables"].get("compared")
    found: dict[tuple[str, float], list[int]] = {}
    for place, model in enumerate(record["models"]):
        key = (names[place], 0.0) if compared else (cell_label(model), float(model["rate"]))
        found.setdefault(key, []).append(place)
    made = []
    for (label, _), places in found.items():
        places.sort(key=lambda place: record["models"][place]["seed"])
        model = record["models"][places[0]]
        made.append(
            Cell(
                label,
                float(model["rate"]),
                tuple(names[place] for place in places),
                np.array(places, dtype=np.intp),
                str(model["constraint"]),
                is_dense(model),
            )
        )
    return made


def is_dense(model: Row) -> bool:
    """Whether a network is the dense one that others are held against, whatever its title.

    As measured; of earlier results by its method and its rate.
    """
    return bool(model.get("dense", model["method"] == "dense" and not model["rate"]))


def cell_label(model: Row) -> str:
    """The name of a method with its constraint, as tables and figures show it."""
    constraint = model["constraint"]
    return str(model["method"]) if constraint == "none" else f"{model['method']} ({constraint})"


def _aligned(rows: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    own = rows.set_index("sample")
    return own if own.index.equals(index) else own.reindex(index)


def _positions(column: pd.Series, classes: Sequence[str]) -> Codes:
    return pd.Index(classes).get_indexer(pd.Index(column.astype(str))).astype(np.int64)


def _dense_rows(aligned: Sequence[pd.DataFrame], record: Row) -> list[pd.DataFrame | None]:
    """The rows of the dense network of each network's seed, or the only one there is."""
    dense = {
        m["seed"]: own for m, own in zip(record["models"], aligned, strict=True) if is_dense(m)
    }
    only = next(iter(dense.values())) if len(dense) == 1 else None
    return [
        own if is_dense(model) else dense.get(model["seed"], only)
        for model, own in zip(record["models"], aligned, strict=True)
    ]


def _before(rows: pd.DataFrame, classes: Sequence[str], dense: pd.DataFrame | None) -> Codes:
    """What the dense parent says: as measured beside the network, or of the same seed."""
    if "dense_prediction" in rows and rows["dense_prediction"].notna().all():
        return _positions(rows["dense_prediction"], classes)
    if dense is not None:
        return _positions(dense["prediction"], classes)
    return np.full(len(rows), UNKNOWN, dtype=np.int64)
