"""A user's own table: a CSV or Parquet file of numbers and categories."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from audit.data.attributes import MISSING, Attribute, from_column, make_groups, strata
from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings, given_splits, split_samples
from audit.errors import AuditError

MOST_VALUES = 1000
"""The most values that a category, a target or a group attribute may have; nor may there be more
than one for every two rows, or it would tell who a sample is and not what."""


def load_table(
    file: str | Path,
    target: str,
    group: str,
    categories: str = "",
    drop: str = "",
    most: int | None = None,
    split: SplitSettings | None = None,
) -> GroupedData:
    """A CSV or Parquet file as float32 [n, d]: numbers standardised, categories one-hot.

    target      the column to predict; its values are the classes, ordered as text
    group       the column of the protected attribute, or several crossed: "sex,region"
    categories  columns whose numbers are codes: "occupation,region"; text is always a category
    drop        columns that are no inputs; a target or group may be among them
    most        a seeded choice of that many rows

    The protected attributes stay among the inputs unless dropped. A column `split` of train, select
    and test is used as it stands, unless dropped; without it the split is seeded. An empty value is
    a category of its own; an empty number is the mean; an empty target is refused. Mean and spread
    know nothing of the test split. Raises AuditError where the file or a column is missing, or a
    column cannot be used as it is asked.
    """
    file, split = Path(file), split or SplitSettings()
    table = _read(file)
    if most is not None:
        if most < 1:
            raise AuditError(f"found most={most}; expected 1 or more")
        table = table.sample(min(most, len(table)), random_state=split.seed).sort_index()
    named = {"group": group, "categories": categories, "drop": drop}
    columns = {role: _columns(table, role, text) for role, text in named.items()}
    fixed = "split" in table and "split" not in columns["drop"]
    labels = _labels(table, target)
    groups = make_groups({name: _attribute(table, name) for name in columns["group"]}, group)
    codes = torch.from_numpy(labels.codes.astype(np.int64))
    splits = (
        given_splits(table["split"]) if fixed else split_samples(strata(codes, groups.codes), split)
    )
    inputs = table.drop(columns=[target, *columns["drop"], *(["split"] if fixed else [])])
    if inputs.columns.empty:
        raise AuditError(f"'{file}' has no column left to predict '{target}' from")
    test = np.isin(np.arange(len(table)), splits["test"].numpy())
    return GroupedData(
        name=file.stem,
        inputs=torch.from_numpy(_features(inputs, columns["categories"], ~test)),
        labels=codes,
        groups=groups.codes,
        classes=labels.names,
        group_names=groups.names,
        attribute=groups.attribute,
        samples=np.array([f"row-{row:06d}" for row in table.index]),
        splits=splits,
        notes=(*groups.notes, *_notes(columns, inputs)),
    )


def _read(file: Path) -> pd.DataFrame:
    """The rows of the file; columns of numbers are numbers, all others are text."""
    if not file.is_file():
        raise AuditError(f"there is no file '{file}'; expected a table in .csv or .parquet")
    try:
        if file.suffix == ".parquet":
            table = pd.read_parquet(file).reset_index(drop=True)
        else:
            with warnings.catch_warnings():
                # Rows longer than the header lose their end, or shift every column.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                table = pd.read_csv(file, keep_default_na=False, na_values=[""], index_col=False)
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        cause = " ".join(str(error).split())
        raise AuditError(f"'{file}' cannot be read as a table: {cause}") from error
    if table.empty:
        raise AuditError(f"'{file}' has no rows; expected a table with a row a sample")
    return table.set_axis([str(name) for name in table.columns], axis=1)


def _columns(table: pd.DataFrame, role: str, text: str) -> list[str]:
    """The columns that a setting names; AuditError where the table lacks one."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    for name in found:
        if name not in table:
            raise AuditError(f"found {role} '{name}'; expected one of {', '.join(table.columns)}")
    return found


def _labels(table: pd.DataFrame, target: str) -> Attribute:
    """The labels of the target; AuditError where it is no column, or empty in some row."""
    found = _columns(table, "target", target)
    if found != [target]:
        raise AuditError(
            f"found target '{target}'; expected one of the columns {', '.join(table.columns)}"
        )
    attribute = _attribute(table, target)
    if MISSING in attribute.names:
        empty = int((attribute.codes == attribute.names.index(MISSING)).sum())
        raise AuditError(
            f"the target '{target}' is empty in {empty} rows; expected a label in every row: fill "
            "them in, or remove these rows"
        )
    return attribute


def _attribute(table: pd.DataFrame, name: str) -> Attribute:
    found = from_column(table[name])
    most = min(MOST_VALUES, len(table) // 2)
    if len(found.names) > most:
        raise AuditError(
            f"the column '{name}' has {len(found.names)} values in {len(table)} rows; expected at "
            f"most {most} to tell apart: divide it into bands, or drop it"
        )
    return found


def _features(table: pd.DataFrame, categories: list[str], known: np.ndarray) -> np.ndarray:
    """The inputs, column by column; `known` are the rows that the standardisation may use."""
    parts = []
    for name in table.columns:
        column = table[name]
        if _is_category(column, categories):
            attribute = _attribute(table, name)
            parts.append(np.eye(len(attribute.names), dtype=np.float32)[attribute.codes])
        else:
            numbers = column.to_numpy(dtype=float, na_value=np.nan)
            parts.append(_standardised(name, numbers, known)[:, None])
    return np.hstack(parts).astype(np.float32)


def _is_category(column: pd.Series, categories: list[str]) -> bool:
    return column.name in categories or not pd.api.types.is_numeric_dtype(column)


def _standardised(name: str, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean 0 and spread 1 over the known rows; an empty value is the mean."""
    if np.isinf(values).any():
        raise AuditError(f"the column '{name}' has an infinite number; expected finite ones")
    rows = values[known & ~np.isnan(values)]
    if not len(rows):
        raise AuditError(f"the column '{name}' has no number outside the test split; drop it")
    # Not by the spread itself, which rounding keeps above zero where all are alike.
    spread = rows.std() if np.ptp(rows) > 0 else 1.0
    return np.where(np.isnan(values), 0.0, (values - rows.mean()) / spread)


def _notes(columns: dict[str, list[str]], inputs: pd.DataFrame) -> list[str]:
    """What became one-hot, and whether the network sees the protected attributes."""
    one_hot = [str(name) for name in inputs if _is_category(inputs[name], columns["categories"])]
    seen = [name for name in columns["group"] if name in inputs]
    return [
        f"One-hot inputs: {', '.join(one_hot) or 'none'}; the other columns are numbers.",
        f"Among the inputs: {', '.join(seen)}, and whatever else stands for them."
        if seen
        else "The protected attributes are not among the inputs; others may stand for them.",
    ]
