"""Whether a network can be measured at all: it must be a function of a sample (methods.md §2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import signature

import torch
from torch import Tensor, nn

from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.measure.network import (
    Inputs,
    class_logits,
    copied,
    evaluating,
    rows_of,
    unfinished,
)
from audit.measure.predictions import Outputs, not_finite
from audit.models.outputs import declared_outputs
from audit.names import shown

SAMPLES = 64
"""How many samples are passed through twice."""

NEAR = 0.9
"""Sigmoids of a trained network go beyond it, and below what it leaves to 1."""

EDGE, AT_EDGE = 0.95, 0.05
"""So near to 1 and -1 this share of the values of tanh is, at least, once a network is sure."""

BATCH = 7
"""The batch size of the second pass; of 64 samples it leaves a last batch of one."""

AGREEMENT = 1e-4
"""Largest difference of two passes, relative to the largest logit, that is rounding; more in half
precision, whose own rounding is larger."""


class UnreadInputs(AuditError):
    """A network cannot take the inputs that it is given."""


@dataclass(frozen=True)
class Seen:
    """What a network gave some samples before it was measured on all.

    rows    their positions in the data, int64 [m]
    logits  [m, C]
    """

    rows: Tensor
    logits: Tensor

    def check(self, found: Outputs, rows: Tensor) -> None:
        """Raise AuditError where the pass over all samples gave these anything else.

        found   what the network gave the samples at `rows`, int64 [n], ascending

        So what changes in larger batches, or after so many calls, is no function either.
        """
        logs = found.log_probabilities[torch.searchsorted(rows, self.rows)]
        difference = _apart(logs, self.logits.double().log_softmax(1).to(logs.dtype))
        if difference > 2 * _tolerance(self.logits):
            raise AuditError(
                f"the network gives the same samples other logits among all {len(rows):,} than "
                f"among {len(self.rows)} (up to {difference:.3g} apart): they depend on what else "
                "is in the batch, or on earlier calls; expected a function of each sample alone"
            )


def admitted(
    model: nn.Module,
    data: GroupedData,
    split: str = "test",
    trained: bool = True,
    checked: bool = True,
) -> GroupedData:
    """The data in the type that the network takes, where the network is fit to be measured on it.

    trained   see `check_network`
    checked   False: the type alone, where nothing is measured and no training could be in vain

    Integers stay integers, as an embedding needs them, where the network takes them; else they
    become real numbers. Raises AuditError as `check_network` does.
    """
    _, inputs, data = _taken(model, data, split)
    if checked:
        _checked(model, inputs, data, trained)
    return data


def seen_before(model: nn.Module, data: GroupedData, split: str) -> tuple[GroupedData, Seen]:
    """`admitted`, and what the network gave the samples that it was looked at with."""
    rows, inputs, data = _taken(model, data, split)
    return data, Seen(rows, _checked(model, inputs, data))


def _checked(model: nn.Module, inputs: Inputs, data: GroupedData, trained: bool = True) -> Tensor:
    """`check_network`, of data whose columns are known by their names."""
    try:
        return check_network(model, inputs, trained)
    except UnreadInputs as error:
        names = [one.name for one in data.columns if "input" in one.roles]
        if not names:
            raise
        raise AuditError(
            f"{error}; these inputs are what became of the columns {shown(', '.join(names))}: "
            "'audit data' shows how, drop= leaves columns out, and a loader of your own "
            "(--data package.module:function) gives the inputs as the network takes them"
        ) from error


def _taken(model: nn.Module, data: GroupedData, split: str) -> tuple[Tensor, Inputs, GroupedData]:
    """Some rows of the split, from its first to its last, and inputs as the network takes them."""
    rows = data.indices(split)
    rows = rows[torch.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).round().long()]
    inputs = data.batch(rows).inputs
    if isinstance(inputs, Mapping):
        # What the parts are, codes or numbers, is told by their own types.
        pass
    elif not inputs.is_floating_point() and not _takes(model, inputs[:2]):
        data, inputs = replace(data, inputs=data.inputs.float()), inputs.float()
    return rows, inputs, data


@torch.no_grad()
def check_network(model: nn.Module, inputs: Inputs, trained: bool = True) -> Tensor:
    """The network's logits [n, C]; AuditError unless it is a function of each of these samples.

    The same samples go through it again in reverse, in batches of another size: where dropout stays
    on, batch norm uses the batch's own statistics, or a state is kept from one call to the next,
    the outputs differ, and no number of that network means anything. Outputs that were not
    declared must not look like probabilities.

    trained  False: a single column within [0, 1] may be the logits of a network yet to be trained
    """
    with evaluating(model):
        first = _logits(model, inputs)
        check_kind(first, declared_outputs(model), trained)
        order = torch.arange(len(first)).flip(0).split(BATCH)
        reverse = [_logits(model, rows_of(inputs, rows)) for rows in order]
        difference = _apart(torch.cat(reverse).flip(0), first)
        if difference <= _tolerance(first):
            return first
        again = _apart(_logits(model, inputs), first)
    reason = (
        "they depend on what else is in the batch, as with batch norm without running statistics"
        if again <= _tolerance(first)
        else "they depend on chance or on earlier calls, as with dropout that stays on in "
        "evaluation mode (functional.dropout without training=self.training), noise, or a state "
        "that is kept"
    )
    raise AuditError(
        f"the network gives the same samples other logits in another order and batch size (up to "
        f"{difference:.3g} apart): {reason}; expected a function of each sample alone"
    )


def _takes(model: nn.Module, inputs: Tensor) -> bool:
    try:
        with evaluating(model), torch.no_grad():
            model(inputs.clone())
    except (RuntimeError, TypeError):
        return False
    return True


def _logits(model: nn.Module, inputs: Inputs) -> Tensor:
    """The logits of a copy of the inputs, since a first layer may work in place."""
    try:
        found = class_logits(model(copied(inputs)))
    except AuditError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "more than 1 value per channel" in reason:
            reason = "its batch norm without running statistics needs others beside a sample"
        if isinstance(inputs, Mapping) and "dict" in reason:
            wanted = ", ".join(signature(model.forward).parameters)
            reason += f"; its forward takes {wanted}, and the inputs are {', '.join(inputs)}"
        raise UnreadInputs(f"the network cannot read {_told(inputs)} at once: {reason}") from error
    broken = int((~torch.isfinite(found)).any(1).sum())
    if broken:
        raise AuditError(not_finite(broken, len(found), int(unfinished(inputs).sum())))
    return found


def _told(inputs: Inputs) -> str:
    """How many samples of what these are."""
    parts = dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}
    number = len(next(iter(parts.values())))
    each = [
        f"{name} of shape {tuple(one.shape[1:])} and type {one.dtype}".lstrip()
        for name, one in parts.items()
    ]
    return f"{number} samples {', '.join(each)}"


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _tolerance(logits: Tensor) -> float:
    share: float = max(AGREEMENT, torch.finfo(logits.dtype).eps ** (2 / 3))
    return share * float(logits.abs().max()) + 1e-6


def check_kind(logits: Tensor, declared: str | None, trained: bool) -> None:
    """Raise AuditError where outputs look like what they were not declared to be."""
    if declared is None and _like_probabilities(logits.double(), trained):
        raise AuditError(
            "every row of the network's outputs is within [0, 1], and sums to 1 where it has more "
            "than one column, as probabilities do; declare them with --outputs probabilities "
            "(outputs='probabilities' in Python), or, if they are logits, with --outputs logits"
        )
    scale = _known_scale(logits.double()) if declared is None and trained else ""
    if scale:
        raise AuditError(
            f"the network's outputs look like {scale}, and were not declared; expected logits: "
            "wrap the network so that it gives what these were made of, or, if they are logits, "
            "say so with --outputs logits (outputs='logits' in Python)"
        )
    if declared not in (None, "logits") and not _ones(logits.double().exp().sum(1)):
        raise AuditError(
            f"the network's outputs were declared {declared}, but those of a sample do not sum to "
            "1; declare what they are with --outputs"
        )


def _like_probabilities(logits: Tensor, trained: bool) -> bool:
    # One logit has become two, the first of them 0 (`class_logits`).
    one_column = logits.shape[1] == 2 and not logits[:, 0].any() and bool(logits.any())
    values = logits[:, 1:] if one_column else logits
    within = bool(((values >= 0) & (values <= 1)).all())
    return within and (trained if one_column else _ones(values.sum(1)))


def _known_scale(outputs: Tensor) -> str:
    """What outputs [n, C] are known to be on the scale of; '' where nothing is.

    A network that lost most of its weights may give small positive logits: sigmoids are those that
    reach from near 0 to near 1, and percentages sum to 100.
    """
    if bool((outputs < 0).any()):
        return "values of tanh, between -1 and 1" if _within_one(outputs) else ""
    if not bool(outputs[:, 0].any()):
        return ""
    if bool(((outputs.sum(1) - 100.0).abs() <= 1.0).all()):
        return "percentages, which sum to 100"
    if NEAR < float(outputs.max()) <= 1.0 and float(outputs.min()) < 1.0 - NEAR:
        return "sigmoids, one a class, which do not sum to 1"
    return ""


def _within_one(outputs: Tensor) -> bool:
    """Whether many outputs lie right below 1 and above -1, and none beyond.

    1 and -1 themselves tell nothing: a network may have no other answers.
    """
    ends = [(one > EDGE) & (one < 1) for one in (outputs, -outputs)]
    many = float(ends[0].logical_or(ends[1]).double().mean()) > AT_EDGE
    both = bool((ends[0].any(0) & ends[1].any(0)).any())
    return many and both and float(outputs.abs().max()) <= 1.0


def _ones(sums: Tensor) -> bool:
    return bool(((sums - 1.0).abs() <= 1e-2).all())
