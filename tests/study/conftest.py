"""A study of seconds: a table of two groups, and networks of a few weights."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit.examine.settings import MeasureSettings
from audit.models.training import TrainingSettings
from audit.study.settings import Method, StudySettings


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """240 rows of two numbers, a group and a target that goes with the first number."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(240, 2)).round(3)
    frame = pd.DataFrame(numbers, columns=["one", "two"])
    frame["group"] = np.where(np.arange(240) % 3 == 0, "few", "many")
    frame["target"] = np.where(numbers[:, 0] + 0.4 * random.normal(size=240) > 0, "yes", "no")
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def small(table: Path) -> StudySettings:
    """One dense network, and two that magnitude prunes from it."""
    return StudySettings(
        data={"dataset": "table", "file": str(table), "target": "target", "group": "group"},
        model="mlp",
        arguments={"width": 6, "depth": 1},
        methods=(Method("magnitude"),),
        rates=(0.3, 0.6),
        training=TrainingSettings(epochs=2, batch_size=32),
        pruning=TrainingSettings(epochs=1, batch_size=32),
        measure=MeasureSettings(
            curvature="none", resamples=20, minimum_group_size=5, without=("calibration",)
        ),
    )
