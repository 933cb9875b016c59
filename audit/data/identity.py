"""Which samples these are: known by what they hold, whatever their order."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.data.grouped import SPLITS, GroupedData
from audit.data.inputs import READ_AT_ONCE, Inputs, as_bytes
from audit.data.scaling import Scaling
from audit.errors import AuditError

CONTENT, LABEL, GROUP = 16, 24, 32
"""Where the parts of a sample's digest end: what the network sees, its label, its group."""
ALIKE = 0.05


def content_digests(contents: Iterable[bytes]) -> np.ndarray:
    """One digest a sample of what the network sees, uint8 [n, 16]."""
    found = b"".join(_digest(own, CONTENT) for own in contents)
    return np.frombuffer(found, dtype=np.uint8).reshape(-1, CONTENT)


def digests(data: GroupedData, rows: Tensor | None = None) -> np.ndarray:
    """One digest a sample, or one of those at some positions, of its input, label and group.

    uint8 [n, 32]
    """
    places = torch.arange(len(data)) if rows is None else rows
    contents = (
        content_digests(_inputs(data if rows is None else data.take(rows)))
        if data.contents is None
        else data.contents[places.numpy()]
    )
    labels = _name_digests(data.classes)[data.labels[places].numpy()]
    groups = _name_digests([f"{data.attribute}\x1f{name}" for name in data.group_names])
    return np.hstack([contents, labels, groups[data.groups[places].numpy()]])


def whole_digest(data: GroupedData) -> str:
    """One digest of all samples in their order, and of their splits, as text."""
    parts = [digests(data).tobytes(), *(data.splits[name].numpy().tobytes() for name in SPLITS)]
    return _digest(b"".join(parts), CONTENT).hex()


def identity(data: GroupedData) -> dict[str, Any]:
    """What a checkpoint keeps to know its samples again, and to make the same inputs of them."""
    found = digests(data)
    return {
        "digest": whole_digest(data),
        "digests": {n: torch.from_numpy(found[r.numpy()]) for n, r in data.splits.items()},
        "positions": {name: rows.clone() for name, rows in data.splits.items()},
        "classes": list(data.classes),
        "attribute": data.attribute,
        "group_names": list(data.group_names),
        **_making(data),
    }


def _making(data: GroupedData) -> dict[str, Any]:
    """How the inputs are made of what the samples are."""
    scaling = data.scaling
    return {
        "preparation": [asdict(one) for one in data.preparation],
        "scaling": None if scaling is None else [list(scaling.mean), list(scaling.std)],
    }


def check_made_alike(data: GroupedData, known: Mapping[str, Any]) -> None:
    """Raise AuditError where a checkpoint's inputs were made otherwise of the same samples.

    known   what `identity` gave; of a checkpoint of before it was kept nothing is known
    """
    for name, own in _making(data).items():
        if name in known and json.dumps(own) != json.dumps(known[name]):
            raise AuditError(
                f"{data.name} is made into other inputs than the checkpoint's: numbers were "
                "standardised, values told apart, or images scaled otherwise; expected the data "
                "with the settings that it was made with"
            )


def check_unseen(data: GroupedData, known: Mapping[str, Any]) -> None:
    """Raise AuditError where a checkpoint was trained on what these data have as test samples.

    As many may be alike as its own test samples are like its train samples, and a twentieth more.
    Inputs on demand are compared only where their digests are known: it would read them all.
    """
    if not known or not (data.contents is not None or isinstance(data.inputs, Tensor)):
        return
    stored = {name: _rows(known["digests"][name].numpy()[:, :LABEL]) for name in SPLITS}
    own = _rows(digests(data, data.splits["test"])[:, :LABEL])
    if not len(stored["train"]) or np.array_equal(own, stored["test"]):
        return
    seen = np.isin(own, stored["train"])
    usual = float(np.isin(stored["test"], stored["train"]).mean())
    if seen.mean() > usual + ALIKE:
        first = data.samples[data.splits["test"].numpy()][seen][0]
        raise AuditError(
            f"the network was trained on {int(seen.sum()):,} of the {len(own):,} test samples of "
            f"{data.name} (for instance '{first}'): the data are in another order or divided "
            "otherwise than it was made with; give them as they were, or recognise(data, "
            "checkpoint.splits, checkpoint.samples) of audit.data.identity"
        )


def _rows(found: np.ndarray) -> np.ndarray:
    """Digests as one value a sample."""
    return np.ascontiguousarray(found).view(np.dtype((np.void, found.shape[1])))[:, 0]


