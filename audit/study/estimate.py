"""How long training will take, told before it starts: a few steps are timed on a copy."""

from __future__ import annotations

import copy
import operator
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from statistics import median

import torch
from torch import nn
from torch.nn import functional

from audit.data.grouped import GroupedData
from audit.durations import spoken
from audit.measure.network import class_logits
from audit.mitigate.methods import MITIGATION_METHODS
from audit.models.training import TrainingSettings, train_mode, trainable_parameters
from audit.models.zoo import Architecture, build_model
from audit.study.cells import Cell
from audit.study.settings import Method, StudySettings

TIMED_STEPS = 3
WORTH_TELLING = 10.0
"""Seconds; of shorter work nothing is said."""
CONSTRAINED, UNCONSTRAINED = 3.0, 1.26
"""A step of the solvers over a step of plain training (benchmarks/README.md, cost of a step)."""


def step_seconds(network: nn.Module, data: GroupedData, settings: TrainingSettings) -> float:
    """Seconds of one step of plain training: the median of a few on a copy, after one unmeasured.

    Neither the network nor torch's random numbers are touched.
    """
    rows = data.indices("train")[: settings.batch_size]
    with torch.random.fork_rng(devices=[]):
        own = train_mode(copy.deepcopy(network).to(settings.device))
        parameters = trainable_parameters(own)
        times = [_one_step(own, parameters, data, rows, settings) for _ in range(TIMED_STEPS + 1)]
    return median(times[1:])


def _one_step(
    network: nn.Module,
    parameters: list[nn.Parameter],
    data: GroupedData,
    rows: torch.Tensor,
    settings: TrainingSettings,
) -> float:
    start = time.perf_counter()
    batch = data.batch(rows, settings.device)
    loss = functional.cross_entropy(class_logits(network(batch.inputs)), batch.labels)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    # Reading a value waits for a device that works on its own.
    sum(float(one.sum()) for one in gradients if one is not None)
    return time.perf_counter() - start


def cost_of(method: Method | None) -> float:
    """What a step of a method costs over one of plain training, about."""
    if method is None or method.name not in MITIGATION_METHODS:
        return 1.0
    return UNCONSTRAINED if method.constraint == "none" else CONSTRAINED


def tell_training(
    network: nn.Module,
    data: GroupedData,
    settings: TrainingSettings,
    method: Method | None = None,
) -> None:
    """Tell how long one network takes: a dense one, or what the method prunes from it."""
    steps = _steps(data, settings, method)
    # A network that cannot be trained is refused in better words by those who train it.
    with suppress(Exception):
        _tell("training", steps, steps * cost_of(method) * step_seconds(network, data, settings))


def tell_study(
    settings: StudySettings, cells: Sequence[Cell], data: GroupedData, workers: int
) -> None:
    """Tell how long the training of these cells takes; measuring them comes on top."""
    cells = [cell for cell in cells if cell.method is not None or not settings.dense]
    work = [
        (cell, settings.training if cell.method is None else settings.pruning) for cell in cells
    ]
    steps = [_steps(data, training, cell.method) for cell, training in work]
    shape, classes = data.input_shape, len(data.classes)
    architecture = Architecture(settings.model, shape, classes, settings.arguments)
    with suppress(Exception):
        each = step_seconds(build_model(architecture), data, settings.pruning)
        costs = [cost_of(cell.method) for cell in cells]
        whole = each * sum(map(operator.mul, steps, costs)) / max(1, min(workers, len(cells)))
        _tell(f"training {len(cells)} networks, {workers} at a time", sum(steps), whole)


def _steps(data: GroupedData, settings: TrainingSettings, method: Method | None) -> int:
    splits = ("train",) if method is None else ("train", "select")
    return settings.steps(len(data.indices(*splits)))


def _tell(what: str, steps: int, seconds: float) -> None:
    """Say it on standard error, where it is worth a line."""
    if seconds >= WORTH_TELLING:
        print(
            f"audit: {what}: {steps:,} steps, about {spoken(seconds)} "
            f"(from {TIMED_STEPS} steps that were timed), and measuring on top",
            file=sys.stderr,
            flush=True,
        )
