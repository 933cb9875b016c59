"""Whether torchrun has started several processes of one command; known before torch is loaded."""

from __future__ import annotations

import os
from datetime import timedelta

from audit.errors import AuditError

MEASURING = ("measure", "compare")


def by_torchrun() -> bool:
    """Whether torchrun has started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def told_elsewhere() -> bool:
    """Whether another of the processes has said why they end: most errors are met by all."""
    if not by_torchrun():
        return False
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5))
        return store.add("audit/told", 1) > 1
    except RuntimeError:
        return False  # nobody is left to have told it


def check_divisible(command: str | None) -> None:
    """Raise AuditError where torchrun started a command whose work is not divided over processes.

    Each process would do all of it, and all would write to the same files.
    """
    if by_torchrun() and command is not None and command not in MEASURING:
        raise AuditError(
            f"found several processes of 'audit {command}' (torchrun); 'audit measure' and 'audit "
            "compare' alone divide their samples over processes: start it once, without torchrun"
        )
