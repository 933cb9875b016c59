"""Pictures of the samples that pruning broke: taken where the data is at hand, on request only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.data.inputs import Inputs
from audit.errors import AuditError
from audit.findings.answers import Answers
from audit.findings.results import MOST_PIXELS, broken
from audit.findings.words import label

if TYPE_CHECKING:
    from audit.data.grouped import GroupedData

MOST_NETWORKS = 3
MOST_GROUPS = 3
MOST_PICTURES = 8
ROUNDING = 1e-9
"""A gap that is closer to zero is zero: sums of floats are not exact."""
COLUMNS = (
    "model",
    "group",
    "sample",
    "label",
    "dense_prediction",
    "dense_confidence",
    "prediction",
    "confidence",
    "png",
)


def check_images(data: GroupedData) -> None:
    """Raise AuditError where the inputs are no images that can be shown."""
    shape = data.input_shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise AuditError(
            f"{data.name} has inputs of shape {'×'.join(map(str, shape))}; a gallery needs images, "
            "1 or 3 channels × height × width: leave --gallery out"
        )


def take_pictures(
    data: GroupedData,
    samples: pd.DataFrame | Answers,
    groups: pd.DataFrame,
    models: Sequence[Mapping[str, Any]],
    compared: Sequence[str] = (),
) -> pd.DataFrame:
    """The samples right under the dense network and wrong under a pruned one, with their pictures.

    One row a picture (COLUMNS), `png` being a file's bytes, at most MOST_PIXELS a side: for at most
    MOST_NETWORKS networks and their MOST_GROUPS groups that pay most, the MOST_PICTURES most
    confident mistakes, in this order.
    """
    check_images(data)
    answers = Answers.of(samples)
    rows = [
        row
        for name in compared or _pictured(models)
        for group in _paying(groups, name)
        for row in _mistakes(answers.network(name), group).to_dict("records")
    ]
    position = {sample: place for place, sample in enumerate(data.samples.tolist())}
    pixels = _pixels(data, [position[row["sample"]] for row in rows])
    pictured = [row | {"png": _png(own)} for row, own in zip(rows, pixels, strict=True)]
    return pd.DataFrame(pictured, columns=list(COLUMNS))


def _pictured(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of a study: the first method at its highest rate, then the constrained methods there."""
    pruned = [model for model in models if model["method"] != "dense"]
    if not pruned:
        return []
    first = pruned[0]
    rate = max(model["rate"] for model in pruned if label(model) == label(first))
    own = [m for m in pruned if (m["rate"], m["seed"]) == (rate, first["seed"])]
    own.sort(key=lambda model: (label(model) != label(first), model["constraint"] == "none"))
    return [str(model["name"]) for model in own[:MOST_NETWORKS]]


def _paying(groups: pd.DataFrame, model: str) -> list[str]:
    """The groups that lost more accuracy than the average, most first."""
    gaps = groups[
        (groups["model"] == model)
        & (groups["metric"] == "excess_accuracy_gap")
        & (groups["flag"] == "")
        & (groups["value"] > ROUNDING)
    ]
    return [str(group) for group in gaps.nlargest(MOST_GROUPS, "value")["group"]]


def _mistakes(samples: pd.DataFrame, group: str) -> pd.DataFrame:
    own = samples[samples["group"] == group]
    if "dense_prediction" not in own or own["dense_prediction"].isna().any():
        raise AuditError(
            f"{own['model'].iloc[0]} was measured before galleries were known; remove the folder "
            "'cells' of the study, so that it is measured anew"
        )
    found = own[broken(own)].sort_values("confidence", ascending=False, kind="stable")
    return found[list(COLUMNS[:-1])].head(MOST_PICTURES)


def _pixels(data: GroupedData, rows: list[int]) -> np.ndarray:
    """The images as uint8 [n, H, W, C]; other numbers from the data's smallest to its largest."""
    chosen = data.inputs[np.array(rows, np.int64)].numpy()
    if chosen.dtype != np.uint8:
        every = chosen if isinstance(data.inputs, Inputs) else data.inputs
        low, high = float(every.min()), float(every.max())
        chosen = ((chosen - low) / (high - low) * 255).round().astype(np.uint8)
    return chosen.transpose(0, 2, 3, 1)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    content = BytesIO()
    image.save(content, "png", optimize=True)
    return content.getvalue()
