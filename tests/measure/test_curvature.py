"""Gradients and eigenvalues against closed forms, a dense float64 Hessian, and PyHessian."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

from audit.errors import AuditError
from audit.measure import curvature, network
from audit.measure.boundary import input_distance
from audit.measure.curvature import (
    CurvatureSettings,
    curvature_samples,
    curvatures_along,
    hessian_extremes,
    pyhessian_max_eigenvalue,
)
from audit.measure.gradient import gradient_norm, mean_gradient
from audit.measure.hessian import Hessian, flatten, unflatten
from audit.measure.network import inner, trainable
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
    assert largest.error <= 0.05 * max(abs(largest.value), abs(smallest.value))


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
    theirs = pyhessian_max_eigenvalue(Concave(), batches)
    assert theirs.value == pytest.approx(smallest.value, rel=1e-4)
    assert not theirs.converged  # it is an eigenvalue, but not the largest


def test_the_samples_average_to_the_value(case):
    model, inputs, labels = case
    batches = ragged(inputs, labels)
    largest, _ = hessian_extremes(model, batches, settings=EXACT)
    samples = curvature_samples(model, batches, largest)
    assert samples.mean().item() == pytest.approx(largest.value, rel=1e-9)
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
    state = torch.get_rng_state()
    theirs = pyhessian_max_eigenvalue(model, ragged(inputs, labels))
    assert theirs.value == pytest.approx(own.value, rel=1e-3)
    samples = curvature_samples(model, ragged(inputs, labels), theirs)
    assert samples.mean().item() == pytest.approx(theirs.value, rel=1e-3)
    assert theirs.converged
    assert 2 < theirs.products < 500
    again = pyhessian_max_eigenvalue(model, ragged(inputs, labels))
    assert again.value == theirs.value
    assert torch.equal(torch.get_rng_state(), state)


def test_pyhessian_agrees_in_the_support(case):
    model, inputs, labels = case
    mask = magnitude_mask(model, 0.5)
    mask.apply(model)
    own, _ = hessian_extremes(model, ragged(inputs, labels), mask.parts, EXACT)
    theirs = pyhessian_max_eigenvalue(model, ragged(inputs, labels), mask.parts)
    assert theirs.value == pytest.approx(own.value, rel=1e-3)
    assert theirs.space == own.space == "support"


def test_without_pyhessian_it_says_what_to_install(case, monkeypatch):
    model, inputs, labels = case
    monkeypatch.setitem(sys.modules, "pyhessian", None)
    with pytest.raises(AuditError, match="pip install pyhessian"):
        pyhessian_max_eigenvalue(model, ragged(inputs, labels))


@pytest.mark.parametrize(
    "measure",
    [mean_gradient, gradient_norm, hessian_extremes, pyhessian_max_eigenvalue, input_distance],
)
def test_the_model_is_given_back_as_it_came(case, measure):
    model, inputs, labels = case
    model.train()
    model[0].eval()
    model[0].bias.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model, ragged(inputs, labels))
    assert model.training
    assert not model[0].training
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["0.bias"]
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


def test_softmax_regression_by_hand():
    """Zero weights: p = 1/C, and H = (I − 11ᵀ/C)/C ⊗ E[xxᵀ] has λ_max = λ_max(E[xxᵀ])/C."""
    model = nn.Linear(2, 3, bias=False).double()
    model.weight.data.zero_()
    inputs = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).double()
    largest, smallest = hessian_extremes(model, ragged(inputs, torch.tensor([0, 1, 2]), 2))
    moments = torch.linalg.eigvalsh(inputs.T @ inputs / 3)
    assert largest.value == pytest.approx(moments[-1].item() / 3, rel=1e-6)
    assert smallest.value == pytest.approx(0.0, abs=1e-9)


def test_the_smallest_end_may_stop_unconverged_after_a_few_extra_products(case):
    model, inputs, labels = case
    settings = CurvatureSettings(tolerance=1e-6, extra=1)
    largest, smallest = hessian_extremes(model, ragged(inputs, labels), settings=settings)
    assert largest.converged
    assert not smallest.converged
    assert largest.products == smallest.products


def test_the_residual_is_that_of_a_product(case):
    model, inputs, labels = case
    batches = ragged(inputs, labels)
    matrix, _ = dense_hessian(model, inputs, labels)
    vector = torch.randn(len(matrix), generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(Hessian(model, batches)(vector), matrix @ vector)
    found, _ = hessian_extremes(model, batches, settings=CurvatureSettings(tolerance=1e-2))
    again = float((matrix @ found.vector - found.value * found.vector).norm())
    assert found.residual == pytest.approx(again, rel=1e-6)


def test_no_residual_is_smaller_than_rounding(case):
    """In float32 a claim of 1e-12 would be bookkeeping."""
    model, inputs, labels = case
    single, batches = model.float(), ragged(inputs.float(), labels)
    settings = CurvatureSettings(tolerance=1e-12)
    found, _ = hessian_extremes(single, batches, settings=settings)
    assert 1e-9 < found.residual <= 1e-3 * found.value


def test_a_group_of_one_sample(case):
    model, inputs, labels = case
    matrix, gradient = dense_hessian(model, inputs[:1], labels[:1])
    batches = [(inputs[:1], labels[:1])]
    largest, _ = hessian_extremes(model, batches, settings=EXACT)
    assert largest.n == 1
    assert largest.value == pytest.approx(torch.linalg.eigvalsh(matrix)[-1].item(), rel=1e-7)
    assert gradient_norm(model, batches).value == pytest.approx(gradient.norm().item(), rel=1e-9)


def test_the_size_of_batches_does_not_matter(case):
    model, inputs, labels = case
    found = [
        hessian_extremes(model, ragged(inputs, labels, size), settings=EXACT)[0]
        for size in (1, 7, 23)
    ]
    assert found[0].value == pytest.approx(found[2].value, rel=1e-9)
    assert found[1].value == pytest.approx(found[2].value, rel=1e-9)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.head(self.attention(inputs, inputs, inputs, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 4, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.head(self.norm(self.cell(inputs)[0][:, -1]))


class Normed(nn.Module):
    def forward(self, inputs):
        return nn.functional.layer_norm(inputs, (6,))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.idle = nn.Linear(12, 3), nn.Linear(2, 2)

    def forward(self, inputs):
        return self.head(inputs.flatten(1))


def unusual_networks():
    """Layers whose derivatives PyTorch lacks in some mode, or has wrong in a nested one."""
    start = [nn.Flatten(), nn.Linear(12, 6)]
    return {
        "layer norm": nn.Sequential(*start, nn.LayerNorm(6), nn.Linear(6, 3)),
        "layer norm of its own": nn.Sequential(*start, Normed(), nn.Linear(6, 3)),
        "hard sigmoid": nn.Sequential(*start, nn.Hardsigmoid(inplace=True), nn.Linear(6, 3)),
        "silu": nn.Sequential(*start, nn.SiLU(), nn.Linear(6, 3)),
        "mish": nn.Sequential(*start, nn.Mish(), nn.Linear(6, 3)),
        "in place": nn.Sequential(*start, nn.ReLU(inplace=True), nn.Linear(6, 3)),
        "attention": Attention(),
        "transformer": nn.Sequential(
            nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(12, 3)
        ),
        "recurrent layer norm": Recurrent(),
        "unused parameters": Unused(),
    }


@pytest.mark.parametrize("name", unusual_networks())
def test_the_samples_of_unusual_layers_agree_with_finite_differences(name):
    torch.manual_seed(3)
    model = unusual_networks()[name].double().eval()
    inputs, labels = torch.randn(5, 3, 4).double(), torch.tensor([0, 1, 2, 0, 1])
    batches = ragged(inputs, labels, 3)
    product = Hessian(model, batches)
    start = flatten(mean_gradient(model, batches))
    vector = start / start.norm()

    def losses(step):
        moved = unflatten(flatten(trainable(model)) + step * vector, trainable(model))
        outputs = functional_call(model, moved, (inputs,))
        return nn.functional.cross_entropy(outputs, labels, reduction="none").detach()

    differences = (losses(1e-4) - 2 * losses(0.0) + losses(-1e-4)) / 1e-8
    value = float(vector @ product(vector))
    assert value == pytest.approx(differences.mean().item(), rel=1e-4)
    direction = unflatten(vector, trainable(model))
    found = curvatures_along(model, batches, direction, value)
    torch.testing.assert_close(found, differences, rtol=1e-4, atol=1e-5)
    norm = gradient_norm(model, batches)
    assert norm.samples.mean().item() == pytest.approx(norm.value, rel=1e-9)


def convolutional(case):
    return case[0]


def normed(case):
    return nn.Sequential(nn.Flatten(), nn.Linear(case[1][0].numel(), 6), nn.LayerNorm(6)).to(
        case[1].dtype
    )


@pytest.mark.parametrize("network", [convolutional, normed])
def test_ordinary_layers_need_no_product_a_sample(case, network, monkeypatch):
    """The cheap way is right for them; only the probes are computed the safe way."""
    model, (_, inputs, labels) = network(case), case
    counted = []
    safe = curvature._curvatures_by_sample

    def counting(model, batches, direction):
        found = safe(model, batches, direction)
        counted.append(len(found))
        return found

    monkeypatch.setattr(curvature, "_curvatures_by_sample", counting)
    for dtype in (torch.float64, torch.float32):
        batches = ragged(inputs.to(dtype), labels)
        for end in hessian_extremes(model.to(dtype), batches):
            curvature_samples(model, batches, end)
    assert counted == [curvature.PROBES] * 4


class Hard(nn.Module):
    def forward(self, inputs):
        return nn.functional.hardsigmoid(inputs)


def test_layers_without_a_right_second_derivative_are_refused():
    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))]
    hard = nn.Sequential(nn.Linear(3, 3), Hard(), nn.Linear(3, 2))
    with pytest.raises(AuditError, match="cannot differentiate a layer"):
        hessian_extremes(hard, batches)
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    with pytest.raises(AuditError, match="weight_norm"):
        hessian_extremes(normed, batches)
    # Its first derivative is right, though it has no forward mode: reverse mode twice.
    norm = gradient_norm(normed, batches)
    assert norm.samples.mean().item() == pytest.approx(norm.value, rel=1e-5)


def test_attention_is_differentiated_in_forward_mode(monkeypatch):
    """The fast path of evaluation mode has no forward rule, and the slow way would hide it."""
    monkeypatch.delattr(network, "vjp")
    batches = [(torch.randn(4, 3, 4), torch.tensor([0, 1, 0, 1]))]
    model = unusual_networks()["transformer"].eval()
    norm = gradient_norm(model, batches)
    assert norm.samples.mean().item() == pytest.approx(norm.value, rel=1e-4)
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_cannot_be_measured_is_said(case):
    model, inputs, labels = case
    with pytest.raises(AuditError, match="not a generator"):
        hessian_extremes(model, iter(ragged(inputs, labels)))
    with pytest.raises(AuditError, match="no such parameter"):
        hessian_extremes(model, ragged(inputs, labels), {"nothing": torch.ones(3)})
    nothing = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    with pytest.raises(AuditError, match="removes every trainable weight"):
        hessian_extremes(model, ragged(inputs, labels), nothing)
    with pytest.raises(AuditError, match="no trainable parameters"):
        gradient_norm(nn.Sequential(model).requires_grad_(False), ragged(inputs, labels))


def test_broken_weights_are_said(case):
    model, inputs, labels = case
    next(model.parameters()).data.fill_(torch.nan)
    with pytest.raises(AuditError, match="not finite"):
        gradient_norm(model, ragged(inputs, labels))
