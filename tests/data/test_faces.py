"""UTKFace: crossing, sizes, reduced runs, and what cannot be read."""

import hashlib
from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image

from audit.data import SplitSettings
from audit.data.attributes import Attribute, make_groups
from audit.data.faces import load_utkface
from audit.errors import AuditError

SHADES = {"Male": (200, 0, 0), "Female": (0, 0, 200)}


def write_shades(folder, number=40, size=16):
    """Plain images whose colour is the gender that their names give."""
    for row in range(number):
        gender = row % 2
        shade = tuple(SHADES.values())[gender]
        # One grey level apart, so that no two files are the same.
        colour = tuple(max(0, part - row) for part in shade)
        name = f"{20 + row}_{gender}_{row % 5}_{row:08d}.jpg.chip.jpg"
        Image.new("RGB", (size, size), colour).save(folder / name, quality=95)


def test_crossed_groups_stand_in_declared_order_and_absent_ones_are_named():
    attributes = {
        "gender": Attribute(("Male", "Female"), np.array([1, 0, 1, 0])),
        "size": Attribute(("small", "large"), np.array([1, 0, 1, 1])),
    }
    groups = make_groups(attributes, "gender, size")
    assert groups.attribute == "gender × size"
    assert groups.names == ("Male × small", "Male × large", "Female × large")
    assert groups.codes.tolist() == [2, 0, 2, 1]
    assert len(groups.notes) == 1
    assert "Female × small" in groups.notes[0]
    assert make_groups(attributes, "size,gender").names[0] == "small × Male"


def test_an_attribute_alone_keeps_values_that_do_not_occur():
    groups = make_groups({"size": Attribute(("small", "large"), np.array([1, 1]))}, "size")
    assert (groups.names, groups.codes.tolist()) == (("small", "large"), [1, 1])


@pytest.mark.parametrize("names", ["gender,gender", "gender,height", "gender,", ""])
def test_crossings_that_cannot_be(names):
    attributes = {"gender": Attribute(("Male", "Female"), np.array([0, 1]))}
    with pytest.raises(AuditError, match="found group"):
        make_groups(attributes, names)


@pytest.mark.parametrize(("written", "size"), [(16, 16), (64, 16), (200, 32), (8, 16)])
def test_pixels_belong_to_their_labels_at_every_size(tmp_path, written, size):
    write_shades(tmp_path, size=written)
    data = load_utkface(tmp_path, target="gender", group="gender", size=size)
    assert data.inputs.shape == (40, 3, size, size)
    red, blue = data.inputs[:, 0].float().mean((1, 2)), data.inputs[:, 2].float().mean((1, 2))
    assert torch.equal((blue > red).long(), data.labels)


def test_grey_images_become_three_channels(tmp_path):
    write_shades(tmp_path)
    Image.new("L", (16, 16), 77).save(tmp_path / "9_0_0_99999999.jpg")
    data = load_utkface(tmp_path, target="gender", size=16)
    grey = data.inputs[data.samples.tolist().index("9_0_0_99999999.jpg")].float()
    assert (grey - 77).abs().max() <= 2


def test_a_reduced_run_is_seeded_and_sorted(tmp_path):
    write_shades(tmp_path)
    one, again = (load_utkface(tmp_path, "gender", "gender", most=20) for _ in range(2))
    other = load_utkface(tmp_path, "gender", "gender", most=20, split=SplitSettings(seed=1))
    assert one.samples.tolist() == again.samples.tolist() == sorted(one.samples)
    assert len(one) == 20
    assert set(one.samples) != set(other.samples)
    assert len(load_utkface(tmp_path, "gender", "gender", most=1000)) == 40


@pytest.mark.parametrize("setting", [{"most": 0}, {"most": -1}, {"size": 0}])
def test_numbers_out_of_range(tmp_path, setting):
    write_shades(tmp_path)
    name, value = next(iter(setting.items()))
    with pytest.raises(AuditError, match=f"found {name}={value}; expected 1 or more"):
        load_utkface(tmp_path, **setting)


def test_a_truncated_image_is_named(tmp_path):
    write_shades(tmp_path)
    path = tmp_path / "20_0_0_00000000.jpg.chip.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(AuditError, match=r"20_0_0_00000000\.jpg\.chip\.jpg' cannot be read"):
        load_utkface(tmp_path, target="gender")


def test_what_the_annotators_did_is_said(tmp_path):
    write_shades(tmp_path)
    first = tmp_path / "20_0_0_00000000.jpg.chip.jpg"
    (tmp_path / "61_0_0_00000000.jpg.chip.jpg").write_bytes(first.read_bytes())
    notes = " ".join(load_utkface(tmp_path, target="gender").notes)
    assert "coarse estimates by annotators" in notes
    assert "0 in ethnicity, 0 in gender, 1 in age" in notes


def test_real_repeats_stay_together(utkface_folder):
    data = load_utkface(utkface_folder)
    holder = {name: split for split, ids in data.split_ids().items() for name in ids}
    copies = defaultdict(list)
    for path in utkface_folder.iterdir():
        copies[hashlib.md5(path.read_bytes()).hexdigest()].append(path.name)
    repeated = [names for names in copies.values() if len(names) > 1]
    assert sum(len(names) - 1 for names in repeated) == 14
    assert all(len({holder[name] for name in names}) == 1 for names in repeated)


def test_real_faces_are_split_by_group(utkface_folder):
    data = load_utkface(utkface_folder)
    sizes = data.sizes()
    shares = sizes["test"] / sizes.sum(axis=1)
    # Repeats follow their firsts, so that a share can miss 20 % by a few images.
    assert shares.between(0.17, 0.23).all()
    assert data.classes == data.group_names == ("White", "Black", "Asian", "Indian", "Others")
    assert torch.equal(data.labels, data.groups)
    for row in (0, 500, 999):
        ethnicity = int(data.samples[row].split("_")[2])
        assert int(data.labels[row]) == ethnicity
