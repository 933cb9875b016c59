"""Measuring one network on every group, beside its dense parent, into tidy tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from audit.checked import settings_of
from audit.columns import DENSE_COLUMNS, GROUP_COLUMNS, LAYER_COLUMNS, SCORE
from audit.data.grouped import GroupedData
from audit.data.predictions import DECISIONS, softened
from audit.durations import timed
from audit.errors import about
from audit.examine.causes import causes
from audit.examine.error_rates import bias_amplification, error_rates, fairness
from audit.examine.found import Contribution, Found, Row, identity, number, together
from audit.examine.gaps import gaps
from audit.examine.harm import calibration, harm
from audit.examine.measure import own_measures
from audit.examine.measured import ModelMeasures
from audit.examine.settings import MeasureSettings
from audit.examine.subject import Subject, make_subject
from audit.measure.attribution import one_shot
from audit.measure.cost import multiply_adds, surviving_multiply_adds
from audit.measure.faithfulness import divergence
from audit.measure.predictions import Outputs
from audit.models.checkpoint import Checkpoint, called_pruned
from audit.models.outputs import declared_outputs
from audit.models.outputs_only import StoredPredictions
from audit.prune.mask import beside_the_prunable, zero_head

MEASURES = {
    "harm": harm,
    "calibration": calibration,
    "error_rates": error_rates,
    "bias_amplification": bias_amplification,
    "gaps": gaps,
    "fairness": fairness,
    "causes": causes,
}
"""Functions of a subject, in the order of their rows."""

ROWS_AT_ONCE = 4096


@timed("measuring a network")
def measure_model(
    checkpoint: Checkpoint,
    dense: Checkpoint | None,
    data: GroupedData,
    settings: MeasureSettings | None = None,
    name: str = "model",
    factory: str | None = None,
) -> ModelMeasures:
    """Measure every group of a split under one network (M1-M9 and M13; M11 and M12 if asked for).

    `dense` is its dense parent, on the same samples; without it there is no excess risk. A dense
    network measured for itself is its own parent, and whether it is dense is read off its weights.
    Raises AuditError where the network, its parent and the data do not go together, the parent is
    pruned, or a network is no function of a sample (`audit.models.admission`).
    """
    settings = settings_of(settings, MeasureSettings())
    subject = make_subject(checkpoint, dense, data, settings, name, factory)
    return measured(subject, examine(subject))


def measure_models(
    models: Mapping[str, Checkpoint],
    dense: Checkpoint,
    data: GroupedData,
    settings: MeasureSettings | None = None,
) -> list[ModelMeasures]:
    """`measure_model` of several networks beside one dense parent, which runs over the data once.

    The dense parent is the first of them. Raises AuditError as `measure_model` does.
    """
    settings, before = settings_of(settings, MeasureSettings()), None
    found = []
    for name, one in models.items():
        with about(name):
            subject = make_subject(one, dense, data, settings, name, before=before)
        before = subject.outputs if one is dense else before
        found.append(measured(subject, examine(subject)))
    return found


def examine(subject: Subject) -> Found:
    """All that the settings ask for."""
    return together(
        find(subject) for name, find in MEASURES.items() if name not in subject.settings.without
    )


def measured(subject: Subject, found: Found) -> ModelMeasures:
    """What was found, as tables and the network's entries in results.json."""
    return ModelMeasures(
        _group_table(found.rows),
        _layer_table(found.layers),
        _sample_table(subject, found.contributions),
        list(found.overall),
        _record(subject, found),
    )


def _group_table(rows: Sequence[Row]) -> pd.DataFrame:
    table = pd.DataFrame(rows).reindex(columns=list(GROUP_COLUMNS))
    return table.astype({"note": "string"})


def _layer_table(rows: Sequence[Row]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(LAYER_COLUMNS))
    types: dict[str, Any] = dict.fromkeys(("value", "residual", "error"), float)
    texts = dict.fromkeys(
        ("model", "method", "constraint", "group", "layer", "metric", "space"), "string"
    )
    return table.astype(types | texts | {"converged": "boolean"})


def _sample_table(subject: Subject, contributions: Sequence[Contribution]) -> pd.DataFrame:
    """One row per sample of the split."""
    found, data = subject.outputs, subject.data
    return pd.DataFrame(
        {
            "model": subject.name,
            "sample": data.samples[subject.rows.numpy()],
            "split": subject.settings.split,
            "group": np.array(data.group_names)[subject.codes],
            "label": np.array(data.classes)[found.label.numpy()],
            "prediction": np.array(data.classes)[found.prediction.numpy()],
            "loss": found.loss.numpy(),
            "margin": found.margin.numpy(),
            "confidence": found.confidence.numpy(),
            "boundary_closeness": found.closeness.numpy(),
        }
        | _units(subject)
        | _before(subject)
        | _scores(subject)
        | _columns(subject, contributions)
    )


def _units(subject: Subject) -> dict[str, NDArray[np.int64]]:
    """The person (or other unit) of each sample, where it was declared."""
    units = subject.data.units
    return {} if units is None else {"unit": units[subject.rows].numpy()}


def _before(subject: Subject) -> dict[str, NDArray[Any]]:
    """What the dense parent of a pruned network says of each sample."""
    if subject.dense is None or subject.parent is None:
        return {}
    before = subject.parent
    columns = (
        np.array(subject.data.classes)[before.prediction.numpy()],
        before.confidence.numpy(),
        before.loss.numpy(),
        before.logit_margin.numpy(),
        _divergence(before, subject.outputs),
    )
    return dict(zip(DENSE_COLUMNS, columns, strict=True))


