"""How long curvature may take is told before it starts, where somebody asked and it is long."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import audit
from audit.data.grouped import GroupedData
from audit.examine import estimate
from audit.examine.estimate import sample_seconds, told_before
from audit.examine.settings import MeasureSettings
from audit.examine.subject import Part, Subject

SETTINGS = MeasureSettings(resamples=50, minimum_group_size=5, max_products=7, curvature_samples=4)


def compared(data: GroupedData, settings: MeasureSettings = SETTINGS) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    audit.compare({"dense": network, "same": network}, data, settings)


def test_long_curvature_is_told_and_short_is_not(
    two_groups: GroupedData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timed: list[float] = []

    def slow(subject: Subject, part: Part) -> float:
        timed.append(sample_seconds(subject, part))
        return 2.0

    monkeypatch.setattr(estimate, "sample_seconds", slow)
    with told_before():
        compared(two_groups)
    # 2 s a sample, 4 samples in each of two groups, 7 products: 112 s.
    assert capsys.readouterr().err.splitlines()[0] == (
        "audit: curvature of dense: up to 7 products in each of 2 groups, at most about 1 min 52 s "
        "(from one product that was timed)"
    )
    assert 0 < timed[0] < 10
    monkeypatch.setattr(estimate, "sample_seconds", lambda *_: 0.1)
    with told_before():
        compared(two_groups)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("asked", [True, False])
def test_nothing_is_timed_that_nobody_asked_for(
    asked: bool, two_groups: GroupedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "most_seconds", lambda _: pytest.fail("a product was timed"))
    if not asked:
        compared(two_groups)
        return
    with told_before():
        compared(two_groups, MeasureSettings(resamples=50, curvature="none"))
