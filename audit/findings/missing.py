"""What a study lacks, said wherever it says anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_NAMED = 5


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
    return {
        **verdict,
        "headline": f"{verdict['headline']} Incomplete: {count}.",
        "sentences": [
            f"{count}, and nothing here is said of them: {_named(missing)}.",
            *verdict["sentences"],
        ],
    }


def _named(missing: Mapping[str, str]) -> str:
    told = [f"{name} ({reason.rstrip('.')})" for name, reason in list(missing.items())[:MOST_NAMED]]
    more = len(missing) - len(told)
    return "; ".join(told) + (f"; and {more} more, listed in results.json" if more else "")
