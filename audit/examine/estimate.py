"""How long curvature will take, told before it starts: one product of the first group is timed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import torch

from audit.durations import spoken
from audit.examine.subject import Part, Subject, part_of
from audit.measure.hessian import Hessian

WORTH_TELLING = 10.0
"""Seconds; of shorter work nothing is said."""
_TELLS: ContextVar[bool] = ContextVar("tells", default=False)


@contextmanager
def told_before() -> Iterator[None]:
    """Within this, what is measured says on standard error how long its curvature may take."""
    token = _TELLS.set(True)
    try:
        yield
    finally:
        _TELLS.reset(token)


def tell_curvature(subject: Subject) -> None:
    """Say it where it was asked for, and is worth a line."""
    if not _TELLS.get() or subject.abilities.gradients is not None:
        return
    # What cannot be measured is a row that says why, and not the end of it.
    with suppress(Exception):
        groups, seconds = len(subject.present), most_seconds(subject)
        if seconds >= WORTH_TELLING:
            print(
                f"audit: curvature of {subject.name}: up to {subject.settings.max_products} "
                f"products in each of {groups} groups, at most about {spoken(seconds)} (from one "
                "product that was timed)",
                file=sys.stderr,
                flush=True,
            )


def most_seconds(subject: Subject) -> float:
    """Seconds of all products that the search for both ends of the spectra may take."""
    settings = subject.settings
    parts = [part_of(subject, int(g), settings.curvature_samples) for g in subject.present]
    samples = sum(len(part.rows) for part in parts)
    return sample_seconds(subject, parts[0]) * samples * settings.max_products


def sample_seconds(subject: Subject, part: Part) -> float:
    """Seconds of one Hessian product with the part's first batch, for each of its samples."""
    inputs, labels = next(iter(part.batches))
    hessian = Hessian(subject.network, [(inputs, labels)], subject.hessian_mask())
    vector = torch.ones(hessian.dimension, dtype=hessian.dtype)
    start = time.perf_counter()
    # Reading a value waits for a device that works on its own.
    float(hessian(vector).sum())
    return (time.perf_counter() - start) / len(labels)
