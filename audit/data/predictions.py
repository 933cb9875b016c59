"""Predictions that were stored: of several networks, on the same samples, matched by their ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from audit.data.arrays import from_arrays
from audit.data.attributes import (
    MISSING,
    as_texts,
    from_column,
    in_order,
    make_groups,
    words,
)
from audit.data.columns import numbers_of, typed
from audit.data.grouped import GroupedData
from audit.data.notes import undeclared_units
from audit.data.reading import read_table
from audit.data.splits import SPLIT, TRAINED_ON, split_column
from audit.errors import AuditError

SAMPLE, LABEL, PREDICTION, SCORE = "sample", "label", "prediction", "score"
PROBABILITY = "probability:"
"""Before the name of a class."""

SUM_TOLERANCE, MOST_TOLERANCE = 1e-2, 1e-1
"""How far from 1 the probabilities of a sample may sum; and at most, rounded to few digits."""

ROUNDING = 1e-6
"""How far beyond 0 and 1 sums of shares may lie, in single precision."""

WHOLE = re.compile(r"-?\d+(\.0)?")

GOES_WITH = 0.75
"""How often a sample that was predicted as a class has a larger probability of it than one that was
not: 1 under one threshold, less under one a group, 1/2 where the two have nothing to do with each
other, 0 where the probabilities are those of another class."""

DECISIONS = "its probabilities are all 0 or 1: they were read as decisions alone"

ALIKE = 0.9
"""The share of e that probabilities reach which softmax was taken of: of these none differ by more
than e times, since what they were made of lies between 0 and 1."""


@dataclass(frozen=True)
class Predicted:
    """What one network said of every sample, in the order of the data.

    decisions      int64 [n], positions among the classes
    probabilities  float64 [n, classes]; None where decisions alone were given
    notes          what must be said of them, in sentences
    """

    decisions: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()


def from_predictions(
    tables: Mapping[str, pd.DataFrame | Path],
    group: str | Sequence[str],
    *,
    unit: str = "",
    classes: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    name: str = "stored predictions",
) -> tuple[GroupedData, dict[str, Predicted]]:
    """The samples that the tables have in common, all of them test samples, and who said what.

    tables   by the network's name, frames or files: columns `sample`, `label`, those of the groups,
             and `prediction`, or one `probability:CLASS` a class, or `score`, the probability of
             the second of two classes
    group    the columns of the groups; several, or a text with commas, are crossed
    unit     the column of the persons (or other units) that samples are of, several of one person
             not being independent; a sample without one is a unit of its own
    classes  their order, or more of them than occur; else those of the probabilities or labels
    missing  words that stand for no value

    The rows are matched by `sample`, whatever their order; where a prediction is given beside
    probabilities it is the decision. Of tables with a column `split` the test samples are taken,
    or where none is called so, all that are not `train`. The inputs of the data are the samples'
    positions; groups that nobody named may be sought in the further columns of the first table.
    Probabilities that are all 0 or 1 are decisions, and nothing else is read from them. Raises
    AuditError where a column is missing, an id stands twice, samples, labels, groups or units
    differ between the tables, a class is unknown, probabilities are none, or not those that were
    decided by, or a column of another name than `split` tells of train samples.

    >>> table = pd.DataFrame({"sample": list("abcd"), "label": [0, 1, 0, 1], "sex": list("fmfm")})
    >>> data, said = from_predictions({"dense": table.assign(score=[0.1, 0.9, 0.2, 0.4])}, "sex")
    >>> data.group_names, said["dense"].decisions.tolist()
    (('f', 'm'), [0, 1, 0, 0])
    """
    missing = words(missing, "missing")
    classes = None if classes is None else tuple(map(str, words(classes, "classes")))
    columns = [part.strip() for part in group.split(",")] if isinstance(group, str) else list(group)
    if "" in columns:
        raise AuditError(f"found group '{group}'; expected the columns of the groups")
    if unit in (LABEL, PREDICTION, SCORE, *columns):
        raise AuditError(
            f"found unit '{unit}', which is no person's; expected a column that says whose each "
            "sample is"
        )
    known_of = [*columns, unit] if unit else columns
    read = {own: _measured(own, _rows(own, table), columns) for own, table in tables.items()}
    frames = {own: _frame(own, rows, known_of, missing) for own, (rows, _) in read.items()}
    first, *others = frames
    for other in others:
        frames[other] = _matched(other, frames[other], first, frames[first], known_of)
    known = _classes(frames, classes)
    common = frames[first]
    made = make_groups({name: from_column(common[name]) for name in columns}, columns)
    data = from_arrays(
        torch.arange(len(common)),
        common[LABEL],
        np.array(made.names, dtype=object)[made.codes.numpy()],
        name=name,
        attribute=made.attribute,
        classes=known,
        group_names=made.names,
        samples=common[SAMPLE],
        units=common[unit] if unit else None,
        splits={"test": np.arange(len(common))},
        further=_further(common),
        notes=(
            *made.notes,
            *undeclared_units(common, known_of, "--unit "),
            *dict.fromkeys(note for _, notes in read.values() for note in notes),
        ),
    )
    said = {own: _predicted(own, frame, known) for own, frame in frames.items()}
    return data, {
        own: replace(one, notes=(*one.notes, *_unread(frames[own], known_of)))
        for own, one in said.items()
    }


def _rows(name: str, table: pd.DataFrame | Path) -> pd.DataFrame:
    """The table as it stands."""
    if not isinstance(table, pd.DataFrame | Path):
        raise AuditError(
            f"found a {type(table).__name__} as the predictions of '{name}'; expected a data frame "
            "or the path of a table"
        )
    return table if isinstance(table, pd.DataFrame) else read_table(table).rows


def _measured(
    name: str, rows: pd.DataFrame, groups: Sequence[str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows that are no training samples, where a column says so, and what was left out."""
    if SPLIT not in rows:
        _check_untrained(name, rows, groups)
    if SPLIT not in rows or SPLIT in groups or isinstance(rows[SPLIT], pd.DataFrame):
        return rows, ()
    splits = rows[SPLIT].astype("string").fillna("").str.strip().str.casefold()
    kept = splits == "test" if (splits == "test").any() else ~splits.isin(TRAINED_ON)
    if not kept.any():
        raise AuditError(
            f"'{name}' has training samples alone, as its column {SPLIT} says: what a network was "
            "trained on tells nothing of others; expected the predictions of test samples"
        )
    if kept.all():
        return rows, ()
    others = ", ".join(sorted(set(rows[SPLIT][~kept].astype(str))))
    return rows[kept], (
        f"{int((~kept).sum()):,} of {len(rows):,} samples were left out, as the column {SPLIT} "
        f"says: {others}.",
    )


