"""Results without groups of few people: what is written names none of them, and says so.

Dropping a group must neither hide that it was dropped nor turn what was found of it into an
all-clear: how many groups are not shown, and whether any of them was found to pay, is part of the
verdict.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from audit.errors import AuditError
from audit.findings.evidence import make_evidence
from audit.findings.finding import findings_of
from audit.findings.making import make_findings
from audit.findings.pays import pays
from audit.findings.results import Results
from audit.findings.sentences import make_verdict
from audit.findings.thresholds import Judgement

HIDDEN = "(not shown)"
"""In place of the name of a group that is not shown."""
TRAINED_WITH = ("history", "readings", "passes")
"""Settings of a network that hold numbers by group."""


@dataclass(frozen=True)
class Hidden:
    """The groups that are not shown, and why.

    under     they have fewer samples than that
    names     in declared order; one alone could be reckoned from the rest, so that the next
              smallest then stands beside it; then those that were discovered (M16)
    paying    how many of them were found to pay under some network
    networks  the networks under which one of them was
    """

    under: int
    names: tuple[str, ...]
    paying: int = 0
    networks: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """For results.json: no names of groups."""
        return {
            "under": self.under,
            "groups": len(self.names),
            "found_to_pay": self.paying,
            "networks": list(self.networks),
        }


def hidden_groups(results: Results, under: int) -> Hidden:
    """The groups with fewer measured samples than `under`.

    Raises AuditError where fewer than two groups would be left to show.
    """
    if under < 1:
        raise AuditError(f"found {under} as the least size of a group; expected at least 1")
    order = [str(name) for name in results.groups["group"].cat.categories]
    rows = results.groups.astype({"group": str}).groupby("group")["n"].max()
    sizes = {name: int(rows.get(name, 0)) for name in order}
    small = [name for name in order if sizes[name] < under]
    if len(small) == 1:
        rest = [name for name in order if name not in small]
        small.append(min(rest, key=lambda name: sizes[name]))
    if small and len(order) - len(small) < 2:
        raise AuditError(
            f"{len(small)} of {len(order)} groups have fewer than {under} samples, or stand beside "
            "the only one that has; fewer than two would be left to show: merge groups, or lower N"
        )
    rows_found = results.record["tables"].get("discovered") or ()
    crossed = [str(row["group"]) for row in rows_found if row["n"] < under]
    names = (*(name for name in order if name in small), *dict.fromkeys(crossed))
    found = findings_of(results.record)
    crossing = [one for one in found if one.claim == "discovered" and one.decision]
    fell = [one for one in found if one.claim in ("suspected", "lost_otherwise") and one.decision]
    paying = [one for one in (*filter(pays, found), *fell, *crossing) if one.group in names]
    networks = dict.fromkeys(network for one in paying for network in one.networks)
    return Hidden(under, names, len({one.group for one in paying}), tuple(networks))


def redacted(results: Results, under: int) -> Results:
    """The results without what is known of groups of fewer than `under` samples.

    Their rows leave every table, their samples and pictures too; the other groups keep their
    numbers. Findings are made anew with those groups set aside, and the verdict says how many are
    not shown and whether any of them was found to pay. What names them in notes is left out, and
    so are numbers of a gap between groups of which one is not shown.
    """
    hidden = hidden_groups(results, under)
    if not hidden.names:
        return replace(results, record=results.record | {"redacted": hidden.plain()})
    record = _record(results.record, hidden)
    record |= _concluded(results, record, hidden)
    kept = _Kept(hidden.names)
    groups = kept.rows(results.groups)
    order = groups["group"].cat.categories
    groups["group"] = groups["group"].cat.set_categories(
        order.difference(list(hidden.names), sort=False)
    )
    return Results(
        groups,
        results.answers.only(kept.rows),
        record | {"redacted": hidden.plain()},
        kept.rows(results.layers),
        kept.rows(results.gallery),
    )


def redacted_judgement(one: Judgement, hidden: Hidden) -> Judgement:
    """A judgement that stands as it is, but names no group that is not shown, nor its number."""
    note = _without_names(one.note, hidden.names)
    if one.group not in hidden.names:
        return replace(one, note=note)
    nan = math.nan
    return replace(one, group=HIDDEN, value=nan, ci_low=nan, ci_high=nan, note=note)


@dataclass(frozen=True)
class _Kept:
    """What is kept of tables."""

    names: Sequence[str]

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        if "group" not in table:
            return table
        return table[~table["group"].astype(str).isin(self.names)].reset_index(drop=True)


def _concluded(results: Results, record: Mapping[str, Any], hidden: Hidden) -> dict[str, Any]:
    """Findings and verdict with the hidden groups set aside, as too small for a verdict."""
    aside = results.groups["group"].astype(str).isin(hidden.names)
    groups = results.groups.assign(flag=results.groups["flag"].mask(aside, "small"))
    evidence = make_evidence(groups, results.answers, results.layers, results.record)
    made = make_findings(groups, results.answers, results.layers, results.record)
    found = [
        replace(one, details=_clean(dict(one.details), hidden.names))
        for one in made
        # No advice where one of these pays: it would be given without them.
        if one.group not in hidden.names and not (hidden.paying and one.claim == "action")
    ]
    verdict = make_verdict(found, evidence.baseline, evidence.compared).plain()
    return {"findings": [one.plain() for one in found], "verdict": _told(verdict, hidden)}


def _told(verdict: Mapping[str, Any], hidden: Hidden) -> dict[str, Any]:
    """The verdict, which says first what is not shown; no advice where one of these pays."""
    count = f"{len(hidden.names)} groups under {hidden.under} samples, or beside the only such one,"
    said = f"{count} are not shown, and nothing else here speaks of them."
    if not hidden.paying:
        headline = f"{verdict['headline']} {len(hidden.names)} groups are not shown."
        return {**verdict, "headline": headline, "sentences": [said, *verdict["sentences"]]}
    pay = "one of them was" if hidden.paying == 1 else f"{hidden.paying} of them were"
    return {
        **verdict,
        "headline": f"Among groups that are not shown, {pay} found to pay for the pruning. "
        f"Of the others: {verdict['headline']}",
        "sentences": [said, *verdict["sentences"]],
        "action": "Look at the results with all groups before any of these networks is taken: "
        f"among those that are not shown, {pay} found to pay.",
    }


def _record(record: Mapping[str, Any], hidden: Hidden) -> dict[str, Any]:
    names = hidden.names
    found: dict[str, Any] = _clean(dict(record), names)
    found["data"] = {
        **record["data"],
        "spec": _in_text(record["data"]["spec"], names),
        "groups": [
            {key: _blank(value, hidden.under) for key, value in row.items()}
            for row in record["data"]["groups"]
            if str(row["group"]) not in names
        ],
        "notes": _notes(record["data"]["notes"], names),
    }
    found["overall"] = [_overall(row, names) for row in record["overall"]]
    found["models"] = [_model(model, names) for model in record["models"]]
    found["tables"] = {name: _table(value, names) for name, value in record["tables"].items()}
    found["command"] = _in_text(record["command"], names)
    found["settings"] = _in_text(found["settings"], names)
    return found


def _blank(value: Any, under: int) -> Any:
    """A count of a split below the bound is not told either."""
    return None if isinstance(value, int) and value < under else value


def _overall(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A number over all samples; none of a gap that a hidden group is an end of."""
    ends = {str(row[key]) for key in ("group", "lowest_group") if row.get(key) is not None}
    without = [name for name in row.get("without") or () if str(name) not in names]
    found = {**row, **({"without": without} if "without" in row else {})}
    if not ends & set(names):
        return found
    blank = ("value", "ci_low", "ci_high", "corrected")
    named = {key: None for key in ("group", "lowest_group") if key in row}
    return found | {key: None for key in blank if key in row} | named


