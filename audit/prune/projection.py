"""From scores to masks: the largest weights, whole filters, or N:M patterns survive."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.errors import AuditError
from audit.names import shown
from audit.prune.mask import Mask, check_rate, check_scores, keep_largest, largest

STRUCTURES = ("weight", "layer", "filter", "2:4")
"""What survives as a unit; any other pattern 'N:M' is understood too."""

PATTERNS = ("2:4", "1:4", "4:8", "1:2")
"""Those that are looked for in a network of unknown making."""


@dataclass(frozen=True)
class Slices:
    """The rows (dimension 0) or columns (dimension 1) of a layer's weight that channels own.

    positions and channels: int64 [k]; position positions[i] belongs to channel channels[i] of its
    group.
    """

    layer: str
    positions: Tensor
    channels: Tensor


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that a network can lose only as a whole: channel k is gone from all of these.

    outputs  the rows that compute the channels: filters or neurons of one layer, or of several
             where a residual sum couples them
    inputs   the columns that read them
    size     how many channels
    """

    size: int
    outputs: tuple[Slices, ...]
    inputs: tuple[Slices, ...] = ()


def project(
    scores: Mapping[str, Tensor],
    rate: float,
    structure: str = "weight",
    groups: Sequence[ChannelGroup] | None = None,
) -> Mask:
    """The mask of the given structure that keeps the largest scores (M §3).

    scores     one tensor a layer, shaped as its weight, in the order of the network's layers
    rate       share of all prunable weights to remove
    structure  weight: exactly the round((1 − rate)·n) largest over all layers;
               layer:  the same share in every layer, and one weight at least;
               filter: whole channels, as close to the rate as they can come (`keep_channels`);
               N:M:    of every M consecutive inputs N; the rate follows from that, and the one
                       given is not used
    groups     for filter: the channels that go together (`audit.prune.channels.channel_groups`);
               None: every layer by itself, without the inputs of the next, the last one whole

    Raises AuditError where the rate is not in [0, 1) or cannot be reached, the structure is
    unknown, or a score is not finite.

    >>> scores = {"hidden": torch.tensor([[4.0, 1.0], [2.0, 3.0]])}
    >>> project(scores, 0.25).parts["hidden"].tolist()
    [[True, False], [True, True]]
    >>> project(scores, 0.5, "1:2").parts["hidden"].tolist()
    [[True, False], [False, True]]
    """
    if structure == "weight":
        return keep_largest(scores, rate)
    check_rate(rate)
    check_scores(scores)
    if structure == "layer":
        return keep_share(scores, rate)
    if structure == "filter":
        return keep_channels(scores, rate, single_layers(scores) if groups is None else groups)
    return keep_pattern(scores, *pattern_of(structure))


def keep_share(scores: Mapping[str, Tensor], rate: float) -> Mask:
    """The mask that keeps the round((1 − rate)·n) largest scores of every layer, at least one."""
    check_rate(rate)
    parts = {}
    for name, part in scores.items():
        keep = max(1, round((1.0 - rate) * part.numel()))
        parts[name] = largest(part.detach().flatten(), keep).view_as(part).cpu()
    return Mask(parts)


def check_structure(structure: str) -> None:
    """Raise AuditError where no structure has the name, nor is it a pattern N:M."""
    if structure not in STRUCTURES:
        pattern_of(structure)


def pattern_of(structure: str) -> tuple[int, int]:
    """N and M of a structure 'N:M'.

    >>> pattern_of("2:4")
    (2, 4)
    """
    found = re.fullmatch(r"(\d{1,4}):(\d{1,4})", structure)
    if found is None or not 0 < int(found[1]) <= int(found[2]):
        raise AuditError(
            f"found structure {shown(structure)}; expected one of {', '.join(STRUCTURES)}, or "
            "N:M with 0 < N ≤ M"
        )
    return int(found[1]), int(found[2])


