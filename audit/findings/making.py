"""Making findings: all that follows from some results, in the order of a report (J1 to J9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from audit.findings.actions import actions, power
from audit.findings.answers import Answers
from audit.findings.changes import changes, fairest
from audit.findings.discovered import discovered
from audit.findings.evidence import Evidence, make_evidence
from audit.findings.finding import Finding
from audit.findings.losses import losses
from audit.findings.missing import copies, left_out, missing_networks, without_value
from audit.findings.otherwise import lost_otherwise
from audit.findings.outcomes import Outcomes
from audit.findings.pays import better, onsets, suspected, who_pays
from audit.findings.predicted import beyond_chance, collapses, levelling_down
from audit.findings.reasons import boundaries, causes, faithful, layers
from audit.findings.sentences import make_verdict


def make_findings(
    groups: pd.DataFrame,
    samples: pd.DataFrame | Answers,
    layer_table: pd.DataFrame,
    record: Mapping[str, Any],
) -> list[Finding]:
    """All that is claimed of some results, and all that was looked for and not found.

    groups, samples, layer_table, record   as `Results` holds them; without samples, what needs
    them is left out.
    """
    return findings_from(make_evidence(groups, samples, layer_table, record))


def conclude(
    groups: pd.DataFrame,
    samples: pd.DataFrame | Answers,
    layer_table: pd.DataFrame,
    record: Mapping[str, Any],
    outcomes: Outcomes | None = None,
) -> dict[str, Any]:
    """`findings` and their `verdict` in words, plain, as results.json holds them (J7).

    outcomes   of the samples, where they were made before
    """
    evidence = make_evidence(groups, samples, layer_table, record, outcomes)
    found = findings_from(evidence)
    verdict = make_verdict(found, evidence.baseline, evidence.compared)
    return {"findings": [one.plain() for one in found], "verdict": verdict.plain()}


def findings_from(evidence: Evidence) -> list[Finding]:
    """All that follows from evidence, in the order of a report."""
    found = who_pays(evidence)
    found += suspected(evidence)
    found += lost_otherwise(evidence, found)
    found += losses(evidence, found)
    found += better(evidence)
    found += copies(evidence)
    found += onsets(evidence, found)
    found += beyond_chance(evidence)
    found += levelling_down(evidence)
    found += collapses(evidence)
    found += changes(evidence)
    found += fairest(evidence, found)
    found += boundaries(evidence, found)
    found += faithful(evidence)
    found += causes(evidence, found)
    found += layers(evidence, found)
    found += power(evidence, found)
    found += discovered(evidence)
    found += left_out(evidence)
    found += without_value(evidence)
    found += missing_networks(evidence)
    found += actions(evidence, found)
    return found
