"""What data are, shown before anything is made of them: every column, class, group and split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audit import display
from audit.data.grouped import GroupedData


@dataclass(frozen=True)
class Description:
    """Data as a person checks them: how many, of what, divided how, and what is to be known.

    about    name, samples, inputs, attribute, scaling and units, in words
    classes  samples of each class (rows, in declared order) in each split
    groups   the same of each group
    columns  for a table: what each column is for, its kind, inputs, values, missing and examples
    notes    what was left out, read otherwise, or needs a look, in sentences
    """

    about: dict[str, str]
    classes: pd.DataFrame
    groups: pd.DataFrame
    columns: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def sizes(self) -> tuple[pd.DataFrame, ...]:
        """Classes and groups by split; one table where the groups are the classes."""
        return (self.classes,) if self.classes.equals(self.groups) else (self.classes, self.groups)

    def text(self) -> str:
        """All of it as plain text, without the control characters that a terminal would obey."""
        sizes = [frame.map("{:,}".format) for frame in self.sizes]
        parts = [
            "\n".join(f"{name}: {_plain(value)}" for name, value in self.about.items()),
            *(_as_text(frame) for frame in (*sizes, self.columns) if len(frame)),
            "\n".join(f"• {_plain(note)}" for note in self.notes),
        ]
        return "\n\n".join(part for part in parts if part)

    def record(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        frames = {"classes": self.classes, "groups": self.groups, "columns": self.columns}
        tables = {
            name: frame.reset_index().to_dict("records") if len(frame) else []
            for name, frame in frames.items()
        }
        return {"about": self.about} | tables | {"notes": list(self.notes)}

    def _repr_html_(self) -> str:
        """All of it for a notebook."""
        sizes = [display.table(f.map("{:,}".format)) for f in self.sizes]
        columns = [display.table(self.columns)] if len(self.columns) else []
        about = display.facts(self.about)
        return display.panel(
            self.about["data"], about, *sizes, *columns, display.sentences(self.notes)
        )


def describe_data(data: GroupedData) -> Description:
    """What these data are: what was made of each column, and classes and groups by split.

    >>> from audit.data import from_arrays
    >>> described = describe_data(from_arrays(np.eye(40), [0, 1] * 20, ["a"] * 40))
    >>> described.groups.loc["a", "all"]
    np.int64(40)
    """
    return Description(
        _about(data),
        _counts(data, data.labels.numpy(), data.classes, "class"),
        _counts(data, data.groups.numpy(), data.group_names, data.attribute),
        _columns(data),
        data.notes,
    )


def _about(data: GroupedData) -> dict[str, str]:
    found = {
        "data": data.name,
        "samples": f"{len(data):,}",
        "inputs": "×".join(map(str, data.input_shape)) or "one number",
        "groups": f"{len(data.group_names)} by {data.attribute}",
    }
    if data.scaling is not None:
        mean, std = (", ".join(f"{v:g}" for v in own) for own in data.scaling.rule)
        found["scaling"] = f"pixels of 0 to 1, less {mean}, divided by {std}"
    if data.units is not None:
        found["units"] = f"{len(data.units.unique()):,}"
    return found


def _counts(
    data: GroupedData, codes: np.ndarray, names: tuple[str, ...], title: str
) -> pd.DataFrame:
    """Samples of each name in each split, and in all."""
    counts = {
        split: np.bincount(codes[rows.numpy()], minlength=len(names))
        for split, rows in data.splits.items()
    }
    whole = {"all": np.bincount(codes, minlength=len(names))}
    return pd.DataFrame(counts | whole, index=pd.Index(names, name=title))


def _as_text(frame: pd.DataFrame) -> str:
    own = frame.rename(index=_plain, columns=_plain).map(
        lambda cell: _plain(cell) if isinstance(cell, str) else cell
    )
    own.index.name = _plain(str(frame.index.name))
    return own.rename_axis(columns=own.index.name, index=None).to_string(max_colwidth=60)


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in str(text))


def _columns(data: GroupedData) -> pd.DataFrame:
    """What was made of each column of a table; empty for data that are none."""
    widths = {one.name: one.width for one in data.preparation}
    rows = [
        {
            "column": one.name,
            "for": ", ".join(one.roles),
            "kind": one.kind,
            "inputs": widths.get(one.name, 0) if "input" in one.roles else 0,
            "values": one.values,
            "missing": one.missing,
            "examples": ", ".join(one.examples),
        }
        for one in data.columns
    ]
    return pd.DataFrame(rows).set_index("column") if rows else pd.DataFrame()