def seen_structure(mask: Mask) -> str:
    """The structure that a mask of unknown making has: filter, a pattern, layer or weight.

    filter  what is gone lies in rows and columns that are gone as a whole, rows among them
    N:M     no block of M inputs keeps more than N, and as much is gone as the pattern says
    layer   all layers lost the same share

    >>> rows = [[True, False, True, False], [False, True, True, False]]
    >>> seen_structure(Mask({"layer": torch.tensor(rows)}))
    '2:4'
    """
    parts = list(mask.parts.values())
    rows = any(not part.flatten(1).any(1).all() for part in parts)
    if rows and len(parts) > 1 and all(_whole(part) for part in parts):
        return "filter"
    for structure in PATTERNS:
        keep, block = pattern_of(structure)
        near = math.isclose(mask.sparsity, 1 - keep / block, abs_tol=0.03)
        if near and all(_most_kept(part, block) <= keep for part in parts):
            return structure
    shares = [abs(share - mask.sparsity) for share in mask.layer_sparsity().values()]
    alike = all(off <= 0.002 + 1 / part.numel() for off, part in zip(shares, parts, strict=True))
    return "layer" if alike and len(parts) > 1 else "weight"


def _whole(part: Tensor) -> bool:
    """Whether all that is gone of a weight went with a whole row or a whole column."""
    kept = part.flatten(2) if part.dim() > 2 else part[..., None]
    rows, columns = kept.flatten(1).any(1), kept.transpose(0, 1).flatten(1).any(1)
    return bool((kept == (rows[:, None] & columns)[..., None]).all())


def _most_kept(part: Tensor, block: int) -> int:
    """The most that a block of consecutive inputs keeps."""
    inputs = part.movedim(1, -1)
    padded = torch.nn.functional.pad(inputs, (0, -inputs.shape[-1] % block), value=False)
    return int(padded.reshape(-1, block).sum(1).max())


def check_pattern_rate(structure: str, rate: float) -> None:
    """Raise AuditError where an N:M pattern cannot have the rate; other structures can have any.

    >>> check_pattern_rate("2:4", 0.5)
    """
    if structure in ("weight", "layer", "filter"):
        return
    keep, block = pattern_of(structure)
    if not math.isclose(rate, 1 - keep / block, abs_tol=0.005):
        raise AuditError(
            f"found rate {rate:g} for the pattern {structure}, which keeps {keep} of every {block} "
            f"inputs; expected rate {1 - keep / block:g}"
        )


def keep_pattern(scores: Mapping[str, Tensor], keep: int, block: int) -> Mask:
    """The mask that keeps the `keep` largest of every `block` consecutive inputs of a weight.

    Inputs lie along dimension 1, for every output and every place of a convolution's kernel. A
    shorter block at the end counts as if filled up with zeros: it too keeps at most `keep`.
    """
    parts = {}
    for name, part in scores.items():
        rows = part.detach().movedim(1, -1)
        inputs = rows.shape[-1]
        missing = -inputs % block
        padded = torch.nn.functional.pad(rows, (0, missing), value=-torch.inf)
        blocks = padded.reshape(-1, block)
        order = torch.sort(blocks, dim=1, descending=True, stable=True).indices
        chosen = torch.zeros_like(blocks, dtype=torch.bool).scatter_(1, order[:, :keep], True)
        chosen = chosen.view(padded.shape)[..., :inputs].movedim(-1, 1)
        parts[name] = chosen.contiguous().cpu()
    return Mask(parts)


def single_layers(scores: Mapping[str, Tensor]) -> tuple[ChannelGroup, ...]:
    """Every layer's filters as a group of their own, but those of the last layer, the classes."""
    groups = []
    for name in list(scores)[:-1]:
        rows = torch.arange(len(scores[name]))
        groups.append(ChannelGroup(len(rows), (Slices(name, rows, rows),)))
    return tuple(groups)


def channel_scores(scores: Mapping[str, Tensor], group: ChannelGroup) -> Tensor:
    """The sum of the scores of the filters that compute each channel of a group: float64 [size]."""
    total = torch.zeros(group.size, dtype=torch.float64)
    for part in group.outputs:
        rows = scores[part.layer].detach().double().flatten(1).sum(1).cpu()
        total.index_add_(0, part.channels, rows[part.positions])
    return total


