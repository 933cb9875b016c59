from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from audit.errors import AuditError
from audit.findings.results import MOST_PIXELS
from audit.study.pictures import MOST_PICTURES, take_pictures


def results_of(data, gaps, model="pruned"):
    """Samples all labelled yes, right under the dense network; the first half were broken."""
    rows = data.indices("test").numpy()
    samples = pd.DataFrame({"model": model, "sample": data.samples[rows]})
    samples["group"] = np.array(data.group_names)[data.groups[rows].numpy()]
    half = np.arange(len(rows)) < len(rows) // 2
    samples = samples.assign(label="yes", dense_prediction="yes", dense_confidence=0.6)
    samples["prediction"] = np.where(half, "no", "yes")
    samples["confidence"] = np.linspace(0.5, 0.99, len(rows))
    groups = pd.DataFrame({"model": model, "group": list(gaps), "value": list(gaps.values())})
    return samples, groups.assign(metric="excess_accuracy_gap", flag="")


MODELS = [{"name": "pruned", "method": "magnitude", "constraint": "none", "rate": 0.9, "seed": 0}]


def pixels(png):
    with Image.open(BytesIO(png)) as image:
        return np.asarray(image)


def test_the_most_confident_mistakes_of_the_group_that_pays_are_pictured(image_groups):
    samples, groups = results_of(image_groups, {"few": 0.1, "many": -0.02})
    found = take_pictures(image_groups, samples, groups, MODELS)
    assert set(found["group"]) == {"few"}
    assert set(found["prediction"]) == {"no"}
    own = samples[(samples["group"] == "few") & (samples["prediction"] == "no")]
    expected = own.sort_values("confidence", ascending=False)["sample"].head(MOST_PICTURES)
    assert list(found["sample"]) == list(expected)
    assert len(found) == MOST_PICTURES


def test_a_picture_is_that_of_its_sample(image_groups):
    samples, groups = results_of(image_groups, {"few": 0.1})
    found = take_pictures(image_groups, samples, groups, MODELS)
    low, high = image_groups.inputs.min(), image_groups.inputs.max()
    for row in found.to_dict("records"):
        place = image_groups.samples.tolist().index(row["sample"])
        wanted = ((image_groups.inputs[place, 0] - low) / (high - low) * 255).round()
        np.testing.assert_array_equal(pixels(row["png"]), wanted)


def test_large_images_are_made_small_and_keep_their_colours(image_groups):
    colours = torch.zeros(len(image_groups), 3, 96, 64, dtype=torch.uint8)
    colours[:, 1] = 200
    data = replace(image_groups, inputs=colours)
    samples, groups = results_of(data, {"few": 0.1})
    found = pixels(take_pictures(data, samples, groups, MODELS)["png"].iloc[0])
    assert found.shape == (MOST_PIXELS, 32, 3)
    assert (found == [0, 200, 0]).all()


def test_small_groups_and_those_below_the_average_are_not_pictured(image_groups):
    samples, groups = results_of(image_groups, {"few": 0.1, "many": 0.0})
    groups["flag"] = ["small", ""]
    assert take_pictures(image_groups, samples, groups, MODELS).empty


def test_of_a_study_the_first_method_and_the_constrained_ones_are_pictured(image_groups):
    names = {
        "first": ("magnitude", "none", 0.9, 0),
        "low": ("magnitude", "none", 0.5, 0),
        "other": ("random", "none", 0.9, 0),
        "another": ("snip", "none", 0.9, 0),
        "fair": ("bilevel", "group-loss", 0.9, 0),
        "seed": ("magnitude", "none", 0.9, 1),
    }
    models = [
        {"name": name, "method": m, "constraint": c, "rate": r, "seed": s}
        for name, (m, c, r, s) in names.items()
    ]
    parts = [results_of(image_groups, {"few": 0.1}, name) for name in names]
    samples, groups = (pd.concat(tables) for tables in zip(*parts, strict=True))
    found = take_pictures(image_groups, samples, groups, models)
    assert list(found["model"].unique()) == ["first", "fair", "other"]


def test_a_table_has_no_pictures(two_groups):
    samples, groups = results_of(two_groups, {"few": 0.1})
    with pytest.raises(AuditError, match="needs images"):
        take_pictures(two_groups, samples, groups, MODELS)


def test_measures_without_the_dense_predictions_must_be_made_anew(image_groups):
    samples, groups = results_of(image_groups, {"few": 0.1})
    with pytest.raises(AuditError, match="measured anew"):
        take_pictures(image_groups, samples.drop(columns="dense_prediction"), groups, MODELS)
