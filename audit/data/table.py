"""A user's own table: a CSV, Parquet or Arrow file of numbers and categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.data.asked import (
    Asked,
    attributes_of,
    check_values,
    classes_of,
    ids_of,
    joined,
    listed,
    units_of,
)
from audit.data.attributes import from_column, make_groups, strata
from audit.data.columns import (
    Column,
    Prepared,
    as_numbers,
    described,
    is_number,
    learn,
    named,
    numbers_of,
    prepared_from,
    typed,
)
from audit.data.grouped import GroupedData
from audit.data.identity import content_digests
from audit.data.notes import identifying, leaking, noted, undeclared_units, unused_split
from audit.data.reading import read_table
from audit.data.splits import SplitSettings, firsts, given_splits, split_samples
from audit.errors import AuditError

SCALES = ("standard", "none")


def load_table(
    file: str | Path,
    target: str,
    group: str,
    *,
    separator: str = "",
    encoding: str = "",
    **settings: Any,
) -> GroupedData:
    """A CSV, Parquet or Arrow file as float32 [n, d]: numbers standardised, categories one-hot.

    separator, encoding  of a CSV file, where they are not to be found

    Other settings are those of `from_frame`. Raises AuditError as it does, and where the file is
    missing or is no table.
    """
    file = Path(file)
    read = read_table(file, separator, encoding)
    data = from_frame(read.rows, target, group, name=file.stem, **settings)
    return replace(data, notes=(*read.notes, *data.notes))


def from_frame(
    frame: pd.DataFrame,
    target: str,
    group: str | Sequence[str],
    *,
    name: str = "table",
    categories: str = "",
    drop: str = "",
    most: int | None = None,
    numeric: str = "",
    id: str = "",
    unit: str = "",
    missing: str = "",
    positive: str = "",
    classes: str = "",
    names: Mapping[str, str] | None = None,
    bins: Mapping[str, str] | None = None,
    scale: str = "standard",
    decimal: str = "",
    split: SplitSettings | None = None,
    preparation: Sequence[Mapping[str, Any]] = (),
) -> GroupedData:
    """A data frame as float32 [n, d]: numbers standardised, categories one-hot.

    target      the column to predict; its values are the classes, numbers in their order and
                others as text, unless `classes` declares them or `positive` says which is the last
    group       the column of the protected attribute, or several crossed: "sex,region", or a list
    categories  columns whose numbers are codes: "occupation,region"; text is always a category
    numeric     columns whose text is numbers all the same, codes such as 007 among them
    drop        columns that are no inputs; a target or group may be among them
    most        a seeded choice of that many rows
    id          the column of the samples' ids; unit: of the persons, whose rows stay in one split
    missing     what stands for no value, in every column: "NA,?"; blank text always does
    names       names for the values of a target or group: {"SEX": "1:male,2:female"}
    bins        the edges of the bands of a target or group of numbers: {"AGE": "25,40,60"}
    scale       standard, or none for a network that takes the numbers as they stand
    decimal     the decimal mark of numbers that are text, where it is not to be found
    preparation what made the inputs before (as a checkpoint keeps it); then it is used again

    A name that holds a comma is quoted: 'group="sex, legal"'. The protected attributes stay among
    the inputs unless dropped. A column `split` of train, select and test is used as it stands,
    unless dropped; without it the split is seeded. An empty value is a category of its own; an
    empty number is the mean; an empty target is refused. Mean and spread know nothing of the test
    split. Raises AuditError where a column is missing, or cannot be used as it is asked.
    """
    split = split or SplitSettings()
    if scale not in SCALES:
        raise AuditError(f"found scale '{scale}'; expected {' or '.join(SCALES)}")
    absent = tuple(listed(missing))
    # What a checkpoint knows is found among all rows, in whatever order they are.
    frame = named(frame, "the frame")
    group = group if isinstance(group, str) else joined(group)
    table = _chosen(typed(frame, absent, decimal), None if preparation else most, split.seed)
    asked = Asked.of(
        table, target, group, categories=categories, numeric=numeric, drop=drop, id=id, unit=unit,
        names=names, bins=bins,
    )  # fmt: skip
    attributes = attributes_of(table, asked, absent)
    for column, attribute in attributes.items():
        check_values(column, len(attribute.names), len(table))
    labels = classes_of(attributes[asked.target], asked.target, classes, positive)
    groups = make_groups(attributes, asked.group)
    codes = torch.from_numpy(labels.codes.astype(np.int64))
    units = units_of(table, asked)
    splits = _splits(table, asked, strata(codes, groups.codes), units, split)
    inputs, marks = _inputs(table, asked, decimal)
    test = np.isin(np.arange(len(table)), splits["test"].numpy())
    prepared = _prepared(inputs, asked, ~test, scale, prepared_from(preparation))
    data = GroupedData(
        name=name,
        inputs=torch.from_numpy(_side_by_side(inputs, prepared)),
        labels=codes,
        groups=groups.codes,
        classes=labels.names,
        group_names=groups.names,
        attribute=groups.attribute,
        samples=ids_of(table, asked),
        splits=splits,
        drawn=not asked.split,
        notes=groups.notes,
        units=None if units is None else torch.from_numpy(units),
        contents=_contents(inputs, prepared),
        columns=tuple(_described(table, asked, inputs, prepared)),
        preparation=tuple(prepared),
        further=table.reset_index(drop=True),
    )
    return noted(
        replace(data, notes=(*data.notes, *_notes(data, table, inputs, asked, marks))),
    )


def _chosen(table: pd.DataFrame, most: int | None, seed: int) -> pd.DataFrame:
    if most is None:
        return table
    if most < 1:
        raise AuditError(f"found most={most}; expected 1 or more")
    return table.sample(min(most, len(table)), random_state=seed).sort_index()


def _splits(
    table: pd.DataFrame,
    asked: Asked,
    strata: np.ndarray,
    units: np.ndarray | None,
    settings: SplitSettings,
) -> dict[str, Tensor]:
    """Those that the table's own column names; without one seeded, units kept together."""
    if asked.split:
        return given_splits(table["split"])
    return split_samples(strata, settings, None if units is None else firsts(units))


