"""The examples of docs/training-loop.md, one after the other, as they stand there."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from audit import Mask

TEXT = (Path(__file__).parents[2] / "docs" / "training-loop.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
NEEDED = re.compile(r"^# where (\w+) is installed$", re.MULTILINE)


def test_the_examples_of_ones_own_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    rates = []
    for block in BLOCKS:
        if not NEEDED.search(block):
            exec(block, found)
            mask = found.get("mask")
            rates += [round(mask.sparsity, 2)] if isinstance(mask, Mask) else []
    assert rates == [0.8, 0.8, 0.9]
    right = found["model"](found["inputs"]).argmax(1) == found["labels"]
    assert float(right.float().mean()) > 0.85
    assert (tmp_path / "middle.pt").is_file()


@pytest.mark.filterwarnings("default")  # of what a Trainer warns, this project says none
@pytest.mark.parametrize(
    ("package", "needs"), [("transformers", "accelerate"), ("lightning", "lightning")]
)
def test_the_example_of_a_trainer(
    package: str, needs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = (b for b in BLOCKS if (need := NEEDED.search(b)) and need[1] == package)
    for one in dict.fromkeys((package, needs)):
        if find_spec(one) is None:
            pytest.skip(f"{one} is not installed")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(BLOCKS[0], found)
    exec(block, found)
    mask = found["pruning"].mask
    assert mask.survivors == round((1 - found["pruning"].more["rate"]) * mask.size)
