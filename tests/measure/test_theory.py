"""Propositions 1 and 2 and theorem 2 on networks where both sides are known."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn
from torch.func import functional_call, hessian

from audit.measure.curvature import hessian_extremes
from audit.measure.gradient import gradient_norm
from audit.measure.theory import logit_slopes, softmax_curvature


def ragged(inputs, labels):
    return list(zip(inputs.split(10), labels.split(10), strict=True))


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 4).double(), torch.randn(23, 3).double(), torch.arange(23) % 4


def test_the_jacobian_of_a_linear_layer_by_hand(linear):
    """z = Wx + b: ‖J‖² = ‖x‖² + 1 for every sample."""
    model, inputs, labels = linear
    found = logit_slopes(model, ragged(inputs, labels))
    torch.testing.assert_close(found.jacobian_norm, (inputs.square().sum(1) + 1).sqrt())
    error = model(inputs).softmax(1).detach() - nn.functional.one_hot(labels, 4)
    torch.testing.assert_close(found.error_term, error.abs().sum(1))
    torch.testing.assert_close(found.gradient_bound, error.norm(dim=1) * found.jacobian_norm)


def test_one_logit_has_two_columns_of_which_one_is_zero():
    model = nn.Linear(2, 1, bias=False).double()
    found = logit_slopes(model, [(torch.tensor([[3.0, 4.0]]).double(), torch.tensor([1]))])
    assert found.jacobian_norm.tolist() == pytest.approx([5.0])


def test_the_largest_eigenvalue_of_the_softmax_is_below_its_bound():
    p = torch.rand(50, 5, generator=torch.Generator().manual_seed(0)).double().softmax(1)
    found = softmax_curvature(p)
    assert (found <= 1 - p.square().sum(1) + 1e-12).all()
    assert (found >= 0).all()
    assert softmax_curvature(torch.tensor([[0.25, 0.75]])).item() == pytest.approx(2 * 0.25 * 0.75)


def test_proposition_2_bounds_the_gradient(linear):
    torch.manual_seed(3)
    deep = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    _, inputs, labels = linear
    for model in (linear[0], deep):
        batches = ragged(inputs, labels)
        bound = float(logit_slopes(model, batches).gradient_bound.mean())
        assert gradient_norm(model, batches).value <= bound


def test_theorem_2_has_no_second_term_for_softmax_regression(linear):
    """The logits are linear in θ: λ_max(H) ≤ the mean closeness term, on any data."""
    model, inputs, labels = linear
    batches = ragged(inputs, labels)
    largest, _ = hessian_extremes(model, batches)
    assert largest.value <= float(logit_slopes(model, batches).closeness_term.mean())
    one = [(inputs[:1], labels[:1])]
    largest, _ = hessian_extremes(model, one)
    term = float(logit_slopes(model, one).closeness_term.mean())
    assert largest.value == pytest.approx(term, rel=1e-6)  # equality for a single sample


def test_theorem_2_holds_with_the_logits_own_curvature():
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    inputs, labels = torch.randn(9, 2).double(), torch.arange(9) % 2
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    sizes = [p.numel() for p in parameters.values()]
    flat = torch.cat([p.flatten() for p in parameters.values()])

    def logit(vector, one, index):
        pieces = zip(parameters.items(), vector.split(sizes), strict=True)
        moved = {name: piece.view_as(p) for (name, p), piece in pieces}
        return functional_call(model, moved, (one[None],))[0, index]

    second = torch.zeros(9).double()
    for position, one in enumerate(inputs):
        error = (model(one).softmax(0) - nn.functional.one_hot(labels[position], 2)).detach()
        for index in range(2):
            curvature = hessian(logit)(flat, one, index)
            second[position] += error[index].abs() * torch.linalg.matrix_norm(curvature, 2)
    batches = [(inputs, labels)]
    first = logit_slopes(model, batches).closeness_term
    largest, _ = hessian_extremes(model, batches)
    assert largest.value <= float((first + second).mean())


def test_proposition_1_at_a_stationary_point_of_two_groups():
    """n_a·g_a + n_b·g_b = 0, so that ‖g_a‖/‖g_b‖ = n_b/n_a."""
    generator = np.random.default_rng(0)
    inputs = torch.tensor(generator.normal(size=(60, 2)))
    labels = torch.tensor((generator.random(60) < 0.5).astype(int))
    model = nn.Linear(2, 1).double()

    def objective(vector):
        with torch.no_grad():
            model.weight.copy_(torch.tensor(vector[:2])[None])
            model.bias.copy_(torch.tensor(vector[2:]))
        loss = nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0], labels.double())
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        return loss.item(), torch.cat([s.flatten() for s in slopes]).numpy()

    minimize(objective, np.zeros(3), jac=True, method="BFGS", options={"gtol": 1e-12})
    a = gradient_norm(model, [(inputs[:45], labels[:45])]).value
    b = gradient_norm(model, [(inputs[45:], labels[45:])]).value
    assert a / b == pytest.approx(15 / 45, rel=1e-5)


def test_recurrent_layers_go_sample_by_sample():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.LSTM(2, 2, batch_first=True), nn.Linear(2, 2)

        def forward(self, inputs):
            return self.head(self.cell(inputs)[0][:, -1])

    torch.manual_seed(0)
    model, inputs = Recurrent().double(), torch.randn(3, 4, 2).double()
    found = logit_slopes(model, [(inputs, torch.tensor([0, 1, 0]))])
    assert (found.jacobian_norm > 0).all()