def keep_channels(
    scores: Mapping[str, Tensor], rate: float, groups: Sequence[ChannelGroup]
) -> Mask:
    """The mask without the channels whose filters have the smallest Σ of scores.

    Sums are divided by the mean |Σ| of their group, so that wide layers and narrow ones compare.
    A removed channel takes its filters and the columns that read them, so that nothing reads what
    its bias and batch norm, which no mask holds, still give; the number of channels is the one
    whose surviving weights come closest to (1 − rate)·n. Every group keeps its best
    channel. Raises AuditError where the rate cannot be reached so.
    """
    return keep_best_channels(
        {name: part.shape for name, part in scores.items()},
        rate,
        groups,
        [channel_scores(scores, group) for group in groups],
    )


def keep_best_channels(
    shapes: Mapping[str, torch.Size],
    rate: float,
    groups: Sequence[ChannelGroup],
    values: Sequence[Tensor],
) -> Mask:
    """`keep_channels` for channels that are scored themselves: values[g] is float [size of g]."""
    check_rate(rate)
    if not groups:
        raise AuditError(
            "found no filters that could be removed: the network has no hidden layer that a "
            "structured method can shrink; prune single weights instead"
        )
    values = [value.double() for value in values]
    ranked = [value / value.abs().mean().clamp_min(1e-300) for value in values]
    order = _removal_order(ranked)
    survivors = _survivors(shapes, groups, order)
    total = sum(shape.numel() for shape in shapes.values())
    wanted = round((1.0 - rate) * total)
    if survivors[-1] > wanted:
        raise AuditError(
            f"rate {rate:g} cannot be reached by removing whole filters of this network; the "
            f"largest is {1.0 - int(survivors[-1]) / total:.4g}"
        )
    number = int((survivors - wanted).abs().argmin())
    removed = [torch.zeros(group.size, dtype=torch.bool) for group in groups]
    for which, channel in order[:number].tolist():
        removed[which][channel] = True
    return without_channels(shapes, groups, removed)


def without_channels(
    shapes: Mapping[str, torch.Size], groups: Sequence[ChannelGroup], removed: Sequence[Tensor]
) -> Mask:
    """The mask without some channels: removed[g] is bool [size of g]."""
    parts = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
    for group, gone in zip(groups, removed, strict=True):
        for part in group.outputs:
            parts[part.layer][part.positions[gone[part.channels]]] = False
        for part in group.inputs:
            parts[part.layer][:, part.positions[gone[part.channels]]] = False
    return Mask(parts)


def _removal_order(ranked: Sequence[Tensor]) -> Tensor:
    """(group, channel) pairs, worst first, int64 [k, 2], without the best channel of each group."""
    owners = torch.cat([torch.full((len(value),), which) for which, value in enumerate(ranked)])
    channels = torch.cat([torch.arange(len(value)) for value in ranked])
    best = torch.tensor([int(value.argmax()) for value in ranked])
    spared = channels == best[owners]
    order = torch.sort(torch.cat(list(ranked)), stable=True).indices
    order = order[~spared[order]]
    return torch.stack([owners[order], channels[order]], 1)


def _survivors(
    shapes: Mapping[str, torch.Size], groups: Sequence[ChannelGroup], order: Tensor
) -> Tensor:
    """How many weights survive the first 0, 1, 2 … removals: int64 [k + 1].

    A layer keeps rows × columns × kernel, so that a weight which loses both ends counts once.
    """
    index = {name: place for place, name in enumerate(shapes)}
    lost = torch.zeros(2, len(order) + 1, len(shapes), dtype=torch.int64)
    for which, group in enumerate(groups):
        steps = torch.nonzero(order[:, 0] == which).flatten()
        for side, slices in enumerate((group.outputs, group.inputs)):
            for part in slices:
                counts = torch.bincount(part.channels, minlength=group.size)
                lost[side, steps + 1, index[part.layer]] += counts[order[steps, 1]]
    rows, columns = lost.cumsum(1)
    sizes = torch.tensor([[s[0], s[1], s[2:].numel()] for s in shapes.values()])
    left: Tensor = (sizes[:, 0] - rows) * (sizes[:, 1] - columns) * sizes[:, 2]
    return left.sum(1)
