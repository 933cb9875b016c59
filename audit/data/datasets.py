"""Datasets that people hold already as audited data: PyTorch's and Hugging Face's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    Subset,
    default_collate,
)
from tqdm import tqdm

from audit.data.arrays import from_arrays
from audit.data.attributes import from_column, make_groups
from audit.data.grouped import SPLITS, GroupedData
from audit.data.identity import content_digests
from audit.data.inputs import DatasetInputs, as_bytes, collated, item_of
from audit.data.scaling import Scaling
from audit.data.splits import SplitSettings
from audit.errors import AuditError

Key = int | str


def from_dataset(
    dataset: Any,
    *,
    input: Key | Sequence[str] = 0,
    label: Key = 1,
    group: Key | Sequence[str] = 2,
    id: Key | None = None,
    unit: Key | None = None,
    labels: Any = None,
    groups: Any = None,
    samples: Sequence[str] | None = None,
    name: str = "data",
    attribute: str = "",
    classes: Sequence[str] | None = None,
    group_names: Sequence[str] | None = None,
    scaling: Scaling | str | None = None,
    split: SplitSettings | None = None,
    workers: int = 0,
) -> GroupedData:
    """Data from a map-style Dataset or DataLoader of PyTorch, or a Hugging Face Dataset.

    dataset  its items are (input, label, group) or dicts; several as {"train": …, "test": …}
    input    where the input of an item is: a position, a key, or several keys whose values make a
             dict, as of tokens and their mask; so too `label`, `group` (several keys are crossed),
             `id` and `unit`
    labels, groups, samples  where these are known already: then no item is read before it is
             needed
    split    how to divide one dataset; without it, all of it is the test split: an auditor has
             test samples only
    workers  processes that fetch items, unless a DataLoader says

    Of a loader whose sampler chooses some of the items, these are the samples.

    Labels, groups and ids are read once and kept; inputs are fetched when they are needed, collated
    as the loader collates them. Columns of a Hugging Face Dataset are read as columns. Other
    settings are those of `from_arrays`. Raises AuditError where an item lacks a key, the dataset
    has no length, its sampler repeats items, or it gives another input each time.

    >>> items = [(torch.ones(3) * n, n % 2, "ab"[n % 2]) for n in range(40)]
    >>> from_dataset(items).sizes()["test"].to_dict()
    {'a': 20, 'b': 20}
    """
    parts = dict(dataset) if _is_parts(dataset) else {"test": dataset}
    unknown = [part for part in parts if part not in SPLITS]
    if unknown:
        raise AuditError(f"found the split '{unknown[0]}'; expected {', '.join(SPLITS)}")
    loaders = [one for one in parts.values() if isinstance(one, DataLoader)]
    collate = loaders[0].collate_fn if loaders else default_collate
    workers = loaders[0].num_workers if loaders else workers
    sets = {part: _map_style(one) for part, one in parts.items()}
    whole = next(iter(sets.values())) if len(sets) == 1 else ConcatDataset(list(sets.values()))
    fields = {"label": label, "group": group, "id": id, "unit": unit}
    given = {"label": labels, "group": groups, "id": samples}
    wanted = {
        what: key for what, key in fields.items() if key is not None and given.get(what) is None
    }
    gather = partial(_gathered, key=input, collate=collate)
    read, contents = _read(list(sets.values()), wanted, gather)
    inputs = DatasetInputs(whole, gather, workers)
    own_groups, crossed, notes = _groups(read.get("group", groups), group)
    return from_arrays(
        inputs,
        read.get("label", labels),
        own_groups,
        name=name,
        attribute=attribute or crossed,
        classes=classes,
        group_names=group_names,
        samples=read.get("id", samples),
        units=read.get("unit"),
        scaling=scaling,
        split=split,
        splits=None if split is not None and len(sets) == 1 else _splits(sets),
        contents=contents,
        notes=notes,
    )


def as_grouped(data: Any) -> GroupedData:
    """Samples as they are asked for; of a dataset whose items are dicts, by their keys."""
    if isinstance(data, GroupedData):
        return data
    _check_items(data)
    own = next(iter(data.values())) if isinstance(data, Mapping) and data else data
    own = own.dataset if isinstance(own, DataLoader) else own
    first = own[0] if hasattr(own, "__getitem__") and hasattr(own, "__len__") and len(own) else None
    if not isinstance(first, Mapping):
        return from_dataset(data)
    roles = {"label", "labels", "group"}
    keys = [key for key in first if key not in roles]
    label = "label" if "label" in first else "labels"
    return from_dataset(data, input=keys[0] if len(keys) == 1 else keys, label=label, group="group")


def _check_items(data: Any) -> None:
    """Raise AuditError where these are arrays, a frame or a text, whose parts are no samples."""
    arrays = isinstance(data, tuple) and data and hasattr(data[0], "shape")
    if arrays or isinstance(data, str | pd.DataFrame):
        raise AuditError(
            f"found data of type {type(data).__name__}; expected GroupedData: "
            "audit.from_arrays(inputs, labels, groups), "
            "audit.data.table.from_frame(frame, target, group), audit.load_data('table:…')"
        )


def _is_parts(dataset: Any) -> bool:
    """Whether these are datasets by the names of their splits, as Hugging Face's DatasetDict is."""
    return isinstance(dataset, Mapping)


def _map_style(dataset: Any) -> Any:
    own = dataset.dataset if isinstance(dataset, DataLoader) else dataset
    _check_items(own)
    if isinstance(own, IterableDataset) or not (
        hasattr(own, "__len__") and hasattr(own, "__getitem__")
    ):
        raise AuditError(
            f"found a dataset of type {type(own).__name__}, which has no length or no items by "
            "position; expected a map-style dataset, whose samples can be found again"
        )
    if not len(own):
        raise AuditError("found a dataset without samples")
    chosen = _chosen(dataset) if isinstance(dataset, DataLoader) else None
    return own if chosen is None else Subset(own, chosen)