def _divergence(before: Outputs, after: Outputs) -> NDArray[np.float64]:
    """In parts, since there may be many classes, and each part is held several times."""
    pairs = zip(
        before.log_probabilities.split(ROWS_AT_ONCE),
        after.log_probabilities.split(ROWS_AT_ONCE),
        strict=True,
    )
    parts = [divergence(one.double().numpy(), other.double().numpy()) for one, other in pairs]
    return np.concatenate(parts)


def _scores(subject: Subject) -> dict[str, NDArray[np.float32]]:
    """The probability of every class, where it is asked for."""
    if not subject.settings.scores:
        return {}
    found = subject.outputs.log_probabilities.exp().numpy()
    return {SCORE + name: found[:, at] for at, name in enumerate(subject.data.classes)}


def _columns(
    subject: Subject, contributions: Sequence[Contribution]
) -> dict[str, NDArray[np.float64]]:
    """The samples' parts of every metric; NaN where a sample was not chosen for it."""
    rows = subject.rows.numpy()
    found: dict[str, NDArray[np.float64]] = {}
    for part in contributions:
        column = found.setdefault(part.metric, np.full(len(rows), np.nan))
        column[np.searchsorted(rows, part.rows.numpy())] = part.values
    return found


def _record(subject: Subject, found: Found) -> dict[str, Any]:
    """The model's entry in results.json."""
    network, mask, architecture = subject.network, subject.mask, subject.checkpoint.architecture
    provenance = subject.checkpoint.provenance
    return identity(subject) | {
        "sparsity": number(mask.sparsity),
        "name": subject.name,
        "file": None,
        "sha256": None,
        **_size(subject),
        "layer_sparsity": mask.layer_sparsity(),
        "layer_kinds": {
            name: type(module).__name__
            for name, module in network.named_modules()
            if module._parameters
        },
        "architecture": architecture.name,
        "arguments": dict(architecture.arguments),
        "input_shape": list(subject.data.input_shape),
        "steps": provenance.steps,
        "settings": dict(provenance.settings),
        "notes": list(dict.fromkeys([*_remarks(subject), *provenance.notes, *found.notes])),
        "dense": is_its_own(subject),
        "one_shot": subject.dense is not None
        and subject.abilities.coordinates is None
        and one_shot(subject.dense, network),
        "spectra": dict(found.spectra),
        "metrics": [
            asdict(metric)
            for measure in own_measures(subject.settings.measures).values()
            for metric in measure.told
        ],
        "parent": None if provenance.parent is None else provenance.parent.sha256,
    }


def _size(subject: Subject) -> dict[str, int | None]:
    """Parameters and multiply-adds, and what is left of them; None where they cannot be counted."""
    network, mask = subject.network, subject.mask
    parameters = sum(parameter.numel() for parameter in network.parameters())
    sample = subject.data.batch(subject.rows[:1], subject.settings.device).inputs
    # A network of integers, or one whose outputs alone are known, has none that torch tells.
    whole, known = parameters > 0, parameters > 0 and mask.size > 0
    return {
        "parameters": parameters if whole else None,
        "surviving_parameters": parameters - mask.size + mask.survivors if known else None,
        "multiply_adds": multiply_adds(network, sample) if whole else None,
        "surviving_multiply_adds": surviving_multiply_adds(network, sample) if known else None,
    }


def is_its_own(subject: Subject) -> bool:
    """Whether a network is the dense one that others are held against, whatever it is called.

    Another network is only where all its weights are known, none is zero, and it says the same.
    """
    if subject.parent is None or subject.parent is subject.outputs:
        return subject.parent is not None
    one, other = subject.outputs.log_probabilities, subject.parent.log_probabilities
    is_whole = not called_pruned(subject.checkpoint) and subject.mask.sparsity == 0
    return is_whole and torch.equal(one, other)


def _remarks(subject: Subject) -> list[str]:
    """What must be known of a network before its numbers are read."""
    made, sparsity, found = subject.checkpoint.provenance, subject.mask.sparsity, []
    if made.rate > 0 and not subject.pruned:
        found.append(
            f"called pruned by '{made.method}' at rate {made.rate:.6g}, but its weights are dense: "
            f"{sparsity:.2%} of them are zeros; was it trained on without its mask?"
        )
    if subject.pruned:
        found += beside_the_prunable(subject.network, subject.mask)
    found += _equal_outputs(subject)
    found += _of_their_scale(subject)
    head = zero_head(subject.network, subject.checkpoint.mask)
    if head is not None:
        found.append(
            f"every weight of its last layer '{head}' is zero, as some networks start: it says the "
            "same of every sample, and what pruning costs such a network tells nothing of a "
            "trained one"
        )
    if subject.parent is None:
        zeros = f"{sparsity:.1%} of its weights are zeros"
        seen = zeros if sparsity == sparsity else "no weight of it can be looked at"
        found.append(
            f"{seen} and its dense network was not given: what its pruning has cost any group is "
            "not known"
        )
    return found


def _equal_outputs(subject: Subject) -> list[str]:
    """That two classes had the same largest output, which the order of classes then decided."""
    equal = int((subject.outputs.margin == 0).sum())
    # Stored predictions say themselves what was decided.
    if not equal or isinstance(subject.network, StoredPredictions):
        return []
    return [
        f"for {equal:,} of {len(subject.codes):,} samples two classes have the same largest "
        "output: the first of these counts as its answer"
    ]


def _of_their_scale(subject: Subject) -> list[str]:
    """What must be said of outputs that were declared, and do not look so."""
    declared = declared_outputs(subject.network)
    if declared is None:
        return []
    if not subject.outputs.probable:
        return [DECISIONS]
    return softened(subject.outputs.log_probabilities.double().exp().numpy())
