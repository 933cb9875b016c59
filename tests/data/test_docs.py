"""What docs/data.md says can be run."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from audit.specs import IMAGE_KEYS, KEYS, OF_A_COLUMN, SPLIT_KEYS

DOCS = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")


def test_the_python_of_the_page_runs():
    generator = np.random.default_rng(0)
    people = [
        {
            "input_ids": torch.arange(4) + row,
            "attention_mask": torch.ones(4, dtype=torch.int64),
            "pixels": torch.zeros(3, 4, 4) + row,
            "label": row % 2,
            "y": row % 2,
            "sex": "fm"[row // 2 % 2],
        }
        for row in range(40)
    ]
    items = [(own["pixels"], own["label"], own["sex"]) for own in people]
    given: dict[str, Any] = {
        "images": generator.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8),
        "labels": [0, 1] * 20,
        "groups": ["a", "b"] * 20,
        "test_loader": DataLoader(items, batch_size=8),
        "test_set": people,
        "train_set": people,
    }
    (example,) = re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)
    exec(example, given)  # the page is ours
    assert len(given["data"].indices("train")) == len(given["data"].indices("test")) == 40


def test_every_key_of_the_page_is_one():
    named = re.findall(r"^\| (`.*?) \|", DOCS, flags=re.MULTILINE)
    keys = {key.split("=")[0].split(":")[0] for row in named for key in re.findall(r"`(.*?)`", row)}
    known = {key for own in KEYS.values() for key in own} | set(IMAGE_KEYS)
    known |= set(OF_A_COLUMN) | set(SPLIT_KEYS)
    assert keys
    assert keys <= known
