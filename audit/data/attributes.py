"""Protected attributes, alone and crossed, as declared and ordered groups."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.errors import AuditError

MISSING = "(missing)"
WHOLE = 2.0**53
"""From here on not every whole number is a float."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Attribute:
    """One attribute of every sample: its values in declared order, and int [n] positions there."""

    names: tuple[str, ...]
    codes: np.ndarray

    @property
    def missing(self) -> int:
        """How many samples have no value."""
        found = self.names.index(MISSING) if MISSING in self.names else -1
        return int((self.codes == found).sum())


@dataclass(frozen=True)
class Groups:
    """Protected groups: what they are called together, their names in order, int64 [n] positions.

    `notes` names the combinations of crossed attributes that no sample has.
    """

    attribute: str
    names: tuple[str, ...]
    codes: Tensor
    notes: tuple[str, ...] = ()


def from_column(values: Any, missing: Collection[str] = ()) -> Attribute:
    """The values of a column, list or array: numbers ordered as numbers, others as text.

    What is missing is alike in every container: None, NaN, NaT, NA, empty and blank text, and the
    words of `missing`; it is the value (missing). A column of whole numbers that was stored as 2.0
    reads as 2; text is kept as it stands, codes as 01 too. An ordered categorical keeps its order.

    >>> from_column(["10", "9", None, " "]).names
    ('(missing)', '9', '10')
    """
    column = _series(values)
    found = _unordered(column, missing)
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        names = [MISSING, *_texts(pd.Series(dtype.categories))[0]]
        return _ordered(found, [name for name in dict.fromkeys(names) if name in found.names])
    return _ordered(found, in_order(found.names))


def as_texts(values: Any, missing: Collection[str] = ()) -> np.ndarray:
    """Every value as `from_column` names it, object [n], without the time that an order takes."""
    found = _unordered(_series(values), missing)
    return np.asarray(np.array(found.names, dtype=object)[found.codes])


def words(values: Sequence[str], what: str) -> Sequence[str]:
    """The words themselves; AuditError where they are one text, whose letters would be words."""
    if isinstance(values, str):
        raise AuditError(f"found {what} '{values}'; expected a list, such as ['{values}']")
    return values


def unit_codes(values: Any, missing: Collection[str] = ()) -> np.ndarray:
    """The unit of each sample, int64 [n]; a sample without a value is a unit of its own.

    >>> unit_codes(["p2", "", "p1", "p2", None]).tolist()
    [2, 4, 1, 2, 7]
    """
    units = from_column(values, missing)
    if not units.missing:
        return units.codes.astype(np.int64)
    empty = units.codes == units.names.index(MISSING)
    alone = len(units.names) + np.arange(len(units.codes))
    return np.where(empty, alone, units.codes).astype(np.int64)


def in_order(names: Iterable[str]) -> list[str]:
    """Names as numbers where all are numbers, else as text; (missing) comes first."""
    known = sorted(set(names) - {MISSING})
    if all(NUMBER.fullmatch(name) for name in known):
        known.sort(key=Decimal)
    return [MISSING, *known] if MISSING in set(names) else known


def declared(attribute: Attribute, names: Sequence[str], what: str) -> Attribute:
    """The attribute with its names in this order, which may name more than occur.

    Raises AuditError where a value is not among them.
    """
    unknown = [name for name in attribute.names if name not in set(names)]
    if unknown:
        raise AuditError(f"found {what} '{unknown[0]}'; expected one of {', '.join(names)}")
    return _ordered(attribute, names)


def renamed(attribute: Attribute, names: Mapping[str, str]) -> Attribute:
    """The attribute with other names for its values; values of one new name become one."""
    new = [names.get(name, name) for name in attribute.names]
    merged = in_order(new) if set(new) - set(names.values()) else list(dict.fromkeys(new))
    position = {name: code for code, name in enumerate(merged)}
    codes = np.array([position[name] for name in new], dtype=np.int64)[attribute.codes]
    return Attribute(tuple(merged), codes)


def in_bands(column: Any, edges: Sequence[float], what: str) -> Attribute:
    """A column of numbers in bands with these edges, each from its edge up to below the next.

    Raises AuditError where the edges do not ascend, or a value is no number.

    >>> in_bands([17, 40, 65, None], [18, 65], "age").names
    ('(missing)', 'under 18', '18 to under 65', '65 and over')
    """
    if not edges or any(low >= high for low, high in pairwise(edges)):
        raise AuditError(f"found the edges {list(edges)} of '{what}'; expected ascending numbers")
    texts = from_column(column)
    wrong = [name for name in texts.names if name != MISSING and not NUMBER.fullmatch(name)]
    if wrong:
        raise AuditError(f"found '{wrong[0]}' in '{what}', which is divided by numbers")
    shown = [f"{edge:g}" for edge in edges]
    middle = [f"{low} to under {high}" for low, high in pairwise(shown)]
    bands = [f"under {shown[0]}", *middle, f"{shown[-1]} and over"]
    values = [np.nan if name == MISSING else float(name) for name in texts.names]
    places = np.where(np.isnan(values), 0, 1 + np.digitize(values, edges))
    if texts.missing:
        return Attribute((MISSING, *bands), places[texts.codes])
    return Attribute(tuple(bands), places[texts.codes] - 1)


