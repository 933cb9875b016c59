"""Image files as inputs: in memory where they are few, else decoded when needed, or cached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audit.data.images import ImageSettings, file_digest, read_images
from audit.data.inputs import ImageFiles, Inputs, MappedInputs
from audit.errors import AuditError
from audit.files import replacing, write_atomically

IN_MEMORY = 2**30
"""So many bytes of pixels are kept in memory; more are decoded when they are needed."""


@dataclass(frozen=True)
class OpenImages:
    """Images as inputs, uint8 [n, 3, size, size], with uint8 [n, 16] digests of their files.

    read   int [n], positions among the files that were asked for; the others could not be read
    notes  what was done to some of them, and which were skipped, in sentences
    """

    inputs: Tensor | Inputs
    contents: np.ndarray
    read: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def repeats(self) -> np.ndarray:
        """For each image the first one with the same bytes, int [n]."""
        first: dict[bytes, int] = {}
        return np.array(
            [first.setdefault(own.tobytes(), row) for row, own in enumerate(self.contents)]
        )


def open_images(files: Sequence[Path], settings: ImageSettings, cache: str = "") -> OpenImages:
    """The images of these files; each is decoded once here, so that a broken one is named now.

    cache  a folder that keeps the pixels in one file, for the next time too

    Raises AuditError where an image cannot be read and is not to be skipped.
    """
    if cache:
        return _cached(files, settings, Path(cache))
    shape = (len(files), 3, settings.size, settings.size)
    if int(np.prod(shape)) <= IN_MEMORY:
        pixels = np.empty(shape, np.uint8)
        found = read_images(files, settings, pixels)
        return OpenImages(
            torch.from_numpy(pixels[: len(found.read)]), found.contents, found.read, found.notes
        )
    found = read_images(files, settings)
    inputs = ImageFiles([files[row] for row in found.read], settings)
    return OpenImages(inputs, found.contents, found.read, found.notes)


def _cached(files: Sequence[Path], settings: ImageSettings, folder: Path) -> OpenImages:
    """The images from the cache's file, which is written first where it is not there."""
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(file_digest, files))
    key = blake2b(b"".join(digests) + repr(asdict(settings)).encode(), digest_size=16).hexdigest()
    pixels, known = folder / f"{key}.npy", folder / f"{key}.json"
    if not (pixels.is_file() and known.is_file()):
        _fill(files, settings, pixels, known)
    try:
        found = json.loads(known.read_text(encoding="utf-8"))
        array = np.load(pixels, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise AuditError(f"the cache '{pixels}' is damaged; remove it") from error
    read = np.array(found["read"], dtype=np.int64)
    contents = np.frombuffer(b"".join(digests), np.uint8).reshape(len(files), -1)[read]
    return OpenImages(MappedInputs(array[: len(read)]), contents, read, tuple(found["notes"]))


def _fill(files: Sequence[Path], settings: ImageSettings, pixels: Path, known: Path) -> None:
    shape = (len(files), 3, settings.size, settings.size)
    try:
        with replacing(pixels) as partial:
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
            found = read_images(files, settings, array)
            array.flush()
        record = {"read": found.read.tolist(), "notes": list(found.notes)}
        write_atomically(known, json.dumps(record))
    except OSError as error:
        raise AuditError(f"cannot write the cache '{pixels}': {error.strerror or error}") from error
