"""What a report shows, computed from the results alone: the verdict, sections, identity."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from audit.findings.networks import network_notes, told_models
from audit.findings.results import Results
from audit.findings.words import counted
from audit.metrics import DEFINITIONS, METRICS, Definition, Metric, definition_of, of_record
from audit.report.beside_dense import faithfulness_table, margin_table
from audit.report.deciders import Decision, decision
from audit.report.discovered import discovered_table
from audit.report.evidence import (
    attribution_table,
    cause_table,
    exemplar_table,
    further_table,
    gap_table,
    layer_curvature_table,
    overall_measures_table,
)
from audit.report.facts import Fact, facts
from audit.report.gallery import strips, whose
from audit.report.predictions import prediction_tables
from audit.report.readable import readable, told_left
from audit.report.scores import own_metric_figures, own_metric_table, score_figures
from audit.report.sections import Section, comparison_sections, spectra, study_sections
from audit.report.tables import Table, eigenvalue_tables, layer_table, network_table, size_table

MOST_NOTES = 200
MOST_SEEDS = 20
"""Seeds that the page lists; of more the first and the last."""


def anchor(term: str) -> str:
    """Where the page defines a term."""
    return "definition-" + re.sub(r"\W+", "-", term.lower()).strip("-")


def defined_as(title: str) -> str | None:
    """Where the page defines what a table's head or title speaks of, if it does."""
    found = definition_of(title)
    return None if found is None else anchor(found.term)


@dataclass(frozen=True)
class View:
    """All that the page shows.

    judged     the networks that the verdict speaks of, by name: the dense ones, those at each
               method's highest rate, and those compared
    measured   the names of all metrics of the results
    """

    title: str
    created: str
    headline: str
    sentences: list[str]
    action: str
    facts: list[Fact]
    reading: str
    sections: list[Section]
    identity: list[tuple[str, str]]
    networks: Table
    settings: str
    judged: frozenset[str]
    measured: frozenset[str]
    decision: Decision
    definitions: Sequence[Definition] = DEFINITIONS


def make_view(results: Results) -> View:
    """Everything on the page, computed from the results alone."""
    results = _of_one_split(results)
    record = results.record
    comparison = record["tables"].get("comparison")
    sections = comparison_sections(results) if comparison else study_sections(results)
    listed = readable(results)
    return View(
        title=_title(record),
        created=record["created"].replace("T", " ").replace("+00:00", " UTC"),
        headline=record["verdict"]["headline"],
        sentences=record["verdict"]["sentences"],
        action=record["verdict"].get("action", ""),
        facts=facts(results),
        reading=_reading(record),
        sections=[
            *sections,
            *_gallery(results),
            _evidence(listed, [*told_left(record), *_notes(record["models"])]),
            _data_section(record),
        ],
        identity=_identity(record),
        networks=network_table(listed.record["models"]),
        settings=json.dumps(record["settings"], indent=1, ensure_ascii=False, default=str),
        judged=frozenset(told_models(record)),
        measured=_measured(results),
        decision=decision(results),
    )


def _measured(results: Results) -> frozenset[str]:
    causes = (row["cause"] for row in results.record["tables"].get("causes") or ())
    overall = (row["metric"] for row in results.record["overall"])
    return frozenset([*results.groups["metric"], *results.layers["metric"], *overall, *causes])


def on_paper(view: View) -> View:
    """The same view as it is printed: tables of evidence cut to the networks judged.

    Hundreds of rows that nobody sorts or filters would bury the rest; the page and the files
    beside it have them all.
    """
    sections = [_section_on_paper(one, view.judged) for one in view.sections]
    return replace(view, sections=sections, definitions=_needed(view.measured))


def _needed(measured: frozenset[str]) -> list[Definition]:
    """The definitions without those that only speak of metrics that were not measured."""
    used, unused = (
        {one.definition.term for name, one in METRICS.items() if (name in measured) == found}
        for found in (True, False)
    )
    return [one for one in DEFINITIONS if one.term in used or one.term not in unused]


def _section_on_paper(section: Section, judged: frozenset[str]) -> Section:
    tables = [_printed(table, judged) for table in section.tables if table.on_paper]
    left = [table.title for table in section.tables if not table.on_paper]
    notes = [f"In report.html alone: {'; '.join(left)}."] if left else []
    return replace(section, tables=tables, notes=[*section.notes, *notes])


def _printed(table: Table, judged: frozenset[str]) -> Table:
    kept = [row for row in table.rows if row.name in judged]
    if not table.folded or not kept or len(kept) == len(table.rows):
        return table
    note = (
        f"{table.note} Printed are {len(kept):,} of {len(table.rows):,} rows, those of the "
        "dense network and of each method at its highest rate; report.html has all."
    )
    return replace(table, rows=kept, note=note.strip())


