"""Comparing networks by what they predicted, where nothing else of them is at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.checked import settings_of
from audit.data.grouped import GroupedData
from audit.data.predictions import Predicted, from_predictions
from audit.errors import AuditError
from audit.examine.measuring import measure_models
from audit.examine.settings import MeasureSettings
from audit.files import check_no_copies, sha256
from audit.findings.decisions import ALPHA
from audit.findings.results import Results
from audit.measure.distributions import normal_quantile
from audit.models.checkpoint import Provenance
from audit.models.live import live
from audit.models.outputs_only import StoredPredictions
from audit.study.checkpoints import file_names
from audit.study.gather import gather
from audit.study.live import dense_first, of_unknown_weights

LEAST = 30
"""Samples on which a network that is right on all of them is asked about."""
PLAIN = 10.0
"""Standard errors that networks which err on the same samples would be beyond chance."""


def compare_predictions(
    tables: Mapping[str, pd.DataFrame | Path],
    group: str | Sequence[str],
    settings: MeasureSettings | None = None,
    dense: str | None = None,
    classes: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    unit: str = "",
    command: str = "",
) -> Results:
    """Measure networks by their stored predictions on the same samples, beside the dense one's.

    tables   by the network's name, frames or files: columns `sample`, `label`, those of the groups,
             and `prediction`, or one `probability:CLASS` a class, or one `score` for two classes
    group    the columns of the groups; several, or a text with commas, are crossed
    dense    the name of the network that the others came from; by default 'dense', or the first
    classes  their order, or more of them than occur
    missing  words that stand for no value
    unit     the column of the persons (or other units), where samples of one are several: every
             interval is then that of the persons

    All that outputs alone can carry is measured; what they cannot is a row that says why. Raises
    AuditError as `audit.data.predictions.from_predictions` does.

    >>> table = pd.DataFrame({"sample": range(80), "label": [0, 1] * 40, "sex": ["f", "m"] * 40})
    >>> tables = {"dense": table.assign(prediction=table.label), "int8": table.assign(prediction=0)}
    >>> results = compare_predictions(tables, "sex")
    >>> results.record["tables"]["faithfulness"][1]["broken"]
    40
    """
    settings = settings_of(settings, MeasureSettings())
    names = dense_first(tables, dense)
    data, said = from_predictions(
        {name: tables[name] for name in names}, group, unit=unit, classes=classes, missing=missing
    )
    subjects = {}
    for name in names:
        network = StoredPredictions(said[name], data.classes)
        method = "dense" if name == names[0] else name
        notes = (
            *_doubts(name, names[0], said, data),
            of_unknown_weights(network),
            *said[name].notes,
        )
        # Of one-hot decisions nothing but the largest is read.
        kind = "log-probabilities" if network.probable else "logits"
        subjects[name] = live(network, data, Provenance(method, notes=notes), kind)
    measures = measure_models(subjects, subjects[names[0]], data, settings)
    for place, file in enumerate(tables[name] for name in names):
        if isinstance(file, Path):
            measures[place] = measures[place].with_file(file.name, sha256(file))
    return gather(measures, data, {"measure": asdict(settings)}, command, tuple(names))


def _doubts(
    name: str, dense: str, said: Mapping[str, Predicted], data: GroupedData
) -> tuple[str, ...]:
    """What makes one ask whether a table is that of its network, and of these samples."""
    labels, own = data.labels.numpy(), said[name].decisions
    found = _perfect(own, labels)
    if name == dense:
        return found
    first, second = (one.decisions == labels for one in (said[dense], said[name]))
    strata = labels * len(data.group_names) + data.groups.numpy()
    return (*found, *_alike(said[name], said[dense], dense), *_by_lot(first, second, strata, dense))


def _perfect(decisions: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[str, ...]:
    if len(labels) < LEAST or not np.array_equal(decisions, labels):
        return ()
    return (f"is right on every one of {len(labels):,} samples: are these its answers?",)


def _by_lot(
    right: NDArray[np.bool_], own: NDArray[np.bool_], strata: NDArray[np.int64], dense: str
) -> tuple[str, ...]:
    """That a network errs on other samples than the dense one, as where rows are out of order.

    right, own   on which samples the dense network, and this one, is right [n]
    strata       within which they would be put out of order unseen: label and group, int [n]

    Networks of one origin, and of several, err on the same samples: Mantel and Haenszel's
    statistic of the two being right is far above what chance gives. It is told where it is not,
    and would be seen to be.
    """
    size, first, second, both = (
        np.bincount(strata, weights=one) for one in (np.ones(len(own)), right, own, right & own)
    )
    known = size > 1
    size, first, second, both = (one[known] for one in (size, first, second, both))
    expected = first * second / size
    variance = expected * (size - first) * (size - second) / (size * (size - 1))
    error = float(np.sqrt(variance.sum()))
    if not (np.minimum(first, second) - expected).sum() > PLAIN * error > 0:
        return ()
    if (both - expected).sum() > normal_quantile(1 - ALPHA) * error:
        return ()
    return (
        f"errs on other samples than '{dense}' does, as if its rows were dealt out by lot: are "
        "both of the same samples under the same ids?",
    )


def _alike(own: Predicted, dense: Predicted, name: str) -> tuple[str, ...]:
    """That a network says of every sample what the dense one says, where it does."""
    alike = np.array_equal(own.decisions, dense.decisions)
    if alike and own.probabilities is not None and dense.probabilities is not None:
        alike = np.array_equal(own.probabilities, dense.probabilities)
    if not alike:
        return ()
    return (f"says of every sample what '{name}' says: are these another network's predictions?",)


def compare_prediction_files(
    files: Sequence[Path],
    group: str,
    settings: MeasureSettings | None = None,
    dense: Path | None = None,
    classes: Sequence[str] | None = None,
    unit: str = "",
    command: str = "",
) -> Results:
    """`compare_predictions` of tables in files, named after them; `dense` is one of them, or else.

    Raises AuditError as that does, and where one is a copy of another.
    """
    called = [path for path in files[1:] if path.stem == "dense"]
    if dense is None and called:
        raise AuditError(
            f"'{called[0]}' is called dense and is not the first file; put the dense network's "
            f"first, or name it: --dense {called[0]}"
        )
    first = files[0] if dense is None else dense
    check_no_copies(files if first in files else [first, *files])
    paths = [first, *(path for path in files if path != first)]
    tables = dict(zip(file_names(paths[0], paths[1:]), paths, strict=True))
    return compare_predictions(
        tables, group, settings, next(iter(tables)), classes, unit=unit, command=command
    )
