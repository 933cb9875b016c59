"""What every network answered on the samples that all were measured on, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings.answers import Answers
from audit.findings.paired import units_of

Row = Mapping[str, Any]
Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Classes = NDArray[np.signedinteger[Any]]
Chosen = NDArray[np.intp]
UNKNOWN = -1
SHARED = ("sample", "split", "group", "label", "unit")
"""The columns that are the same under every network: looked at once."""


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

    predictions   int [M, n] positions in `classes`, of as few bytes as hold them
    before        the same for each network's dense parent; UNKNOWN where it has none
    loss          float [M, n], in nats; NaN where it is unknown, and where no network was pruned
                  under a constraint, since nobody asks then
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
    predictions: Classes
    before: Classes
    loss: Array
    loss_before: Array
    units: Codes | None = None

    def right(self, networks: Chosen) -> Array:
        """1 where the prediction of one of some networks is the label: [S, n]."""
        return np.asarray(self.predictions[networks] == self.labels, dtype=float)

    def drops(self, networks: Chosen) -> Array:
        """What pruning took from each sample's right answer, in {−1, 0, 1}: [S, n] (M3).

        NaN under a network whose dense parent is not known.
        """
        before = self.before[networks]
        dense = (before == self.labels).astype(float)
        return np.where(before == UNKNOWN, np.nan, dense - self.right(networks))

    def only(self, cells: Sequence[Cell]) -> tuple[Outcomes, list[Cell]]:
        """The outcomes of the networks of some cells alone, and the cells as they stand in them."""
        places = np.concatenate([cell.networks for cell in cells])
        ends = np.cumsum([len(cell.networks) for cell in cells])
        own = replace(
            self,
            names=tuple(self.names[place] for place in places),
            predictions=self.predictions[places],
            before=self.before[places],
            loss=self.loss[places],
            loss_before=self.loss_before[places],
        )
        return own, [
            replace(cell, networks=np.arange(end - len(cell.networks), end, dtype=np.intp))
            for cell, end in zip(cells, ends, strict=True)
        ]

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
        right = self.right(networks).mean(0)
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


def make_outcomes(
    samples: pd.DataFrame | Answers, groups: pd.DataFrame, record: Row, split: str | None = None
) -> Outcomes | None:
    """The outcomes of results; None where they hold no samples, as summaries of studies do not.

    Networks of one study are measured on the same samples; rows are matched by the sample's name.
    One network's samples are looked at after the other's. `split` leaves out the others'.
    """
    answers = Answers.of(samples)
    names = [str(model["name"]) for model in record["models"]]
    if not answers.parts or "prediction" not in answers.columns:
        return None
    classes = [str(name) for name in record["data"]["classes"]]
    order = [str(name) for name in groups["group"].cat.categories]
    first = _of_split(answers.network(names[0], SHARED), split)
    parents = _parents(record)
    asked = any(model["constraint"] != "none" for model in record["models"])
    codes = pd.Index(order).get_indexer(pd.Index(first["group"].astype(str))).astype(np.int64)
    shape, kind = (len(names), len(first)), np.min_scalar_type(-max(1, len(classes)))
    predictions, before = np.empty(shape, kind), np.empty(shape, kind)
    own_columns = ["sample", "prediction", "dense_prediction"]
    own_columns += ["loss"] * asked + ["split"] * (split is not None)
    measured = np.zeros(len(names), bool)
    loss = np.full(shape if asked else (1, 1), np.nan)
    for place, name in enumerate(names):
        own = _aligned(_of_split(answers.network(name, own_columns), split), first.index)
        predictions[place] = _positions(own["prediction"], classes)
        if "dense_prediction" in own and own["dense_prediction"].notna().all():
            before[place] = _positions(own["dense_prediction"], classes)
            measured[place] = True
        if asked:
            loss[place] = own["loss"].to_numpy(float)
    for place, parent in enumerate(parents):
        if not measured[place]:
            before[place] = UNKNOWN if parent is None else predictions[parent]
    loss_before = np.full_like(loss, np.nan)
    for place, parent in enumerate(parents) if asked else ():
        if parent is not None:
            loss_before[place] = loss[parent]
    return Outcomes(
        tuple(names),
        tuple(classes),
        tuple(order),
        str(record["data"]["attribute"]),
        first.index.to_numpy(),
        codes,
        _positions(first["label"], classes),
        predictions,
        before,
        np.broadcast_to(loss, shape),
        np.broadcast_to(loss_before, shape),
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


def _of_split(samples: pd.DataFrame, split: str | None) -> pd.DataFrame:
    own = samples if split is None or "split" not in samples else samples[samples["split"] == split]
    return own.set_index("sample")


def _aligned(own: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    return own if own.index.equals(index) else own.reindex(index)


def _positions(column: pd.Series, classes: Sequence[str]) -> Codes:
    return pd.Index(classes).get_indexer(pd.Index(column.astype(str))).astype(np.int64)


def _parents(record: Row) -> list[int | None]:
    """The place of the dense network of each network's seed, or of the only one there is."""
    dense = {m["seed"]: place for place, m in enumerate(record["models"]) if is_dense(m)}
    only = next(iter(dense.values())) if len(dense) == 1 else None
    return [
        place if is_dense(model) else dense.get(model["seed"], only)
        for place, model in enumerate(record["models"])
    ]
