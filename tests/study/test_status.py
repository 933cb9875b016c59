"""What a study's files tell of how far it is."""

import json

import pytest

from audit.commands.status import status
from audit.errors import AuditError
from audit.study.events import EVENTS, events, log
from audit.study.locks import alone
from audit.study.progress import Count
from audit.study.settings import Method
from audit.study.status import study_status
from audit.study.working import Outcome


def begun(folder, cells=("a", "b", "c", "d"), workers=2):
    log(folder, "planned", cells=list(cells), workers=workers, engine="processes")


def test_a_line_that_a_crash_cut_short_takes_no_other_with_it(tmp_path):
    log(tmp_path, "planned", cells=["a"], workers=1, engine="here")
    with (tmp_path / EVENTS).open("a") as file:
        file.write('{"event": "planned", "cel')
    begun(tmp_path, cells=("b", "c"))
    log(tmp_path, "worked", missing=0)
    assert [one["event"] for one in events(tmp_path)] == ["planned", "planned", "worked"]
    assert study_status(tmp_path).waiting == ("b", "c")


def test_cells_are_done_running_failed_or_waiting(tmp_path, capsys):
    begun(tmp_path)
    log(tmp_path, "started", cell="a")
    log(tmp_path, "finished", cell="a", seconds=10.0, kept=False)
    log(tmp_path, "started", cell="b")
    log(tmp_path, "started", cell="c")
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed/d.json").write_text(json.dumps({"reason": "::error::boo\x1b[2J"}))
    with alone(tmp_path, "b"):
        found = study_status(tmp_path)
        assert found.done == ("a",)
        assert list(found.running) == ["b"]  # the lock of c was released: it was killed
        assert found.waiting == ("c",)
        assert list(found.failed) == ["d"]
        assert found.left == pytest.approx(10.0)  # two cells of ten seconds, two at a time
        status(tmp_path)
    said = capsys.readouterr().out
    assert "1 of 4 cells done, 1 running, 1 failed, 1 waiting; about 10 s left" in said
    assert "::" not in said
    assert "\x1b" not in said
    status(tmp_path, json=True)
    assert json.loads(capsys.readouterr().out)["waiting"] == ["b", "c"]


def test_a_new_plan_begins_anew_and_time_that_was_kept_counts_nothing(tmp_path):
    begun(tmp_path)
    log(tmp_path, "finished", cell="a", seconds=10.0, kept=False)
    begun(tmp_path)
    log(tmp_path, "finished", cell="a", seconds=0.01, kept=True)
    found = study_status(tmp_path)
    assert found.done == ("a",)
    assert found.left == pytest.approx(15.0)


def test_a_folder_without_a_study_is_said_to_have_none(tmp_path):
    with pytest.raises(AuditError, match="no study was begun"):
        study_status(tmp_path)


def test_a_log_has_plain_lines_of_how_far_it_is(small):
    from audit.study.cells import Cell

    count = Count("pruned networks", 4)
    count.add(Outcome(Cell(0, Method("magnitude"), 0.5), reason="why"))
    count.start -= 60
    assert count.line() == ("pruned networks: 1 of 4 cells, 1 of them failed, about 3 min 0 s left")
