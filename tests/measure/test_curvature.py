"""Gradients and eigenvalues against closed forms, a dense float64 Hessian, and PyHessian."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

from audit.measure import (
    CurvatureSettings,
    gradient_norm,
    hessian_extremes,
    mean_gradient,
    pyhessian_max_eigenvalue,
)
from audit.measure.network import inner
from audit.prune.magnitude import magnitude_mask

EXACT = CurvatureSettings(tolerance=1e-9, max_products=400, extra=400)


def small_networks():
    torch.manual_seed(1)
    mlp = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    convolution = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 3),
    )
    convolution(torch.randn(32, 1, 8, 8))  # running statistics that are not the initial ones
    return {
        "mlp": (mlp.double(), torch.randn(23, 3).double()),
        "convolution": (convolution.double(), torch.randn(23, 1, 8, 8).double()),
    }


def ragged(inputs, labels, size=10):
    return list(zip(inputs.split(size), labels.split(size), strict=True))


def dense_hessian(model, inputs, labels):
    """The whole Hessian of the mean loss by autograd, one flat matrix."""
    model.eval()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    flat = torch.cat([p.flatten() for p in parameters.values()])
    sizes = [p.numel() for p in parameters.values()]

    def loss(vector):
        pieces = {
            name: piece.view_as(p)
            for (name, p), piece in zip(parameters.items(), vector.split(sizes), strict=True)
        }
        return nn.functional.cross_entropy(functional_call(model, pieces, (inputs,)), labels)

    return hessian(loss)(flat), torch.func.grad(loss)(flat)


@pytest.fixture(params=["mlp", "convolution"])
def case(request):
    model, inputs = small_networks()[request.param]
    return model, inputs, torch.arange(len(inputs)) % 3


def test_logistic_regression_by_hand():
    """One weight, one logit: g = Σ(p − y)x/n and H = Σ p(1 − p)x²/n."""
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(0.7)
    x = torch.tensor([[1.0], [2.0], [-1.0]]).double()
    y = torch.tensor([1, 0, 0])
    p = torch.sigmoid(0.7 * x[:, 0])
    largest, smallest = hessian_extremes(model, ragged(x, y, 2))
    expected = (p * (1 - p) * x[:, 0] ** 2).mean().item()
    assert largest.value == pytest.approx(expected, rel=1e-12)
    assert smallest.value == pytest.approx(expected, rel=1e-12)
    norm = gradient_norm(model, ragged(x, y, 2))
    assert norm.value == pytest.approx(abs(((p - y) * x[:, 0]).mean().item()), rel=1e-12)


def test_both_ends_agree_with_the_dense_hessian(case):
    model, inputs, labels = case
    matrix, _ = dense_hessian(model, inputs, labels)
    expected = torch.linalg.eigvalsh(matrix)
    largest, smallest = hessian_extremes(model, ragged(inputs, labels), settings=EXACT)
    assert largest.value == pytest.approx(expected[-1].item(), rel=1e-7)
    assert smallest.value == pytest.approx(expected[0].item(), rel=1e-5)
    assert largest.converged
    assert largest.space == "ambient"


def test_the_support_is_the_hessian_of_the_surviving_weights(case):
    model, inputs, labels = case
    mask = magnitude_mask(model, 0.5)
    mask.apply(model)
    matrix, _ = dense_hessian(model, inputs, labels)
    keep = torch.cat(
        [
            mask.parts.get(name, torch.ones_like(p, dtype=torch.bool)).flatten()
            for name, p in model.named_parameters()
        ]
    )
    expected = torch.linalg.eigvalsh(matrix[keep][:, keep])
    largest, smallest = hessian_extremes(model, ragged(inputs, labels), mask.parts, EXACT)
    assert largest.value == pytest.approx(expected[-1].item(), rel=1e-7)
    # The removed coordinates are not in the space: their zeros are no eigenvalues.
    assert smallest.value == pytest.approx(expected[0].item(), rel=1e-4, abs=1e-9)
    assert largest.space == "support"
    ambient, _ = hessian_extremes(model, ragged(inputs, labels), settings=EXACT)
    assert ambient.value > largest.value


def test_the_residual_bounds_the_error(case):
    model, inputs, labels = case
    expected = torch.linalg.eigvalsh(dense_hessian(model, inputs, labels)[0])[-1].item()
    loose = CurvatureSettings(tolerance=0.05, extra=0)
    largest, smallest = hessian_extremes(model, ragged(inputs, labels), settings=loose)
    assert abs(largest.value - expected) <= largest.residual
    assert largest.converged
    assert largest.residual <= 0.05 * max(abs(largest.value), abs(smallest.value))


def test_one_product_has_not_converged(case):
    model, inputs, labels = case
    one = CurvatureSettings(tolerance=1e-6, max_products=1)
    largest, _ = hessian_extremes(model, ragged(inputs, labels), settings=one)
    assert largest.products == 1
    assert not largest.converged


class Concave(nn.Module):
    """The logit z = u/10 − w²: at w = 0 the loss of a wrong sample curves down along w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1).double())
        self.u = nn.Parameter(torch.full((1,), 10.0).double())

    def forward(self, inputs):
        return inputs[:, 0] * (self.u / 10 - self.w**2)


