"""What commands that write a checkpoint share, and what they say of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.commands.exits import keeping
from audit.errors import AuditError
from audit.escaping import printable
from audit.files import check_file, check_readable
from audit.imports import is_imported

if TYPE_CHECKING:
    from audit.data.grouped import GroupedData
    from audit.models.checkpoint import Checkpoint
    from audit.models.training import TrainingSettings
    from audit.study.settings import Method


def training_settings(device: str | None, **given: Any) -> TrainingSettings:
    """How a network is trained, as the options of a command say it; None: not given."""
    from audit.models.training import TrainingSettings, checked_device

    return TrainingSettings(**asked(given), device=checked_device(device))


def asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, by name."""
    return {name: value for name, value in given.items() if value is not None}


def check_paths(dense: Path, out: Path) -> None:
    """Raise AuditError where the dense file is missing or OUT cannot be written beside it."""
    check_readable(dense)
    check_file(out)
    if out.exists() and out.samefile(dense):
        raise AuditError(f"'{out}' is the network that is read; give another name with --out")


def make_pruned(
    dense: Path,
    method: Method,
    rate: float,
    settings: TrainingSettings,
    out: Path,
    data: str | None,
    model: str | None,
) -> None:
    """Prune the dense checkpoint, write the result, and say what it is."""
    from audit.models.checkpoint import load_checkpoint, parent_of, save_checkpoint
    from audit.study.checkpoints import data_of
    from audit.study.estimate import tell_training
    from audit.study.making import prune_model

    with keeping(f"'{out}' was not written"):
        checkpoint = load_checkpoint(dense)
        samples = data_of(checkpoint, dense, data)
        parent = parent_of(dense, out)
        tell_training(checkpoint.model(model), samples, settings, method)
        pruned = prune_model(checkpoint, samples, method, rate, settings, parent, model)
    save_checkpoint(pruned, out)
    sparsity = pruned.sparsity or 0.0
    print(f"wrote {out}: {method.label}, {sparsity:.2%} of the prunable weights removed")
    say_accuracy(pruned, samples, model)
    print(f"next: audit measure {shlex.quote(str(out))}{naming(out, model, samples, data)}")


def naming(out: Path, model: str | None, samples: GroupedData, data: str | None) -> str:
    """What a next command must name again, as a checkpoint runs and opens nothing unasked.

    That is a function of one's own that builds the network, and data that are loaded by one, or
    lie neither under the current folder nor under the file's own.
    """
    from audit.study.checkpoints import is_found_unasked

    model = model if model is not None and is_imported(model) else None
    data = None if is_found_unasked(samples.spec, out) else data
    given = {"--model": model, "--data": data}
    return "".join(f" {name} {shlex.quote(one)}" for name, one in given.items() if one is not None)


def say_accuracy(checkpoint: Checkpoint, data: GroupedData, factory: str | None) -> None:
    """Accuracy on the select split, overall, balanced over groups and of the worst; test is unseen.

    A first look and no audit: the numbers have no intervals, and pruning may have used the split.
    """
    from audit.prune.distillation import evaluated_logits

    rows = data.indices("select")
    if len(rows) == 0:
        return
    logits = evaluated_logits(checkpoint.model(factory), data, rows=rows)
    right = (logits.argmax(1) == data.labels[rows]).double()
    groups = data.groups[rows]
    shares = {
        name: float(right[groups == place].mean())
        for place, name in enumerate(data.group_names)
        if bool((groups == place).any())
    }
    worst = min(shares, key=lambda name: shares[name])
    print(
        f"accuracy on the {len(rows):,} select samples: {float(right.mean()):.1%} overall, "
        f"{sum(shares.values()) / len(shares):.1%} balanced over groups, {shares[worst]:.1%} in "
        f"the worst, {printable(worst) or '(empty)'}"
    )