def _of_one_split(results: Results) -> Results:
    """The rows of one split, test if it is there: two splits are no two seeds."""
    splits = set(results.groups["split"])
    split = "test" if "test" in splits else results.record["overall"][0]["split"]
    overall = [row for row in results.record["overall"] if row["split"] == split]
    groups = results.groups[results.groups["split"] == split]
    return replace(results, groups=groups, record=results.record | {"overall": overall})


def _title(record: dict[str, Any]) -> str:
    data = record["data"]
    compared = record["tables"].get("compared")
    if compared:
        return f"{compared[0]} against {', '.join(compared[1:])}"
    return f"{data['name']}, groups by {data['attribute']}"


def _reading(record: dict[str, Any]) -> str:
    samples = max(row["n"] for row in record["overall"])
    split = record["overall"][0]["split"]
    seeds = len({model["seed"] for model in record["models"]})
    spread = (
        f" {seeds} seeds: numbers are means over seeds, ± their standard deviation."
        if seeds > 1
        else " Numbers in brackets are 95 % intervals over samples; those of what a group pays, in "
        "words and tables, hold for all groups at once and are wider than its own."
    )
    return (
        f"Measured on {counted(samples, f'{split} sample')} in "
        f"{counted(len(record['data']['groups']), 'group')}; "
        f"{counted(len(record['models']), 'network')}.{spread}"
    )


def _gallery(results: Results) -> list[Section]:
    found = strips(results)
    if not found:
        return []
    lead = [
        "Samples that the dense network gets right and the pruned one wrong, for the groups that "
        "lost most: the most confident mistakes first, with what each network says and how sure "
        "it is.",
        *whose(results.record["data"], len(results.gallery)),
    ]
    return [Section("Samples that pruning broke", " ".join(lead), strips=found)]


def _seeds(seeds: Sequence[int]) -> str:
    told = [str(seed) for seed in seeds]
    if len(told) <= MOST_SEEDS:
        return ", ".join(told)
    return f"{', '.join(told[:3])} … {told[-1]}: {len(told):,} in all"


def _notes(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """The notes of all networks, each once; of very many the first, and how many are left."""
    notes = network_notes(models)
    left = len(notes) - MOST_NOTES
    return [*notes[:MOST_NOTES], *([f"{left:,} more notes: results.json"] if left > 0 else [])]


def _evidence(results: Results, notes: list[str]) -> Section:
    record = results.record
    tables = [layer_table(record["models"]), gap_table(record["overall"])]
    if record["tables"].get("causes"):
        tables.append(cause_table(record["tables"]["causes"]))
    tables.append(attribution_table(results.layers, results.groups))
    if record["tables"].get("exemplars"):
        tables.append(exemplar_table(record["tables"]["exemplars"]))
    tables += [
        margin_table(record["tables"].get("boundary", ())),
        faithfulness_table(record["tables"].get("faithfulness", ())),
        discovered_table(record["tables"]),
        *prediction_tables(results),
        own_metric_table(record["tables"].get("own_metric", ())),
    ]
    tables += [
        *eigenvalue_tables(results.groups),
        layer_curvature_table(results.layers),
        further_table(results.groups, _from_elsewhere(record)),
        overall_measures_table(record["overall"]),
    ]
    tables = [table for table in tables if table.rows]
    figures = [
        *spectra(record["models"]),
        *score_figures(results),
        *own_metric_figures(record["tables"].get("own_metric", ())),
    ]
    return Section("Evidence", figures=figures, tables=tables, notes=notes)


def _from_elsewhere(record: dict[str, Any]) -> dict[str, Metric]:
    """The metrics of measures that are not the toolkit's own, as the results keep them."""
    kept = (of_record(one) for model in record["models"] for one in model.get("metrics", ()))
    return {one.name: one for one in kept}


def _data_section(record: dict[str, Any]) -> Section:
    return Section("The data", tables=[size_table(record["data"])], notes=record["data"]["notes"])


def _identity(record: dict[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    spec = ", ".join(f"{key}={value}" for key, value in record["data"]["spec"].items())
    samples = max(row["n"] for row in record["overall"])
    seeds = sorted({model["seed"] for model in record["models"]})
    known = {model["sha256"] for model in record["models"]}
    parents = {model["parent"] for model in record["models"]} - known - {None}
    return [
        ("Command", record["command"] or "made in Python"),
        ("Data", spec or record["data"]["name"]),
        ("Measured", f"{samples:,} samples of the split {record['overall'][0]['split']}"),
        *(("Dense parent", f"SHA-256 {parent}") for parent in sorted(parents)),
        ("Seed" if len(seeds) == 1 else "Seeds", _seeds(seeds)),
        ("Versions", versions),
    ]
