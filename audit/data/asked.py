"""What a user says of a table's columns, and the labels, groups and units that follow from it."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np
import pandas as pd

from audit.data.attributes import (
    Attribute,
    declared,
    from_column,
    in_bands,
    renamed,
    unit_codes,
    without_missing,
)
from audit.errors import AuditError

MOST_VALUES = 1000
"""The most values that a category, a target or a group attribute may have; nor may there be more
than one for every two rows, or it would tell who a sample is and not what."""


@dataclass(frozen=True)
class Asked:
    """What the user says of the columns: those of each role, and new names or bands for values."""

    target: str
    group: tuple[str, ...]
    categories: tuple[str, ...]
    numeric: tuple[str, ...]
    drop: tuple[str, ...]
    id: tuple[str, ...]
    unit: tuple[str, ...]
    split: tuple[str, ...]
    names: Mapping[str, Mapping[str, str]]
    bins: Mapping[str, Sequence[float]]

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        target: str,
        group: str,
        *,
        categories: str = "",
        numeric: str = "",
        drop: str = "",
        id: str = "",
        unit: str = "",
        names: Mapping[str, str] | None = None,
        bins: Mapping[str, str] | None = None,
    ) -> Asked:
        """The columns of a table that these settings name; AuditError where one is not there."""
        many = {"group": group, "categories": categories, "numeric": numeric, "drop": drop}
        single = {"target": target, "id": id, "unit": unit}
        found = {role: find_columns(table, role, text) for role, text in (many | single).items()}
        for role, text in single.items():
            if len(found[role]) > 1 or (role == "target" and not found[role]):
                raise AuditError(
                    f"found {role} '{text}'; expected one of the columns {', '.join(table.columns)}"
                )
        if set(found["unit"]) & {*found["target"], *found["group"]}:
            raise AuditError(
                f"found unit '{unit}', which is the target or a group; expected a column that says "
                "whose each row is"
            )
        if not found["group"]:
            raise AuditError(f"found no group; expected one of {', '.join(table.columns)}")
        return cls(
            target=found.pop("target")[0],
            split=("split",) if "split" in table and "split" not in found["drop"] else (),
            names={_column(table, "names", c): _pairs(c, t) for c, t in (names or {}).items()},
            bins={_column(table, "bins", c): _edges(c, t) for c, t in (bins or {}).items()},
            **found,
        )

    @property
    def no_inputs(self) -> set[str]:
        """The columns that the network does not see."""
        return {self.target, *self.drop, *self.id, *self.unit, *self.split}

    def roles(self, name: str) -> tuple[str, ...]:
        """What a column is for."""
        held = {"group": self.group, "id": self.id, "unit": self.unit, "split": self.split}
        roles = ["target"] if name == self.target else []
        roles += [role for role, columns in held.items() if name in columns]
        if name not in self.no_inputs:
            return (*roles, "input")
        return tuple(roles) if roles else ("dropped",)


def listed(text: str) -> list[str]:
    """The parts of a list with commas; one that holds a comma is in double quotes.

    >>> listed('age,"sex, legal"')
    ['age', 'sex, legal']
    """
    rows = list(csv.reader(StringIO(text, newline=""), skipinitialspace=True))
    return [part for row in rows for part in row if part]


def joined(names: Sequence[str]) -> str:
    """Names as one text that `listed` divides again.

    >>> joined(["age", "sex, legal"])
    'age,"sex, legal"'
    """
    return ",".join(f'"{name}"' if "," in name else name for name in names)


def find_columns(table: pd.DataFrame, role: str, text: str) -> tuple[str, ...]:
    """The columns that a setting names; AuditError where the table lacks one.

    A column is known by its name as it stands, or but for blanks around it; a list is separated by
    commas, unless all of it is one name.
    """
    names = {name.strip(): name for name in reversed(table.columns.tolist())}
    parts = [text] if text in table or text.strip() in names else listed(text)
    for name in parts:
        if name not in table and name.strip() not in names:
            raise AuditError(f"found {role} '{name}'; expected one of {', '.join(table.columns)}")
    return tuple(name if name in table else names[name.strip()] for name in parts)


def _column(table: pd.DataFrame, role: str, name: str) -> str:
    return find_columns(table, role, name)[0]


def _pairs(column: str, text: str) -> dict[str, str]:
    parts = [part.partition(":") for part in listed(text)]
    wrong = [value for value, colon, name in parts if not colon or not value or not name]
    if wrong or not parts:
        raise AuditError(f"found names:{column}={text}; expected value:name pairs, as in 1:male")
    return {value.strip(): name.strip() for value, _, name in parts}


def _edges(column: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise AuditError(f"found bins:{column}={text}; expected numbers, as in 25,40") from error


def attributes_of(
    table: pd.DataFrame, asked: Asked, missing: Collection[str]
) -> dict[str, Attribute]:
    """The values of the target and of every attribute of the groups, under their names."""
    return {name: _attribute(table, name, asked, missing) for name in (asked.target, *asked.group)}


def _attribute(table: pd.DataFrame, name: str, asked: Asked, missing: Collection[str]) -> Attribute:
    if name in asked.bins:
        return in_bands(table[name], asked.bins[name], name)
    found = from_column(table[name], missing)
    names = asked.names.get(name, {})
    if names and not set(names) & set(found.names):
        raise AuditError(
            f"names:{name} names '{next(iter(names))}', which the column does not have; its values "
            f"are {', '.join(found.names[:10])}"
        )
    return renamed(found, names) if names else found


def check_values(name: str, values: int, rows: int) -> None:
    """Raise AuditError where a column has too many values to tell apart."""
    most = min(MOST_VALUES, rows // 2)
    if values > most:
        raise AuditError(
            f"the column '{name}' has {values} values in {rows} rows; expected at most {most} to "
            f"tell apart: divide it into bands, or drop it (drop={name}); if it is numbers, "
            f"numeric={name}"
        )


def classes_of(labels: Attribute, target: str, classes: str, positive: str) -> Attribute:
    """The labels, with their classes in the declared order; AuditError where one is empty."""
    labels = without_missing(labels, f"the target '{target}'")
    if classes:
        labels = declared(labels, listed(classes), target)
    if not positive:
        return labels
    others = [name for name in labels.names if name != positive]
    if len(others) != 1 or len(labels.names) != 2:
        raise AuditError(
            f"found positive='{positive}' of {target}; expected one of two classes, and there are "
            f"{', '.join(labels.names[:10])}"
        )
    return declared(labels, [*others, positive], target)


def ids_of(table: pd.DataFrame, asked: Asked) -> np.ndarray:
    """The samples' ids: those of the id column, else the rows' numbers."""
    if not asked.id:
        return np.array([f"row-{row:06d}" for row in table.index])
    ids = from_column(table[asked.id[0]])
    counts = np.bincount(ids.codes, minlength=len(ids.names))
    if ids.missing or counts.max() > 1:
        found = "no value" if ids.missing else f"'{ids.names[int(counts.argmax())]}'"
        rows = ids.missing or int(counts.max())
        raise AuditError(
            f"the id column '{asked.id[0]}' has {found} in {rows:,} rows; expected another in "
            f"every row (for the person of several rows: unit={asked.id[0]})"
        )
    return np.asarray(np.array(ids.names)[ids.codes])


def units_of(table: pd.DataFrame, asked: Asked) -> np.ndarray | None:
    """The unit of each row; a row without one is a unit of its own."""
    return unit_codes(table[asked.unit[0]]) if asked.unit else None
