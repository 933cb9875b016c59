"""The small network that is left where whole channels were removed, as a file of its own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from audit.errors import AuditError
from audit.files import write_atomically
from audit.measure.cost import Cost, cost
from audit.models.checkpoint import Checkpoint
from audit.models.outputs import unread_outputs
from audit.prune.channels import shrink
from audit.prune.mask import is_pruned, measured_mask

BATCH = 64
"""Samples of the batch that latency is measured with."""


@dataclass(frozen=True)
class Shrunk:
    """A network without the channels that its mask removes, and what both cost to run.

    network   equal logits, fewer channels; in evaluation mode, on the CPU
    before    the cost of the network with zeros in place of what was removed
    after     that of the smaller one
    """

    network: nn.Module
    before: Cost
    after: Cost

    def lines(self) -> list[str]:
        """What was saved, a line a quantity."""
        pairs = (
            ("parameters", f"{self.before.parameters:,}", f"{self.after.parameters:,}"),
            ("multiply-adds", f"{self.before.multiply_adds:,}", f"{self.after.multiply_adds:,}"),
            ("milliseconds", *(f"{1e3 * one.latency:.2f}" for one in (self.before, self.after))),
        )
        notes = ("", " a sample", f" for {self.before.batch} samples on the CPU")
        return [
            f"{name:<14} {old:>12} → {new:>12}{note}"
            for (name, old, new), note in zip(pairs, notes, strict=True)
        ]


def shrink_model(checkpoint: Checkpoint, factory: str | None = None) -> Shrunk:
    """Remove the channels that a structured method has emptied, and measure what it saves.

    Latency is the median over forward passes of 64 random samples on this machine's CPU. Raises
    AuditError where the network is dense, or no channel is free to go: zeros among the weights of
    a kept channel save nothing without kernels that skip them.
    """
    model = checkpoint.model(factory)
    if not is_pruned(model, checkpoint.mask):
        raise AuditError("found a dense network; expected one that a structured method has pruned")
    unread_outputs(model)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(BATCH, *checkpoint.architecture.input_shape, generator=generator)
    smaller = shrink(model, measured_mask(model), example).eval()
    found = Shrunk(smaller, cost(model, example), cost(smaller, example))
    if found.after.parameters == found.before.parameters:
        raise AuditError(
            f"no whole channel was removed by '{checkpoint.provenance.method}', so the network "
            "cannot be shrunk; prune whole filters (fpgm, l1-filter, or bilevel with "
            "--structure filter)"
        )
    return found


def export_model(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """Write a network as a program that runs without this toolkit, for batches of any size.

    Read it by `torch.export.load(path).module()`. Raises AuditError where the path does not end in
    .pt2, which torch expects of such files.
    """
    if path.suffix != ".pt2":
        raise AuditError(f"found '{path}' to write an exported network to; expected a name in .pt2")
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    content = BytesIO()
    with warnings.catch_warnings():
        # torch warns of parts of its own that are about to change.
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (torch.zeros(2, *input_shape),), dynamic_shapes=sizes)
        torch.export.save(program, content)
    write_atomically(path, content.getvalue())
