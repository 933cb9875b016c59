"""Which data to load, as text on the command line or as a table in a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from inspect import signature
from typing import Any, cast, get_type_hints

from audit.data.adult import load_adult
from audit.data.celeba import load_celeba
from audit.data.datasets import as_grouped
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
from audit.durations import timed
from audit.errors import AuditError
from audit.files import permitted
from audit.imports import imported, is_imported
from audit.specs import KEYS, SPLIT_KEYS, check_dataset, parse_spec, spec_values

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


@timed("loading the data")
@permitted()
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
    own = KEYS[dataset] if dataset in KEYS else _keys(loader, dataset)
    values = spec_values(settings, dataset, own)
    default = SplitSettings(test=0.5) if dataset == "digits" else SplitSettings()
    split = replace(default, **{k: values[k] for k in SPLIT_KEYS if k in values})
    arguments = _arguments(values)
    if dataset == "table":
        arguments["preparation"] = preparation
    if dataset in LOADERS:
        data = loader(**arguments, split=split)
    else:
        data = _of_own(loader, dataset, arguments, split, SPLIT_KEYS.keys() & values)
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
    if not is_imported(dataset):
        check_dataset(dataset)
    expected = f"expected one of {', '.join(LOADERS)}, or package.module:function"
    try:
        found = imported(dataset, "loader")
    except AuditError as error:
        raise AuditError(
            f"found dataset '{dataset.partition(':')[0]}'; {expected}; {error}"
        ) from error
    if not callable(found):
        raise AuditError(f"'{dataset}' is no loader; expected a function that gives GroupedData")
    return cast("Callable[..., Any]", found)


def _of_own(
    loader: Callable[..., Any],
    dataset: str,
    arguments: dict[str, Any],
    split: SplitSettings,
    asked: Set[str],
) -> GroupedData:
    """What a loader of one's own gives; it is handed the split settings where it takes them."""
    parameters = signature(loader).parameters
    if "split" in parameters:
        arguments = arguments | {"split": split}
    elif asked:
        raise AuditError(
            f"found {min(asked)} for the loader '{dataset}', which divides its samples itself; "
            "expected a loader with an argument split, or none of these"
        )
    try:
        signature(loader).bind(**arguments)
    except TypeError as error:
        raise AuditError(
            f"the loader '{dataset}' takes {', '.join(parameters)}: {error}; give its arguments as "
            f"in {dataset}?name=value"
        ) from error
    try:
        return as_grouped(loader(**arguments))
    except AuditError as error:
        raise AuditError(f"the loader '{dataset}': {error}") from error


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