def _chosen(loader: DataLoader[Any]) -> list[int] | None:
    """The items that a loader's sampler chooses, in their own order; None where these are all."""
    sampler: Any = loader.sampler
    if loader.batch_sampler is not None:
        sampler = getattr(loader.batch_sampler, "sampler", sampler)
    whole = len(loader.dataset)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        # One without an end is not read to it.
        rows = list(islice(sampler, whole + 1))
    if len(set(rows)) < len(rows):
        raise AuditError(
            f"the loader's sampler ({type(sampler).__name__}) draws samples more than once; "
            "expected one that gives each once, as a loader without shuffling does"
        )
    return None if len(rows) == whole else sorted(map(int, rows))


def _splits(sets: Mapping[str, Any]) -> dict[str, Tensor]:
    ends = np.cumsum([len(one) for one in sets.values()]).tolist()
    starts = [0, *ends[:-1]]
    return {
        part: torch.arange(start, end) for part, start, end in zip(sets, starts, ends, strict=True)
    }


def _read(
    sets: Sequence[Any],
    wanted: Mapping[str, Any],
    gather: Callable[[list[Any]], Any],
) -> tuple[dict[str, Any], np.ndarray | None]:
    """What was asked for of every item; and its input's digest, where items had to be read.

    Columns are read as columns, where the dataset has them.
    """
    columns = [getattr(one, "column_names", None) for one in sets]
    named = [name for key in wanted.values() for name in ([key] if _single(key) else key)]
    if not named:
        return {}, None
    if all(own is not None and set(named) <= set(own) for own in columns):
        found = {what: _joined([_column(one, key) for one in sets]) for what, key in wanted.items()}
        return found, None
    rows: dict[str, list[Any]] = {what: [] for what in wanted}
    digests = content_digests(_items(sets, wanted, gather, rows))
    return dict(rows), digests


def _items(
    sets: Sequence[Any],
    wanted: Mapping[str, Any],
    gather: Callable[[list[Any]], Any],
    rows: dict[str, list[Any]],
) -> Iterator[bytes]:
    """Read every item once: what is wanted goes to `rows`, what is yielded is digested."""
    items = (item_of(one, row) for one in sets for row in range(len(one)))
    for item in tqdm(items, "reading items", sum(map(len, sets)), delay=2, leave=False):
        for what, key in wanted.items():
            rows[what].append(_values(item, key, what))
        yield next(as_bytes(collated(gather, [item])))


def _gathered(items: list[Any], key: Any, collate: Callable[[list[Any]], Any]) -> Any:
    """The inputs of some items as a batch; an owner's own collate function gets whole items."""
    if collate is default_collate:
        return default_collate([_pick(item, key) for item in items])
    return _pick(collate(items), key)


def _single(key: Any) -> bool:
    return isinstance(key, int | str)


def _pick(item: Any, key: Any) -> Any:
    """The part of an item or of a batch that a key names."""
    if not _single(key):
        return {name: _pick(item, name) for name in key}
    try:
        return item[key]
    except (KeyError, IndexError, TypeError) as error:
        found = (
            f"the keys {', '.join(map(str, item))}"
            if isinstance(item, Mapping)
            else f"{len(item)} parts"
            if hasattr(item, "__len__")
            else f"a {type(item).__name__}"
        )
        raise AuditError(
            f"found items of {found}, and no '{key}'; expected (input, label, group), or the names "
            "of these in input=, label= and group="
        ) from error


def _values(item: Any, key: Any, what: str) -> Any:
    """The value of an item under a key, or those under several by their names."""
    if _single(key):
        return _plain(_pick(item, key), what)
    return {name: _plain(_pick(item, name), what) for name in key}


def _plain(value: Any, what: str) -> Any:
    """A number or a text; raises AuditError where there are several, or something else."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        if int(np.prod(value.shape)) != 1:
            raise AuditError(
                f"found a {what} of shape {tuple(value.shape)}; expected one value a sample, such "
                "as the position of its class (of a one-hot row: argmax)"
            )
        return value.item()
    if isinstance(value, Mapping | Set | list | tuple):
        raise AuditError(
            f"found a {what} of type {type(value).__name__}; expected a number or a text a sample"
        )
    return value


def _column(one: Any, key: Any) -> Any:
    """A column of a Hugging Face Dataset; a class label as its name, where it has names."""
    if not _single(key):
        return {name: _column(one, name) for name in key}
    values = list(one[key])
    names = getattr(getattr(one, "features", {}).get(key), "names", None)
    return values if names is None else [_named(names, value) for value in values]


def _named(names: Sequence[str], value: Any) -> str | None:
    """The name of a class; -1 is how these datasets write that there is none."""
    return None if value is None or int(value) < 0 else names[int(value)]


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Mapping):
        return {name: [v for part in parts for v in part[name]] for name in parts[0]}
    return [value for part in parts for value in part]


def _groups(groups: Any, key: Any) -> tuple[Any, str, tuple[str, ...]]:
    """The group of each sample, what the attribute is called, and notes on crossed groups."""
    called = "group" if isinstance(key, int) else key if isinstance(key, str) else ""
    if groups is None:
        raise AuditError("found no groups; expected them in the items (group=), or as groups=")
    if called:
        return groups, called, ()
    columns = groups if isinstance(groups, Mapping) else _by_name(groups, key)
    made = make_groups({name: from_column(columns[name]) for name in key}, list(key))
    return [made.names[code] for code in made.codes], made.attribute, made.notes


def _by_name(items: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    return {name: [item[name] for item in items] for name in names}
