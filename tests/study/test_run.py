"""How the cells of a study share the machine."""

import torch

from audit.study import run


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
