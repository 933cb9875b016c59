"""Which data to load, as text on the command line or as a table in a configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, cast, get_type_hints
from urllib.parse import unquote

from audit.data.adult import load_adult
from audit.data.celeba import load_celeba
from audit.data.digits import load_digits
from audit.data.faces import load_utkface
from audit.data.folder import load_fairface, load_images
from audit.data.grouped import GroupedData
from audit.data.identity import whole_digest
from audit.data.imagefolder import load_imagefolder
from audit.data.lfw import load_lfw
from audit.data.notes import noted
from audit.data.splits import SplitSettings
from audit.data.table import load_table
from audit.errors import AuditError
from audit.imports import imported, is_imported

LOADERS: dict[str, Callable[..., GroupedData]] = {
    "digits": load_digits,
    "utkface": load_utkface,
    "fairface": load_fairface,
    "images": load_images,
    "table": load_table,
    "adult": load_adult,
    "celeba": load_celeba,
    "lfw": load_lfw,
    "imagefolder": load_imagefolder,
}
IMAGE_KEYS: dict[str, type] = {
    "size": int,
    "fit": str,
    "background": str,
    "white": float,
    "unreadable": str,
    "cache": str,
    "mean": str,
    "spread": str,
}
LABEL_KEYS: dict[str, type] = {
    "target": str,
    "group": str,
    "missing": str,
    "positive": str,
    "classes": str,
    "unit": str,
}
KEYS: dict[str, dict[str, type]] = {
    "digits": {},
    "utkface": {"folder": str, "target": str, "group": str, "most": int} | IMAGE_KEYS,
    "fairface": {"folder": str, "target": str, "group": str, "most": int} | IMAGE_KEYS,
    "images": {"folder": str, "labels": str, "files": str} | LABEL_KEYS | IMAGE_KEYS,
    "table": {
        "file": str,
        "categories": str,
        "numeric": str,
        "drop": str,
        "id": str,
        "most": int,
        "scale": str,
        "decimal": str,
        "separator": str,
        "encoding": str,
    }
    | LABEL_KEYS,
    "adult": {"folder": str, "group": str},
    "celeba": {"folder": str, "target": str, "group": str, "most": int} | IMAGE_KEYS,
    "lfw": {"folder": str, "target": str, "group": str} | IMAGE_KEYS,
    "imagefolder": {"folder": str, "group": str, "labels": str} | IMAGE_KEYS,
}
OF_A_COLUMN = ("names", "bins")
"""Settings of one column, named after a colon: names:SEX=1:male,2:female and bins:AGE=25,40."""
OUTSIDE_QUOTES = r'(?=(?:[^"]*"[^"]*")*[^"]*$)'
OWN_LABELS = ("images", "table")
"""Datasets whose target and group the user names, because nothing is known of them."""
SPLIT_KEYS: dict[str, type] = {"test": float, "select": float, "least_select": int, "seed": int}


def load_data(
    spec: str | Mapping[str, Any], preparation: Sequence[Mapping[str, Any]] = ()
) -> GroupedData:
    """The data of a spec: `digits`, `utkface:FOLDER?target=…&group=…&size=32`, `table:FILE.csv?…`.

    A mapping has the keys `dataset`, `folder` (`file` for a table) and the same names. Every
    dataset also takes the keys of SplitSettings: test, select, least_select, seed; and `digest`,
    which refuses data that are not those it was taken of, in that order. `preparation` makes the
    inputs of a table as those of a checkpoint were made. The data carries the spec that loads it
    again, splits included. A loader of your own is `package.module:function`; its arguments are the
    names it takes (docs/extending.md). Raises AuditError where a name is unknown or a value is not
    of its type.
    """
    settings = parse_spec(spec) if isinstance(spec, str) else dict(spec)
    dataset = str(settings.pop("dataset", ""))
    digest = settings.pop("digest", "")
    loader = loader_of(dataset)
    known = (KEYS[dataset] if dataset in KEYS else _keys(loader, dataset)) | SPLIT_KEYS
    values = {key: _value(key, value, known, dataset) for key, value in settings.items()}
    place = _place(dataset)
    if place in known and place not in values:
        raise AuditError(
            f"'{dataset}' needs the {place} where its data is: {dataset}:{place.upper()}"
        )
    for name in ("target", "group") if dataset in OWN_LABELS else ():
        if name not in values:
            raise AuditError(f"'{dataset}' needs a {name}: a column of the table of its labels")
    default = SplitSettings(test=0.5) if dataset == "digits" else SplitSettings()
    split = replace(default, **{k: values[k] for k in SPLIT_KEYS if k in values})
    arguments = _arguments(values)
    if dataset == "table":
        arguments["preparation"] = preparation
    data = loader(**arguments, split=split)
    if not isinstance(data, GroupedData):
        raise AuditError(f"the loader '{dataset}' gave {type(data).__name__}; expected GroupedData")
    data = noted(replace(data, spec={"dataset": dataset} | values))
    if digest and whole_digest(data) != digest:
        raise AuditError(
            f"{data.name} has changed since its digest {digest} was taken, or stands in another "
            "order; give the data as it was, or leave the digest out to begin anew"
        )
    return data


def loader_of(dataset: str) -> Callable[..., Any]:
    """The function that loads a dataset, one of LOADERS or one of your own.

    Raises AuditError where there is none of that name.
    """
    if dataset in LOADERS:
        return LOADERS[dataset]
    expected = f"expected one of {', '.join(LOADERS)}, or package.module:function"
    if not is_imported(dataset):
        raise AuditError(f"found dataset '{dataset}'; {expected}")
    try:
        found = imported(dataset, "loader")
    except AuditError as error:
        raise AuditError(
            f"found dataset '{dataset.partition(':')[0]}'; {expected}; {error}"
        ) from error
    if not callable(found):
        raise AuditError(f"'{dataset}' is no loader; expected a function that gives GroupedData")
    return cast("Callable[..., Any]", found)


def _keys(loader: Callable[..., Any], dataset: str) -> dict[str, type]:
    """The settings of a loader of one's own, by the annotations of its arguments."""
    types = get_type_hints(loader)
    found = {name: types.get(name, str) for name in signature(loader).parameters if name != "split"}
    for name, kind in found.items():
        if kind not in (str, int, float):
            raise AuditError(
                f"the argument {name} of the loader '{dataset}' is neither text nor a number; "
                "a dataset is told in one line of text"
            )
    return found


