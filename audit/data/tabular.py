"""UCI Adult, read from its files as published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from audit.data.attributes import Attribute, make_groups, strata
from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings, split_samples
from audit.errors import AuditError

NUMERIC = ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")
CATEGORICAL = (
    "workclass",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "native-country",
)
COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
)
INCOMES = ("<=50K", ">50K")
AGE_EDGES = (25, 40, 60)
AGE_BANDS = ("under 25", "25-39", "40-59", "60+")


def load_adult(
    folder: str | Path, group: str = "sex", split: SplitSettings | None = None
) -> GroupedData:
    """UCI Adult as float32 [n, d]: numbers standardised, categories one-hot; target income.

    group   sex, race or age (in bands), or several crossed: "sex,race"

    The published test file is the test split. The standardisation knows nothing of it. Raises
    AuditError where a file is missing, empty or not in the published format.
    """
    folder, split = Path(folder), split or SplitSettings()
    parts = {name: _read(folder, f"adult.{name}") for name in ("data", "test")}
    table = pd.concat(parts.values(), ignore_index=True)
    test = np.arange(len(table)) >= len(parts["data"])
    labels = torch.from_numpy((table["income"] == INCOMES[1]).to_numpy().astype(np.int64))
    groups = make_groups(_attributes(table), group)
    return GroupedData(
        name="UCI Adult",
        inputs=torch.from_numpy(_features(table, test)),
        labels=labels,
        groups=groups.codes,
        classes=INCOMES,
        group_names=groups.names,
        attribute=groups.attribute,
        samples=np.array(
            [f"train-{row:05d}" for row in range(len(parts["data"]))]
            + [f"test-{row:05d}" for row in range(len(parts["test"]))]
        ),
        splits=split_samples(strata(labels, groups.codes), split, test=test),
        notes=(
            *groups.notes,
            "UCI Adult: US census of 1994; sex and race as the census recorded them. Both stay "
            "among the inputs, as do features that stand for them.",
            "The column fnlwgt, a survey weight, and education, which repeats education-num, were "
            "left out; a missing value is a category of its own.",
        ),
    )


def _read(folder: Path, name: str) -> pd.DataFrame:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise AuditError(
            f"'{folder}' has neither {name} nor {name}.gz; expected UCI Adult's files as published"
        )
    try:
        # The test file opens with a remark, and ends its labels with a full stop.
        table = pd.read_csv(path, header=None, skipinitialspace=True, comment="|", dtype=str,
                            keep_default_na=False)  # fmt: skip
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no content"
        raise AuditError(f"'{path}' cannot be read as UCI Adult: {reason}") from error
    if table.shape[1] != len(COLUMNS):
        raise AuditError(f"'{path}' has {table.shape[1]} columns; expected {len(COLUMNS)}")
    table.columns = pd.Index(COLUMNS)
    table["income"] = table["income"].str.rstrip(".")
    unknown = set(table["income"]) - set(INCOMES)
    if unknown:
        raise AuditError(
            f"'{path}' has the income '{min(unknown)}'; expected {' or '.join(INCOMES)}"
        )
    try:
        return table.astype(dict.fromkeys(NUMERIC, float))
    except ValueError as error:
        raise AuditError(f"'{path}' has text where a number belongs: {error}") from error


def _attributes(table: pd.DataFrame) -> dict[str, Attribute]:
    found = {}
    for name in ("sex", "race"):
        names = tuple(sorted(table[name].unique()))
        found[name] = Attribute(names, np.searchsorted(names, table[name].to_numpy(dtype=str)))
    return found | {"age": Attribute(AGE_BANDS, np.digitize(table["age"], AGE_EDGES))}


def _features(table: pd.DataFrame, test: np.ndarray) -> np.ndarray:
    numbers = table[list(NUMERIC)].to_numpy(dtype=float)
    known = numbers[~test]
    spread = known.std(0)
    numbers = (numbers - known.mean(0)) / np.where(spread > 0, spread, 1.0)
    categories = pd.get_dummies(table[list(CATEGORICAL)], dtype=float).to_numpy()
    return np.hstack([numbers, categories]).astype(np.float32)
