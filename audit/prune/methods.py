"""Every pruning method by name, each with the same number of optimisation steps (M §3).

A method prunes the model in place and trains what survives on train + select. It takes exactly as
many steps as `fine_tune` does with the same settings. Forward-backward passes that it spends on
scores alone are counted apart, in `passes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from audit.data.grouped import GroupedData, SampleBatches
from audit.errors import AuditError
from audit.imports import imported, is_imported
from audit.measure.cost import multiply_adds
from audit.measure.network import Inputs, rows_of
from audit.measure.predictions import predict
from audit.models.training import TrainingSettings
from audit.prune.channels import channel_groups, shrink
from audit.prune.fairgrape import fairgrape_mask
from audit.prune.fairprune import fairprune_mask
from audit.prune.filters import fpgm_mask, norm_mask
from audit.prune.fine_tune import fine_tune
from audit.prune.magnitude import gradual_magnitude, lottery_ticket, magnitude_mask
from audit.prune.mask import Mask, beside_the_prunable, check_rate
from audit.prune.projection import ChannelGroup, check_pattern_rate, pattern_of
from audit.prune.random import random_mask
from audit.prune.saliency import SYNFLOW_ROUNDS, grasp_mask, snip_mask, synflow_mask

FAIRPRUNE_BETA = 1 / 3
FAIRPRUNE_SAMPLES = 200
"""At most so many samples of a group give its Hessian diagonal."""

AT_ONCE_NOTE = (
    "{name} chose all weights at once; its paper removes them little by little and looks at the "
    "network again each time, so that this is less than its authors give it"
)
GRASP_NOTE = (
    "GraSP was made for networks before training; of a trained one it first removes the weights "
    "whose loss raises the gradient most, and with them what the network has learnt"
)


@dataclass(frozen=True)
class Pruned:
    """What a method did to a model.

    steps    optimisation steps, those of training
    passes   further forward-backward passes over a batch, spent on scores
    notes    sentences that a report must repeat
    """

    mask: Mask
    steps: int
    passes: int = 0
    notes: tuple[str, ...] = ()


Method = Callable[[nn.Module, GroupedData, float, TrainingSettings], Pruned]
Choice = tuple[Mask, int, tuple[str, ...]]
Criterion = Callable[[nn.Module, GroupedData, float, TrainingSettings], Choice]
"""Chooses a mask at once: the mask, the passes it took, and notes."""


def prune(
    model: nn.Module,
    data: GroupedData,
    method: str = "magnitude",
    rate: float = 0.9,
    settings: TrainingSettings | None = None,
) -> Pruned:
    """Prune a trained model to the rate by a method of `PRUNING_METHODS`, in place (M §3).

    Or by a Criterion of your own, `package.module:function` (docs/extending.md).

    The model is given back in evaluation mode, on the CPU, its removed weights exactly zero. Raises
    AuditError where the method is unknown, or the rate is not in [0, 1) or out of its reach.
    """
    check_rate(rate)
    run = pruning_method(method)
    settings = settings or TrainingSettings(epochs=20)
    found = run(model, data, rate, settings)
    beside = beside_the_prunable(model, found.mask)
    return replace(found, notes=(*settings.notes, *found.notes, *beside))


def pruning_method(name: str) -> Method:
    """The method of a name: one of PRUNING_METHODS, or a Criterion as `package.module:function`.

    Raises AuditError where there is none.
    """
    if is_imported(name):
        criterion = imported(name, "criterion")
        if not callable(criterion):
            raise AuditError(f"'{name}' is no criterion; expected a function that chooses a Mask")
        return partial(_at_once, criterion)
    if name not in PRUNING_METHODS:
        raise AuditError(
            f"found pruning method '{name}'; expected one of {', '.join(PRUNING_METHODS)}, or "
            "package.module:function"
        )
    return PRUNING_METHODS[name]


def _at_once(
    criterion: Criterion,
    model: nn.Module,
    data: GroupedData,
    rate: float,
    settings: TrainingSettings,
) -> Pruned:
    """Choose a mask by the trained weights, then fine-tune what survives."""
    model.to(settings.device)
    mask, passes, notes = criterion(model, data, rate, settings)
    if not isinstance(mask, Mask):
        raise AuditError(f"the criterion chose a {type(mask).__name__}; expected a Mask")
    steps = fine_tune(model, mask, data, data.indices("train", "select"), settings)
    return Pruned(mask, steps, passes, notes)


def _magnitude(
    structure: str, model: nn.Module, data: GroupedData, rate: float, settings: TrainingSettings
) -> Choice:
    return magnitude_mask(model, rate, structure), 0, ()


def _pattern(
    structure: str, model: nn.Module, data: GroupedData, rate: float, settings: TrainingSettings
) -> Choice:
    check_pattern_rate(structure, rate)
    keep, block = pattern_of(structure)
    mask = magnitude_mask(model, rate, structure)
    return mask, 0, _short_inputs(model, mask, structure, 1 - keep / block)


def _short_inputs(model: nn.Module, mask: Mask, structure: str, expected: float) -> tuple[str, ...]:
    short = [name for name, share in mask.layer_sparsity().items() if share < expected]
    if not short:
        return ()
    return (
        f"layers whose inputs do not fill the blocks of {structure} keep more than its share: "
        f"{', '.join(short)}",
    )


def _batches(data: GroupedData, rows: Tensor, settings: TrainingSettings) -> SampleBatches:
    return SampleBatches(data, rows, settings.batch_size, settings.device)


def _random(model: nn.Module, data: GroupedData, rate: float, settings: TrainingSettings) -> Choice:
    return random_mask(model, rate, settings.seed), 0, ()


def _snip(model: nn.Module, data: GroupedData, rate: float, settings: TrainingSettings) -> Choice:
    batches = _batches(data, data.indices("train", "select"), settings)
    return snip_mask(model, batches, rate), len(batches), ()


def _grasp(model: nn.Module, data: GroupedData, rate: float, settings: TrainingSettings) -> Choice:
    batches = _batches(data, data.indices("train", "select"), settings)
    # The gradient, and a Hessian product, which goes forward and back twice.
    return grasp_mask(model, batches, rate), 3 * len(batches), (GRASP_NOTE,)


def _synflow(
    model: nn.Module, data: GroupedData, rate: float, settings: TrainingSettings
) -> Choice:
    example = data.batch(data.indices("train")[:1]).inputs
    if not isinstance(example, Tensor) or not example.is_floating_point():
        raise AuditError(
            "synflow sends an image of ones through the network; found inputs that are codes, or "
            "have several parts: choose another method"
        )
    return synflow_mask(model, data.input_shape, rate), SYNFLOW_ROUNDS, ()


def _filters(
    criterion: Callable[[nn.Module, tuple[ChannelGroup, ...], float], Mask],
    model: nn.Module,
    data: GroupedData,
    rate: float,
    settings: TrainingSettings,
) -> Choice:
    example = data.batch(data.indices("train")[:2], settings.device).inputs
    mask = criterion(model, channel_groups(model, example), rate)
    return mask, 0, (_saving(model, mask, rows_of(example, slice(1))),)


def _saving(model: nn.Module, mask: Mask, example: Inputs) -> str:
    smaller = shrink(model, mask, example)
    counts = [sum(p.numel() for p in network.parameters()) for network in (smaller, model)]
    adds = [multiply_adds(network, example) for network in (smaller, model)]
    return (
        f"whole channels were removed: shrunk, the network keeps {counts[0]:,} of {counts[1]:,} "
        f"parameters and {adds[0]:,} of {adds[1]:,} multiply-adds a sample"
    )


def _fairgrape(
    model: nn.Module, data: GroupedData, rate: float, settings: TrainingSettings
) -> Choice:
    batches, notes = _group_batches(data, settings)
    mask = fairgrape_mask(model, list(batches.values()), rate)
    notes = (*notes, AT_ONCE_NOTE.format(name="fairgrape"))
    return mask, sum(len(own) for own in batches.values()), notes


def _fairprune(
    model: nn.Module, data: GroupedData, rate: float, settings: TrainingSettings
) -> Choice:
    """The unprivileged group is the one with the highest mean loss under the dense model."""
    batches, notes = _group_batches(data, settings, FAIRPRUNE_SAMPLES)
    if len(batches) < 2:
        raise AuditError(f"found {len(batches)} group with samples; fairprune needs two or more")
    losses = [float(predict(model, own).loss.mean()) for own in batches.values()]
    worst = max(range(len(losses)), key=losses.__getitem__)
    mask = fairprune_mask(model, list(batches.values()), worst, rate, FAIRPRUNE_BETA)
    passes = len(data.classes) * sum(len(own) for own in batches.values())
    spared = (
        f"fairprune spared group '{list(batches)[worst]}', whose dense loss is the highest, with "
        f"β = {FAIRPRUNE_BETA:.2f}"
    )
    return mask, passes, (*notes, spared, AT_ONCE_NOTE.format(name="fairprune"))


def _group_batches(
    data: GroupedData, settings: TrainingSettings, most: int | None = None
) -> tuple[dict[str, SampleBatches], tuple[str, ...]]:
    """The train and select samples of every group that has any, `most` of each by a seeded choice.

    With them, what must be said of the groups that have none.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    found, absent = {}, []
    for group, name in enumerate(data.group_names):
        rows = data.indices("train", "select", group=group)
        if len(rows) == 0:
            absent.append(name)
            continue
        chosen = torch.randperm(len(rows), generator=generator)[:most].sort().values
        found[name] = _batches(data, rows[chosen], settings)
    if not absent:
        return found, ()
    return found, (f"groups without train and select samples had no say: {', '.join(absent)}",)


