"""Making networks: the dense one, and what each method prunes from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from audit.checked import settings_of
from audit.data.grouped import GroupedData
from audit.durations import timed
from audit.errors import AuditError
from audit.mitigate.bilevel import BilevelSettings
from audit.mitigate.constraints import make_constraints
from audit.mitigate.harm import harm_notes, said
from audit.mitigate.methods import MITIGATION_METHODS
from audit.mitigate.solution import upper_samples
from audit.mitigate.stages import StageSettings
from audit.models.admission import admitted
from audit.models.checkpoint import (
    Checkpoint,
    Parent,
    Provenance,
    check_same_data,
    make_checkpoint,
)
from audit.models.training import TrainingSettings, train
from audit.models.zoo import Architecture, build_model
from audit.prune.mask import check_dense, check_rate
from audit.prune.methods import prune
from audit.study.settings import Method


@timed("training")
def train_model(
    data: GroupedData,
    model: str = "convnet",
    settings: TrainingSettings | None = None,
    arguments: Mapping[str, Any] | None = None,
    outputs: str | None = None,
) -> Checkpoint:
    """Train a dense network on the train split; `outputs` says what it gives (Architecture).

    The select split stays unseen by its weights, so that the solver's multipliers, which read
    that split, meet new data (Cotter et al. 2019).
    """
    data.check_trainable()
    settings = settings_of(settings, TrainingSettings())
    settings.check_trains("a dense network")
    if settings.distillation > 0:
        raise AuditError(
            f"found distillation {settings.distillation:g} for a dense network, which has no "
            "parent to learn from; expected 0"
        )
    architecture = Architecture(
        model, data.input_shape, len(data.classes), arguments or {}, outputs
    )
    network = build_model(architecture, settings.seed)
    taken = admitted(network, data, "train", trained=False)
    steps = train(network, taken, data.indices("train"), settings, title="training the dense model")
    provenance = Provenance("dense", seed=settings.seed, steps=steps, settings=_stored(settings))
    return make_checkpoint(network, architecture, data, provenance)


@timed("pruning")
def prune_model(
    dense: Checkpoint,
    data: GroupedData,
    method: str | Method = "magnitude",
    rate: float = 0.9,
    settings: TrainingSettings | None = None,
    parent: Parent | None = None,
    factory: str | None = None,
) -> Checkpoint:
    """Prune a dense network to the rate, with as many optimisation steps whatever the method.

    `parent` says where the dense checkpoint lies (see parent_of); without it, the pruned one can
    be compared only where the dense one is given again. Raises AuditError where the rate is not
    in [0, 1), or the dense network has been pruned already.
    """
    method = Method(method) if isinstance(method, str) else method
    settings = settings_of(settings, TrainingSettings(epochs=20))
    check_rate(rate)
    data.check_trainable()
    check_same_data(dense, data)
    network = dense.model(factory)
    check_dense(network, dense.mask)
    taken = admitted(network, data, "train", checked=settings.epochs > 0)
    if method.name in MITIGATION_METHODS:
        kind = MITIGATION_METHODS[method.name]
        constraints = make_constraints(method.constraint, method.tolerance)
        solver = kind.configured(settings, method.options)
        solution = kind.run(network, taken, rate, constraints, solver)
        mask, steps = solution.mask, solution.steps
        notes = (*(said(_unheld(data)) if constraints else ()), *solution.notes)
        stored = _stored(solver) | {
            "tolerance": method.tolerance,
            "constraints": [constraint.dual_settings() for constraint in constraints],
            "passes": solution.passes,
            "readings": solution.readings,
            "history": list(solution.history),
        }
    else:
        settings = replace(settings, **method.options)
        pruned = prune(network, taken, method.name, rate, settings)
        mask, steps = pruned.mask, pruned.steps
        harm = harm_notes(network, mask, taken, upper_samples(taken)[0])
        notes = tuple(dict.fromkeys((*pruned.notes, *harm)))
        stored = _stored(settings) | {"passes": pruned.passes}
    provenance = Provenance(
        method.name, method.constraint, rate, settings.seed, steps, stored, parent, notes
    )
    return make_checkpoint(network, dense.architecture, data, provenance, dict(mask.parts))


def mitigate_model(
    dense: Checkpoint,
    data: GroupedData,
    rate: float = 0.9,
    constraint: str = "excess-accuracy",
    tolerance: float = 0.0,
    settings: TrainingSettings | None = None,
    parent: Parent | None = None,
    factory: str | None = None,
) -> Checkpoint:
    """Prune a dense network by the bi-level solver under a fairness constraint (M §5)."""
    method = Method("bilevel", constraint, tolerance)
    return prune_model(dense, data, method, rate, settings, parent, factory)


def _unheld(data: GroupedData) -> list[str]:
    """What a constraint on groups cannot hold, as they have no train samples."""
    sizes = data.sizes()
    known = sizes["train"] > 0
    if known.sum() < 2:
        return ["one group alone has train samples: a constraint compares it with nobody"]
    absent = [str(name) for name in sizes.index[~known & (sizes.sum(axis=1) > 0)]]
    return [f"no constraint holds groups without train samples: {', '.join(absent)}"] * bool(absent)


def _stored(settings: TrainingSettings | BilevelSettings | StageSettings) -> dict[str, Any]:
    """The settings as plain values; where it ran does not belong to what was computed."""
    values = {entry.name: getattr(settings, entry.name) for entry in fields(settings)}
    training = values.pop("training", None)
    if training is not None:
        values |= asdict(training)
    values.pop("device", None)
    return values
