"""Image files: every depth, mode and orientation gives the picture that a viewer shows."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from audit.data import load_data
from audit.data.images import ImageSettings, image_rules, read_image, read_images
from audit.data.inputs import ImageFiles
from audit.errors import AuditError

SIZE = 64
RAMP = np.tile(np.linspace(0, 1, SIZE), (SIZE, 1))
RAMP[:20] = 0  # A dark band above: it shows which way is up.
GREY = (RAMP * 255).astype(np.uint8)
RGB = np.stack([GREY] * 3, axis=-1)


def pictures():
    """Every way to store the ramp, and how far from it the pixels may be."""
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "rgb.png": (Image.fromarray(RGB), {}, 0),
        "grey.png": (Image.fromarray(GREY), {}, 0),
        "16 bits.png": (Image.fromarray((RAMP * 65535).astype(np.uint16)), {}, 1),
        "16 bits.tiff": (Image.fromarray((RAMP * 65535).astype(np.uint16)), {}, 1),
        "16 bits, other end.tiff": (Image.fromarray((RAMP * 65535).astype(">u2")), {}, 1),
        "32 bits.tiff": (Image.fromarray((RAMP * 65535).astype(np.int32)), {}, 1),
        "float.tiff": (Image.fromarray(RAMP.astype(np.float32)), {}, 1),
        "opaque.png": (Image.fromarray(np.dstack([RGB, np.full_like(GREY, 255)])), {}, 0),
        "cmyk.jpg": (Image.fromarray(RGB).convert("CMYK"), {"quality": 95}, 6),
        "YCbCr.tiff": (Image.fromarray(RGB).convert("YCbCr"), {"compression": "tiff_lzw"}, 3),
        "palette.png": (Image.fromarray(RGB).quantize(64), {}, 8),
        "palette.gif": (Image.fromarray(RGB).quantize(64), {}, 8),
        "grey.webp": (Image.fromarray(RGB), {"lossless": True}, 0),
        "turned.jpg": (Image.fromarray(np.rot90(RGB).copy()), {"exif": turned, "quality": 95}, 8),
        "turned.png": (Image.fromarray(np.rot90(RGB).copy()), {"exif": turned}, 0),
    }


@pytest.mark.parametrize("name", pictures())
def test_every_file_shows_the_same_picture(tmp_path, name):
    image, settings, most = pictures()[name]
    image.save(tmp_path / name, **settings)
    values = read_image(tmp_path / name, ImageSettings(size=SIZE)).values.astype(int)
    assert values.shape == (3, SIZE, SIZE)
    assert np.abs(values - GREY).max() <= most


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), ("#808080", 128)])
def test_what_is_transparent_shows_the_background(tmp_path, mode, background, level):
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[:4, :, 3] = 255
    image = Image.fromarray(ink).convert(mode) if mode != "P" else Image.fromarray(ink).quantize(4)
    image.save(tmp_path / "ink.png")
    found = read_image(tmp_path / "ink.png", ImageSettings(size=8, background=background))
    assert (found.values[:, :4] == 0).all()
    assert (found.values[:, 4:] == level).all()
    assert found.done - {"dim"} == {"transparent"}


def test_half_transparent_pixels_are_mixed(tmp_path):
    Image.fromarray(np.full((4, 4, 4), (200, 0, 0, 128), np.uint8)).save(tmp_path / "half.png")
    found = read_image(tmp_path / "half.png", ImageSettings(size=4)).values[:, 0, 0]
    np.testing.assert_allclose(found, [227, 127, 127], atol=1)


def test_white_is_declared_for_images_of_other_depths(tmp_path):
    Image.fromarray((RAMP * 4095).astype(np.uint16)).save(tmp_path / "12.png")
    found = read_image(tmp_path / "12.png", ImageSettings(size=SIZE, white=4095)).values.astype(int)
    assert np.abs(found - GREY).max() <= 1
    Image.fromarray((RAMP * 65535).astype(np.uint16)).save(tmp_path / "16.png")
    mixed = read_images([tmp_path / f"{bits}.png" for bits in (12, 16)], ImageSettings(size=SIZE))
    assert (
        mixed.notes[0] == "2 images have more than 8 bits a value; white is 65535, or 1 of floats."
    )
    assert mixed.notes[1].startswith("1 of them stay below a quarter of white: dark pictures, or")
    assert len(mixed.notes) == 2
    with pytest.raises(AuditError, match="found numbers from 0 to 4095, expected 0 to 255"):
        read_image(tmp_path / "12.png", ImageSettings(white=255))
    Image.fromarray((RAMP * 300).astype(np.float32)).save(tmp_path / "300.tiff")
    with pytest.raises(AuditError, match=r"300\.tiff' cannot be read: found numbers from 0 to 300"):
        read_image(tmp_path / "300.tiff", ImageSettings())


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("most", [1, 63, 64])
def test_numbers_on_a_smaller_scale_than_the_file_holds_are_noted(tmp_path, most, fit):
    Image.fromarray((RAMP * most).astype(np.uint8)).save(tmp_path / "dark.png")
    read = read_images([tmp_path / "dark.png"] * 2, ImageSettings(size=SIZE, fit=fit))
    said = [note for note in read.notes if "All 2 images stay below a quarter of white" in note]
    assert len(said) == (most < 64)
    Image.fromarray(GREY).save(tmp_path / "bright.png")
    files = [tmp_path / "dark.png", tmp_path / "bright.png"]
    assert read_images(files, ImageSettings(size=SIZE, fit=fit)).notes == ()


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_sixteen_bits_are_noted_and_have_one_white(tmp_path, channels):
    values = np.repeat((RAMP * 4095).astype(np.uint16)[..., None], channels, 2)
    (tmp_path / "12.png").write_bytes(png_of_sixteen_bits(values))
    read = read_images([tmp_path / "12.png"], ImageSettings(size=SIZE, background="black"))
    assert any("1 images have more than 8 bits a value" in note for note in read.notes)
    assert any("1 of them stay below a quarter of white" in note for note in read.notes)
    read_image(tmp_path / "12.png", ImageSettings(white=65535))
    with pytest.raises(AuditError, match="found colours of 16 bits and white=4095; expected grey"):
        read_image(tmp_path / "12.png", ImageSettings(white=4095))


def png_of_sixteen_bits(values):
    """A PNG file's bytes: uint16 [height, width, channels]; Pillow writes no such colours."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_fits_stretch_crop_and_pad(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    means = {
        fit: read_image(tmp_path / "wide.png", ImageSettings(size=10, fit=fit)).values.mean()
        for fit in ("stretch", "crop", "pad")
    }
    assert means["crop"] == 255
    assert means["stretch"] == pytest.approx(85, abs=3)
    assert means["pad"] == pytest.approx((85 * 3 + 255 * 7) / 10, abs=9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "found size=0"),
        ({"size": 100_000}, "an image of size=100000' would take 27.9 GiB"),
        ({"fit": "squeeze"}, "found fit=squeeze; expected one of stretch, crop, pad"),
        ({"background": "clear"}, "found background=clear; expected a colour"),
        ({"white": 0}, "found white=0"),
        ({"unreadable": "ignore"}, "found unreadable=ignore"),
    ],
)
def test_settings_of_images_that_cannot_be(settings, message):
    with pytest.raises(AuditError, match=message):
        ImageSettings(**settings)


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    rows = []
    for number in range(40):
        name = f"{number}.png"
        Image.fromarray(generator.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / name)
        rows.append({"file": name, "y": "ab"[number % 2], "g": "pq"[number // 2 % 2]})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def labels(folder, **columns):
    table = pd.read_csv(folder / "labels.csv").assign(**columns)
    table.to_csv(folder / "labels.csv", index=False)
    return table


def test_unreadable_images_are_named_and_left_out_on_request(folder):
    (folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:60])
    (folder / "9.png").write_bytes(b"")
    with pytest.raises(AuditError, match=r"7\.png' cannot be read.*unreadable=skip"):
        load_data(f"images:{folder}?target=y&group=g&size=8")
    data = load_data(f"images:{folder}?target=y&group=g&size=8&unreadable=skip")
    assert len(data) == 38
    assert "7.png" not in data.samples
    assert any("2 of 40 images could not be read and were left out" in note for note in data.notes)
    assert data.labels.tolist() == [n % 2 for n in range(40) if n not in (7, 9)]
    assert sum(len(rows) for rows in data.splits.values()) == 38


def test_a_blank_target_is_refused_and_a_blank_group_is_one(folder):
    labels(folder, y=[" " if number == 3 else "ab"[number % 2] for number in range(40)])
    with pytest.raises(AuditError, match="the target 'y' is empty in 1 rows"):
        load_data(f"images:{folder}?target=y&group=g&size=8")
    labels(folder, y=["ab"[n % 2] for n in range(40)], g=[None] * 20 + ["p"] * 20)
    data = load_data(f"images:{folder}?target=y&group=g&size=8")
    assert data.group_names == ("(missing)", "p")


def test_label_files_as_people_have_them(folder):
    table = pd.read_csv(folder / "labels.csv")
    plain = load_data(f"images:{folder}?target=y&group=g&size=8")
    table.to_csv(folder / "other.txt", sep=";", encoding="utf-16", index=False)
    table.rename(columns={"file": "image path"}).to_parquet(folder / "labels.pq")
    for own in ("labels=other.txt", "labels=labels.pq&files=image path"):
        data = load_data(f"images:{folder}?target=y&group=g&size=8&{own}")
        assert torch.equal(data.inputs, plain.inputs)
        assert data.split_ids() == plain.split_ids()
    with pytest.raises(
        AuditError, match=r"a column 'file' and one for every .*files= names another"
    ):
        load_data(f"images:{folder}?target=y&group=g&labels=labels.pq")
    pd.concat([table, table]).to_csv(folder / "labels.csv", index=False)
    with pytest.raises(AuditError, match=r"has the file '0\.png' in two rows"):
        load_data(f"images:{folder}?target=y&group=g")


def test_paths_of_windows_and_whole_paths(folder):
    (folder / "part").mkdir()
    for number in range(40):
        (folder / f"{number}.png").rename(folder / "part" / f"{number}.png")
    for prefix in ("part\\", str(folder / "part") + "/"):
        labels(folder, file=[f"{prefix}{number}.png" for number in range(40)])
        assert len(load_data(f"images:{folder}?target=y&group=g&size=8")) == 40


def test_a_table_in_place_of_the_folder_is_refused_with_what_to_type(folder):
    labels(folder)
    with pytest.raises(AuditError, match=r"images:.*\?labels=labels\.csv&target"):
        load_data(f"images:{folder}/labels.csv?target=y&group=g")


@pytest.mark.parametrize("name", ["std", "spread"])
def test_mean_and_std_are_declared_and_kept(folder, name):
    data = load_data(f"images:{folder}?target=y&group=g&size=8&mean=0.4,0.5,0.6&{name}=0.2")
    rows = torch.arange(3)
    expected = (
        data.inputs[rows].double() / 255 - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    ) / 0.2
    torch.testing.assert_close(data.batch(rows).inputs.double(), expected, atol=1e-5, rtol=1e-5)
    assert load_data(data.spec).scaling == data.scaling


def test_a_std_under_both_of_its_names_is_refused(folder):
    with pytest.raises(AuditError, match=r"found std=0\.5 and spread=0\.2; expected std alone"):
        load_data(f"images:{folder}?target=y&group=g&size=8&std=0.5&spread=0.2")


def test_only_what_is_declared_an_image_is_scaled(folder):
    from audit.data import from_arrays

    table = np.random.default_rng(0).integers(0, 2, (40, 5)).astype(np.uint8)
    for kind in ("uint8", "bool", "int64", "float32"):
        data = from_arrays(table.astype(kind), [0, 1] * 20, ["a", "b"] * 20)
        assert data.batch(torch.arange(40)).inputs.tolist() == table.tolist()
    images = load_data(f"images:{folder}?target=y&group=g&size=8")
    found = images.batch(torch.arange(40)).inputs
    assert isinstance(images.inputs, torch.Tensor)
    assert torch.equal(found, images.inputs.float() / 127.5 - 1)
    undeclared = from_arrays(images.inputs, [0, 1] * 20, ["a", "b"] * 20)
    assert "were not declared so" in undeclared.notes[0]
    assert torch.equal(undeclared.batch(torch.arange(40)).inputs, images.inputs.float())


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tiff"])
def test_of_several_images_in_a_file_the_first_is_read_and_it_is_said(tmp_path, name):
    first, second = Image.fromarray(RGB), Image.new("RGB", (SIZE, SIZE))
    first.save(tmp_path / name, save_all=True, append_images=[second])
    found = read_images([tmp_path / name], ImageSettings(size=SIZE))
    assert found.notes[0].startswith("1 files hold several images")
    assert read_image(tmp_path / name, ImageSettings(size=SIZE)).values.max() > 200


def test_an_orientation_that_there_is_not_turns_nothing(tmp_path):
    unknown = Image.Exif()
    unknown[0x0112] = 99
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=unknown)
    assert read_image(tmp_path / "a.png", ImageSettings()).done == frozenset()


def test_what_pillow_does_not_know_is_told_alike_each_time(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(AuditError, match=r"\(it is no image of a kind that Pillow knows.*HEIC"):
        read_image(tmp_path / "a.heic", ImageSettings())


@pytest.mark.parametrize("name", [None, " "])
def test_a_row_without_a_file_is_no_image(folder, name):
    table = pd.read_csv(folder / "labels.csv")
    table["file"] = [name, *table["file"][1:]]
    table.to_csv(folder / "labels.csv", index=False)
    with pytest.raises(AuditError, match="names no file in 1 rows"):
        load_data(f"images:{folder}?target=y&group=g")


def test_damaged_metadata_is_counted_and_the_picture_read(tmp_path):
    """Pillow warns, which a run of its own would print, and here would be an error."""
    metadata = Image.Exif()
    metadata[0x0112], metadata[0x010E] = 6, "a description that is cut off"
    whole = metadata.tobytes()
    files = [tmp_path / f"{place}.jpg" for place in range(4)]
    for place, file in enumerate(files):
        kept = len(whole) - 5 * place if place < 3 else 0
        Image.fromarray(RGB).save(file, exif=whole[:kept])
    pixels = np.empty((4, 3, SIZE, SIZE), np.uint8)
    found = read_images(files, ImageSettings(size=SIZE), pixels)
    assert found.notes[1:] == (
        "2 images have damaged metadata (EXIF): whether they stand upright is not known.",
    )
    assert np.abs(pixels[3].astype(int) - RGB.transpose(2, 0, 1)).mean() < 2
    before = list(warnings.filters)
    inputs = ImageFiles(files, ImageSettings(size=SIZE))
    assert warnings.filters == before
    with ThreadPoolExecutor() as pool:
        for fetched in pool.map(inputs.fetch, [torch.arange(4)] * 4):
            assert np.array_equal(fetched.numpy(), pixels)
    assert warnings.filters == before


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"mean": "0.5,0.5"}, "found mean of 2 numbers; expected 1, or 3"),
        ({"std": "0.5,0.5,0.5,0.5"}, "found std of 4 numbers"),
        ({"mean": 127, "std": 64}, r"found mean=\(127.0,\); expected that of x / 255, from 0 to 1"),
    ],
)
def test_means_and_stds_are_of_three_channels_of_0_to_1(asked, message):
    with pytest.raises(AuditError, match=message):
        image_rules(asked)
