"""What every network answered, sample by sample: one network's at a time, from memory or files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audit.errors import AuditError

HELD_ROWS = 1_000_000
"""Samples of all networks up to which they are held in memory, some 200 MiB."""


@dataclass(frozen=True)
class Stored:
    """The samples of a network in a parquet file, alone or with those of others, as it is now.

    changed   when the file was last written, in nanoseconds
    """

    path: Path
    rows: int
    changed: int

    @staticmethod
    def at(path: Path) -> Stored:
        """What a file holds; ValueError or OSError where it is none."""
        return Stored(path, pq.read_metadata(path).num_rows, path.stat().st_mtime_ns)


@dataclass(frozen=True)
class Answers:
    """The samples of several networks; those in files are read when they are asked for.

    parts   by name of the network, in order: its samples, or the file that holds them

    A study of thousands of networks has more samples than memory holds at once: what goes over all
    of them takes `tables`, one network after the other.

    >>> answers = Answers.of(pd.DataFrame({"model": ["a", "a", "b"], "prediction": list("011")}))
    >>> [(name, len(own)) for name, own in answers.tables()]
    [('a', 2), ('b', 1)]
    """

    parts: Mapping[str, pd.DataFrame | Stored]

    @staticmethod
    def of(samples: pd.DataFrame | Answers) -> Answers:
        """Those of a table in memory, whose column `model` names the network."""
        if isinstance(samples, Answers):
            return samples
        if samples.empty:
            return Answers({})
        parts = samples.groupby("model", sort=False, observed=True)
        return Answers({str(name): own for name, own in parts})

    @staticmethod
    def stored(path: Path) -> Answers:
        """Those of a file that `save` wrote, or any parquet file with a column `model`."""
        file = Stored.at(path)
        if "model" not in pq.read_schema(path).names:
            return Answers({})
        return Answers(dict.fromkeys(_names(path), file))

    def held(self) -> Answers:
        """The same, in memory where that is not too much: whatever becomes of the files."""
        files = {part for part in self.parts.values() if isinstance(part, Stored)}
        if sum(file.rows for file in files) > HELD_ROWS:
            return self
        return Answers(dict(self.tables()))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of any network, in the order in which they first appear."""
        return tuple(dict.fromkeys(name for schema in self._schemas() for name in schema.names))

    def network(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The samples of one network, or some columns of them: those that it has."""
        part = self.parts[name]
        if isinstance(part, pd.DataFrame):
            return part if columns is None else part[[c for c in columns if c in part]]
        table: pd.DataFrame = _read(part, name, columns).to_pandas()
        return table

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pd.DataFrame]]:
        """Every network with its samples, in order."""
        for name in self.parts:
            yield name, self.network(name, columns)

    def together(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """The samples of all networks in one table, or of some."""
        chosen = self.parts if names is None else [name for name in self.parts if name in names]
        tables = [self.network(name) for name in chosen]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def only(self, keep: Callable[[pd.DataFrame], pd.DataFrame]) -> Answers:
        """What `keep` leaves of every network's samples, in memory."""
        return Answers({name: keep(own) for name, own in self.tables()})

    def save(self, path: Path) -> None:
        """Write all to one parquet file, a row group a network: one is in memory at a time."""
        if not self.parts:
            pd.DataFrame().to_parquet(path, index=False)
            return
        schema = pa.unify_schemas(list(self._schemas()), promote_options="permissive")
        # Of numbers that are nearly all different a dictionary costs time and saves nothing.
        texts = [field.name for field in schema if not pa.types.is_floating(field.type)]
        with pq.ParquetWriter(path, schema, use_dictionary=texts) as writer:
            for name, part in self.parts.items():
                own = (
                    pa.Table.from_pandas(part, preserve_index=False)
                    if isinstance(part, pd.DataFrame)
                    else _read(part, name)
                )
                writer.write_table(_as(own, schema))

    def _schemas(self) -> Iterator[pa.Schema]:
        files = set()
        for part in self.parts.values():
            if isinstance(part, pd.DataFrame):
                yield pa.Schema.from_pandas(part, preserve_index=False).remove_metadata()
            elif part not in files:
                files.add(part)
                yield pq.read_schema(part.path).remove_metadata()


def _names(path: Path) -> Iterator[str]:
    """The networks of each row group, in order."""
    with pq.ParquetFile(path) as file:
        for at in range(file.num_row_groups):
            names = file.read_row_group(at, columns=["model"])["model"].unique()
            yield from map(str, names.to_pylist())


def _read(part: Stored, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of one network; row groups that are of others alone are not read.

    Raises AuditError where the file is gone or another one: these are no longer the samples.
    """
    try:
        changed = part.path.stat().st_mtime_ns != part.changed
    except OSError:
        changed = True
    if changed:
        raise AuditError(
            f"'{part.path}' was written anew or removed since these results were made; load them "
            "again"
        )
    with pq.ParquetFile(part.path) as file:
        known = file.schema_arrow.names
        wanted = [c for c in known if columns is None or c in columns]
        groups = [at for at in range(file.num_row_groups) if _may_hold(file, at, name)]
        table = file.read_row_groups(groups, columns=[*dict.fromkeys([*wanted, "model"])])
    table = table.replace_schema_metadata()
    others = pc.not_equal(table["model"], name)
    if pc.any(others).as_py():
        table = table.filter(pc.invert(others))
    return table.select(wanted)


def _may_hold(file: pq.ParquetFile, at: int, name: str) -> bool:
    place = file.schema_arrow.names.index("model")
    known = file.metadata.row_group(at).column(place).statistics
    return known is None or not known.has_min_max or known.min <= name <= known.max


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of the schema; what it lacks is not known."""
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
