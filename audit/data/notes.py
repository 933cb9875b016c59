"""What a person should know of data before an audit of it: said in sentences, decided nowhere."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from audit.data.attributes import MISSING, NUMBER, from_column
from audit.data.columns import MARKS, Prepared, numbers_of
from audit.data.grouped import GroupedData
from audit.data.identity import content_digests
from audit.data.inputs import as_bytes
from audit.data.splits import SPLIT, split_column

LEAST_IN_GROUP = 30
"""Fewer test samples than that and a group is shown, but kept out of verdicts (methods.md §2)."""
DECIDES = 0.9
"""A column that removes this share of the errors of always saying the commonest class."""
UNIT = re.compile(
    r"(unit|person|patient|subject|user|participant|individual|speaker|author|customer|client"
    r"|worker|employee|student|applicant|household|family|identity)([ _-]?(id|nr|no|number|code))?",
    re.IGNORECASE,
)
"""What a column of the persons, or other units, that samples are of is called."""
LEAST_UNITS = 10
"""Fewer values and such a column says what a sample is, as whether somebody is a student."""
BINS, MOST_ROWS, LEAST_ROWS, SURELY = 32, 50_000, 50, 1000
UNSEEN = ("Cc", "Cf")
"""Categories of Unicode's letters that no font shows: control, and format."""
BETWEEN = re.compile(r"_|(?<=\w)-(?=\w)")
"""What joins words; elsewhere a minus says something, as in -1 and A-."""
ALIKE = str.maketrans("авеікмнорстухѕјαβεζηικμνορτυχ’‘–—", "abeikmhopctyxsjabezhikmnoptyx''--")
"""Letters of other scripts that look as these do, small or capital; quotation marks and dashes."""
MANY = 20
"""So many classes that are numbers may be amounts."""
MOST_BYTES = 2**29
"""Inputs in memory that take more are not compared with each other."""


def noted(data: GroupedData) -> GroupedData:
    """The data, with notes on names that look alike or stand for nothing, and on small groups."""
    if data.noted:
        return data
    found = [
        *looks("group", data.group_names),
        *looks("class", data.classes),
        *_amounts(data.classes),
        *_missing_groups(data),
        *_small_groups(data),
        *_divided_units(data),
        *_repeated_in_test(data),
    ]
    new = [note for note in found if note not in data.notes]
    return replace(data, notes=(*data.notes, *new), noted=True)


def looks(what: str, names: Sequence[str]) -> list[str]:
    """Notes on names that look alike, and on those that read like a missing value.

    >>> looks("group", ["F", "F ", "M"])
    ["These groups look alike, and are audited as different: 'F' and 'F '; if they are one, \
name them so in the data or with names:."]
    """
    alike: dict[Any, list[str]] = defaultdict(list)
    for part_names in names:
        alike[tuple(_plain(part) for part in part_names.split(" × "))].append(part_names)
    same = [" and ".join(map(_shown, own)) for own in alike.values() if len(own) > 1]
    words = {"?", "??", "unknown", "unspecified", "not available", "missing", "n.a.", "n/k", "nk"}
    empty = [
        name
        for name in names
        for part in name.split(" × ")
        if part.strip() in MARKS or part.strip().casefold() in words
    ]
    plural = f"{what}es" if what == "class" else f"{what}s"
    notes = []
    if same:
        notes.append(
            f"These {plural} look alike, and are audited as different: {'; '.join(same)}; if they "
            "are one, name them so in the data or with names:."
        )
    if empty:
        notes.append(
            f"These {plural} read like a missing value, and are audited as values: "
            f"{', '.join(map(_shown, dict.fromkeys(empty)))}; if they are none, declare missing=."
        )
    return notes


def identifying(inputs: pd.DataFrame, prepared: Iterable[Prepared]) -> list[str]:
    """A note on columns of numbers that are another whole number in every row."""
    found = [one.name for one in prepared if one.kind == "number" and _identifies(inputs[one.name])]
    if not found:
        return []
    return [
        f"Every row has another whole number in {', '.join(map(_shown, found))}: it tells who a "
        "sample is and not what; declare it with id=, or drop= it."
    ]


def is_unit(name: str) -> bool:
    """Whether a column is called as those of persons, or other units, are.

    >>> is_unit("patient_id"), is_unit("PersonID"), is_unit("personality")
    (True, True, False)
    """
    return bool(UNIT.fullmatch(name.strip()))


def undeclared_units(
    table: pd.DataFrame, declared: Collection[str], by: str = "unit="
) -> list[str]:
    """Notes on columns of persons, several of whose rows are taken for independent samples.

    declared   the columns that have a role: where one of them is of units, nothing is to be said
    by         how a unit is declared
    """
    named = [str(name) for name in table if is_unit(str(name))]
    if set(named) & set(declared):
        return []
    return [
        f"Several samples have the same {_shown(name)}: if they are of one person, they are not "
        f"independent, and intervals are too narrow; declare it with {by}{name}."
        for name in named
        if table[name].duplicated().any() and table[name].nunique() >= LEAST_UNITS
    ]


def unused_split(table: pd.DataFrame, declared: Collection[str]) -> list[str]:
    """A note on a column that divides the rows into train and others, and was not used so."""
    found = None if SPLIT in table else split_column(table, declared)
    if found is None:
        return []
    return [
        f"The column {_shown(found)} tells of train rows and was not used so: of networks that "
        f"were trained on these, test rows are among them; call it '{SPLIT}', or drop= it."
    ]