def _inputs(
    table: pd.DataFrame, asked: Asked, decimal: str
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """The columns that the network sees, and the marks of missing values in those of numbers."""
    kept: dict[str, pd.Series] = {}
    marks: dict[str, tuple[str, ...]] = {}
    for name in table.columns:
        if name in asked.no_inputs:
            continue
        column = table[name]
        if name not in asked.categories:
            column, found = as_numbers(column, name in asked.numeric, decimal)
            marks |= {name: found} if found else {}
        kept[name] = column
    if not kept:
        raise AuditError(f"there is no column left to predict '{asked.target}' from")
    return pd.DataFrame(kept, index=table.index), marks


def _prepared(
    inputs: pd.DataFrame, asked: Asked, known: np.ndarray, scale: str, before: list[Prepared]
) -> list[Prepared]:
    """How each column becomes inputs; as before, where that is given."""
    if before:
        gone = [one.name for one in before if one.name not in inputs]
        if gone:
            raise AuditError(f"the column '{gone[0]}', an input of the network, is not there")
        return before
    found = []
    for name in inputs:
        column = inputs[name]
        category = name in asked.categories or not is_number(column)
        if category:
            check_values(str(name), len(from_column(column).names), len(inputs))
        found.append(learn(column, category, known, scale == "standard"))
    return found


def _side_by_side(inputs: pd.DataFrame, prepared: Sequence[Prepared]) -> np.ndarray:
    """What each column becomes, float32 [n, inputs], without a copy beside the whole."""
    ends = np.cumsum([one.width for one in prepared])
    found = np.zeros((len(inputs), ends[-1]), np.float32)
    for one, end in zip(prepared, ends, strict=True):
        one.fill(found[:, end - one.width : end], inputs[one.name])
    return found


def _contents(inputs: pd.DataFrame, prepared: Sequence[Prepared]) -> np.ndarray:
    """A digest a row of what its columns hold, whatever the other rows hold."""
    kinds = {one.name: one.kind for one in sorted(prepared, key=lambda one: one.name)}
    numbers = [numbers_of(inputs[name]) for name, kind in kinds.items() if kind == "number"]
    matrix = np.stack(numbers, axis=1) if numbers else np.empty((len(inputs), 0))
    # One zero, and one NaN.
    matrix = np.where(np.isnan(matrix), np.nan, matrix + 0.0)
    texts = [from_column(inputs[name]) for name, kind in kinds.items() if kind != "number"]
    words = [np.array(text.names, dtype=object)[text.codes] for text in texts]
    rows = zip(*words, strict=True) if words else ((),) * len(inputs)
    return content_digests(
        own.tobytes() + "\x1f".join(row).encode(errors="surrogatepass")
        for own, row in zip(matrix, rows, strict=True)
    )


def _described(
    table: pd.DataFrame, asked: Asked, inputs: pd.DataFrame, prepared: Sequence[Prepared]
) -> list[Column]:
    ways = {one.name: one for one in prepared}
    found = []
    for name in table.columns:
        column = inputs[name] if name in ways else table[name]
        found.append(described(column, asked.roles(name), ways.get(name)))
    return found


def _notes(
    data: GroupedData,
    table: pd.DataFrame,
    inputs: pd.DataFrame,
    asked: Asked,
    marks: Mapping[str, tuple[str, ...]],
) -> list[str]:
    """What became of the columns, and what is to be known of them before their network is."""
    one_hot = [one.name for one in data.preparation if one.kind == "category"]
    seen = [name for name in asked.group if name in inputs]
    read = [
        f"{', '.join(repr(mark) for mark in found)} in the numbers of '{name}' was read as missing."
        for name, found in marks.items()
    ]
    return [
        *read,
        *identifying(inputs, data.preparation),
        *unused_split(table, (asked.target, *asked.group, *asked.drop)),
        *undeclared_units(inputs, (asked.target, *asked.group, *asked.id, *asked.unit)),
        *leaking(inputs, data),
        f"One-hot inputs: {', '.join(one_hot) or 'none'}; the other columns are numbers.",
        f"Among the inputs: {', '.join(seen)}, and whatever else stands for them."
        if seen
        else "The protected attributes are not among the inputs; others may stand for them.",
    ]
