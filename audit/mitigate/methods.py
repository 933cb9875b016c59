"""Every mitigation method by name, each with as many optimisation steps as fine-tuning takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import nn

from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.mitigate.bilevel import BilevelSettings
from audit.mitigate.constraints import Constraint
from audit.mitigate.solution import Solution
from audit.mitigate.solver import solve
from audit.mitigate.stages import Stage, StageSettings, run_stages
from audit.models.training import TERMS, TrainingSettings, split_terms

FAIR_PRUNED = Stage(fair=True, pruned=True)
FAIR_DENSE = Stage(fair=True, pruned=False)
PLAIN_PRUNED = Stage(fair=False, pruned=True)
PLAIN_IN_ROUNDS = Stage(fair=False, pruned=True, rounds=True)


@dataclass(frozen=True)
class MitigationMethod:
    """How a method runs, its settings beside the training's, and the constraint it is known for.

    run        (model, data, rate, constraints, settings) -> Solution; prunes the model in place
    settings   BilevelSettings or StageSettings
    defaults   the settings that tell this method from others of the same kind
    constraint what its paper constrains, where none is named
    """

    run: Callable[..., Solution]
    settings: type[BilevelSettings] | type[StageSettings]
    defaults: Mapping[str, Any]
    constraint: str

    @property
    def options(self) -> tuple[str, ...]:
        """The names of its settings, and of the terms of training that an entry may set."""
        own = tuple(entry.name for entry in fields(self.settings) if entry.name != "training")
        return (*own, *TERMS)

    def configured(
        self, training: TrainingSettings, options: Mapping[str, Any] | None = None
    ) -> BilevelSettings | StageSettings:
        """The method's settings with some of its options changed."""
        training.check_trains("a mitigation method")
        terms, own = split_terms(options or {})
        return self.settings(training=replace(training, **terms), **{**self.defaults, **own})


def _stages(*stages: Stage, constraint: str, **defaults: Any) -> MitigationMethod:
    def run(
        model: nn.Module,
        data: GroupedData,
        rate: float,
        constraints: Sequence[Constraint],
        settings: StageSettings,
    ) -> Solution:
        return run_stages(model, data, rate, constraints, settings, stages)

    return MitigationMethod(run, StageSettings, defaults, constraint)


def _dual(*stages: Stage) -> MitigationMethod:
    """The Lagrangian dual of Tran et al.: multipliers move once an epoch, on training data.

    J_a − J is bounded from above alone. With a tolerance of 0 that is their equality, and no
    multiplier asks for a higher loss of a group that is better off. One large step an epoch stands
    for the many of the other methods.
    """
    return _stages(
        *stages,
        constraint="group-loss",
        once_an_epoch=True,
        multiplier_step=10.0,
    )


MITIGATION_METHODS: Mapping[str, MitigationMethod] = {
    "bilevel": MitigationMethod(solve, BilevelSettings, {}, "excess-accuracy"),
    "lagrangian-dual": _dual(FAIR_PRUNED),
    "lagrangian-dual-before": _dual(FAIR_DENSE, PLAIN_PRUNED),
    "lagrangian-dual-both": _dual(FAIR_DENSE, FAIR_PRUNED),
    "prune-then-fair": _stages(PLAIN_PRUNED, FAIR_PRUNED, constraint="equal-accuracy"),
    "fair-then-prune": _stages(FAIR_DENSE, PLAIN_PRUNED, constraint="equal-accuracy"),
    "prune-in-rounds-then-fair": _stages(PLAIN_IN_ROUNDS, FAIR_PRUNED, constraint="equal-accuracy"),
    "gradual-excess-accuracy": _stages(
        Stage(fair=True, pruned=True, gradual=True),
        constraint="excess-accuracy",
    ),
}
"""bilevel: Dai et al. on Zhang et al.; lagrangian-dual…: Tran et al., fair training after pruning,
before it, or both; prune-then-fair and fair-then-prune: the two-stage P&F and F&P of Dai et al.,
prune-in-rounds-then-fair P&F with a fifth of what is left gone at a time, as theirs;
gradual-excess-accuracy: Hashemizadeh et al., gradual magnitude pruning under constraints."""


def mitigate(
    model: nn.Module,
    data: GroupedData,
    method: str = "bilevel",
    rate: float = 0.9,
    constraints: Sequence[Constraint] = (),
    training: TrainingSettings | None = None,
    options: Mapping[str, Any] | None = None,
) -> Solution:
    """Prune a trained model under constraints by a method of `MITIGATION_METHODS`, in place.

    The model is given back in evaluation mode, on the CPU, its removed weights exactly zero. Raises
    AuditError where the method or an option is unknown, or the rate is not in [0, 1).
    """
    if method not in MITIGATION_METHODS:
        raise AuditError(
            f"found mitigation method '{method}'; expected one of {', '.join(MITIGATION_METHODS)}"
        )
    chosen = MITIGATION_METHODS[method]
    for name in options or {}:
        if name not in chosen.options:
            raise AuditError(
                f"found option '{name}' of {method}; expected one of {', '.join(chosen.options)}"
            )
    settings = chosen.configured(training or TrainingSettings(epochs=20), options)
    return chosen.run(model, data, rate, constraints, settings)
