"""What a training loop hands to the solver, taken as it is meant or refused in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audit.checked import plain
from audit.errors import AuditError
from audit.mitigate.constraints import Constraint, make_constraints
from audit.mitigate.statistics import Reference
from audit.models.admission import check_kind
from audit.models.outputs import check_declared
from audit.names import shown

Inputs = Tensor | Mapping[str, Any]

FEW, MANY = 8, 64
"""Of fewer samples logits may look like probabilities by chance; of fewer than many, one logit."""


@dataclass(frozen=True)
class Samples:
    """A batch, with what is known of it beforehand.

    labels  the classes, int64 [n]; groups are their positions, likewise
    dense   what the dense network makes of the samples; None: it is asked
    places  where the readings keep them; None: they take the place of the oldest
    given   the labels as a criterion of one's own takes them; None: `labels`
    """

    inputs: Inputs
    labels: Tensor
    groups: Tensor
    dense: Reference | None = None
    places: Tensor | None = None
    given: Any = None


def samples_of(inputs: Inputs, labels: Any, groups: Any, names: Sequence[str] | None) -> Samples:
    """A batch of a loop; `names` of the groups, or None where nobody asks for groups.

    Raises AuditError where labels or groups are no positions, are unknown, or do not fit.
    """
    classes = _positions(labels, "label", "the class of every sample, counted from 0")
    if names is None:
        return Samples(inputs, classes, torch.zeros_like(classes), given=labels)
    expected = f"each sample's position among the groups, 0 … {len(names) - 1}"
    found = _positions(groups, "group", expected).to(classes.device)
    if len(found) != len(classes):
        raise AuditError(f"found {len(found)} groups for {len(classes)} labels; expected as many")
    if int(found.max()) >= len(names):
        raise AuditError(f"found group {int(found.max())}; expected {expected}")
    return Samples(inputs, classes, found, given=labels)


def check_classes(logits: Tensor, labels: Tensor) -> None:
    """Raise AuditError unless the network gives a row for every label, and a column for each."""
    if len(logits) != len(labels):
        raise AuditError(f"found {len(labels)} labels, and outputs for {len(logits)} samples")
    if int(labels.max()) >= logits.shape[1]:
        raise AuditError(
            f"found label {int(labels.max())}, and the network has {logits.shape[1]} classes; "
            f"expected 0 … {logits.shape[1] - 1}"
        )


def check_parent(dense: Tensor, logits: Tensor) -> None:
    """Raise AuditError where the dense network has other outputs than the one that is pruned."""
    if dense.shape != logits.shape:
        raise AuditError(
            f"the dense network gives outputs of shape {tuple(dense.shape)}, the one that is "
            f"pruned {tuple(logits.shape)}; expected the network that it was before"
        )


class Kind:
    """Whether outputs are what they were declared to be, or logits: looked at until it is known.

    One logit that lies within [0, 1] for a few samples may be a sigmoid's; it is known where it
    leaves that range, or does not for MANY.
    """

    def __init__(self, declared: str | None) -> None:
        check_declared(declared)
        self.declared = declared
        self.seen: list[Tensor] = []
        self.known = False

    def look(self, logits: Tensor) -> None:
        """Raise AuditError where the outputs of enough samples look like something else."""
        if self.known:
            return
        self.seen.append(logits.detach())
        every = torch.cat(self.seen)
        if len(every) < FEW:
            return
        self.check(every)
        self.known = self.declared is not None or len(every) >= MANY or not self._unsure(every)
        self.seen = [] if self.known else [every]

    def check(self, every: Tensor) -> None:
        """Raise AuditError where these look like something else than what they should be."""
        try:
            check_kind(every, self.declared, trained=len(every) >= MANY)
        except AuditError as error:
            if self.declared is not None:
                raise AuditError(
                    f"found outputs that do not sum to 1, as {self.declared} do; expected "
                    "outputs='logits', or what they are"
                ) from error
            raise AuditError(
                "the network's outputs look like probabilities, and the pruner takes logits: say "
                "outputs='probabilities', or outputs='logits' where they are, as a network that is "
                "not trained yet may give"
            ) from error

    @property
    def notes(self) -> tuple[str, ...]:
        """That it is not known, where it is not."""
        if self.known or not self.seen or not self._unsure(torch.cat(self.seen)):
            return ()
        return (
            "not known: whether the network gives logits; all that it gave so far lie within "
            "[0, 1], as probabilities do. Say outputs='logits' or outputs='probabilities'",
        )

    @staticmethod
    def _unsure(every: Tensor) -> bool:
        # One logit has become two, the first of them 0 (`class_logits`).
        one = every.shape[1] == 2 and not every[:, 0].any()
        return bool(one and ((every[:, 1] >= 0) & (every[:, 1] <= 1)).all())


def group_names(groups: Any) -> list[str]:
    """The names of groups that are counted, or named; AuditError where they are neither."""
    groups = plain(groups)
    counted = isinstance(groups, int) and not isinstance(groups, bool)
    named = isinstance(groups, Iterable) and not isinstance(groups, str | bytes)
    names = [str(one) for one in (range(groups) if counted else groups if named else ())]
    if not names:
        raise AuditError(
            f"found groups {shown(groups)}; expected how many there are, or a name each"
        )
    if len(set(names)) < len(names):
        raise AuditError(f"found a group twice in {shown(groups)}; expected a name of its own each")
    return names


def constraints_of(asked: Any) -> tuple[Constraint, ...]:
    """Constraints from a text as `make_constraints` takes it, from several, or as they are."""
    several = isinstance(asked, Iterable) and not isinstance(asked, str)
    found = tuple(asked) if several else (asked,)
    if all(isinstance(one, Constraint) for one in found):
        return found
    if all(isinstance(one, str) for one in found):
        return make_constraints("+".join(found))
    raise AuditError(
        f"found constraint {shown(asked)}; expected a text such as 'excess-accuracy=0.01', "
        "constraints, or 'none'"
    )


def _positions(values: Any, what: str, expected: str) -> Tensor:
    """Whole numbers from 0 on, int64 [n], of a tensor, an array or a list."""
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AuditError(f"found {what}s {shown(values)}; expected {expected}") from error
    if found.dim() == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.dim() != 1 or found.is_complex():
        raise AuditError(f"found {what}s of shape {tuple(found.shape)}; expected {expected}: [n]")
    if not len(found):
        raise AuditError("found a batch without samples; leave it out")
    # A copy: tensors of an inference mode cannot be kept for a backward pass.
    codes = found.detach().long().clone()
    wrong = found[(codes < 0) | (codes != found)]
    if len(wrong):
        raise AuditError(
            f"found {what} {wrong[0].item():g}; expected {expected}: leave samples that have none "
            "out, or give them one of their own"
        )
    return codes
