"""Samples with labels, protected groups and splits: what every other room reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit import display
from audit.data.columns import Column, Prepared
from audit.data.inputs import READ_AT_ONCE, Inputs, on_device
from audit.data.scaling import Scaling
from audit.errors import AuditError

SPLITS = ("train", "select", "test")


class Batch(NamedTuple):
    """Some samples, ready for a network: inputs, and integer labels, groups and positions.

    Inputs are floating-point numbers, or integers where those of the data are; a dict of such
    where the data's are (of tokens and their mask).
    """

    inputs: Any
    labels: Tensor
    groups: Tensor
    indices: Tensor


@dataclass(frozen=True)
class GroupedData:
    """Labelled samples of a declared, ordered list of protected groups, with their splits (M §1).

    inputs   float32 [n, ...], or uint8: images [n, channels, height, width] where `scaling` says
             how their 0 to 255 become inputs, and plain numbers where there is none; or int64
             codes, which a network that takes no integers gets as float32; or Inputs, which are
             fetched when they are needed
    labels   int64 [n], positions in `classes`
    groups   int64 [n], positions in `group_names`; the order of `group_names` is the order of
             every array over groups
    samples  str [n], the ids that pair one model's results with another's
    splits   train, select and test: int64 positions; a sample is in at most one of them
    spec     the settings that load the same data again; empty for data made in Python
    notes    what was left out or handled differently, and why, in sentences
    units    int64 [n], the person (or other unit) of each sample, where it has several
    contents uint8 [n, 16], a digest of each sample's source, where inputs depend on other samples
    columns  what was made of each column of a table; `preparation` makes inputs of them again
    further  columns of the samples, a row each, that groups nobody named are sought in (M16)
    drawn    whether the splits were drawn here, and not declared by whose data it is
    noted    whether `audit.data.notes` has looked at it

    Only the test split must have samples: train and select are not asked of one who only measures.
    Raises AuditError where the parts do not fit together.
    """

    name: str
    inputs: Tensor | Inputs
    labels: Tensor
    groups: Tensor
    classes: tuple[str, ...]
    group_names: tuple[str, ...]
    attribute: str
    samples: np.ndarray
    splits: Mapping[str, Tensor]
    spec: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    scaling: Scaling | None = None
    units: Tensor | None = None
    contents: np.ndarray | None = None
    columns: tuple[Column, ...] = ()
    preparation: tuple[Prepared, ...] = ()
    further: pd.DataFrame | None = None
    drawn: bool = False
    noted: bool = False

    def __post_init__(self) -> None:
        _check_lengths(self)
        _check_codes("label", self.labels, self.classes)
        _check_codes("group", self.groups, self.group_names)
        _check_splits(self)
        if len(self.classes) < 2 or len(torch.unique(self.labels)) < 2:
            raise AuditError(
                f"{self.name}: found one class only ({', '.join(self.classes[:1]) or 'none'}); "
                "an audit needs labels of at least two classes"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch dimension."""
        return tuple(self.inputs.shape[1:])

    def check_trainable(self) -> None:
        """Raise AuditError where there are no train samples, as an auditor has none."""
        if not len(self.splits["train"]):
            raise AuditError(
                f"{self.name} has test samples only, which are enough to measure; training and "
                "pruning need train samples too: give a test share below 1, or a train split"
            )

    def indices(self, *splits: str, group: int | None = None) -> Tensor:
        """Positions of the samples of one or more splits, optionally of one group, ascending."""
        unknown = [name for name in splits if name not in self.splits]
        if unknown:
            raise AuditError(
                f"{self.name} has no split '{unknown[0]}'; its splits are {', '.join(self.splits)}"
            )
        chosen = torch.cat([self.splits[name] for name in splits]).sort().values
        return chosen if group is None else chosen[self.groups[chosen] == group]

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        """The samples at these positions, as inputs of a network on the device."""
        return self._batch(self.inputs[indices], indices, device)

    def _batch(self, fetched: Any, indices: Tensor, device: torch.device | str) -> Batch:
        inputs = on_device(fetched, device)
        if self.scaling is not None:
            inputs = self.scaling(inputs)
        elif isinstance(inputs, Tensor) and inputs.dtype == torch.uint8:
            inputs = inputs.float()
        if isinstance(self.inputs, Inputs):
            self._check_finite(inputs, indices)
        return Batch(
            inputs,
            self.labels[indices].to(device),
            self.groups[indices].to(device),
            indices,
        )

    def _check_finite(self, inputs: Any, indices: Tensor) -> None:
        for part in inputs.values() if isinstance(inputs, Mapping) else [inputs]:
            if part.is_floating_point() and not torch.isfinite(part).all():
                broken = ~torch.isfinite(part).flatten(1).all(1).cpu()
                raise AuditError(
                    f"{self.name}: the input of the sample '{self.samples[indices[broken][0]]}' is "
                    "not finite (NaN or infinity)"
                )

    def batches(
        self, indices: Tensor, batch_size: int = 256, device: torch.device | str = "cpu"
    ) -> Iterator[Batch]:
        """The samples at these positions in order; the last batch may be smaller."""
        parts = indices.split(batch_size) if len(indices) else ()
        if isinstance(self.inputs, Tensor):
            yield from (self.batch(rows, device) for rows in parts)
            return
        for rows, fetched in zip(parts, self.inputs.stream(parts), strict=True):
            yield self._batch(fetched, rows, device)

    def take(self, rows: Tensor) -> GroupedData:
        """The samples at these positions, in this order; splits keep those that are among them."""
        new = torch.full((len(self),), -1, dtype=torch.int64)
        new[rows] = torch.arange(len(rows))
        places = {name: new[own] for name, own in self.splits.items()}
        return replace(
            self,
            inputs=self.inputs[rows] if isinstance(self.inputs, Tensor) else self.inputs.take(rows),
            labels=self.labels[rows],
            groups=self.groups[rows],
            samples=self.samples[rows.numpy()],
            splits={name: own[own >= 0].sort().values for name, own in places.items()},
            units=None if self.units is None else self.units[rows],
            contents=None if self.contents is None else self.contents[rows.numpy()],
            further=None if self.further is None else self.further.iloc[rows.numpy()],
        )

    def columns_of(self, names: Sequence[str]) -> pd.DataFrame:
        """Columns that were kept beside the groups, by the samples' ids.

        Raises AuditError where one of them was not.
        """
        known = [] if self.further is None else [str(name) for name in self.further]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise AuditError(
                f"found discover '{unknown[0]}'; expected one of the columns that {self.name} "
                f"keeps beside its groups: {', '.join(known) or 'it keeps none'}"
            )
        assert self.further is not None or not names
        found = pd.DataFrame(index=pd.Index(self.samples)) if self.further is None else self.further
        return found.set_axis(pd.Index(self.samples)).loc[:, list(names)]

    def all_as_test(self, note: str) -> GroupedData:
        """The same samples, each a test sample, with a sentence that says why."""
        none = torch.empty(0, dtype=torch.int64)
        splits = {"train": none, "select": none, "test": torch.arange(len(self))}
        return replace(self, splits=splits, notes=(*self.notes, note))

    def split_ids(self) -> dict[str, list[str]]:
        """The splits as sample ids, as a checkpoint stores them."""
        return {name: self.samples[rows.numpy()].tolist() for name, rows in self.splits.items()}

    def with_splits(self, splits: Mapping[str, Sequence[str]]) -> GroupedData:
        """The same samples with splits given as sample ids.

        Raises AuditError where some of them are not in this data.
        """
        position = {sample: row for row, sample in enumerate(self.samples.tolist())}
        for name, ids in splits.items():
            missing = [sample for sample in ids if sample not in position]
            if missing:
                raise AuditError(
                    f"{len(missing):,} of {len(ids):,} {name} samples of the checkpoint are not in "
                    f"{self.name} as it is now (for instance '{missing[0]}'); give the data it was "
                    "made with by --data"
                )
        rows = {name: torch.tensor([position[i] for i in ids]) for name, ids in splits.items()}
        return replace(self, splits={name: found.long() for name, found in rows.items()})

    def sizes(self) -> pd.DataFrame:
        """Samples per group (rows, in declared order) and split (columns)."""
        counts = {
            name: torch.bincount(self.groups[rows], minlength=len(self.group_names)).numpy()
            for name, rows in self.splits.items()
        }
        return pd.DataFrame(counts, index=pd.Index(self.group_names, name=self.attribute))

    def __repr__(self) -> str:
        return (
            f"GroupedData({self.name!r}: {len(self):,} samples, {len(self.group_names)} groups "
            f"by {self.attribute!r})"
        )

    def _repr_html_(self) -> str:
        """What the data is, for a notebook: sizes per group and split, and its notes."""
        shape = "×".join(str(size) for size in self.input_shape)
        about = (
            f"{len(self):,} samples of {shape} inputs, {len(self.classes)} classes; "
            f"{len(self.group_names)} groups by {self.attribute}"
        )
        sizes = self.sizes().map("{:,}".format).rename_axis(columns="samples")
        return display.panel(
            self.name, display.paragraph(about), display.table(sizes), display.sentences(self.notes)
        )