def parse_spec(text: str) -> dict[str, Any]:
    """The settings of a spec in text form; what holds an '&' or '=' of its own is quoted.

    >>> parse_spec("utkface:faces?target=gender&size=32")
    {'dataset': 'utkface', 'folder': 'faces', 'target': 'gender', 'size': '32'}
    >>> parse_spec('table:a.csv?target=y&group="R&D"')["group"]
    '"R&D"'
    """
    # A '?' that no key follows is one of the file's name.
    begin = re.search(r"\?(?=\w+(:[^=&]*|:\"[^\"]*\")?=)", text)
    place, query = (text[: begin.start()], text[begin.end() :]) if begin else _halves(text)
    dataset, _, folder = place.partition(":")
    function, _, rest = folder.partition(":")
    if dataset not in LOADERS and function.isidentifier():
        dataset, folder = f"{dataset}:{function}", rest
    settings: dict[str, Any] = {"dataset": dataset}
    if folder:
        settings[_place(dataset)] = folder
    pairs = [_pair(part, query) for part in re.split(f"&{OUTSIDE_QUOTES}", query)] if query else []
    return settings | dict(pairs)


def _halves(text: str) -> tuple[str, str]:
    place, _, query = text.partition("?")
    return place, query


def _pair(part: str, query: str) -> tuple[str, str]:
    key, *value = re.split(f"={OUTSIDE_QUOTES}", part, maxsplit=1)
    if not value or not key:
        raise AuditError(
            f"found '{query}'; expected key=value pairs joined by '&' (a value with an '&' of its "
            'own is quoted: group="R&D")'
        )
    return unquote(key), unquote(value[0])


def _arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as a loader takes them: those of one column are gathered by their kind."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        kind, colon, column = key.partition(":")
        if colon:
            found.setdefault(kind, {})[column.strip('"')] = value
        elif key not in SPLIT_KEYS:
            found[key] = value
    return found


def _place(dataset: str) -> str:
    """What says where a dataset lies."""
    return "file" if dataset == "table" else "folder"


def _value(key: str, value: Any, known: Mapping[str, type], dataset: str) -> Any:
    if key.partition(":")[0] in OF_A_COLUMN and ":" in key and dataset in OWN_LABELS:
        return str(value)
    if key not in known:
        raise AuditError(f"'{dataset}' has no setting '{key}'; it has {', '.join(known)}")
    try:
        if isinstance(value, bool | list | dict):
            raise ValueError
        return known[key](value)
    except ValueError as error:
        raise AuditError(f"found {key}={value!r}; expected {known[key].__name__}") from error
