"""All that was measured of one network, and the files that keep it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from audit.errors import AuditError
from audit.files import sha256, write_atomically

MEASURES_VERSION = 4
"""Raised where what is measured changes, so that no study keeps measures of earlier code."""


@dataclass(frozen=True)
class ModelMeasures:
    """All that was measured of one model.

    groups, layers and samples are the model's rows of the tables of those names, `overall` its rows
    of results.json's overall, `model` its entry among results.json's models.
    """

    groups: pd.DataFrame
    layers: pd.DataFrame
    samples: pd.DataFrame
    overall: list[dict[str, Any]]
    model: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write to a folder, which appears only when it is whole."""
        partial = folder.with_name(f".{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        tables = {"groups": self.groups, "layers": self.layers, "samples": self.samples}
        for name, table in tables.items():
            table.to_parquet(partial / f"{name}.parquet")
        record = {
            "overall": self.overall,
            "model": self.model,
            "sha256": {name: sha256(partial / f"{name}.parquet") for name in tables},
        }
        write_atomically(partial / "model.json", json.dumps(record))
        partial.rename(folder)

    @staticmethod
    def load(folder: Path) -> ModelMeasures:
        """Read what `save` wrote; AuditError where a part is missing or damaged."""
        try:
            record = json.loads((folder / "model.json").read_text("utf-8"))
            for name, digest in record["sha256"].items():
                if sha256(folder / f"{name}.parquet") != digest:
                    raise AuditError(f"'{folder / name}.parquet' is damaged: another SHA-256")
            groups, layers, samples = (
                pd.read_parquet(folder / f"{name}.parquet")
                for name in ("groups", "layers", "samples")
            )
            return ModelMeasures(groups, layers, samples, record["overall"], record["model"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            cause = " ".join(str(error).split())
            raise AuditError(f"the measures in '{folder}' cannot be read: {cause}") from error

    def with_file(self, file: str, digest: str) -> ModelMeasures:
        """The same measures, naming the checkpoint file that they are of."""
        return replace(self, model=self.model | {"file": file, "sha256": digest})

    def with_method(self, title: str) -> ModelMeasures:
        """The same measures, their method called otherwise."""
        return replace(
            self,
            groups=self.groups.assign(method=title),
            layers=self.layers.assign(method=pd.array([title] * len(self.layers), "string")),
            model=self.model | {"method": title},
        )