@dataclass(frozen=True)
class SampleBatches:
    """(inputs, labels) of the samples at some positions [n], in order; read anew each time."""

    data: GroupedData
    rows: Tensor
    size: int
    device: str = "cpu"

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.data.batches(self.rows, self.size, self.device):
            yield batch.inputs, batch.labels

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    @property
    def samples(self) -> int:
        """How many samples the batches hold together."""
        return len(self.rows)

    def part(self, start: int, stop: int) -> SampleBatches:
        """The samples from one place to another, in batches of the same size."""
        return replace(self, rows=self.rows[start:stop])


def _check_lengths(data: GroupedData) -> None:
    lengths = {
        "inputs": len(data.inputs),
        "labels": len(data.labels),
        "groups": len(data.groups),
        "samples": len(data.samples),
    }
    beside = {"units": data.units, "contents": data.contents, "further rows": data.further}
    for name, optional in beside.items():
        if optional is not None:
            lengths[name] = len(optional)
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise AuditError(f"{data.name}: found {found}; expected one of each per sample")
    if len(data.labels) == 0:
        raise AuditError(f"{data.name}: found no samples")
    ids = pd.Series(data.samples, dtype=object)
    if not ids.is_unique:
        twice = ids[ids.duplicated()].iloc[0]
        raise AuditError(
            f"{data.name}: found repeated sample ids (for instance '{twice}'); each needs its own"
        )
    if isinstance(data.inputs, Tensor) and not _all_finite(data.inputs):
        raise AuditError(f"{data.name}: found inputs that are not finite (NaN or infinity)")


