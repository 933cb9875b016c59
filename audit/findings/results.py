"""Tidy results: everything that a report shows is computed from these."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from audit import display
from audit.columns import LAYER_COLUMNS
from audit.errors import AuditError
from audit.files import remove, replacing, sha256, write_atomically
from audit.findings.answers import Answers
from audit.findings.finding import findings_of, findings_table
from audit.findings.making import conclude
from audit.findings.summary import summary

SCHEMA_VERSION = 4
OLDEST = 3
"""Results from this version on are read; findings are made anew for those that had none."""
GALLERY = "gallery.parquet"
TABLES = ("groups.parquet", "layers.parquet", "samples.parquet", GALLERY)
MOST_PIXELS = 48
"""The longer side of a picture in the gallery."""


@dataclass(frozen=True)
class Results:
    """What a study or a comparison found.

    groups    one row per model × split × group × metric (GROUP_COLUMNS); `group` is categorical in
              declared order; residual, error, products, converged and space belong to eigenvalues;
              p_value is Holm-adjusted over the groups; flag is "", "small" or "absent"; note says
              why a measure that failed has no value
    layers    one row per model × group × layer × metric (LAYER_COLUMNS): the Taylor terms of every
              layer, and its own block's eigenvalues where they were asked for
    answers   the samples of every network, one network's at a time: read when asked for, where
              they are too many to be held in memory
    samples   the same in one table: one row per model × sample (SAMPLE_COLUMNS), its `unit` where
              it was declared, what the dense parent of a pruned network said (DENSE_COLUMNS), where
              they were asked for the probabilities of the classes (`score_` and the class), then
              each sample's part of the metrics of the whole network (gradient_norm, input_distance,
              hessian_max_eigenvalue, …): its mean over a group is the group's value; NaN where the
              sample was not chosen for it
    gallery   one row per picture of a sample that pruning broke, where they were asked for
    record    the content of results.json: schema_version, created, command, settings, versions,
              data, models, findings, verdict, overall, tables
    """

    groups: pd.DataFrame
    answers: Answers
    record: dict[str, Any]
    layers: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(LAYER_COLUMNS)))
    gallery: pd.DataFrame = field(default_factory=pd.DataFrame)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """All samples of all networks in one table, which has to fit into memory."""
        return self.answers.together()

    def save(self, folder: Path | str) -> None:
        """Write the tables as parquet and results.json, each whole or not at all.

        results.json comes last and names the digests of the tables, so that those of another run
        are never taken for its own. Pictures of an earlier run in the same folder are removed.
        """
        folder = Path(folder)
        tables = {"groups": self.groups, "layers": self.layers}
        if self.gallery.empty:
            remove(folder / GALLERY)
        else:
            tables["gallery"] = self.gallery
        for name, table in tables.items():
            with replacing(folder / f"{name}.parquet") as temporary:
                table.to_parquet(temporary, index=False)
        with replacing(folder / "samples.parquet") as temporary:
            self.answers.save(temporary)
        names = [*tables, "samples"]
        files = {f"{name}.parquet": sha256(folder / f"{name}.parquet") for name in names}
        write_atomically(folder / "results.json", _text(self.record | {"files": files}))

    @property
    def findings(self) -> pd.DataFrame:
        """What follows from the numbers, one claim a row, negative ones too (J7)."""
        return findings_table(findings_of(self.record))

    def log_to(self, tracker: str, name: str | None = None) -> str:
        """Log numbers, findings, report and tables as a run of 'mlflow' or 'wandb'; say where.

        Samples and gallery, which are of single persons, are not sent. The tracker is imported
        here and nowhere else (`audit.report.trackers`). Raises AuditError where it is missing.
        """
        # By name, since reports know results and results know no reports.
        place: str = import_module("audit.report.trackers").log_results(self, tracker, name)
        return place

    def to_json(self) -> str:
        """The record as JSON text."""
        return _text(self.record)

    def __repr__(self) -> str:
        return f"Results({self.record['verdict']['headline']!r})"

    def _repr_html_(self) -> str:
        """The verdict and one small table, for a notebook."""
        verdict = self.record["verdict"]
        found = display.sentences(verdict["sentences"])
        action = display.paragraph(verdict.get("action", ""))
        return display.panel(
            verdict["headline"], found, action, display.table(summary(self.record))
        )


def load_results(folder: Path | str) -> Results:
    """Read what `save` wrote; AuditError where a file is missing, damaged or of another version."""
    folder = Path(folder)
    for name in ("results.json", "groups.parquet", "layers.parquet", "samples.parquet"):
        if not (folder / name).is_file():
            raise AuditError(f"'{folder / name}' is missing; expected a folder of results")
    try:
        record = json.loads((folder / "results.json").read_text("utf-8"))
        _check_version(record, folder)
        files = _checked_files(record, folder)
        groups = pd.read_parquet(folder / "groups.parquet")
        layers = pd.read_parquet(folder / "layers.parquet")
        answers = Answers.stored(folder / "samples.parquet").held()
        pictured = GALLERY in files if files else (folder / GALLERY).is_file()
        gallery = pd.read_parquet(folder / GALLERY) if pictured else pd.DataFrame()
    except (ValueError, OSError) as error:
        cause = " ".join(str(error).split())
        raise AuditError(f"the results in '{folder}' cannot be read: {cause}") from error
    if "findings" not in record:
        record |= conclude(groups, answers, layers, record) | {"schema_version": SCHEMA_VERSION}
    return Results(groups, answers, record, layers, gallery)


def _text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _checked_files(record: dict[str, Any], folder: Path) -> dict[str, str]:
    """Takes the digests of the tables out of the record; AuditError where one is another's."""
    files: dict[str, str] = dict(record.pop("files", {}))
    for name, digest in files.items():
        if name not in TABLES or sha256(folder / name) != digest:
            raise AuditError(
                f"the results in '{folder}' cannot be read: '{name}' is not the table that "
                "results.json was written with; run it again"
            )
    return files


def _check_version(record: Any, folder: Path) -> None:
    found = record.get("schema_version") if isinstance(record, dict) else None
    if not isinstance(found, int) or not OLDEST <= found <= SCHEMA_VERSION:
        raise AuditError(
            f"'{folder}' has results of version {found}; expected {OLDEST} to {SCHEMA_VERSION}: "
            "run the study again"
        )


def broken(samples: pd.DataFrame) -> pd.Series:
    """Whether a row's sample is right under the dense network and wrong under the pruned one."""
    right_before = samples["dense_prediction"] == samples["label"]
    found: pd.Series = right_before & (samples["prediction"] != samples["label"])
    return found