def recognise(
    data: GroupedData, splits: Mapping[str, Sequence[str]], known: Mapping[str, Any]
) -> GroupedData:
    """The samples of a checkpoint in these data, in its order, under its ids and in its splits.

    known   what `identity` gave; empty for a checkpoint of before samples were known by content,
            whose ids alone must be found

    Classes and groups are in the checkpoint's order; groups of another attribute than the
    checkpoint's stay as they are. Train and select samples may be absent altogether: an auditor
    has test samples only. Raises AuditError where samples have changed, are gone, or have another
    label or group.
    """
    if not known:
        note = "The checkpoint does not say what its samples held: they were found by id alone."
        found = data.with_splits(splits)
        return replace(found, notes=(*found.notes, note))
    places = _places(data, splits, known)
    absent = [name for name in SPLITS if name != "test" and splits[name] and not places[name]]
    _check_all_found(data, splits, places, absent, known)
    kept = [name for name in SPLITS if places[name]]
    rows = np.concatenate([np.array(places[name], dtype=np.int64) for name in kept])
    ids = np.concatenate([np.array(splits[name], dtype=str) for name in kept])
    order = np.argsort(np.concatenate([known["positions"][name].numpy() for name in kept]))
    names = np.repeat(kept, [len(places[name]) for name in kept])[order]
    extra = len(data) - len(rows)
    same = np.array_equal(rows[order], np.arange(len(data)))
    notes = [f"Absent: the {name} samples, which measuring does not need." for name in absent]
    if extra:
        notes.append(f"{extra:,} samples that the checkpoint does not know were left out.")
    scaling = known["scaling"]
    return replace(
        _in_order_of(data if same else data.take(torch.from_numpy(rows[order])), known),
        samples=ids[order],
        splits={name: torch.from_numpy(np.flatnonzero(names == name)) for name in SPLITS},
        scaling=None if scaling is None else Scaling(*(tuple(part) for part in scaling)),
        notes=(*data.notes, *notes),
    )


def _in_order_of(data: GroupedData, known: Mapping[str, Any]) -> GroupedData:
    """The data with the classes of a checkpoint, and its groups where they are of one attribute."""
    labels = _recoded(data.labels, data.classes, known["classes"])
    data = replace(data, labels=labels, classes=tuple(known["classes"]))
    if data.attribute != known["attribute"]:
        return data
    groups = _recoded(data.groups, data.group_names, known["group_names"])
    return replace(data, groups=groups, group_names=tuple(known["group_names"]))


def _recoded(codes: Tensor, names: Sequence[str], order: Sequence[str]) -> Tensor:
    position = {name: code for code, name in enumerate(order)}
    return torch.tensor([position.get(name, -1) for name in names])[codes]


def _places(
    data: GroupedData, splits: Mapping[str, Sequence[str]], known: Mapping[str, Any]
) -> dict[str, list[int]]:
    """Where each sample of each split lies in the data; -1 for one that is not there.

    Of samples that are alike in all, that of the same id first; which it is makes no difference.
    """
    end = GROUP if data.attribute == known["attribute"] else LABEL
    position = {sample: row for row, sample in enumerate(data.samples.tolist())}
    left: dict[bytes, dict[int, None]] = defaultdict(dict)
    for row, own in enumerate(digests(data)[:, :end]):
        left[own.tobytes()][row] = None
    places: dict[str, list[int]] = {}
    # Test first: where train is absent, a copy of one of its samples must not take theirs.
    for name in reversed(SPLITS):
        places[name] = []
        for sample, own in zip(splits[name], known["digests"][name].numpy()[:, :end], strict=True):
            rows = left.get(own.tobytes(), {})
            row = position.get(sample, -1)
            found = row if row in rows else next(iter(rows), -1)
            rows.pop(found, None)
            places[name].append(found)
        if name != "test" and all(row < 0 for row in places[name]):
            places[name] = []
    return places


def _check_all_found(
    data: GroupedData,
    splits: Mapping[str, Sequence[str]],
    places: Mapping[str, list[int]],
    absent: Sequence[str],
    known: Mapping[str, Any],
) -> None:
    stored = {name: known["digests"][name].numpy() for name in SPLITS}
    gone = [
        (name, sample, stored[name][place, :CONTENT].tobytes())
        for name in SPLITS
        if name not in absent
        for place, (sample, row) in enumerate(zip(splits[name], places[name], strict=True))
        if row < 0
    ]
    if not gone:
        return
    contents = {own.tobytes() for own in digests(data)[:, :CONTENT]}
    ids = set(data.samples.tolist())
    kinds: dict[str, list[str]] = {}
    for name, sample, content in gone:
        kind = "have changed" if sample in ids else "are gone"
        kind = "have another label or group" if content in contents else kind
        kinds.setdefault(kind, []).append(f"'{sample}' of {name}")
    told = [f"{len(own):,} {kind} (for instance {own[0]})" for kind, own in kinds.items()]
    total = sum(len(splits[name]) for name in SPLITS if name not in absent)
    raise AuditError(
        f"{data.name} is not what the checkpoint was made with: of its {total:,} samples "
        f"{', '.join(told)}; give the data as it was by --data"
    )


def _digest(content: bytes, size: int) -> bytes:
    return hashlib.blake2b(content, digest_size=size).digest()


def _name_digests(names: Sequence[str]) -> np.ndarray:
    size = LABEL - CONTENT
    found = b"".join(_digest(name.encode(errors="surrogatepass"), size) for name in names)
    return np.frombuffer(found, dtype=np.uint8).reshape(-1, size)


def _inputs(data: GroupedData) -> Iterator[bytes]:
    if isinstance(data.inputs, Inputs):
        yield from data.inputs.digests()
        return
    for rows in data.inputs.split(READ_AT_ONCE):
        yield from as_bytes(rows)
