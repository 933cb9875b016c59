"""What a data spec says, read before any data are: torch and pandas are not needed for that.

A spec is text, `table:FILE.csv?target=income&group=sex`, or a mapping of the same names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit.errors import AuditError
from audit.files import permitted
from audit.imports import is_imported
from audit.names import hint, known_name, spelling

IMAGE_KEYS: dict[str, type] = {
    "size": int,
    "fit": str,
    "background": str,
    "white": float,
    "unreadable": str,
    "cache": str,
    "mean": str,
    "std": str,
    # What `std` was called.
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


@permitted()
def check_spec(spec: str | Mapping[str, Any]) -> None:
    """Raise AuditError where a spec cannot be of any data: an unknown name, a missing file.

    What a loader of one's own takes is known only once it is imported.
    """
    settings = parse_spec(spec) if isinstance(spec, str) else dict(spec)
    dataset = str(settings.pop("dataset", ""))
    settings.pop("digest", "")
    if is_imported(dataset):
        return
    check_dataset(dataset)
    values = spec_values(settings, dataset, KEYS[dataset])
    where = place_of(dataset)
    path = Path(str(values[where])) if where in values else None
    if path is not None and not path.exists():
        raise AuditError(f"there is no {where} '{path}' for the data of '{dataset}'")


def check_dataset(dataset: str) -> None:
    """Raise AuditError unless the toolkit reads a dataset of that name."""
    if dataset not in KEYS:
        _check_no_path(dataset)
        known_name(dataset, KEYS, "dataset", "package.module:function")
        raise AuditError(f"found dataset '{dataset}'{hint(dataset, KEYS)}")


def _check_no_path(dataset: str) -> None:
    """Raise AuditError where a file or folder stands without the name of what reads it."""
    path = Path(dataset)
    if dataset and path.exists() and spelling(dataset) not in KEYS:
        kind = "images" if path.is_dir() else "table"
        raise AuditError(
            f"found data '{dataset}', which does not say how it is read; expected "
            f"{kind}:{dataset}?target=COLUMN&group=COLUMN"
        )


def spec_values(
    settings: Mapping[str, Any], dataset: str, own: Mapping[str, type]
) -> dict[str, Any]:
    """The settings of a spec as values of their types; `own` are those that the dataset takes.

    Raises AuditError where one is unknown or of another type, or one that must be there is not.
    """
    known = dict(own) | SPLIT_KEYS
    values = {key: _value(key, value, known, dataset) for key, value in settings.items()}
    where = place_of(dataset)
    if where in known and where not in values:
        raise AuditError(
            f"'{dataset}' needs the {where} where its data is: {dataset}:{where.upper()}"
        )
    for name in ("target", "group") if dataset in OWN_LABELS else ():
        if name not in values:
            raise AuditError(f"'{dataset}' needs a {name}: a column of the table of its labels")
    return values


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
    if dataset not in KEYS and function.isidentifier():
        dataset, folder = f"{dataset}:{function}", rest
    settings: dict[str, Any] = {"dataset": dataset}
    if folder:
        settings[place_of(dataset)] = folder
    pairs = [_pair(part, query) for part in re.split(f"&{OUTSIDE_QUOTES}", query)] if query else []
    return settings | dict(pairs)


def by_attribute(spec: str | None, group: str | None = None) -> dict[str, Any]:
    """The same data by one attribute after another: specs by what their groups are of.

    group  attributes separated by semicolons, crossed ones by commas, as in `sex;race;sex,race`; in
           the place of the spec's own

    One spec alone, as it was, under '' where it asks for one. Raises AuditError where attributes
    are asked for of data that are not named.

    >>> list(by_attribute("table:people.csv?target=income&group=sex;race"))
    ['sex', 'race']
    """
    if spec is None and group is not None:
        raise AuditError("found --group without data; expected --data SPEC or --predictions too")
    settings = {} if spec is None else parse_spec(spec)
    attributes = attributes_of(group if group is not None else str(settings.get("group", "")))
    if group is None and len(attributes) < 2:
        return {"": spec}
    return {own: settings | {"group": own} for own in attributes}


def attributes_of(text: str) -> list[str]:
    """The attributes of a list with semicolons; AuditError where one stands twice."""
    found = [part.strip() for part in re.split(f";{OUTSIDE_QUOTES}", text)]
    if len(set(found)) != len(found):
        raise AuditError(f"found group '{text}'; expected each attribute once")
    return found


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
    from urllib.parse import unquote  # takes longer to import than the rest of this file

    return unquote(key), unquote(value[0])


def place_of(dataset: str) -> str:
    """What says where a dataset lies."""
    return "file" if dataset == "table" else "folder"


def _value(key: str, value: Any, known: Mapping[str, type], dataset: str) -> Any:
    if key.partition(":")[0] in OF_A_COLUMN and ":" in key and dataset in OWN_LABELS:
        return str(value)
    if key not in known:
        near = hint(key, known)
        raise AuditError(f"'{dataset}' has no setting '{key}'; it has {', '.join(known)}{near}")
    try:
        if isinstance(value, bool | list | dict):
            raise ValueError
        return known[key](value)
    except ValueError as error:
        raise AuditError(f"found {key}={value!r}; expected {known[key].__name__}") from error
