"""Processes that divide the samples between them find what one process finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from audit.errors import AuditError, ProcessesParted
from audit.measure import ranks
from audit.processes import by_torchrun, check_divisible
from tests.measure.ranks_worker import measured

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def alone() -> dict[str, pd.DataFrame]:
    return dict(zip(("groups", "layers", "samples"), measured(None), strict=True))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_ranks_find_what_one_process_finds(
    number: int, alone: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    worker = Path(__file__).with_name("ranks_worker.py")
    command = [*TORCHRUN, str(number), str(worker), str(tmp_path)]
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=300)
    read = [int((tmp_path / f"{rank}-of-{number}").read_text()) for rank in range(number)]
    assert sum(read) == 49
    assert max(read) - min(read) <= 1
    for name, expected in alone.items():
        found = pd.read_parquet(tmp_path / f"{name}.parquet")
        assert len(found) == len(expected), name
        for column in expected:
            one, other = expected[column], found[column]
            if pd.api.types.is_float_dtype(one):
                np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-9, err_msg=column)
            else:
                assert other.astype("string").equals(one.astype("string")), (name, column)


@pytest.mark.parametrize("met", ["elsewhere", "dead"])
def test_processes_that_part_end_and_become_no_row(
    met: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gather(found: list[object], own: tuple[tuple[int, str], object]) -> None:
        if met == "dead":
            raise RuntimeError("connection closed by peer")
        (place, _), content = own
        found[:] = [own, ((place, "join"), content)]

    monkeypatch.setattr(ranks, "_active", ranks.Ranks(0, 2))
    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    with pytest.raises(ProcessesParted, match=r"has ended|different ways"):
        ranks.Shard([(torch.ones(2, 1), torch.zeros(2))]).summed(torch.ones(1))
    assert not issubclass(ProcessesParted, AuditError | RuntimeError)


def test_an_error_that_all_processes_meet_is_told_once(tmp_path: Path) -> None:
    command = [*TORCHRUN, "2", "-m", "audit", "measure", str(tmp_path / "nothing.pt")]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    told = [line for line in ended.stderr.splitlines() if line.startswith("audit: ")]
    assert ended.returncode != 0
    assert told == [f"audit: there is no file '{tmp_path / 'nothing.pt'}'"]


def test_every_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_active", ranks.Ranks(3, 4))
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ranks.own_device("cuda") == "cuda:1"
    assert [ranks.own_device(device) for device in ("cpu", "cuda:0")] == ["cpu", "cuda:0"]


def test_what_is_not_divided_is_refused_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    check_divisible("train")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert by_torchrun()
    check_divisible("measure")
    check_divisible(None)
    with pytest.raises(AuditError, match=r"several processes of 'audit train' .* start it once"):
        check_divisible("train")
