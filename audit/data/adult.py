"""UCI Adult, read from its files as published."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from audit.data.attributes import Attribute, make_groups, strata
from audit.data.grouped import GroupedData
from audit.data.identity import content_digests
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
        contents=content_digests(
            "\x1f".join(map(str, row)).encode()
            for row in table[[*NUMERIC, *CATEGORICAL]].itertuples(index=False)
        ),
        notes=(
            *groups.notes,
            "UCI Adult: US census of 1994; sex and race as the census recorded them. Both stay "
            "among the inputs, as do features that stand for them.",
            "The column fnlwgt, a survey weight, and education, which repeats education-num, were "
            "left out; a missing value is a category of its own.",
        ),
        further=table.drop(columns="income"),
    )


def _read(folder: Path, name: str) -> pd.DataFrame:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise AuditError(
            f"'{folder}' has neither {name} nor {name}.gz; expected UCI Adult's files as published"
        )
    try:
        rows = [_row(line, f"'{path}' line {number}") for number, line in _lines(path)]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise AuditError(f"'{path}' cannot be read as UCI Adult: {error}") from error
    if not rows:
        raise AuditError(f"'{path}' cannot be read as UCI Adult: it has no rows")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(NUMERIC, float))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The rows of a file with their line numbers, without the remark that opens the test file."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.startswith("|"):
                yield number, line


def _row(line: str, where: str) -> list[str]:
    """The fields of one row; a label of the test file ends with a full stop."""
    fields = [part.strip() for part in line.split(",")]
    if len(fields) != len(COLUMNS):
        raise AuditError(f"{where} has {len(fields)} columns; expected {len(COLUMNS)}")
    row = dict(zip(COLUMNS, fields, strict=True)) | {"income": fields[-1].rstrip(".")}
    if row["income"] not in INCOMES:
        raise AuditError(
            f"{where} has the income '{row['income']}'; expected {' or '.join(INCOMES)}"
        )
    for name in NUMERIC:
        if not row[name].isdecimal():
            raise AuditError(f"{where} has text where a number belongs: {name} '{row[name]}'")
    return list(row.values())


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
