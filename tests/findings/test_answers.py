"""Samples of many networks, one network's at a time: from memory, from their files, from one."""

import os
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from audit.errors import AuditError
from audit.findings import answers as module
from audit.findings.answers import Answers, Stored


def tables() -> dict[str, pd.DataFrame]:
    """Two networks, one of which was measured beside a dense one."""
    dense = pd.DataFrame({"model": "dense", "sample": ["a", "b"], "loss": [0.5, 1.0]})
    pruned = dense.assign(model="pruned", dense_prediction=["0", "1"])
    return {"dense": dense, "pruned": pruned}


def in_files(folder: Path) -> Answers:
    """The same, each network in a file of its own."""
    for name, table in tables().items():
        table.to_parquet(folder / f"{name}.parquet")
    return Answers({name: Stored.at(folder / f"{name}.parquet") for name in tables()})


def test_samples_are_the_same_from_memory_from_files_and_from_one_file(tmp_path: Path) -> None:
    wanted = pd.concat(tables().values(), ignore_index=True)
    every = Answers(tables()), in_files(tmp_path), Answers.of(wanted)
    for place, answers in enumerate(every):
        assert list(answers.parts) == ["dense", "pruned"]
        assert answers.columns == ("model", "sample", "loss", "dense_prediction")
        pd.testing.assert_frame_equal(answers.together(), wanted)
        answers.save(tmp_path / f"{place}.parquet")
        stored = Answers.stored(tmp_path / f"{place}.parquet")
        pd.testing.assert_frame_equal(stored.together(), wanted)
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / f"{place}.parquet"), wanted)
        own = stored.network("pruned", ["loss", "dense_prediction"])
        assert list(own) == ["loss", "dense_prediction"]
        assert own["loss"].tolist() == [0.5, 1.0]


def test_a_file_has_a_row_group_a_network(tmp_path: Path) -> None:
    Answers(tables()).save(tmp_path / "samples.parquet")
    file = pq.ParquetFile(tmp_path / "samples.parquet")
    assert file.num_row_groups == 2


def test_few_samples_are_held_and_outlive_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = in_files(tmp_path)
    held = answers.held()
    monkeypatch.setattr(module, "HELD_ROWS", 3)
    assert answers.held() is answers
    (tmp_path / "dense.parquet").unlink()
    assert held.network("dense")["loss"].sum() == 1.5
    with pytest.raises(AuditError, match="written anew or removed"):
        answers.network("dense")


def test_another_file_under_the_name_is_never_taken_for_the_samples(tmp_path: Path) -> None:
    answers = in_files(tmp_path)
    path = tmp_path / "pruned.parquet"
    tables()["pruned"].assign(loss=9.0).to_parquet(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(AuditError, match="load them again"):
        answers.together()


def test_nothing_is_stored_and_read_as_nothing(tmp_path: Path) -> None:
    Answers({}).save(tmp_path / "samples.parquet")
    assert Answers.stored(tmp_path / "samples.parquet") == Answers({})
    assert Answers.of(pd.DataFrame()).together().empty
