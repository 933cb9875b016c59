"""Images as files, read side by side into one array."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from tqdm import tqdm

from audit.data.scaling import Scaling
from audit.errors import AuditError
from audit.limits import check_size

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
FITS = ("stretch", "crop", "pad")
UNREADABLE = ("refuse", "skip")
DEEP = 65535.0
AT_ONCE = 512


CHANNELS = 3
"""Red, green and blue."""


@dataclass(frozen=True)
class ImageSettings:
    """How image files become pixels of 0 to 255: turned upright, made red, green and blue.

    size        pixels a side
    fit         stretch to a square, crop its middle, or pad it with the background
    background  what lies behind transparent pixels: a colour's name or #rrggbb
    white       what is white in images of more than 8 bits a value: 65535 for 16 bits and 1 for
                floats, unless given (4095 for 12 bits of grey)
    unreadable  refuse an image that cannot be read, or skip it; those skipped are counted

    Raises AuditError where a setting is unknown or out of its range.
    """

    size: int = 32
    fit: str = "stretch"
    background: str = "white"
    white: float | None = None
    unreadable: str = "refuse"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise AuditError(f"found size={self.size}; expected 1 or more")
        check_size(f"an image of size={self.size}", CHANNELS * self.size**2)
        for name, known in {"fit": FITS, "unreadable": UNREADABLE}.items():
            if getattr(self, name) not in known:
                raise AuditError(
                    f"found {name}={getattr(self, name)}; expected one of {', '.join(known)}"
                )
        if self.white is not None and not self.white > 0:
            raise AuditError(f"found white={self.white:g}; expected a number above 0")
        self.colour()

    def colour(self) -> tuple[int, ...]:
        """The background as red, green and blue."""
        from PIL import ImageColor

        try:
            return ImageColor.getrgb(self.background)[:3]
        except ValueError as error:
            raise AuditError(
                f"found background={self.background}; expected a colour such as white or #808080"
            ) from error


@dataclass(frozen=True)
class Pixels:
    """One image, uint8 [3, size, size], the digest of its file, and what was done to it."""

    values: np.ndarray
    digest: bytes
    done: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Read:
    """What is known of images that were read: uint8 [n, 16] digests of their files, and notes.

    read   int [n], positions among the files that were asked for; the others could not be read
    notes  what was done to some of them, and which were skipped, in sentences
    """

    contents: np.ndarray
    read: np.ndarray
    notes: tuple[str, ...] = ()


DONE = {
    "turned": "{n:,} images were turned upright, as their files say (EXIF).",
    "damaged": "{n:,} images have damaged metadata (EXIF): whether they stand upright is not "
    "known.",
    "frames": "{n:,} files hold several images, as animations and pages do; the first of each was "
    "read.",
    "transparent": "{n:,} images have transparent parts, which were laid on {background}.",
    "deep": "{n:,} images have more than 8 bits a value; white is {white}.",
    "deep dim": "{n:,} of them stay below a quarter of white: dark pictures, or pictures of fewer "
    "bits than their files; then say what is white (white=4095 for 12 bits), or scale the files.",
    "all dim": "All {n:,} images stay below a quarter of white: dark pictures, or numbers on "
    "another scale than their files can hold; then scale the files.",
}
DIM = 0.25
"""Of white: 14 bits in a file of 16 reach no further."""


def read_images(
    files: Sequence[Path], settings: ImageSettings, into: np.ndarray | None = None
) -> Read:
    """Decode these files, several at a time; their pixels go into an array where one is given.

    into   uint8 [n, 3, size, size], filled from its beginning

    Raises AuditError where an image cannot be read and is not to be skipped.
    """
    digests: list[bytes] = []
    counts: Counter[str] = Counter()
    read: list[int] = []
    skipped: list[str] = []
    bar = tqdm(files, "reading images", delay=2, leave=False, unit="image")
    for row, one in enumerate(_each(bar, settings)):
        if isinstance(one, str):
            skipped.append(one)
            continue
        if into is not None:
            into[len(read)] = one.values
        read.append(row)
        digests.append(one.digest)
        counts.update(one.done)
        counts["deep dim"] += {"deep", "dim"} <= one.done
    if not read:
        raise AuditError(f"none of {len(files):,} images can be read (for instance {skipped[0]})")
    return Read(
        np.frombuffer(b"".join(digests), np.uint8).reshape(len(read), -1),
        np.array(read, dtype=np.int64),
        (*_done(counts, len(read), settings), *_skipped(skipped, len(files))),
    )


def _each(files: Iterable[Path], settings: ImageSettings) -> Iterator[Pixels | str]:
    """Image after image, or the name of one to be skipped; a few hundred at a time in memory."""
    rest = iter(files)
    with ThreadPoolExecutor() as pool:
        while some := list(islice(rest, AT_ONCE)):
            with _listening():
                found = list(pool.map(lambda file: _read_or_skip(file, settings), some))
            yield from found


_HEARD = threading.local()
"""Whether Pillow has warned, in this thread, of the image that is being read."""

OF_PILLOW: dict[str, Any] = {"category": UserWarning, "module": r"PIL\."}


@contextmanager
def _listening() -> Iterator[None]:
    """Lets each thread that reads images know what Pillow warns of, in place of printing it.

    For the thread that waits for these: what is warned of belongs to the whole process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("always", **OF_PILLOW)
        print_it = warnings.showwarning

        def keep(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if "PIL" in Path(filename).parts:
                _HEARD.warned = True
            else:
                print_it(message, category, filename, lineno, file, line)

        warnings.showwarning = keep
        yield


class _Unheard:
    """While any thread is within, nobody is told what Pillow warns of.

    Filters belong to the whole process: those who come in together share one change of them, which
    the last to leave takes back.
    """

    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._within += 1
            if self._within == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", **OF_PILLOW)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._caught.__exit__(None, None, None)


unheard = _Unheard()

READ_BYTES = 64
"""For a pixel: four values, of as many images as are read at a time."""


def file_digest(path: Path) -> bytes:
    """The digest of a file's bytes; AuditError where it is not there."""
    try:
        return _digest(path.read_bytes())
    except OSError as error:
        raise AuditError(
            f"the image '{path}' cannot be read; remove or replace it ({error.strerror})"
        ) from error


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def read_image(path: Path, settings: ImageSettings) -> Pixels:
    """One image; AuditError names it where it cannot be read."""
    from PIL import Image, ImageFile

    # Libraries turn this on for the whole process (WeasyPrint): a cut image would be read as grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        content = path.read_bytes()
        _HEARD.warned = False
        with Image.open(BytesIO(content)) as image:
            check_size(path, image.width * image.height * READ_BYTES)
            pixels, done = _upright(image, settings)
            small = _small(pixels, settings)
            if np.asarray(small).max() < 255 * DIM:
                done.add("dim")
            values = np.asarray(_padded(small, settings)).transpose(2, 0, 1)
    except AuditError as error:
        raise AuditError(f"the image '{path}' cannot be read: {error}") from error
    except Exception as error:  # Pillow's plugins raise whatever a broken file makes them raise.
        cause = _cause(error)
        raise AuditError(
            f"the image '{path}' cannot be read; remove or replace it, or give unreadable=skip "
            f"({cause})"
        ) from error
    if _HEARD.warned:
        done.add("damaged")
    return Pixels(values, _digest(content), frozenset(done))


def _cause(error: Exception) -> str:
    """Why Pillow read no image, without the place in memory that it names."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a kind that Pillow knows, as HEIC and SVG are none"
    return " ".join(str(error).split())[:120] or type(error).__name__


def _read_or_skip(path: Path, settings: ImageSettings) -> Pixels | str:
    try:
        return read_image(path, settings)
    except AuditError:
        if settings.unreadable == "skip":
            return f"'{path}'"
        raise


def _upright(image: Image, settings: ImageSettings) -> tuple[Image, set[str]]:
    """The image upright, in 8 bits of red, green and blue, on the background; what was done."""
    from PIL import ImageOps

    done = {"deep"} if _is_deep(image, settings) else set()
    if getattr(image, "n_frames", 1) > 1:
        done.add("frames")
    if image.getexif().get(0x0112, 1) in range(2, 9):
        image = ImageOps.exif_transpose(image)
        done.add("turned")
    if image.mode.startswith("I") or image.mode == "F":
        image = _shallow(image, settings)
    if image.has_transparency_data:
        image, transparent = _laid_on(image, settings.colour())
        done |= {"transparent"} if transparent else set()
    return image.convert("RGB"), done


def _is_deep(image: Image, settings: ImageSettings) -> bool:
    """Whether values have more than 8 bits in the file; AuditError where white cannot be theirs."""
    if image.mode.startswith("I") or image.mode == "F":
        return True
    # Of colours of 16 bits Pillow reads the upper 8; how they lie in the file is all it tells.
    deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    if deep and settings.white not in (None, DEEP):
        raise AuditError(
            f"found colours of 16 bits and white={settings.white:g}; expected grey, or colours "
            "whose white is 65535: write them anew on that scale"
        )
    return deep


def _shallow(image: Image, settings: ImageSettings) -> Image:
    """An image of whole numbers or floats in 8 bits."""
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    white = settings.white or (1.0 if image.mode == "F" else DEEP)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > white:
        raise AuditError(
            f"found numbers from {values.min():g} to {values.max():g}, expected 0 to {white:g}; "
            "say what is white with white="
        )
    return Image.fromarray(np.round(values * (255.0 / white)).astype(np.uint8))


def _laid_on(image: Image, background: tuple[int, ...]) -> tuple[Image, bool]:
    """The image on a background, and whether any of it was transparent."""
    from PIL import Image

    seen = image.convert("RGBA")
    alpha = seen.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return image, False
    laid = Image.new("RGB", seen.size, background)
    laid.paste(seen, mask=alpha)
    return laid, True


def _small(pixels: Image, settings: ImageSettings) -> Image:
    """The image as large as asked for: stretched, cropped, or whole within the square."""
    from PIL import Image, ImageOps

    size, method = (settings.size, settings.size), Image.Resampling.BILINEAR
    if pixels.size == size:
        return pixels
    if settings.fit == "crop":
        return ImageOps.fit(pixels, size, method)
    if settings.fit == "pad":
        return ImageOps.contain(pixels, size, method)
    # Large originals shrink by a whole factor first: much faster, as good to see.
    return pixels.resize(size, method, reducing_gap=3.0)


def _padded(small: Image, settings: ImageSettings) -> Image:
    """The image in the middle of a square of the size that was asked for."""
    from PIL import ImageOps

    return ImageOps.pad(small, (settings.size, settings.size), color=settings.colour())


def _done(found: Mapping[str, int], total: int, settings: ImageSettings) -> list[str]:
    counts = dict(found) | {"all dim": total if found.get("dim") == total else 0}
    white = "65535, or 1 of floats" if settings.white is None else f"{settings.white:g}"
    return [
        text.format(n=counts[what], background=settings.background, white=white)
        for what, text in DONE.items()
        if counts.get(what)
    ]


def _skipped(files: Sequence[str], total: int) -> list[str]:
    if not files:
        return []
    return [
        f"{len(files):,} of {total:,} images could not be read and were left out, as asked (for "
        f"instance {files[0]})."
    ]


def image_rules(settings: Mapping[str, Any]) -> tuple[Scaling, ImageSettings]:
    """How pixels become inputs, and files pixels; mean and std are of pixels of 0 to 1."""
    own = dict(settings)
    if {"std", "spread"} <= set(own):
        raise AuditError(
            f"found std={own['std']} and spread={own['spread']}; expected std alone, which spread "
            "was the name of"
        )
    if "spread" in own:
        own["std"] = own.pop("spread")
    rule = {name: _numbers(name, own.pop(name)) for name in ("mean", "std") if name in own}
    for name, values in rule.items():
        if len(values) not in (1, CHANNELS):
            raise AuditError(f"found {name} of {len(values)} numbers; expected 1, or {CHANNELS}")
    return Scaling(**rule), ImageSettings(**own)


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in str(value).split(","))
    except ValueError as error:
        raise AuditError(f"found {name}={value}; expected numbers, as in 0.5,0.5,0.5") from error
