"""Images as files, read side by side into one array."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from tqdm import tqdm

from audit.errors import AuditError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


def read_images(files: list[Path], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 3, size, size], and int [n]: for each the first one with the same bytes.

    Raises AuditError where an image cannot be read.
    """
    images = np.empty((len(files), 3, size, size), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda file: _read_image(file, size), files)
        digests = []
        for row, (pixels, digest) in enumerate(
            tqdm(read, "reading images", total=len(files), delay=2, leave=False, unit="image")
        ):
            images[row] = pixels
            digests.append(digest)
    first: dict[bytes, int] = {}
    return images, np.array([first.setdefault(d, row) for row, d in enumerate(digests)])


def _read_image(path: Path, size: int) -> tuple[np.ndarray, bytes]:
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            pixels = image.convert("RGB")
            if pixels.size != (size, size):
                # Large originals shrink by a whole factor first: much faster, as good to see.
                pixels = pixels.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise AuditError(f"the image '{path}' cannot be read; remove or replace it") from error
    return np.asarray(pixels).transpose(2, 0, 1), hashlib.sha256(content).digest()
