"""The mean gradient and its norm of a logistic model, against what is written on paper (M5)."""

import pytest
import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.measure.gradient import directional_derivatives, gradient_norm, mean_gradient

INPUTS = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5], [-2.0, 1.0], [0.5, 0.5]])
LABELS = torch.tensor([0, 1, 1, 0, 1])


def logistic() -> nn.Linear:
    """Two classes by two numbers, without a bias; every parameter its own value."""
    model = nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.2, -0.1], [0.4, 0.3]]))
    return model


def batches(size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(INPUTS.double().split(size), LABELS.split(size), strict=True))


def on_paper() -> Tensor:
    """(p − y)·xᵀ of every sample: [n, C, d]."""
    model = logistic()
    p = (INPUTS.double() @ model.weight.detach().T).softmax(1)
    errors = p - nn.functional.one_hot(LABELS, 2)
    return errors[:, :, None] * INPUTS.double()[:, None, :]


@pytest.mark.parametrize("size", [5, 2, 1])
def test_the_mean_gradient_is_that_of_the_samples_whatever_the_batches(size: int) -> None:
    model = logistic()
    found = mean_gradient(model, batches(size))["weight"]
    torch.testing.assert_close(found, on_paper().mean(0))
    assert model.weight.grad is None


def test_what_was_removed_and_what_is_frozen_has_no_slope() -> None:
    mask = {"weight": torch.tensor([[True, False], [True, True]]), "other": torch.ones(1).bool()}
    found = mean_gradient(logistic(), batches(2), mask)
    torch.testing.assert_close(found["weight"], on_paper().mean(0) * mask["weight"])
    model = nn.Sequential(nn.Linear(2, 2).double(), logistic())
    model[0].requires_grad_(False)
    assert list(mean_gradient(model, batches(2))) == ["1.weight"]


def test_a_parameter_that_the_loss_does_not_hang_on_has_a_zero_slope() -> None:
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = logistic(), nn.Parameter(torch.ones(3).double())

        def forward(self, inputs: Tensor) -> Tensor:
            found: Tensor = self.used(inputs)
            return found

    found = mean_gradient(Apart(), batches(3))
    assert found["unused"].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(found["used.weight"], on_paper().mean(0))


def test_the_parts_of_the_norm_are_the_samples_slopes_along_the_mean_gradient() -> None:
    paper = on_paper()
    mean = paper.mean(0)
    found = gradient_norm(logistic(), batches(2))
    assert found.value == pytest.approx(float(mean.norm()))
    assert found.n == 5
    torch.testing.assert_close(found.samples, (paper * mean / mean.norm()).sum((1, 2)))
    assert float(found.samples.mean()) == pytest.approx(found.value)
    given = gradient_norm(logistic(), batches(2), {"weight": 2 * mean})
    assert given.value == pytest.approx(2 * found.value)
    torch.testing.assert_close(given.samples, found.samples)


def test_a_slope_is_that_along_the_direction_as_it_is() -> None:
    direction = torch.tensor([[1.0, 0.0], [0.0, -2.0]]).double()
    found = directional_derivatives(logistic(), batches(4), {"weight": direction})
    torch.testing.assert_close(found, (on_paper() * direction).sum((1, 2)))
    assert found.dtype == torch.float64


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    broken = [(INPUTS.double() * torch.inf, LABELS)]
    with pytest.raises(AuditError, match="finite"):
        mean_gradient(logistic(), broken)
