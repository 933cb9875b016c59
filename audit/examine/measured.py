"""All that was measured of one network, and the files that keep it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from audit.errors import AuditError
from audit.files import sha256, write_atomically

MEASURES_VERSION = 4
"""Raised where what is measured changes, so that no study keeps measures of earlier code."""
TABLES = ("groups", "layers", "samples")


@dataclass(frozen=True)
class ModelMeasures:
    """All that was measured of one model.

    groups, layers and samples are the model's rows of the tables of those names, `overall` its rows
    of results.json's overall, `model` its entry among results.json's models. `answered` are the
    samples, or the file that they are read from. `tables` has the model's rows of those tables of
    results.json that follow from it alone, where they were made with it.
    """

    groups: pd.DataFrame
    layers: pd.DataFrame
    answered: pd.DataFrame | Path
    overall: list[dict[str, Any]]
    model: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def samples(self) -> pd.DataFrame:
        """The samples, read where they are in a file."""
        if isinstance(self.answered, Path):
            return pd.read_parquet(self.answered)
        return self.answered

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
            "tables": self.tables,
            "sha256": {name: sha256(partial / f"{name}.parquet") for name in tables},
        }
        write_atomically(partial / "model.json", json.dumps(record))
        partial.rename(folder)

    @staticmethod
    def load(folder: Path) -> ModelMeasures:
        """Read what `save` wrote; AuditError where a part is missing or damaged."""
        read_whole(folder)
        return ModelMeasures.read(folder)

    @staticmethod
    def read(folder: Path) -> ModelMeasures:
        """`load` of a folder that was found whole: its samples stay in their file."""
        try:
            record = json.loads((folder / "model.json").read_text("utf-8"))
            groups, layers = (
                pq.ParquetFile(pa.BufferReader((folder / f"{name}.parquet").read_bytes())).read()
                for name in ("groups", "layers")
            )
            return ModelMeasures(
                groups.to_pandas(),
                layers.to_pandas(),
                folder / "samples.parquet",
                record["overall"],
                record["model"],
                record.get("tables", {}),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(folder, error) from error

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


def read_whole(folder: Path) -> dict[str, Any]:
    """What is kept of a network, once its tables have the digests that they were written with.

    Raises AuditError where a part is missing or damaged.
    """
    try:
        record: dict[str, Any] = json.loads((folder / "model.json").read_text("utf-8"))
        digests = record["sha256"]
        if set(digests) != set(TABLES) or not {"overall", "model"} <= set(record):
            raise ValueError(f"found the tables {sorted(digests)}; expected {sorted(TABLES)}")
        for name, digest in digests.items():
            if sha256(folder / f"{name}.parquet") != digest:
                raise AuditError(f"'{folder / name}.parquet' is damaged: another SHA-256")
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> AuditError:
    cause = " ".join(str(error).split())
    return AuditError(f"the measures in '{folder}' cannot be read: {cause}")
