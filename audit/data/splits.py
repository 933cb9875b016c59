"""Seeded splits into train, select and test, stratified by group and label."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from audit.checked import CountOrNone, Seed, Share, checked
from audit.data.grouped import SPLITS
from audit.errors import AuditError

SPLIT, TRAINED_ON = "split", ("train", "training")
"""The column that divides the samples, and the words for those that networks were trained on."""
HELD_OUT = (
    *("test", "testing", "val", "valid", "validation", "dev", "select", "eval", "evaluation"),
    *("holdout", "held-out", "held out"),
)
"""What stands beside the words of TRAINED_ON where a column divides samples so."""
MARK = re.compile(
    r"(is|in)[ _-]?(train|training|test|testing|holdout)([ _-]?set)?"
    r"|(train|training|test|testing)[ _-]?(set|split|flag|mask)",
    re.IGNORECASE,
)
"""What a column is called that says of each row whether it is of the train samples, or the others;
`training` alone may be what somebody took part in."""
YES_AND_NO = ({"true", "false"}, {"0", "1"}, {"0.0", "1.0"}, {"yes", "no"})
MOST_SPLITS = 50
"""Values of a column that are looked at for these words."""


@checked
class SplitSettings:
    """How samples are divided; shares are of all samples (test) and of the rest (select).

    A stratum (group × label) that would spare fewer than `least_select` samples spares exactly
    that many, as long as twice as many stay for training; a smaller one spares none, and what
    needs the select split falls back on that stratum's training samples.

    Raises AuditError where a share or a number is out of its range.
    """

    test: Share = 0.2
    select: Annotated[float, Field(ge=0, lt=1)] = 0.2
    least_select: CountOrNone = 5
    seed: Seed = 0


def split_samples(
    strata: np.ndarray,
    settings: SplitSettings,
    repeats: np.ndarray | None = None,
    test: np.ndarray | None = None,
) -> dict[str, Tensor]:
    """Positions of train, select and test, every stratum divided by the same shares.

    strata   int [n], one number per group × label
    repeats  int [n], for each sample the first that is identical to it (itself, where it is the
             first): copies follow their first into the same split
    test     bool [n], where the owner of the data has published the test part

    Returns ascending int64 positions.
    """
    firsts = np.arange(len(strata)) if repeats is None else repeats
    generator = np.random.default_rng(settings.seed)
    place = np.full(len(strata), "train", dtype="<U6")
    published = test is not None
    if test is not None:
        place[test] = "test"
    for stratum in np.unique(strata):
        members = np.flatnonzero((strata == stratum) & (firsts == np.arange(len(strata))))
        if published:
            members = members[place[members] != "test"]
        generator.shuffle(members)
        held_out = 0 if published else round(settings.test * len(members))
        place[members[:held_out]] = "test"
        rest = members[held_out:]
        place[rest[: select_size(len(rest), settings)]] = "select"
    place = place[firsts]
    return {
        name: torch.from_numpy(np.flatnonzero(place == name))
        for name in ("train", "select", "test")
    }


def firsts(units: np.ndarray) -> np.ndarray:
    """For each sample the first of its unit, int [n]: what keeps a unit's samples together."""
    _, first, codes = np.unique(units, return_index=True, return_inverse=True)
    return first[codes]


def select_size(available: int, settings: SplitSettings) -> int:
    """How many of a stratum's training samples go to the select split (see SplitSettings)."""
    if settings.select <= 0:
        return 0
    wanted = max(round(settings.select * available), settings.least_select)
    return wanted if available >= 3 * settings.least_select else 0


def given_splits(column: pd.Series) -> dict[str, Tensor]:
    """The splits that a table's own column names, as positions.

    Raises AuditError where a value is not train, select or test.
    """
    words = column.astype("string").fillna("").str.strip().str.casefold()
    names = words.to_numpy(dtype=str)
    unknown = set(names) - set(SPLITS)
    if unknown:
        raise AuditError(f"found split '{min(unknown)}'; expected {', '.join(SPLITS)}")
    return {name: torch.from_numpy(np.flatnonzero(names == name)) for name in SPLITS}


def _marks_train(name: str, column: pd.Series) -> bool:
    """Whether a column of true and false, or 0 and 1, is called as one that marks train rows.

    >>> _marks_train("is_train", pd.Series([1, 0])), _marks_train("training", pd.Series([1, 0]))
    (True, False)
    """
    if not MARK.fullmatch(name.strip()):
        return False
    values = {str(one).strip().casefold() for one in column.dropna().unique()[:MOST_SPLITS]}
    return any(values == own for own in YES_AND_NO)


def split_column(table: pd.DataFrame, known: Collection[str]) -> str | None:
    """A column that divides the rows into train and others under another name than `split`.

    known   the columns whose meaning is known

    >>> split_column(pd.DataFrame({"Set": ["Train", "Test"], "by": ["train", "bus"]}), ())
    'Set'
    """
    for place, column in enumerate(table):
        if column not in (SPLIT, *known) and _marks_train(str(column), table.iloc[:, place]):
            return str(column)
        if column in (SPLIT, *known) or pd.api.types.is_numeric_dtype(table.dtypes.iloc[place]):
            continue
        found = table.iloc[:, place].dropna().unique()[:MOST_SPLITS]
        values = {str(one).strip().casefold() for one in found}
        if values & set(TRAINED_ON) and values <= {*TRAINED_ON, *HELD_OUT}:
            return str(column)
    return None
