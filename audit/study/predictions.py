"""Comparing networks by what they predicted, where nothing else of them is at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from audit.data.predictions import Predicted, from_predictions
from audit.errors import AuditError
from audit.examine.measuring import measure_models
from audit.examine.settings import MeasureSettings
from audit.files import sha256
from audit.findings.results import Results
from audit.models.checkpoint import Provenance
from audit.models.live import live
from audit.models.outputs_only import StoredPredictions
from audit.study.checkpoints import file_names
from audit.study.gather import gather
from audit.study.live import dense_first, of_unknown_weights


def compare_predictions(
    tables: Mapping[str, pd.DataFrame | Path],
    group: str | Sequence[str],
    settings: MeasureSettings | None = None,
    dense: str | None = None,
    classes: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    command: str = "",
) -> Results:
    """Measure networks by their stored predictions on the same samples, beside the dense one's.

    tables   by the network's name, frames or files: columns `sample`, `label`, those of the groups,
             and `prediction`, or one `probability:CLASS` a class, or one `score` for two classes
    group    the columns of the groups; several, or a text with commas, are crossed
    dense    the name of the network that the others came from; by default 'dense', or the first
    classes  their order, or more of them than occur
    missing  words that stand for no value

    All that outputs alone can carry is measured; what they cannot is a row that says why. Raises
    AuditError as `audit.data.predictions.from_predictions` does.

    >>> table = pd.DataFrame({"sample": range(80), "label": [0, 1] * 40, "sex": ["f", "m"] * 40})
    >>> tables = {"dense": table.assign(prediction=table.label), "int8": table.assign(prediction=0)}
    >>> results = compare_predictions(tables, "sex")
    >>> results.record["tables"]["faithfulness"][1]["broken"]
    40
    """
    settings = settings or MeasureSettings()
    names = dense_first(tables, dense)
    data, said = from_predictions(
        {name: tables[name] for name in names}, group, classes=classes, missing=missing
    )
    subjects = {}
    for name in names:
        network = StoredPredictions(said[name], data.classes)
        method = "dense" if name == names[0] else name
        same = () if name == names[0] else _alike(said[name], said[names[0]], names[0])
        notes = (*same, of_unknown_weights(network), *said[name].notes)
        # Of one-hot decisions nothing but the largest is read.
        kind = "log-probabilities" if network.probable else "logits"
        subjects[name] = live(network, data, Provenance(method, notes=notes), kind)
    measures = measure_models(subjects, subjects[names[0]], data, settings)
    for place, file in enumerate(tables[name] for name in names):
        if isinstance(file, Path):
            measures[place] = measures[place].with_file(file.name, sha256(file))
    return gather(measures, data, {"measure": asdict(settings)}, command, tuple(names))


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
    command: str = "",
) -> Results:
    """`compare_predictions` of tables in files, named after them; `dense` is one of them, or else.

    Raises AuditError as that does.
    """
    called = [path for path in files[1:] if path.stem == "dense"]
    if dense is None and called:
        raise AuditError(
            f"'{called[0]}' is called dense and is not the first file; put the dense network's "
            f"first, or name it: --dense {called[0]}"
        )
    first = files[0] if dense is None else dense
    paths = [first, *(path for path in files if path != first)]
    tables = dict(zip(file_names(paths[0], paths[1:]), paths, strict=True))
    return compare_predictions(
        tables, group, settings, next(iter(tables)), classes, command=command
    )