def _check_untrained(name: str, rows: pd.DataFrame, groups: Sequence[str]) -> None:
    """Raise AuditError where a column that is not called `split` tells of train samples."""
    found = split_column(rows, groups)
    if found is not None:
        raise AuditError(
            f"'{name}' has a column '{found}' that tells of train samples: what a network was "
            f"trained on tells nothing of others; call it '{SPLIT}', so that only test samples are "
            "measured, or leave it away"
        )


def _frame(
    name: str, rows: pd.DataFrame, groups: Sequence[str], missing: Sequence[str]
) -> pd.DataFrame:
    """The table's own columns of every role, ids, labels and groups as text."""
    repeated = rows.columns[rows.columns.duplicated()]
    if len(repeated):
        raise AuditError(f"'{name}' has two columns named '{repeated[0]}'; rename one of them")
    wanted = (SAMPLE, LABEL, *groups)
    absent = [column for column in wanted if column not in rows]
    if absent:
        raise AuditError(
            f"'{name}' has no column '{absent[0]}'; expected {', '.join(wanted)}, and "
            f"{PREDICTION}, {SCORE} or one {PROBABILITY}CLASS a class; it has "
            f"{', '.join(map(str, rows.columns))}"
        )
    if rows.empty:
        raise AuditError(f"'{name}' has no rows; expected one a sample")
    rows = typed(rows.reset_index(drop=True), missing)
    texts = [column for column in (*wanted, PREDICTION) if column in rows]
    for column in texts:
        found = as_texts(rows[column], missing)
        empty = int((found == MISSING).sum())
        if empty and column not in groups:
            raise AuditError(f"'{name}' has no {column} in {empty:,} rows; expected one in each")
        rows[column] = found
    twice = rows[SAMPLE][rows[SAMPLE].duplicated()]
    if len(twice):
        raise AuditError(
            f"'{name}' has the sample '{twice.iloc[0]}' in more than one row; expected one a sample"
        )
    return rows


