"""One finding: a claim about networks and groups, decided or left open, with its numbers (J7)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

CLAIMS = (
    "pays",
    "suspected",
    "lost_otherwise",
    "loss",
    "better",
    "copy",
    "onset",
    "beyond_chance",
    "levelling_down",
    "collapse",
    "changes",
    "changes_overall",
    "fairest",
    "boundary",
    "faithful",
    "cause",
    "layer",
    "detectable",
    "left_out",
    "without_value",
    "missing",
    "discovered",
    "action",
)
"""What a finding may claim, in the order of a report."""


@dataclass(frozen=True)
class Finding:
    """A claim and what it rests on.

    claim        one of CLAIMS
    decision     True: found; False: looked for and not found; None: too little is known
    label, rate  what the networks are called together: a method at a rate, or a network's name
    networks     their names, one a seed
    estimate     in the metric's own unit, with bounds low and high; None where there is no number
    interval     'simultaneous' over the family, 'single', or 'seeds' (simultaneous, over runs)
    p_adjusted   over the family that the claim was picked from
    n            samples that the number is of; runs: how many seeds it is a mean over
    details      what else the claim needs, plain values
    """

    claim: str
    decision: bool | None
    label: str = ""
    rate: float = 0.0
    networks: tuple[str, ...] = ()
    attribute: str = ""
    group: str | None = None
    metric: str | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    p_adjusted: float | None = None
    n: int | None = None
    runs: int = 1
    details: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON, which has no NaN and no infinity."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


def from_plain(row: Mapping[str, Any]) -> Finding:
    """Read what `plain` wrote."""
    return Finding(**{**row, "networks": tuple(row["networks"])})


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """Findings as a table, one a row; what else a claim needs stands in the column details."""
    return pd.DataFrame([one.plain() for one in findings])


def known(value: float) -> float | None:
    """A number, or None where there is none."""
    return float(value) if math.isfinite(value) else None


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table for JSON, which has no NaN."""
    plain = table.astype(object).where(table.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return known(value)
    return value.item() if hasattr(value, "item") else value


Claimed = Mapping[tuple[str, str], Finding]
"""Findings by network and group."""


def findings_of(record: Mapping[str, Any]) -> list[Finding]:
    """The findings of results.json, in the order of a report."""
    return [from_plain(row) for row in record.get("findings", ())]


def claimed(record: Mapping[str, Any], claim: str) -> Claimed:
    """The findings of one claim about a group, by the name of each network and the group."""
    return {
        (network, str(one.group)): one
        for one in findings_of(record)
        if one.claim == claim and one.group is not None
        for network in one.networks
    }