def _all_finite(values: Tensor) -> bool:
    """Whether no number is NaN or infinite; one that is makes the sum so, which copies nothing."""
    if not values.is_floating_point() or bool(torch.isfinite(values.sum())):
        return True
    return all(bool(torch.isfinite(part).all()) for part in values.split(READ_AT_ONCE))


def _check_codes(what: str, codes: Tensor, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise AuditError(f"found {what} names that repeat: {', '.join(names)}")
    if codes.dtype != torch.int64:
        raise AuditError(f"found {what}s of type {codes.dtype}; expected int64 positions")
    if int(codes.min()) < 0 or int(codes.max()) >= len(names):
        raise AuditError(
            f"found {what} numbers from {int(codes.min())} to {int(codes.max())}; "
            f"expected 0 to {len(names) - 1}, the positions of {', '.join(names)}"
        )


def _check_splits(data: GroupedData) -> None:
    missing = [name for name in SPLITS if name not in data.splits]
    if missing:
        raise AuditError(f"{data.name}: the split '{missing[0]}' is missing; expected {SPLITS}")
    extra = [name for name in data.splits if name not in SPLITS]
    if extra:
        raise AuditError(f"{data.name}: found a split '{extra[0]}'; expected {', '.join(SPLITS)}")
    rows = torch.cat([data.splits[name] for name in SPLITS])
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= len(data)):
        raise AuditError(
            f"{data.name}: found split positions from {int(rows.min())} to {int(rows.max())}; "
            f"expected 0 to {len(data) - 1}"
        )
    if len(torch.unique(rows)) != len(rows):
        raise AuditError(
            f"{data.name}: a sample stands in two splits, or twice in one; each may stand once"
        )
    if len(data.splits["test"]) == 0:
        raise AuditError(f"{data.name}: the split 'test' has no samples")