def _matched(
    name: str, frame: pd.DataFrame, first: str, common: pd.DataFrame, groups: Sequence[str]
) -> pd.DataFrame:
    """The rows in the order of the first table's; AuditError where they are of other samples."""
    own, other = pd.Index(frame[SAMPLE]), pd.Index(common[SAMPLE])
    places = own.get_indexer(other)
    gone = common[SAMPLE][places < 0]
    more = frame[SAMPLE][other.get_indexer(own) < 0]
    parts = [
        f"{what} {len(samples):,} samples (for instance '{samples.iloc[0]}')"
        for what, samples in (("lacks", gone), (f"has, and '{first}' has not,", more))
        if len(samples)
    ]
    if parts:
        raise AuditError(
            f"'{name}' is not of the samples of '{first}': it {' and '.join(parts)}; expected the "
            "same samples in every file"
        )
    frame = frame.iloc[places].reset_index(drop=True)
    for column in (LABEL, *groups):
        differ = (frame[column] != common[column]).to_numpy()
        if differ.any():
            place = int(np.flatnonzero(differ)[0])
            raise AuditError(
                f"'{name}' and '{first}' disagree about the {column} of {int(differ.sum()):,} "
                f"samples: of '{common[SAMPLE][place]}' it is '{frame[column][place]}' in one and "
                f"'{common[column][place]}' in the other; expected one {column} for each sample"
            )
    return frame


def _unread(frame: pd.DataFrame, known: Sequence[str]) -> tuple[str, ...]:
    """A note on the columns of a table that nothing was read from."""
    left = [str(name) for name in _further(frame) if name not in known]
    return (f"columns of its table that were not read: {', '.join(left)}",) if left else ()


def _further(frame: pd.DataFrame) -> pd.DataFrame:
    """What the first table says of its samples beside what was predicted."""
    told = (SAMPLE, LABEL, PREDICTION, SCORE, SPLIT, *_probability_columns(frame).values())
    return frame.drop(columns=[name for name in told if name in frame])


def _probability_columns(frame: pd.DataFrame) -> dict[str, str]:
    """The columns of probabilities, by their class."""
    found = [str(name) for name in frame if str(name).startswith(PROBABILITY)]
    classes = [name.removeprefix(PROBABILITY).strip() for name in found]
    whole = [one.partition(".")[0] for one in classes if WHOLE.fullmatch(one)]
    if len(set(whole)) == len(classes):
        # Labels of whole numbers that were stored as 2.0 read as 2.
        classes = whole
    return dict(zip(classes, found, strict=True))


def _classes(frames: Mapping[str, pd.DataFrame], declared: Sequence[str] | None) -> tuple[str, ...]:
    """All classes in order: those declared, else those of the probabilities, else of the labels."""
    probable = {own: set(_probability_columns(frame)) for own, frame in frames.items()}
    probable = {own: found for own, found in probable.items() if found}
    labels = next(iter(frames.values()))[LABEL]
    known = tuple(declared or in_order(next(iter(probable.values()), labels.unique())))
    for own, found in probable.items():
        if found != set(known):
            raise AuditError(
                f"'{own}' has probabilities of {', '.join(in_order(found))}; expected one column "
                f"for each of {', '.join(known)}"
            )
    for own, frame in frames.items():
        for column in (LABEL, PREDICTION):
            strange = set(frame[column].unique()) - set(known) if column in frame else ()
            if strange:
                raise AuditError(
                    f"'{own}' has the {column} '{min(strange)}', which is none of the classes "
                    f"{', '.join(known)}; if it is one, declare all of them (classes=, --classes)"
                )
    return known


