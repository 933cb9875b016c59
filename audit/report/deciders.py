"""The page for people who decide: what the audit can and cannot show, and lines to sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from audit.findings.finding import Finding, findings_of
from audit.findings.networks import shown_models
from audit.findings.results import Results
from audit.findings.selection import impact_ratios
from audit.findings.words import DASH, counted, interval, listed, named, number, percent, points
from audit.report.tables import Cell, Table, TableRow

GAP = "excess_accuracy_gap"
MOST_NAMED = 6
FOUR_FIFTHS = 0.8
SIGNED = ("Decision", "Conditions", "To be audited again by", "Name and role", "Date and signature")
"""The lines that are filled in by hand."""


@dataclass(frozen=True)
class Decision:
    """What a person who decides should read and sign; every text is a sentence or a label.

    shows, hides   what the audit can and what it cannot show
    use            what it is meant for, and what not
    rule           by what rule a group is said to pay
    tables         adjusted p-values, and selection rates with impact ratios where there are two
                   classes
    """

    shows: list[str]
    hides: list[str]
    use: list[str]
    rule: str
    tables: list[Table]
    lines: tuple[str, ...] = SIGNED


def decision(results: Results) -> Decision:
    """That page of some results."""
    record = results.record
    found = findings_of(record)
    tables = [pays_table(found, record), *impact_tables(record)]
    return Decision(
        _shows(record, found),
        _hides(results, found),
        _use(record),
        rule(found),
        [table for table in tables if table.rows],
    )


def rule(found: Sequence[Finding]) -> str:
    """The rule by which a group is said to pay, with the number of groups that it allows for."""
    judged = {one.details["groups_judged"] for one in found if "groups_judged" in one.details}
    groups = f"the {judged.pop()} groups" if len(judged) == 1 else "all groups"
    return (
        f"A group is said to pay where its interval lies wholly above zero. Whoever looks at many "
        f"groups will see some fall behind by luck; so the interval is made wide enough for "
        f"{groups} of a network at once, and the adjusted p-value is the plain one times their "
        "number. It is at most 0.05 where, if pruning harmed nobody, so large a gap of any group "
        "would be seen in at most one audit in twenty. A larger p-value does not show that a group "
        "is unharmed. Over several networks and rates no further adjustment is made."
    )


def _shows(record: Mapping[str, Any], found: Sequence[Finding]) -> list[str]:
    n = max(row["n"] for row in record["overall"])
    split = record["overall"][0]["split"]
    said = [
        f"Whether taking weights away cost some group by {record['data']['attribute']} more "
        f"accuracy than all samples together, on these {n:,} {split} samples of "
        f"{record['data']['name']}, and how sure that is.",
    ]
    seen = [one.details.get("detectable") for one in found if one.claim == "pays"]
    known = [value for value in seen if value is not None]
    if known:
        reach = f"{points(min(known))} to {points(max(known))} points of accuracy"
        if max(known) >= 1:
            reach = f"at least {points(min(known))} points of accuracy, and for some groups none"
        said.append(
            f"Harm of {reach}, by group and network, would have been found four times in five; "
            "smaller harm may well be missed."
        )
    return said


def _hides(results: Results, found: Sequence[Finding]) -> list[str]:
    record, rows = results.record, results.groups
    flags = rows.astype({"group": str}).drop_duplicates("group").set_index("group")["flag"]
    said = [
        "Whether the dense network is fair, the labels are right, or a network should decide this "
        "at all: networks are compared with the dense one.",
        f"Other people, places and times than those of the samples, and groups that "
        f"{record['data']['attribute']} does not tell apart.",
    ]
    small = [named(name) for name, flag in flags.items() if flag]
    if small:
        said.append(
            f"Whether {'group' if len(small) == 1 else 'any of the groups'} {_some(small)} pays: "
            "too few samples for a verdict, which is no all-clear."
        )
    redacted = record.get("redacted") or {}
    if redacted.get("groups"):
        said.append(
            f"{redacted['groups']} groups of few samples, which are not shown: "
            + (
                f"{redacted['found_to_pay']} of them were found to pay."
                if redacted["found_to_pay"]
                else "that no harm is shown of them is no all-clear."
            )
        )
    if record.get("missing"):
        said.append(
            f"Anything of {counted(len(record['missing']), 'network')} that could not be made."
        )
    if not any(one.claim == "pays" and one.decision is not None for one in found):
        said.append("Who pays for the pruning: nothing here decides it, which is no all-clear.")
    return said


def _use(record: Mapping[str, Any]) -> list[str]:
    said = [
        "To choose among pruned versions of a network, to send one back, and to say why.",
        "It is no certificate of fairness and no legal opinion. The samples must be like the "
        "people whom the network will meet; who decides should know how they were collected.",
    ]
    if len(record["data"]["classes"]) == 2:
        said.append(
            "Selection rates and impact ratios are reckoned as New York City's Local Law 144 "
            "defines them; its bias audit also needs an independent auditor, the categories of sex "
            "and of race or ethnicity, each and crossed, and data of the tool's own use."
        )
    return said


def pays_table(found: Sequence[Finding], record: Mapping[str, Any]) -> Table:
    """Every group under the networks judged: what it lost beyond the average, and how sure.

    Of other rates, the groups that pay.
    """
    shown = set(shown_models(record))
    own = [one for one in found if one.claim == "pays" and one.group is not None]
    rows = [
        TableRow(
            f"{one.label}, {percent(one.rate)}" if one.rate else one.label,
            [
                Cell(named(one.group), style="text"),
                Cell(f"{one.n or 0:,}"),
                Cell(
                    number(one.estimate, GAP),
                    interval(one.low, one.high, GAP),
                    "worse" if one.decision else "",
                ),
                Cell(_p_value(one.p_adjusted)),
                Cell("yes" if one.decision else "not found", style="text"),
            ],
        )
        for one in own
        if one.decision or shown & set(one.networks)
    ]
    columns = ["network", "group", "n", "excess accuracy gap (points)", "adjusted p", "pays"]
    return Table("Who pays, with adjusted p-values", columns, rows)


def _p_value(p: float | None) -> str:
    return DASH if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def impact_tables(record: Mapping[str, Any]) -> list[Table]:
    """Selection rates and impact ratios, for two classes; nothing else is one selection."""
    rates = pd.DataFrame(record["tables"].get("rates", []))
    if len(record["data"]["classes"]) != 2 or rates.empty:
        return []
    rows = []
    for model, own in rates.groupby("model", sort=False):
        rows += [_impact_row(str(model), row) for row in impact_ratios(own).to_dict("records")]
    selected, other = record["data"]["classes"][1], record["data"]["classes"][0]
    note = (
        f"Selected means: predicted {named(selected)}, and not {named(other)}. The selection rate "
        "is the share of a group that is selected; its impact ratio is that rate divided by the "
        "rate of the most selected group, as Local Law 144 defines both (6 RCNY § 5-300). Which of "
        "the two is the better one to be given, the audit does not know. Intervals of rates are "
        "95 % (Wilson's); those of ratios hold for all groups of a network at once. The law names "
        f"no ratio that is enough; ratios below {FOUR_FIFTHS} (the four-fifths rule of US "
        "employment guidelines) are coloured, and one above it is no proof of fairness. Groups "
        "below the minimum size have no ratio and are not taken for the most selected."
    )
    columns = ["network", "group", "n", "selected", "selection rate", "impact ratio"]
    return [Table("Selection rates and impact ratios", columns, rows, note)]


def _impact_row(model: str, row: Mapping[Any, Any]) -> TableRow:
    low = row["ratio"] < FOUR_FIFTHS
    ratio = "1 (most selected)" if row["most"] else DASH if pd.isna(row["ratio"]) else ""
    between = ""
    if not ratio:
        ratio = f"{row['ratio']:.2f}"
        between = f"[{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
    cells = [
        Cell(named(row["group"]), style="text"),
        Cell(f"{row['n']:,}"),
        Cell(f"{row['selected']:,}"),
        Cell(
            number(row["rate"], "accuracy"),
            interval(row["rate_low"], row["rate_high"], "accuracy"),
        ),
        Cell(ratio, between, "worse" if low else ""),
    ]
    return TableRow(model, cells, str(row["flag"]))


def _some(names: Sequence[str]) -> str:
    """Names, the first few of many."""
    if len(names) <= MOST_NAMED:
        return listed(names)
    return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more groups"
