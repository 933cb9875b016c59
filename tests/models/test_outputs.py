"""What networks give is read as logits, in one place, or refused in one line."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.models.outputs import (
    by_class,
    declared_outputs,
    log_probabilities,
    read_outputs,
    unread_outputs,
)


class Heads(NamedTuple):
    """As torchvision's networks with auxiliary heads give while training."""

    logits: Tensor
    aux_logits: Tensor


class Giving(nn.Module):
    """Gives whatever a function makes of its logits."""

    def __init__(self, classes: int, change: Any) -> None:
        super().__init__()
        self.linear, self.change = nn.Linear(3, classes), change

    def forward(self, inputs: Tensor) -> Any:
        return self.change(self.linear(inputs))


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z,
        lambda z: (z, z.new_zeros(len(z), 7)),
        lambda z: [z.new_zeros(len(z), 7), z],
        lambda z: {"logits": z, "probabilities": z.softmax(1)},
        lambda z: OrderedDict(out=z, aux=z.new_zeros(1)),
        lambda z: SimpleNamespace(logits=z, loss=None),
        lambda z: Heads(z, 2 * z),
        lambda z: z[:, :, None, None],
        lambda z: z.squeeze(),
        lambda z: (z, None),
    ],
)
@pytest.mark.parametrize("samples", [1, 4])
def test_logits_are_found_among_what_a_network_gives(change: Any, samples: int) -> None:
    model = Giving(2, change)
    inputs = torch.randn(samples, 3)
    expected = model.linear(inputs)
    assert torch.equal(read_outputs(model, 2)(inputs), expected)


@pytest.mark.parametrize(
    "change", [lambda z: z, lambda z: z[:, 0], lambda z: z.squeeze(), lambda z: (z, z.new_zeros(9))]
)
@pytest.mark.parametrize("samples", [1, 4])
def test_one_logit_is_two_classes(change: Any, samples: int) -> None:
    model = Giving(1, change)
    inputs = torch.randn(samples, 3)
    z = model.linear(inputs)[:, 0]
    found = read_outputs(model, 2)(inputs)
    torch.testing.assert_close(found.softmax(1)[:, 1], torch.sigmoid(z))


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (torch.zeros(4, 7), r"outputs \(4, 7\) for 4 samples; expected logits of 2 classes"),
        (torch.zeros(4, 3), r"lack some of its classes, name them all, in its order \(classes=\)"),
        (torch.zeros(2, 4), r"outputs \(2, 4\) for 4 samples"),
        (torch.zeros(4, 2, 2), r"outputs \(4, 2, 2\)"),
        ((torch.zeros(4, 2), torch.ones(4, 2)), "several outputs that could be its logits"),
        ({"a": torch.zeros(4, 5)}, r"a \(4, 5\)"),
        ("text", "a str"),
        (None, "a NoneType"),
    ],
)
def test_what_is_no_logits_is_refused_in_one_line(outputs: Any, said: str) -> None:
    with pytest.raises(AuditError, match=said) as caught:
        by_class(outputs, 4, 2)
    assert "\n" not in str(caught.value)


def test_one_column_is_no_network_of_three_classes() -> None:
    with pytest.raises(AuditError, match="expected logits of 3 classes"):
        by_class(torch.zeros(4, 1), 4, 3)


def test_probabilities_become_logits_of_the_same_probabilities() -> None:
    p = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
    found = log_probabilities(p)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.softmax(1), p)
    one = log_probabilities(torch.tensor([[0.25], [1.0], [0.0]]))
    assert torch.isfinite(one).all()
    torch.testing.assert_close(one.softmax(1)[:, 1], torch.tensor([0.25, 1.0, 0.0]))


def test_a_declaration_is_applied_and_taken_back() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Softmax(1))
    inputs = torch.randn(5, 3)
    own = model(inputs)
    read_outputs(model, 2, "probabilities")
    torch.testing.assert_close(model(inputs), own.log())
    assert declared_outputs(model) == "probabilities"
    unread_outputs(model)
    assert torch.equal(model(inputs), own)
    assert declared_outputs(model) is None


def test_an_unknown_declaration() -> None:
    with pytest.raises(AuditError, match="found outputs 'odds'; expected one of logits"):
        read_outputs(nn.Linear(3, 2), 2, "odds")


def test_inputs_are_given_as_a_copy() -> None:
    class Shifting(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.sub_(1.0)

    inputs = torch.ones(4, 2)
    assert torch.equal(read_outputs(Shifting(), 2)(inputs), torch.zeros(4, 2))
    assert torch.equal(inputs, torch.ones(4, 2))


def test_whole_numbers_are_logits_and_complex_ones_are_none() -> None:
    inputs = torch.tensor([[3.0, -2.0, 1.0], [0.4, 5.0, 2.0]])
    whole = read_outputs(Giving(2, lambda logits: (100 * logits).int()), 2)
    assert whole(inputs).dtype == torch.float32
    with pytest.raises(AuditError, match="complex numbers"):
        read_outputs(Giving(2, lambda logits: logits + 0j), 2)(inputs)
