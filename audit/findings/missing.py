"""What is not known: groups that are not judged, samples without a group, networks not made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audit.findings.evidence import Evidence
from audit.findings.finding import Finding
from audit.findings.words import MISSING

MOST_NAMED = 5


def left_out(evidence: Evidence) -> list[Finding]:
    """The groups too small for a verdict, and those absent from what was measured."""
    flags = evidence.groups.loc[evidence.groups["flag"] != "", ["group", "flag"]]
    return [
        Finding(
            "left_out",
            True,
            attribute=evidence.attribute,
            group=str(row["group"]),
            n=evidence.sizes[str(row["group"])],
            details={"flag": str(row["flag"])},
        )
        for row in flags.drop_duplicates("group").to_dict("records")
    ]


def without_value(evidence: Evidence) -> list[Finding]:
    """The groups of samples whose attribute, or a part of it, is not known.

    Whoever is harmed may be among them: what is said of the other groups is not said of these.
    """
    return [
        Finding(
            "without_value",
            True,
            attribute=evidence.attribute,
            group=name,
            n=evidence.sizes[name],
        )
        for name in evidence.names
        if MISSING in name.split(" × ") and evidence.sizes[name]
    ]


def copies(evidence: Evidence) -> list[Finding]:
    """The networks of a comparison that are the dense one: nothing was compared with it.

    No prunable weight of theirs is zero, and they give its outputs to the last digit.
    """
    named = evidence.compared[1:]
    return [
        Finding("copy", True, **evidence.of(cell))
        for cell in evidence.cells
        if cell.dense and cell.label in named
    ]


def missing_networks(evidence: Evidence) -> list[Finding]:
    """The networks of a study that could not be made, each with its reason; nothing is known."""
    return [
        Finding(
            "missing",
            None,
            label=str(row["model"]),
            networks=(str(row["model"]),),
            attribute=evidence.attribute,
            details={"reason": str(row["reason"])},
        )
        for row in evidence.record.get("missing") or ()
    ]


def with_missing(
    verdict: Mapping[str, Any], missing: Mapping[str, str], planned: int
) -> dict[str, Any]:
    """The verdict of a study some of whose networks are missing, which it says first.

    `missing` gives the reason by the name of the network.
    """
    if not missing:
        return dict(verdict)
    networks = "network is" if planned == 1 else "networks are"
    count = f"{len(missing)} of {planned} {networks} missing"
    action = str(verdict.get("action", ""))
    return {
        **verdict,
        "headline": f"{verdict['headline']} Incomplete: {count}.",
        "sentences": [
            f"{count}, and nothing here is said of them: {_named(missing)}.",
            *verdict["sentences"],
        ],
        "action": f"{action} Incomplete: {count}, and may change this." if action else "",
    }


def _named(missing: Mapping[str, str]) -> str:
    told = [f"{name} ({reason.rstrip('.')})" for name, reason in list(missing.items())[:MOST_NAMED]]
    more = len(missing) - len(told)
    return "; ".join(told) + (f"; and {more} more, listed in results.json" if more else "")
