"""`audit show`: what a checkpoint is and where it came from."""

from __future__ import annotations

from audit.commands.options import MeasuredModel
from audit.escaping import printable
from audit.files import check_readable


def show(model_file: MeasuredModel) -> None:
    """Say what a checkpoint is: network, sparsity, data, groups, splits, dense parent."""
    check_readable(model_file)
    from audit.models.checkpoint import checkpoint_facts, load_checkpoint

    checkpoint = load_checkpoint(model_file)
    facts = {"made by": checkpoint.provenance.method, **checkpoint_facts(checkpoint)}
    facts["splits"] = ", ".join(f"{len(ids):,} {name}" for name, ids in checkpoint.splits.items())
    facts["classes"] = ", ".join(checkpoint.classes)
    facts["group names"] = ", ".join(checkpoint.group_names)
    for name, value in facts.items():
        print(f"{name}: {printable(value)}")
    for note in checkpoint.provenance.notes:
        print(f"note: {printable(note)}")
