"""What every test starts from: one thread, no screen, fixed seeds."""

import os

# Set before numpy and torch load, and handed on to the worker processes that tests start:
# `make test` already fills the cores with one process each, and sums over one thread always
# add up in the same order, so a test gives the same number alone and beside others.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import random
from collections import Counter

import matplotlib
import numpy as np
import pytest
import torch

from audit.data.grouped import GroupedData
from audit.data.splits import SplitSettings, split_samples

pytest_plugins = ["tests.fakes"]

torch.set_num_threads(1)
matplotlib.use("Agg")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the very end what was skipped, how often, and what would bring it."""
    reports = terminalreporter.stats.get("skipped", ())
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"skipped, {count} of the tests: {reason}")


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Seed the global generators, so that no test depends on which test ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (libraries under test draw from this generator)
    torch.manual_seed(0)


def make_groups(inputs: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor) -> GroupedData:
    """Data of two groups, 'few' and 'many', with seeded splits."""
    strata = (2 * groups + labels).numpy()
    return GroupedData(
        name="two groups",
        inputs=inputs,
        labels=labels,
        groups=groups,
        classes=("no", "yes"),
        group_names=("few", "many"),
        attribute="size",
        samples=np.array([f"sample-{i:04d}" for i in range(len(labels))]),
        splits=split_samples(strata, SplitSettings(test=0.4)),
    )


@pytest.fixture
def two_groups() -> GroupedData:
    """A table of 60 samples of one group and 340 of another, whose classes lie differently."""
    generator = torch.Generator().manual_seed(0)
    groups = (torch.arange(400) >= 60).long()
    labels = torch.arange(400) % 2
    inputs = 0.6 * torch.randn(400, 4, generator=generator)
    sign = (2 * labels - 1).float()
    inputs[groups == 1, 0] += sign[groups == 1]
    inputs[groups == 0, 1] += sign[groups == 0]
    return make_groups(inputs, labels, groups)


@pytest.fixture
def image_groups() -> GroupedData:
    """Images of 8×8 pixels of the same two groups: a bright left or right half."""
    generator = torch.Generator().manual_seed(0)
    groups = (torch.arange(200) >= 60).long()
    labels = torch.arange(200) % 2
    inputs = 0.3 * torch.randn(200, 1, 8, 8, generator=generator)
    inputs[labels == 0, :, :, :4] += 0.5
    inputs[labels == 1, :, :, 4:] += 0.5
    return make_groups(inputs, labels, groups)
