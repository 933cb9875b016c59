"""All that was measured of one network, and the files that keep it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from audit.files import write_atomically

MEASURES_VERSION = 3
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
        self.groups.to_parquet(partial / "groups.parquet")
        self.layers.to_parquet(partial / "layers.parquet")
        self.samples.to_parquet(partial / "samples.parquet")
        record = json.dumps({"overall": self.overall, "model": self.model})
        write_atomically(partial / "model.json", record)
        partial.rename(folder)

    @staticmethod
    def load(folder: Path) -> ModelMeasures:
        """Read what `save` wrote."""
        record = json.loads((folder / "model.json").read_text("utf-8"))
        return ModelMeasures(
            pd.read_parquet(folder / "groups.parquet"),
            pd.read_parquet(folder / "layers.parquet"),
            pd.read_parquet(folder / "samples.parquet"),
            record["overall"],
            record["model"],
        )

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
