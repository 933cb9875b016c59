"""The real sets that these tests read, where they are."""

import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="session")
def utkface_folder(tmp_path_factory) -> Path:
    """The first 1,000 images of UTKFace under their owners' names; 14 of them are repeats."""
    packed = SHARED / "data" / "utkface" / "utkface_rgb64_jpeg.npz"
    if not packed.is_file():
        pytest.skip("UTKFace is not here (shared/data/utkface/utkface_rgb64_jpeg.npz)")
    folder = tmp_path_factory.mktemp("utkface")
    tool = SHARED / "tools" / "unpack_faces"
    command = [sys.executable, str(tool), str(packed), str(folder), "--most", "1000"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def adult_folder() -> Path:
    """UCI Adult as published, gzipped."""
    folder = SHARED / "data" / "adult"
    if not folder.is_dir():
        pytest.skip("UCI Adult is not here (shared/data/adult)")
    return folder