def _trained(
    function: Callable[[nn.Module, GroupedData, Tensor, float, TrainingSettings], tuple[Mask, int]],
    model: nn.Module,
    data: GroupedData,
    rate: float,
    settings: TrainingSettings,
) -> Pruned:
    """Prune while training."""
    settings.check_trains("a method that prunes while it trains")
    return Pruned(*function(model, data, data.indices("train", "select"), rate, settings))


PRUNING_METHODS: Mapping[str, Method] = {
    "magnitude": partial(_at_once, partial(_magnitude, "weight")),
    "magnitude-layerwise": partial(_at_once, partial(_magnitude, "layer")),
    "magnitude-2of4": partial(_at_once, partial(_pattern, "2:4")),
    "gradual": partial(_trained, gradual_magnitude),
    "lottery-ticket": partial(_trained, lottery_ticket),
    "snip": partial(_at_once, _snip),
    "grasp": partial(_at_once, _grasp),
    "synflow": partial(_at_once, _synflow),
    "l1-filter": partial(_at_once, partial(_filters, partial(norm_mask, order=1.0))),
    "l2-filter": partial(_at_once, partial(_filters, partial(norm_mask, order=2.0))),
    "fpgm": partial(_at_once, partial(_filters, fpgm_mask)),
    "fairgrape": partial(_at_once, _fairgrape),
    "fairprune": partial(_at_once, _fairprune),
    "random": partial(_at_once, _random),
}


TRAINED = tuple(
    name for name, method in PRUNING_METHODS.items() if getattr(method, "func", None) is _trained
)
"""Methods that prune while they train, and so cannot do without an epoch."""
