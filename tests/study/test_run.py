"""A study that is stopped, damaged, relabelled or shared goes on, and says what is missing."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from audit.errors import AuditError
from audit.files import sha256
from audit.findings.results import Results
from audit.mitigate.constraints import EqualisedOdds
from audit.report import write_report
from audit.study.cells import Cell, Task
from audit.study.events import EVENTS, events
from audit.study.locks import alone, in_work
from audit.study.run import check_complete, run_study
from audit.study.settings import Method, StudySettings
from tests.study.tiny import STUDY
from tests.waiting import until


def run(settings: StudySettings, folder: Path, **more: object) -> Results:
    return run_study(settings, folder, workers=1, threads=1, **more)


def finished(folder: Path, kept: bool) -> list[str]:
    """The cells that were finished, in the last run: kept from before, or worked on."""
    lines = list(events(folder))
    last = max(place for place, one in enumerate(lines) if one["event"] == "planned")
    return [
        one["cell"] for one in lines[last:] if one["event"] == "finished" and one["kept"] is kept
    ]


def numbers(results: Results) -> pd.DataFrame:
    return results.groups.astype({"group": str})


def test_a_stopped_study_goes_on_where_it_was(small, tmp_path):
    first = run(replace(small, rates=(0.3,)), tmp_path / "out")
    second = run(small, tmp_path / "out")
    assert finished(tmp_path / "out", kept=True) == ["dense-seed0", "magnitude-0.3-seed0"]
    assert finished(tmp_path / "out", kept=False) == ["magnitude-0.6-seed0"]
    shared = numbers(second)[numbers(second)["model"] != "magnitude-0.6-seed0"]
    pd.testing.assert_frame_equal(numbers(first), shared.reset_index(drop=True))


def test_finished_cells_are_known_by_digests_without_loading_a_network(
    small, tmp_path, monkeypatch
):
    first = run(small, tmp_path / "out")
    monkeypatch.setattr("audit.study.keeping.load_checkpoint", _never)
    monkeypatch.setattr("audit.study.working.load_checkpoint", _never)
    pd.testing.assert_frame_equal(numbers(first), numbers(run(small, tmp_path / "out")))


def _never(path):
    raise AssertionError(f"{path} was loaded")


def test_other_data_under_the_same_name_makes_every_cell_anew(small, table, tmp_path):
    run(small, tmp_path / "out")
    frame = pd.read_csv(table)
    frame.loc[:20, "group"] = "many"
    frame.to_csv(table, index=False)
    again = run(small, tmp_path / "out")
    assert finished(tmp_path / "out", kept=True) == []
    fresh = run(small, tmp_path / "fresh")
    pd.testing.assert_frame_equal(numbers(again), numbers(fresh))


def test_a_cell_that_fails_ends_no_other_and_is_told(small, tmp_path):
    odd = replace(small, rates=(0.3, 0.99999, 0.6))
    results = run(odd, tmp_path / "out")
    names = [model["name"] for model in results.record["models"]]
    assert names == ["dense-seed0", "magnitude-0.3-seed0", "magnitude-0.6-seed0"]
    (missing,) = results.record["missing"]
    assert missing["model"] == "magnitude-0.99999-seed0"
    assert "leaves none" in missing["reason"]
    assert "1 of 4 networks are missing" in results.record["verdict"]["headline"]
    page = write_report(results, tmp_path / "out").read_text("utf-8")
    assert "magnitude-0.99999-seed0" in page
    with pytest.raises(AuditError, match=r"1 of 4 networks .* --retry-failed"):
        check_complete(results)
    check_complete(run(small, tmp_path / "other"))


def test_what_failed_is_tried_again_on_request_alone(small, tmp_path, monkeypatch):
    from audit.study import working

    tried = []

    def broken(*_: object) -> None:
        tried.append(1)
        raise ValueError("of one's own\nin two lines")

    with monkeypatch.context() as patched:
        patched.setattr(working, "prune_model", broken)
        with pytest.raises(AuditError, match=r"no pruned network.*unexpected ValueError"):
            run(small, tmp_path / "out")
        with pytest.raises(AuditError, match="of one's own in two lines"):
            run(small, tmp_path / "out")
        assert len(tried) == 2
        record = json.loads((tmp_path / "out/failed/magnitude-0.3-seed0.json").read_text())
        assert "Traceback" in record["traceback"]
    assert len(run(small, tmp_path / "out", retry_failed=True).record["models"]) == 3
    assert not list((tmp_path / "out/failed").iterdir())


def test_what_is_pruned_from_a_network_that_failed_fails_with_it(small, tmp_path, monkeypatch):
    diverging = replace(small, seeds=(0, 1))
    folder = tmp_path / "out"
    data_free = replace(small, seeds=(1,))
    run(data_free, folder)
    from audit.study import working

    def only_one(data, model, settings, arguments):
        raise AuditError("it diverged")

    with monkeypatch.context() as patched:
        patched.setattr(working, "train_model", only_one)
        results = run(diverging, folder)
    assert {one["model"] for one in results.record["missing"]} == {
        "dense-seed0",
        "magnitude-0.3-seed0",
        "magnitude-0.6-seed0",
    }
    assert "its dense network failed: it diverged" in results.record["missing"][1]["reason"]


@pytest.mark.parametrize("part", ["model", "measures", "flipped"])
def test_damaged_cells_are_set_aside_and_made_again(small, tmp_path, part):
    folder = tmp_path / "out"
    before = run(small, folder)
    model = folder / "models/magnitude-0.3-seed0.pt"
    (cell,) = (folder / "cells").glob("magnitude-0.3-*")
    if part == "model":
        model.write_bytes(model.read_bytes()[:300])
    elif part == "measures":
        (cell / "groups.parquet").write_bytes(b"")
    else:
        content = bytearray((cell / "samples.parquet").read_bytes())
        content[len(content) // 2] ^= 1
        (cell / "samples.parquet").write_bytes(bytes(content))
    again = run(small, folder)
    pd.testing.assert_frame_equal(numbers(before), numbers(again))
    assert len(list((folder / "set-aside").iterdir())) == 1
    assert finished(folder, kept=False) == ["magnitude-0.3-seed0"]


def test_the_same_cell_gives_the_same_bytes(small, tmp_path):
    run(small, tmp_path / "one")
    script = "import pickle, sys; from audit.study.run import run_study; run_study(pickle.load(sys.stdin.buffer), sys.argv[1], workers=1, threads=1)"  # fmt: skip
    import pickle

    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "two")], input=pickle.dumps(small), check=True
    )
    for path in sorted((tmp_path / "one/models").iterdir()):
        assert sha256(path) == sha256(tmp_path / "two/models" / path.name)
    for path in sorted((tmp_path / "one/cells").glob("*/*")):
        assert sha256(path) == sha256(tmp_path / "two" / path.relative_to(tmp_path / "one"))


def test_leftovers_of_a_kill_are_removed(small, tmp_path):
    folder = tmp_path / "out"
    (folder / "models").mkdir(parents=True)
    (folder / "cells/.magnitude-0.3-seed0-1234.partial").mkdir(parents=True)
    (folder / "models/.dense-seed0.pt.99999.partial").write_bytes(b"half")
    (folder / "failed").mkdir()
    (folder / "failed/.dense-seed0.json.99999.partial").write_text("half")
    run(small, folder)
    assert [path.name for path in folder.rglob("*.partial")] == []


def test_a_study_whose_dense_network_another_one_replaced_says_so(small, tmp_path):
    run(small, tmp_path / "out")
    other = replace(small, training=replace(small.training, epochs=1), rates=(0.5,))
    run(other, tmp_path / "out")
    again = run(small, tmp_path / "out")
    assert [model["name"] for model in again.record["models"]] == [
        "dense-seed0",
        "magnitude-0.3-seed0",
        "magnitude-0.6-seed0",
    ]
    assert len(finished(tmp_path / "out", kept=False)) == 1  # the same bytes: children stay


def test_a_disk_that_takes_nothing_more_ends_the_study_in_one_line(small, tmp_path, monkeypatch):
    from audit.study import working

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(working, "save_checkpoint", full)
    with pytest.raises(AuditError, match=r"cannot write under .*: No space left on device"):
        run(small, tmp_path / "out")
    assert not (tmp_path / "out/failed").exists()


def test_a_title_hides_no_method(small, tmp_path):
    titled = replace(small, methods=(Method("magnitude", title="dense"),))
    results = run(titled, tmp_path / "out")
    plain = run(small, tmp_path / "plain")
    assert set(results.groups["method"]) == {"dense", "dense (magnitude)"}
    told = results.record["verdict"]["sentences"], results.record["verdict"]["headline"]
    expected = plain.record["verdict"]["sentences"], plain.record["verdict"]["headline"]
    assert repr(told).replace("dense (magnitude)", "magnitude") == repr(expected)
    assert "dense (magnitude)" in repr(told)


def test_a_lock_is_held_while_a_cell_is_worked_on_and_free_after(tmp_path):
    assert not in_work(tmp_path, "cell")
    with alone(tmp_path, "cell"):
        assert in_work(tmp_path, "cell")
    assert not in_work(tmp_path, "cell")


def test_a_rate_that_stands_twice_is_refused(small):
    with pytest.raises(AuditError, match=r"found a rate twice: '0\.3'"):
        replace(small, rates=(0.3, 0.3))


def test_a_cell_is_made_anew_where_a_constraints_own_settings_change(monkeypatch):
    settings = StudySettings({"dataset": "digits"}, "mlp", (Method("magnitude"),), (0.9,))

    def key(constraint: str) -> str:
        cell = Cell(0, Method("bilevel", constraint), 0.9)
        return Task(settings, cell, Path()).key

    before = {name: key(name) for name in ("equalised-odds", "group-loss")}
    monkeypatch.setattr(EqualisedOdds, "multiplier_gain", 5.0)
    assert key("equalised-odds") != before["equalised-odds"]
    assert key("group-loss") == before["group-loss"]


def test_a_cell_has_the_threads_asked_for_and_gives_them_back(small, tmp_path, monkeypatch):
    from audit.study import working

    seen = []
    monkeypatch.setattr(
        working, "_made_and_measured", lambda task: seen.append(torch.get_num_threads())
    )
    working.finish(Task(small, Cell(0), tmp_path, threads=2))
    assert seen == [2]
    assert torch.get_num_threads() == 1


def test_events_are_lines_of_json_and_a_cut_line_is_left_out(tmp_path):
    (tmp_path / EVENTS).write_text('{"event": "planned", "cells": []}\n{"event": "sta')
    assert [one["event"] for one in events(tmp_path)] == ["planned"]


def audit_run(config: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from audit.cli import main; main()", "run", str(config)]
    return subprocess.Popen(
        [*command, "--out", str(out), "--threads", "1", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def config(table: Path, tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(table=table))
    return path


def test_two_processes_share_a_folder_and_make_each_cell_once(config, tmp_path):
    both = [audit_run(config, tmp_path / "out", "--workers", "1") for _ in range(2)]
    codes = [one.communicate(timeout=900) and one.returncode for one in both]
    assert codes == [0, 0]
    worked = [
        one["cell"]
        for one in events(tmp_path / "out")
        if one["event"] == "finished" and not one["kept"]
    ]
    assert sorted(worked) == sorted(set(worked))
    assert len(worked) == 6
    assert not list((tmp_path / "out").rglob("*.partial"))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks for processes in /proc")
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent_and_the_study_goes_on(config, tmp_path, by):
    out = tmp_path / "out"
    main = audit_run(config, out, "--workers", "2")

    def workers() -> set[int]:
        return {one["pid"] for one in events(out) if one["event"] == "started"}

    until(workers)
    assert main.pid not in workers()
    os.kill(main.pid, by)
    main.communicate(timeout=900)
    until(lambda: not any(alive(pid) for pid in workers()))
    again = audit_run(config, out, "--workers", "1")
    again.communicate(timeout=900)
    assert again.returncode == 0
    assert not list(out.rglob("*.partial"))
