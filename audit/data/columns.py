"""The columns of a table: of one type each, and how each became inputs."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from audit.data.attributes import MISSING, NUMBER, from_column
from audit.errors import AuditError

CAPITALS = ("NA", "N/A", "N.A.", "#N/A", "<NA>", "NaN", "NAN", "NaT", "NULL", "Null", "None")
MARKS = frozenset(
    (*CAPITALS, "", "na", "n/a", "n.a.", "nan", "null", "none", "?", "-", "--", ".", "*")
)
"""What files write for a value that is missing. In a column of numbers such a mark is missing; in
any other it is a value until it is declared: NA is Namibia too."""
CODE = re.compile(r"[+-]?0\d+")
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
WHOLE = re.compile(r"[+-]?\d{1,18}")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?")
"""With points between thousands, as where a comma is the decimal mark."""
SHORT = re.compile(r"[+-]?\d{1,3}")
MOSTLY = 0.9
"""A column with this share of numbers, and more different ones than FEW, is one of numbers whose
other values must be declared."""
FEW = 20
AROUND = re.compile(r"[\s%€$£¥']")
"""What may stand around and within a number that is declared to be one: 12 %, $ 3, 1'000."""


@dataclass(frozen=True)
class Column:
    """What was made of one column: what it is for, its kind, and what it holds.

    roles     target, group, input, id, unit, split, dropped
    kind      number (standardised, or as it stands), category (one input a value), or text
    values    how many different values, `missing` how many rows have none; `examples` are some
    """

    name: str
    roles: tuple[str, ...]
    kind: str
    values: int
    missing: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """How one column becomes inputs: a number less its mean, by its spread; or an input a value."""

    name: str
    kind: str
    mean: float = 0.0
    spread: float = 1.0
    values: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many inputs it becomes."""
        return 1 if self.kind == "number" else len(self.values)

    def inputs(self, column: pd.Series) -> np.ndarray:
        """float32 [n, width]; a missing number is the mean, an unknown value is none of them."""
        found = np.zeros((len(column), self.width), np.float32)
        self.fill(found, column)
        return found

    def fill(self, zeros: np.ndarray, column: pd.Series) -> None:
        """Write the inputs into an array of zeros [n, width], which may be a part of a larger."""
        if self.kind == "number":
            numbers = numbers_of(column)
            zeros[:, 0] = np.where(np.isnan(numbers), 0.0, (numbers - self.mean) / self.spread)
            return
        attribute = from_column(column)
        index = pd.Index(self.values).get_indexer(pd.Index(attribute.names))
        places = index[attribute.codes]
        rows = np.flatnonzero(places >= 0)
        zeros[rows, places[rows]] = 1.0


def named(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """The table with texts as names; AuditError where it has no rows, or two columns of a name."""
    if rows.empty:
        raise AuditError(f"{what} has no rows; expected a table with a row a sample")
    rows = rows.set_axis([str(name) for name in rows.columns], axis=1)
    repeated = rows.columns[rows.columns.duplicated()]
    if len(repeated):
        raise AuditError(f"{what} has two columns named '{repeated[0]}'; rename one of them")
    return rows


def typed(rows: pd.DataFrame, missing: Collection[str], decimal: str = "") -> pd.DataFrame:
    """The table with one type a column: numbers, true and false, or text as it stands.

    missing   the words that stand for no value; blank text does too
    decimal   "," where a comma is the decimal mark, "." where it stands between thousands; empty
              finds out, and raises AuditError where it could be either

    Codes such as 01 are text, so that 01 and 1 stay two values. Columns that have a type of their
    own, as those of Parquet, keep it; values of several parts, such as lists, are text too.
    """
    texts = {name: column for name, column in rows.items() if _is_text(column)}
    known = {name: _known(column, missing) for name, column in texts.items()}
    comma = _comma(known, decimal)
    return pd.DataFrame(
        {
            name: _typed(texts[name], known[name], comma) if name in texts else _plainly(column)
            for name, column in rows.items()
        },
        index=rows.index,
    )


def _plainly(column: pd.Series) -> pd.Series:
    if column.dtype != object or pd.api.types.infer_dtype(column, skipna=True) != "mixed":
        return column
    return column.map(lambda one: one if isinstance(one, Hashable) else str(one), "ignore")


def as_numbers(
    column: pd.Series, is_declared: bool, decimal: str = ""
) -> tuple[pd.Series, tuple[str, ...]]:
    """The column as numbers if it is one of numbers but for marks of missing values; those marks.

    decimal   as in `typed`, of a declared column that has more around its numbers

    Raises AuditError where it is declared to be one and is not, or where it is one nearly.
    """
    if not _is_text(column):
        return column, ()
    plain = {text: AROUND.sub("", text) if is_declared else text.strip() for text in _texts(column)}
    if is_declared:
        plain = _plain(plain, _comma({column.name: set(plain.values())}, decimal))
    other = [text for text, own in plain.items() if not NUMBER.fullmatch(own)]
    strange = [text for text in other if text.strip() not in MARKS]
    codes = any(CODE.fullmatch(own) for own in plain.values())
    if (strange or len(other) == len(plain) or codes) and not is_declared:
        if not codes:
            _refuse_nearly(column, set(other), strange, len(plain) - len(other))
        return column, ()
    if strange:
        raise AuditError(
            f"found '{strange[0]}' in the numeric column '{column.name}'; declare what is missing "
            f"(missing={strange[0]}), or leave numeric={column.name} out"
        )
    values = {text: float(own) for text, own in plain.items() if text not in set(other)}
    return column.map(values).astype(float), tuple(sorted(text.strip() for text in other))


def numbers_of(column: pd.Series) -> np.ndarray:
    """The numbers of a column as float [n], NaN where there is none; a duration in days."""
    if column.dtype.kind == "c":
        raise AuditError(f"the column '{column.name}' has complex numbers; expected real ones")
    if pd.api.types.is_timedelta64_dtype(column):
        return np.asarray(column.dt.total_seconds(), dtype=float) / 86_400.0
    return np.asarray(column.to_numpy(dtype=float, na_value=np.nan))


def is_number(column: pd.Series) -> bool:
    """Whether the column is one of numbers, true and false, decimals or durations."""
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        return True
    known = column.dropna()
    return (
        column.dtype == object
        and len(known) > 0
        and all(isinstance(value, Decimal | int | float) for value in known)
    )


def learn(column: pd.Series, category: bool, known: np.ndarray, standardise: bool) -> Prepared:
    """How a column becomes inputs; mean and spread are those of the rows `known`.

    Raises AuditError where a number is infinite, or none is known.
    """
    name = str(column.name)
    if category:
        return Prepared(name, "category", values=from_column(column).names)
    values = numbers_of(column)
    if np.isinf(values).any():
        raise AuditError(f"the column '{name}' has an infinite number; expected finite ones")
    if not standardise:
        if np.isnan(values).any():
            raise AuditError(
                f"the column '{name}' has {int(np.isnan(values).sum())} empty numbers; expected "
                "none with scale=none: fill them in as the network expects them"
            )
        return Prepared(name, "number")
    rows = values[known & ~np.isnan(values)]
    if not len(rows):
        raise AuditError(
            f"the column '{name}' has no number outside the test split; drop it, or give "
            "scale=none where the network takes the numbers as they stand"
        )
    # Not by the spread itself, which rounding keeps above zero where all are alike.
    spread = float(rows.std()) if np.ptp(rows) > 0 else 1.0
    return Prepared(name, "number", float(rows.mean()), spread)


def prepared_from(stored: Sequence[Mapping[str, Any]]) -> list[Prepared]:
    """What `learn` found, as a checkpoint stores it."""
    return [Prepared(**{**one, "values": tuple(one["values"])}) for one in stored]


def _is_text(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    if column.dtype == object:
        return any(isinstance(value, str) for value in column.dropna())
    return pd.api.types.is_string_dtype(column.dtype)


def _known(column: pd.Series, missing: Collection[str]) -> set[str]:
    """The different texts of a column that are not missing, as they stand."""
    texts = {str(text) for text in column.dropna().unique()}
    return {text for text in texts if text.strip() and text.strip() not in missing}


def _typed(column: pd.Series, known: set[str], comma: str) -> pd.Series:
    texts = column.where(column.isin(known))
    stripped = {text: text.strip() for text in known}
    if not known:
        return texts.astype(float) if texts.isna().all() else texts
    if all(text.casefold() in ("true", "false") for text in stripped.values()):
        return texts.map(
            lambda text: stripped[text].casefold() == "true", na_action="ignore"
        ).astype("boolean")
    plain = _plain(stripped, comma)
    if any(CODE.fullmatch(own) for own in stripped.values()) or not all(
        NUMBER.fullmatch(own) or INFINITE.fullmatch(own) for own in plain.values()
    ):
        return texts
    whole = all(WHOLE.fullmatch(own) for own in plain.values())
    if not whole and all(own.lstrip("+-").isdigit() for own in plain.values()):
        # Longer than a number can hold exactly: a code, whose last digits count.
        return texts
    values = texts.map(lambda text: int(plain[text]) if whole else float(plain[text]), "ignore")
    return values.astype("Int64" if whole and texts.isna().any() else "int64" if whole else float)


def _between_thousands(texts: Collection[str]) -> bool:
    """Whether every point in these numbers stands between thousands."""
    return all(POINTS.fullmatch(text) for text in texts if "." in text)


def _plain(texts: Mapping[str, str], comma: str) -> dict[str, str]:
    """Numbers as Python writes them, where commas are decimal or stand between thousands."""
    if comma == "decimal":
        points = "." if _between_thousands(texts.values()) else ""
        known = {text: own.replace(points, "") for text, own in texts.items()}
        return {
            text: own.replace(",", ".") if DECIMAL_COMMA.fullmatch(own) else own
            for text, own in known.items()
        }
    return {
        text: own.replace(",", "") if comma and THOUSANDS.fullmatch(own) else own
        for text, own in texts.items()
    }


def _comma(known: Mapping[Any, set[str]], decimal: str) -> str:
    """What the commas in the numbers of a table are: decimal, thousands, or none at all."""
    if decimal not in ("", ",", "."):
        raise AuditError(f"found decimal='{decimal}'; expected ',' or '.'")
    if decimal:
        return "decimal" if decimal == "," else "thousands"
    seen: dict[str, tuple[Any, str]] = {}
    for name, texts in known.items():
        own = {text.strip() for text in texts}
        patterns = (NUMBER, DECIMAL_COMMA, THOUSANDS, POINTS)
        numbers = {text for text in own if any(one.fullmatch(text) for one in patterns)}
        if numbers and own - numbers <= MARKS:
            found, text = _marks_of(numbers)
            seen.setdefault(found, (name, text))
    if len(seen.keys() & {"decimal", "thousands"}) == 1 and "point" not in seen:
        return "decimal" if "decimal" in seen else "thousands"
    for found, mark in (("point", "point"), ("unclear", "comma"), ("decimal", "comma")):
        if found in seen:
            name, text = seen[found]
            raise AuditError(
                f"found '{text}' in the column '{name}', which has a decimal {mark} or one between "
                "thousands; say which: decimal=, or decimal=."
            )
    return "thousands" if "thousands" in seen else ""


def _marks_of(numbers: set[str]) -> tuple[str, str]:
    """What the commas and points of a column of numbers are, and a number that shows it.

    The comma is decimal, stands between thousands, or is one of both and unclear; point: there is
    no comma, and the points may stand between thousands. Whoever writes decimals with three digits
    writes 999.000 too, or leaves the last 0 of 1.230 away.
    """
    commas = {text for text in numbers if "," in text}
    shown = min(commas, default="")
    if any(text.count(".") > 1 for text in numbers) or not all(map(THOUSANDS.fullmatch, commas)):
        return "decimal", min(commas or numbers)
    if commas:
        several = any(text.count(",") > 1 or "." in text for text in numbers)
        return ("thousands" if several else "unclear"), shown
    points = sorted(text for text in numbers if "." in text)
    whole = all(SHORT.fullmatch(text) for text in numbers - set(points))
    ends = [text for text in points if text.endswith("0")]
    if ends and whole and len(points) < len(numbers) and _between_thousands(numbers):
        return "point", ends[0]
    return "", shown


def _texts(column: pd.Series) -> list[str]:
    return [str(text) for text in column.dropna().unique()]


def _refuse_nearly(column: pd.Series, other: set[str], strange: list[str], numbers: int) -> None:
    """Refuse a column of numbers that a few other values would make one input a value."""
    known = column.dropna()
    if len(strange) > FEW and all(NUMBER.fullmatch(AROUND.sub("", text)) for text in strange):
        raise AuditError(
            f"the column '{column.name}' has numbers with more around them (for instance "
            f"'{strange[0]}'); declare numeric={column.name}, or categories={column.name}"
        )
    share = 1.0 - known.isin(other).mean() if len(known) else 0.0
    if not strange or numbers <= FEW or share < MOSTLY:
        return
    rows = int(known.isin(strange).sum())
    raise AuditError(
        f"the column '{column.name}' has numbers in {len(known) - int(known.isin(other).sum()):,} "
        f"rows and text in {rows:,} (for instance '{strange[0]}'); declare missing={strange[0]} "
        f"if that is no value, or categories={column.name}, or drop={column.name}"
    )


def described(
    column: pd.Series, roles: Sequence[str], prepared: Prepared | None, examples: int = 5
) -> Column:
    """What a column holds and what was made of it."""
    attribute = from_column(column)
    known = [name for name in attribute.names if name != MISSING]
    kind = prepared.kind if prepared is not None else "number" if is_number(column) else "text"
    return Column(
        str(column.name), tuple(roles), kind, len(known), attribute.missing, tuple(known[:examples])
    )
