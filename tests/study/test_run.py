"""How the cells of a study share the machine."""

import torch

from audit.mitigate.constraints import EqualisedOdds
from audit.study import run
from audit.study.settings import Method, StudySettings


def _threads(*_: object) -> int:
    return torch.get_num_threads()


def test_threads_asked_for_are_those_of_every_cell_and_given_back():
    torch.set_num_threads(2)
    try:
        found = run._in_parallel("", _threads, None, [None, None], None, workers=1, threads=1)
        assert found == [1, 1]
        assert torch.get_num_threads() == 2
        found = run._in_parallel("", _threads, None, [None], None, workers=1, threads=0)
        assert found == [min(2, run.cpu_count())]
    finally:
        torch.set_num_threads(1)


def test_a_cell_is_made_anew_where_a_constraints_own_settings_change(monkeypatch):
    settings = StudySettings({"dataset": "digits"}, "mlp", (Method("magnitude"),), (0.9,))

    def key(constraint: str) -> str:
        cell = run.Cell(0, Method("bilevel", constraint), 0.9)
        return run._key(run._cell_settings(settings, cell))

    before = {name: key(name) for name in ("equalised-odds", "group-loss")}
    monkeypatch.setattr(EqualisedOdds, "multiplier_gain", 5.0)
    assert key("equalised-odds") != before["equalised-odds"]
    assert key("group-loss") == before["group-loss"]
