"""Which data to load, as text on the command line or as a table in a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from audit.data.adult import load_adult
from audit.data.digits import load_digits
from audit.data.faces import load_utkface
from audit.data.folder import load_fairface, load_images
from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings
from audit.data.table import load_table
from audit.errors import AuditError

LOADERS = {
    "digits": load_digits,
    "utkface": load_utkface,
    "fairface": load_fairface,
    "images": load_images,
    "table": load_table,
    "adult": load_adult,
}
KEYS: dict[str, dict[str, type]] = {
    "digits": {},
    "utkface": {"folder": str, "target": str, "group": str, "size": int, "most": int},
    "fairface": {"folder": str, "target": str, "group": str, "size": int, "most": int},
    "images": {"folder": str, "target": str, "group": str, "labels": str, "size": int},
    "table": {
        "file": str,
        "target": str,
        "group": str,
        "categories": str,
        "drop": str,
        "most": int,
    },
    "adult": {"folder": str, "group": str},
}
OWN_LABELS = ("images", "table")
"""Datasets whose target and group the user names, because nothing is known of them."""
SPLIT_KEYS: dict[str, type] = {"test": float, "select": float, "least_select": int, "seed": int}


def load_data(spec: str | Mapping[str, Any]) -> GroupedData:
    """The data of a spec: `digits`, `utkface:FOLDER?target=…&group=…&size=32`, `table:FILE.csv?…`.

    A mapping has the keys `dataset`, `folder` (`file` for a table) and the same names. Every
    dataset also takes the keys of SplitSettings: test, select, least_select, seed. The data carries
    the spec that loads it again, splits included. Raises AuditError where a name is unknown or a
    value is not of its type.
    """
    settings = parse_spec(spec) if isinstance(spec, str) else dict(spec)
    dataset = str(settings.pop("dataset", ""))
    if dataset not in LOADERS:
        raise AuditError(f"found dataset '{dataset}'; expected one of {', '.join(LOADERS)}")
    known = KEYS[dataset] | SPLIT_KEYS
    values = {key: _value(key, value, known, dataset) for key, value in settings.items()}
    place = _place(dataset)
    if place in known and place not in values:
        raise AuditError(
            f"'{dataset}' needs the {place} where its data is: {dataset}:{place.upper()}"
        )
    for name in ("target", "group") if dataset in OWN_LABELS else ():
        if name not in values:
            raise AuditError(f"'{dataset}' needs a {name}: a column of the table of its labels")
    loader = LOADERS[dataset]
    default = SplitSettings(test=0.5) if dataset == "digits" else SplitSettings()
    split = replace(default, **{k: values[k] for k in SPLIT_KEYS if k in values})
    arguments = {key: value for key, value in values.items() if key not in SPLIT_KEYS}
    data: GroupedData = loader(**arguments, split=split)  # type: ignore[operator]
    return replace(data, spec={"dataset": dataset} | values)


def parse_spec(text: str) -> dict[str, Any]:
    """The settings of a spec in text form.

    >>> parse_spec("utkface:faces?target=gender&size=32")
    {'dataset': 'utkface', 'folder': 'faces', 'target': 'gender', 'size': '32'}
    """
    place, _, query = text.partition("?")
    dataset, _, folder = place.partition(":")
    settings: dict[str, Any] = {"dataset": dataset}
    if folder:
        settings[_place(dataset)] = folder
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError as error:
        raise AuditError(f"found '{query}'; expected key=value pairs joined by '&'") from error
    return settings | dict(pairs)


def _place(dataset: str) -> str:
    """What says where a dataset lies."""
    return "file" if dataset == "table" else "folder"


def _value(key: str, value: Any, known: Mapping[str, type], dataset: str) -> Any:
    if key not in known:
        raise AuditError(f"'{dataset}' has no setting '{key}'; it has {', '.join(known)}")
    try:
        if isinstance(value, bool | list | dict):
            raise ValueError
        return known[key](value)
    except ValueError as error:
        raise AuditError(f"found {key}={value!r}; expected {known[key].__name__}") from error