def _predicted(name: str, frame: pd.DataFrame, classes: Sequence[str]) -> Predicted:
    """What one table says, its columns read as what they can be."""
    probabilities = _probabilities(name, frame, classes)
    found = _decided(name, frame, classes, probabilities)
    if probabilities is None:
        return found
    notes = list(found.notes)
    if PREDICTION not in frame:
        notes += _equal(probabilities, classes)
    if np.isin(probabilities, (0.0, 1.0)).all():
        notes.append(DECISIONS)
        return Predicted(found.decisions, None, tuple(notes))
    return replace(found, notes=(*notes, *softened(probabilities)))


def _equal(probabilities: NDArray[np.float64], classes: Sequence[str]) -> list[str]:
    """A note on samples of which two classes are equally likely: the first of these counts."""
    last = np.sort(probabilities, 1)[:, -2:]
    equal = last[:, 0] == last[:, 1]
    if not equal.any():
        return []
    which = "the first of these"
    if len(classes) == 2:
        which = f"'{classes[0]}', the first,"
    return [
        f"for {int(equal.sum()):,} of {len(equal):,} samples two classes have the same largest "
        f"probability: {which} counts as its decision; a column {PREDICTION} says otherwise"
    ]


def softened(probabilities: NDArray[np.float64]) -> list[str]:
    """A note on probabilities that look like softmax taken of probabilities."""
    with np.errstate(divide="ignore"):
        apart = float((probabilities.max(1) / probabilities.min(1)).max())
    if not ALIKE * np.e <= apart <= np.e * (1 + SUM_TOLERANCE):
        return []
    return [
        "no two of its probabilities differ by more than e times, as where softmax was taken "
        "twice: if so, losses, calibration and closeness to the boundary are not its own"
    ]


def _decided(
    name: str,
    frame: pd.DataFrame,
    classes: Sequence[str],
    probabilities: NDArray[np.float64] | None,
) -> Predicted:
    """What was predicted, by the column that says so or the largest probability."""
    if PREDICTION in frame:
        decisions = pd.Index(classes).get_indexer(pd.Index(frame[PREDICTION])).astype(np.int64)
    elif probabilities is None:
        raise AuditError(
            f"'{name}' says nothing of what was predicted; expected a column {PREDICTION}, {SCORE} "
            f"or one {PROBABILITY}CLASS a class"
        )
    else:
        note = (
            f"its {SCORE} is nowhere below one half, so that '{classes[1]}' is all it says: is it "
            f"the probability of '{classes[1]}', or of what was predicted?"
        )
        notes = (note,) if _never_below_half(frame, probabilities) else ()
        return Predicted(probabilities.argmax(1), probabilities, notes)
    if probabilities is None:
        return Predicted(decisions, None)
    if _never_below_half(frame, probabilities) and not _by_threshold(decisions, probabilities):
        raise AuditError(
            f"'{name}' has a {SCORE} that is nowhere below one half, and predicts both classes; "
            f"expected the probability of '{classes[1]}', the second of two classes, and not of "
            "what was predicted"
        )
    _check_goes_with(name, decisions, probabilities)
    other = int((probabilities.argmax(1) != decisions).sum())
    note = (
        f"for {other:,} of {len(decisions):,} samples its prediction is not the class of the "
        "largest probability: what was predicted counts as its decision"
    )
    return Predicted(decisions, probabilities, (note,) if other else ())


def _never_below_half(frame: pd.DataFrame, probabilities: NDArray[np.float64]) -> bool:
    """Whether a score looks like how sure a network was of whatever it said."""
    return SCORE in frame and bool((probabilities[:, 1] >= 0.5).all())


