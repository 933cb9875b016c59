"""The gallery: samples that pruning broke, from the pictures stored with the results."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.findings.results import MOST_PIXELS, Results, broken
from audit.findings.words import named, number

PEOPLE = ("utkface", "fairface")
NOT_PEOPLE = ("digits",)


@dataclass(frozen=True)
class Picture:
    """One sample: its image as an address that holds it, what it shows in words, its caption."""

    source: str
    alt: str
    label: str
    before: str
    after: str


@dataclass(frozen=True)
class Strip:
    """The pictures of one group under one network."""

    title: str
    pictures: list[Picture]


def strips(results: Results) -> list[Strip]:
    """A strip for every network and group that was pictured."""
    if results.gallery.empty:
        return []
    found = []
    for (model, group), rows in results.gallery.groupby(["model", "group"], sort=False):
        samples = results.answers.network(str(model))
        own = samples[samples["group"] == group]
        lost = int(broken(own).sum())
        title = f"Group {named(group)} under {model}: {lost:,} of {len(own):,} samples broken"
        if len(rows) < lost:
            title += f", the {len(rows)} most confident mistakes"
        found.append(Strip(title, [_picture(row) for row in rows.to_dict("records")]))
    return found


def _picture(row: Mapping[Any, Any]) -> Picture:
    before, after = (number(row[c], "accuracy") for c in ("dense_confidence", "confidence"))
    return Picture(
        "data:image/png;base64," + base64.b64encode(row["png"]).decode(),
        f"Sample {row['sample']} of group {row['group']}, labelled {row['label']}: the dense "
        f"network says {row['dense_prediction']} with confidence {before}, {row['model']} says "
        f"{row['prediction']} with confidence {after}.",
        str(row["label"]),
        f"{row['dense_prediction']} ({before})",
        f"{row['prediction']} ({after})",
    )


def whose(data: Mapping[str, Any], pictures: int) -> list[str]:
    """Whose images these are, that the report holds them, and what follows for those of people."""
    dataset = data["spec"].get("dataset")
    found = [
        f"The {pictures} images are samples of {data['name']}, at most {MOST_PIXELS} pixels a "
        "side. The report and gallery.parquet beside it hold them now."
    ]
    private = (
        "keep the report and gallery.parquet private, and hand them on only where the data's "
        "licence and those shown allow it."
    )
    if dataset in PEOPLE:
        found.append(f"They show people: {private}")
    elif dataset not in NOT_PEOPLE:
        found.append(f"If they show people, {private}")
    return found