def choose(attributes: Mapping[str, Attribute], name: str, what: str) -> Attribute:
    """The attribute of that name; AuditError lists those there are."""
    if name not in attributes:
        raise AuditError(f"found {what} '{name}'; expected one of {', '.join(attributes)}")
    return attributes[name]


def without_missing(attribute: Attribute, what: str) -> Attribute:
    """The attribute itself; AuditError where a sample has no value."""
    if attribute.missing:
        raise AuditError(
            f"{what} is empty in {attribute.missing:,} rows; expected a label in every row: fill "
            "them in, or remove these rows"
        )
    return attribute


def make_groups(attributes: Mapping[str, Attribute], names: str | Sequence[str]) -> Groups:
    """The groups of one attribute, or of several (separated by commas) crossed.

    Crossed groups are those combinations that occur, in declared order. Raises AuditError where a
    name is unknown or stands twice.
    """
    wanted = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    chosen = [choose(attributes, name, "group attribute") for name in wanted]
    if len(set(wanted)) != len(wanted):
        raise AuditError(f"found group '{','.join(wanted)}'; each attribute may be crossed in once")
    if len(chosen) == 1:
        return Groups(wanted[0], chosen[0].names, _tensor(chosen[0].codes))
    sizes = [len(attribute.names) for attribute in chosen]
    codes = np.ravel_multi_index([attribute.codes for attribute in chosen], sizes)
    labels = [" × ".join(parts) for parts in product(*(a.names for a in chosen))]
    present = np.unique(codes)
    absent = [label for code, label in enumerate(labels) if code not in set(present.tolist())]
    note = f"These crossed groups are absent, no sample is in them: {', '.join(absent)}."
    return Groups(
        " × ".join(wanted),
        tuple(labels[code] for code in present),
        _tensor(np.searchsorted(present, codes)),
        (note,) if absent else (),
    )


def strata(labels: Tensor, groups: Tensor) -> np.ndarray:
    """One number per group × label, int [n], for stratified splits."""
    return (groups * (int(labels.max()) + 1) + labels).numpy()


def _series(values: Any) -> pd.Series:
    """Any container as a column; AuditError where text in it is none of Unicode."""
    try:
        return _column(values)
    except UnicodeEncodeError as error:
        text = error.object[error.start : error.end]
        raise AuditError(f"found text with {text!r}, which is no letter; decode it") from error


def _column(values: Any) -> pd.Series:
    """Any container as a column of the narrowest type that holds it; never through text."""
    if isinstance(values, pd.Series):
        column = values.reset_index(drop=True)
    elif isinstance(values, Tensor):
        column = pd.Series(values.detach().cpu().numpy())
    elif isinstance(values, np.ndarray) and values.dtype.kind in "US":
        # numpy writes NaN so, where it makes text of a list that has one.
        column = pd.Series(values.astype(str), dtype=object).where(values.astype(str) != "nan")
    elif isinstance(values, np.ndarray) and not values.dtype.isnative:
        column = pd.Series(values.astype(values.dtype.newbyteorder("=")))
    elif isinstance(values, np.ndarray | pd.Index | pd.api.extensions.ExtensionArray):
        column = pd.Series(values)
    else:
        own = [value.item() if isinstance(value, Tensor) else value for value in values]
        column = pd.Series(own, dtype=object)
    return column.infer_objects() if column.dtype == object else column


def _unordered(column: pd.Series, missing: Collection[str]) -> Attribute:
    """The values of a column in the order in which they come."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    empty = column.isna().to_numpy(dtype=bool)
    texts, places = _texts(column[~empty])
    words = {"", *missing}
    names = [MISSING if text.strip() in words else text for text in texts]
    found = np.full(len(column), len(names), dtype=np.int64)
    found[~empty] = places
    # Several values may have one name.
    codes, distinct = pd.factorize(np.array([*names, MISSING], dtype=object)[found])
    return Attribute(tuple(distinct.tolist()), codes)


def _texts(known: pd.Series) -> tuple[list[str], np.ndarray]:
    """The texts of the distinct values, of which some may be alike; each value's place there."""
    if pd.api.types.is_float_dtype(known) and len(known):
        numbers = known.to_numpy(dtype=float)
        if np.isfinite(numbers).all() and ((numbers % 1 == 0) & (np.abs(numbers) < WHOLE)).all():
            known = pd.Series(numbers.astype(np.int64))
    if known.dtype == object and pd.api.types.infer_dtype(known, skipna=False) != "string":
        # Equal values of several types, such as 1 and True, have several texts.
        return [_text(value) for value in known.tolist()], np.arange(len(known))
    codes, values = pd.factorize(known)
    return [_text(value) for value in values.tolist()], codes


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _ordered(attribute: Attribute, names: Sequence[str]) -> Attribute:
    position = {name: code for code, name in enumerate(names)}
    places = np.array([position[name] for name in attribute.names], dtype=np.int64)
    return replace(attribute, names=tuple(names), codes=places[attribute.codes])


def _tensor(codes: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(codes, dtype=np.int64))