def _model(model: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    settings = {k: v for k, v in model["settings"].items() if k not in TRAINED_WITH}
    found: dict[str, Any] = _clean(dict(model), names)
    return found | {
        "settings": _clean(settings, names),
        "notes": _notes(model["notes"], names),
    }


def _table(value: Any, names: Sequence[str]) -> Any:
    if not isinstance(value, list):
        return value
    return [
        _clean(row, names)
        for row in value
        if not (isinstance(row, dict) and str(row.get("group")) in names)
    ]


def _notes(notes: Sequence[str], names: Sequence[str]) -> list[str]:
    """Notes that name none of the groups."""
    kept = [note for note in notes if _without_names(note, names) == note]
    left = len(notes) - len(kept)
    said = [f"{left} notes speak of groups that are not shown, and are left out."] if left else []
    return [*kept, *said]


def _without_names(text: str, names: Sequence[str]) -> str:
    """The text with the names replaced, where they stand as words of their own."""
    for name in sorted(filter(None, names), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", HIDDEN, text)
    return text


def _in_text(value: Any, names: Sequence[str]) -> Any:
    """Settings and commands may name groups inside of a text, such as names:SEX=1:male,2:female."""
    if isinstance(value, Mapping):
        return {key: _in_text(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_text(item, names) for item in value]
    if not isinstance(value, str):
        return value
    for name in sorted(filter(None, names), key=len, reverse=True):
        # A digit of a number is no name.
        value = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", HIDDEN, value)
    return value


def _clean(value: Any, names: Sequence[str]) -> Any:
    """Values by key 'group…' that name a hidden group are replaced, lists and keys go without."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if _names_one(key, item, names) else _clean(item, names)
            for key, item in value.items()
            if not (key in names and not isinstance(item, str))
        }
    if isinstance(value, list | tuple):
        return [_clean(item, names) for item in value if not _in(item, names)]
    return value


def _names_one(key: object, item: object, names: Sequence[str]) -> bool:
    return "group" in str(key) and isinstance(item, str) and item in names


def _in(item: object, names: Sequence[str]) -> bool:
    return isinstance(item, str) and item in names