def _by_threshold(decisions: NDArray[np.int64], probabilities: NDArray[np.float64]) -> bool:
    """Whether some threshold on the score of the second class parts the decisions."""
    first, second = (probabilities[decisions == one, 1] for one in (0, 1))
    return not len(first) or not len(second) or bool(first.max() <= second.min())


def _check_goes_with(
    name: str, decisions: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> None:
    """Raise AuditError where predictions cannot have been made by these probabilities.

    For every class, how often a sample predicted as it has the larger probability of it than one
    that was not (Mann and Whitney's statistic), on average over the samples.
    """
    from scipy.stats import rankdata  # takes as long to import as pandas

    share, n = 0.0, len(decisions)
    for one, size in enumerate(np.bincount(decisions, minlength=probabilities.shape[1])):
        if size == n:
            return
        ranks = rankdata(probabilities[:, one])[decisions == one]
        share += (ranks.sum() - size * (size + 1) / 2) / max(1, n - size) / n
    if share < GOES_WITH:
        raise AuditError(
            f"'{name}' has predictions that do not go with its probabilities: a sample predicted "
            f"as a class has the larger probability of it in {share:.0%} of the pairs; expected "
            "those of the class that each column names (a score is the probability of the second "
            "of two classes, neither of the first nor of what was predicted)"
        )


def _probabilities(
    name: str, frame: pd.DataFrame, classes: Sequence[str]
) -> NDArray[np.float64] | None:
    columns = _probability_columns(frame)
    if columns and SCORE in frame:
        raise AuditError(f"'{name}' has a {SCORE} and probabilities too; expected one of them")
    if columns:
        found = np.stack([_numbers(name, frame, columns[one]) for one in classes], 1)
        far = np.abs(found.sum(1) - 1.0)
        if far.max() > _sum_tolerance(found):
            raise AuditError(
                f"'{name}' has probabilities that sum to {found[far.argmax()].sum():.4g} for the "
                f"sample '{frame[SAMPLE][int(far.argmax())]}'; expected 1 (if they are logits, "
                "store their softmax)"
            )
        return found
    if SCORE not in frame:
        return None
    if len(classes) != 2:
        raise AuditError(
            f"'{name}' has a {SCORE}, which speaks of two classes, and there are {len(classes)}; "
            f"expected one {PROBABILITY}CLASS a class"
        )
    second = _numbers(name, frame, SCORE)
    return np.stack([1.0 - second, second], 1)


def _numbers(name: str, frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column of probabilities, float64 [n]; AuditError where one is none."""
    try:
        found = numbers_of(frame[column])
    except (TypeError, ValueError) as error:
        raise AuditError(
            f"'{name}' has text in '{column}' ({error}); expected numbers from 0 to 1"
        ) from error
    unknown, outside = np.isnan(found), (found < -ROUNDING) | (found > 1 + ROUNDING)
    if unknown.any():
        raise AuditError(
            f"'{name}' has no number in '{column}' for {int(unknown.sum()):,} samples (for "
            f"instance '{frame[SAMPLE][int(unknown.argmax())]}'); expected one in every row"
        )
    if outside.any():
        place = int(outside.argmax())
        raise AuditError(
            f"'{name}' has {found[place]:.4g} in '{column}' for the sample "
            f"'{frame[SAMPLE][place]}'; expected probabilities from 0 to 1 (if they are logits, "
            "store their softmax)"
        )
    return np.asarray(found, dtype=float).clip(0, 1)


def _sum_tolerance(probabilities: NDArray[np.float64]) -> float:
    """How far the sum of a row may be off when each of its numbers was rounded to so many digits.

    >>> [_sum_tolerance(np.full((1, 10), share)) for share in (0.1, 0.10, 0.101)]
    [0.1, 0.1, 0.01]
    """
    for digits in (1, 2, 3):
        if np.allclose(probabilities, probabilities.round(digits), rtol=0, atol=1e-9):
            off: float = probabilities.shape[1] * 10.0**-digits / 2
            return max(SUM_TOLERANCE, min(MOST_TOLERANCE, off))
    return SUM_TOLERANCE
