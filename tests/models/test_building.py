"""Functions of a user's own that build networks."""

from typing import Any

import pytest
import torch
from torch import nn

from audit.errors import AuditError
from audit.models.zoo import Architecture, build_model


def bare() -> nn.Module:
    return nn.Linear(4, 3)


def of_classes(num_classes: int = 10) -> nn.Module:
    return nn.Linear(4, num_classes)


def both(input_shape: tuple[int, ...], classes: int, width: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(input_shape[0], width), nn.Linear(width, classes))


def unnamed(_: Any, __: Any) -> nn.Module:
    return nn.Linear(_[0], __)


def by_depth(depth: int = 1, classes: int = 7) -> nn.Module:
    return nn.Sequential(*[nn.Linear(4, 4)] * (depth - 1), nn.Linear(4, classes))


def of_any(*given: Any) -> nn.Module:
    return nn.Linear(given[0][0], given[1])


def needing(path: str) -> nn.Module:
    return nn.Linear(4, len(path))


class Network(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)


@pytest.mark.parametrize(
    "name", ["bare", "of_classes", "both", "unnamed", "by_depth", "of_any", "Network"]
)
def test_a_function_is_given_what_it_takes(name):
    network = build_model(Architecture(f"{__name__}:{name}", (4,), 3))
    assert network(torch.zeros(2, 4)).shape == (2, 3)


def test_arguments_go_by_their_names():
    network = build_model(Architecture(f"{__name__}:by_depth", (4,), 3, {"depth": 2}))
    assert sum(isinstance(one, nn.Linear) for one in network.modules()) == 2


def test_what_a_function_lacks_is_told():
    with pytest.raises(
        AuditError, match=r"cannot be built: TypeError.*with what it takes of these"
    ):
        build_model(Architecture(f"{__name__}:needing", (4,), 3))