def leaking(inputs: pd.DataFrame, data: GroupedData) -> list[str]:
    """A note on columns that nearly decide the target alone: learnt on train, tried on the others.

    For each column, the commonest class of each value (of each of 32 quantile bins of numbers)
    among the train samples is predicted for the others.
    """
    train, rest = data.indices("train").numpy(), data.indices("select", "test").numpy()
    if len(train) < LEAST_ROWS or len(rest) < LEAST_ROWS:
        return []
    generator = np.random.default_rng(0)
    train, rest = (
        np.sort(generator.permutation(rows)[:MOST_ROWS]) if len(rows) > MOST_ROWS else rows
        for rows in (train, rest)
    )
    labels = data.labels.numpy()
    common = np.bincount(labels[train]).argmax()
    errors = float((labels[rest] != common).mean())
    found = {}
    for one in data.preparation:
        codes = _coded(inputs[one.name], one, train)
        counts = np.zeros((int(codes.max()) + 1, len(data.classes)))
        np.add.at(counts, (codes[train], labels[train]), 1.0)
        counts[counts.sum(1) == 0, common] = 1.0
        wrong = float((counts.argmax(1)[codes[rest]] != labels[rest]).mean())
        if wrong <= (1.0 - DECIDES) * errors:
            found[one.name] = 1.0 - wrong
    return [
        f"The column {_shown(name)} alone decides the target in {share:.1%} of the rows it was not "
        "fitted to: perhaps it was written down after the outcome; if so, drop= it."
        for name, share in found.items()
    ]


def _repeated_in_test(data: GroupedData) -> list[str]:
    """A note on test samples whose very inputs stand among the train samples too.

    Inputs on demand, and large ones, are compared only where their digests are known.
    """
    train, test = data.splits["train"], data.splits["test"]
    if not len(train) or (data.contents is None and not _in_reach(data)):
        return []
    seen = int(np.isin(_contents(data, test), _contents(data, train)).sum())
    if not seen:
        return []
    return [
        f"{seen:,} of the {len(test):,} test samples have the same inputs as a train sample: of "
        "what a network was trained on, pruning seems to cost less; take them out of one of both, "
        "or, if they are of the same persons, keep these together with unit=."
    ]


def _in_reach(data: GroupedData) -> bool:
    inputs = data.inputs
    return isinstance(inputs, Tensor) and inputs.numel() * inputs.element_size() <= MOST_BYTES


def _contents(data: GroupedData, rows: Tensor) -> np.ndarray:
    """What each of some samples holds, as one value."""
    if data.contents is None:
        found = content_digests(
            own for part in data.inputs[rows].split(1024) for own in as_bytes(part)
        )
    else:
        found = np.ascontiguousarray(data.contents[rows.numpy()])
    return found.view(np.dtype((np.void, found.shape[1])))[:, 0]


def _amounts(classes: Sequence[str]) -> list[str]:
    """A note on many classes that are numbers: of amounts, how far off an answer is does not count.

    >>> len(_amounts([str(age) for age in range(60)])), len(_amounts(["0", "1"]))
    (1, 0)
    """
    if len(classes) < MANY or not all(NUMBER.fullmatch(name) for name in classes):
        return []
    return [
        f"The {len(classes)} classes are numbers, and an answer that is off by a little is as "
        "wrong as any other: if they are amounts, divide them into bands (bins:)."
    ]


def _missing_groups(data: GroupedData) -> list[str]:
    parts = {MISSING: "group"} if MISSING in data.group_names else {}
    counts = {name: int((data.groups == data.group_names.index(name)).sum()) for name in parts}
    return [f"{n:,} samples have no group: they are the group {MISSING}." for n in counts.values()]


def _small_groups(data: GroupedData) -> list[str]:
    """A note where most groups have too few test samples to be judged."""
    sizes = data.sizes()["test"]
    small = int((sizes < LEAST_IN_GROUP).sum())
    if small * 2 <= len(sizes):
        return []
    return [
        f"{small} of the {len(sizes)} groups have fewer than {LEAST_IN_GROUP} test samples, too "
        "few to be judged: merge some (names:), divide numbers into wider bands (bins:), or give "
        "more test samples."
    ]


def _divided_units(data: GroupedData) -> list[str]:
    if data.units is None:
        return []
    test = set(data.units[data.splits["test"]].tolist())
    shared = test & set(data.units[data.indices("train", "select")].tolist())
    if not shared:
        return []
    return [
        f"{len(shared):,} of the {len(test):,} units in the test split have samples in train or "
        "select too, as the data divides them: what is measured is too good."
    ]


def _plain(name: str) -> Any:
    """What a name looks like: without case, blanks, accents' spelling, scripts and what is unseen.

    >>> _plain("Non-binary ") == _plain("non binary"), _plain("A-") == _plain("A")
    (True, False)
    """
    text = unicodedata.normalize("NFKC", name).casefold().translate(ALIKE)
    seen = "".join(one for one in text if one.isspace() or unicodedata.category(one) not in UNSEEN)
    text = " ".join(BETWEEN.sub(" ", seen).split()) or text
    text = unicodedata.normalize("NFC", text)
    return Decimal(text).normalize() if NUMBER.fullmatch(text) else text


def _shown(name: str) -> str:
    return repr(name)


def _identifies(column: pd.Series) -> bool:
    values = numbers_of(column)
    known = values[~np.isnan(values)]
    if len(known) < LEAST_ROWS or (known % 1 != 0).any() or len(np.unique(known)) < len(known):
        return False
    # In few rows amounts of money may all differ; numbers that were given out lie close together.
    return len(known) >= SURELY or bool(np.ptp(known) < 10 * len(known))


def _coded(column: pd.Series, prepared: Prepared, train: np.ndarray) -> np.ndarray:
    if prepared.kind != "number":
        return from_column(column).codes
    values = numbers_of(column)
    known = values[train][~np.isnan(values[train])]
    few = np.unique(known)
    if len(few) > BINS:
        few = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.where(np.isnan(values), len(few) + 1, np.searchsorted(few, values))