def test_the_largest_eigenvalue_is_not_the_largest_magnitude():
    """On samples that a network gets wholly wrong the negative end can dominate."""
    batches = [(torch.ones(4, 1).double(), torch.zeros(4, dtype=torch.int64))]
    p = torch.sigmoid(torch.tensor(1.0).double())
    largest, smallest = hessian_extremes(Concave(), batches)
    assert largest.value == pytest.approx((p * (1 - p) / 100).item(), rel=1e-9)
    assert smallest.value == pytest.approx((-2 * p).item(), rel=1e-9)
    assert pyhessian_max_eigenvalue(Concave(), batches).value == pytest.approx(
        smallest.value, rel=1e-4
    )


def test_the_samples_average_to_the_value(case):
    model, inputs, labels = case
    batches = ragged(inputs, labels)
    largest, _ = hessian_extremes(model, batches, settings=EXACT)
    assert largest.samples.mean().item() == pytest.approx(largest.value, rel=1e-9)
    norm = gradient_norm(model, batches)
    assert norm.samples.mean().item() == pytest.approx(norm.value, rel=1e-9)
    assert norm.n == len(inputs) == largest.n


def test_the_gradient_is_the_mean_over_samples_whatever_the_batches(case):
    model, inputs, labels = case
    _, expected = dense_hessian(model, inputs, labels)
    for size in (1, 10, 23):
        gradient = mean_gradient(model, ragged(inputs, labels, size))
        flat = torch.cat([part.flatten() for part in gradient.values()])
        torch.testing.assert_close(flat, expected)


def test_the_order_of_samples_does_not_matter(case):
    model, inputs, labels = case
    order = torch.randperm(len(inputs))
    one, _ = hessian_extremes(model, ragged(inputs, labels), settings=EXACT)
    other, _ = hessian_extremes(model, ragged(inputs[order], labels[order]), settings=EXACT)
    assert one.value == pytest.approx(other.value, rel=1e-9)


def test_pyhessian_agrees_to_a_thousandth(case):
    model, inputs, labels = case
    own, _ = hessian_extremes(model, ragged(inputs, labels), settings=EXACT)
    theirs = pyhessian_max_eigenvalue(model, ragged(inputs, labels))
    assert theirs.value == pytest.approx(own.value, rel=1e-3)
    assert theirs.residual < 0.1 * theirs.value


@pytest.mark.parametrize("measure", [mean_gradient, hessian_extremes, pyhessian_max_eigenvalue])
def test_the_model_is_given_back_as_it_came(case, measure):
    model, inputs, labels = case
    model.train()
    model[0].eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model, ragged(inputs, labels))
    assert model.training
    assert not model[0].training
    assert all((parameter.grad == 3.0).all() for parameter in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_float32_agrees_with_float64(case):
    model, inputs, labels = case
    exact, _ = hessian_extremes(model, ragged(inputs, labels), settings=EXACT)
    model = model.float()
    single, _ = hessian_extremes(model, ragged(inputs.float(), labels))
    assert single.value == pytest.approx(exact.value, rel=1e-3)


def test_a_zero_gradient_and_hessian_are_zero():
    model = nn.Linear(2, 2, bias=False).double()
    batches = [(torch.zeros(4, 2).double(), torch.tensor([0, 1, 0, 1]))]
    largest, smallest = hessian_extremes(model, batches)
    assert largest.value == smallest.value == 0.0
    assert largest.converged
    norm = gradient_norm(model, batches)
    assert norm.value == 0.0
    assert np.all(norm.samples.numpy() == 0.0)
    assert float(inner(mean_gradient(model, batches), mean_gradient(model, batches))) == 0.0
