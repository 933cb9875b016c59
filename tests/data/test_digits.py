"""The embedded digits: what stays, what is left out, and what is said about it."""

import pytest
import torch
from sklearn.datasets import load_digits as bundled

from audit.data import SplitSettings
from audit.data.digits import load_digits
from audit.errors import AuditError


def test_every_sample_is_the_bundled_image_that_its_id_names():
    images, labels = bundled(return_X_y=True)
    data = load_digits()
    rows = [int(sample.removeprefix("digits-")) for sample in data.samples]
    expected = torch.from_numpy(images[rows]).float().view(-1, 1, 8, 8) / 8 - 1
    assert torch.equal(data.inputs, expected)
    assert data.labels.tolist() == labels[rows].tolist()


def test_the_tail_changes_nothing_but_the_tail():
    plain, tailed = load_digits(tail={}), load_digits(tail={"5": 20})
    assert plain.split_ids()["test"] == tailed.split_ids()["test"]
    gone = set(plain.samples) - set(tailed.samples)
    digit = dict(zip(plain.samples.tolist(), plain.labels.tolist(), strict=True))
    assert {digit[sample] for sample in gone} == {5}
    sizes = tailed.sizes()
    assert sizes.loc["5", ["train", "select"]].sum() == 20
    assert len(plain) == 1797


def test_the_seed_chooses_who_stays_in_the_tail():
    kept = []
    for split in (SplitSettings(test=0.5, seed=seed) for seed in (0, 1)):
        data, plain = load_digits(split=split), load_digits(tail={}, split=split)
        stayed = data.samples[data.indices("train", "select", group=8)].tolist()
        available = plain.samples[plain.indices("train", "select", group=8)].tolist()
        assert len(stayed) == 15
        assert set(stayed) < set(available)
        # A choice, not the first ones in the file.
        assert stayed != available[:15]
        kept.append(stayed)
    assert kept[0] != kept[1]


def test_the_notes_say_what_this_is_and_what_was_left_out():
    data = load_digits()
    notes = " ".join(data.notes)
    assert "not people" in notes
    assert "made on purpose" in notes
    assert f"{1797 - len(data)} images were left out" in notes
    assert "on purpose" not in " ".join(load_digits(tail={}).notes)


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ({"x": 3}, "found class 'x' in the tail"),
        ({"12": 3}, "found class '12' in the tail"),
        ({"8": 0}, "found 0 images for class 8"),
        ({"8": -1}, "found -1 images for class 8"),
    ],
)
def test_tails_that_cannot_be(tail, message):
    with pytest.raises(AuditError, match=message):
        load_digits(tail=tail)
