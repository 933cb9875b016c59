"""Top eigenvalues, layers and the spectral density against a dense float64 Hessian."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

from audit.errors import AuditError
from audit.measure.curvature import CurvatureSettings, layer_extremes, top_eigenvalues
from audit.measure.density import spectral_density
from audit.prune.magnitude import magnitude_mask

EXACT = CurvatureSettings(tolerance=1e-9, max_products=400, extra=400)


@pytest.fixture
def case():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    inputs = torch.randn(23, 3).double()
    labels = torch.arange(23) % 3
    return model, list(zip(inputs.split(10), labels.split(10), strict=True))


def dense_hessian(model, batches):
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    sizes = [p.numel() for p in parameters.values()]

    def loss(vector):
        pieces = zip(parameters.items(), vector.split(sizes), strict=True)
        moved = {name: piece.view_as(p) for (name, p), piece in pieces}
        return nn.functional.cross_entropy(functional_call(model, moved, (inputs,)), labels)

    return hessian(loss)(torch.cat([p.flatten() for p in parameters.values()]))


def test_top_eigenvalues_are_the_largest_of_the_dense_hessian(case):
    expected = torch.linalg.eigvalsh(dense_hessian(*case)).flip(0)
    model, batches = case
    found = top_eigenvalues(model, batches, settings=EXACT, number=4)
    assert [one.value for one in found] == pytest.approx(expected[:4].tolist(), rel=1e-6)
    assert all(one.converged and one.n == 23 for one in found)
    vectors = torch.stack([one.vector for one in found])
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(4).double())


def test_an_eigenvalue_that_comes_twice_is_found_twice():
    """Softmax regression at zero weights has λ = E[x²]/C with multiplicity C − 1."""
    model = nn.Linear(1, 3, bias=False).double()
    nn.init.zeros_(model.weight)
    batches = [(torch.tensor([[1.0], [2.0]]).double(), torch.tensor([0, 1]))]
    found = top_eigenvalues(model, batches, settings=EXACT, number=5)
    assert [one.value for one in found] == pytest.approx([2.5 / 3, 2.5 / 3, 0.0], abs=1e-12)


def test_no_eigenvalue_cannot_be_asked_for(case):
    with pytest.raises(AuditError, match="at least 1"):
        top_eigenvalues(case[0], case[1], number=0)


def test_a_layer_has_the_spectrum_of_its_own_block(case):
    model, batches = case
    matrix = dense_hessian(model, batches)
    model[0].bias.grad = torch.ones(5).double()
    found = layer_extremes(model, batches, settings=EXACT)
    assert list(found) == ["0", "2"]
    for layer, block in (("0", matrix[:20, :20]), ("2", matrix[20:, 20:])):
        expected = torch.linalg.eigvalsh(block)
        largest, smallest = found[layer]
        assert largest.value == pytest.approx(expected[-1].item(), rel=1e-7)
        assert smallest.value == pytest.approx(expected[0].item(), rel=1e-5, abs=1e-9)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert (model[0].bias.grad == 1).all()


def test_a_layer_in_the_support_has_only_surviving_weights(case):
    model, batches = case
    mask = magnitude_mask(model, 0.5)
    mask.apply(model)
    keep = torch.cat(
        [mask.parts.get(n, torch.ones_like(p) > 0).flatten() for n, p in model.named_parameters()]
    )
    matrix = dense_hessian(model, batches)
    found = layer_extremes(model, batches, mask.parts, EXACT)
    expected = torch.linalg.eigvalsh(matrix[:20, :20][keep[:20]][:, keep[:20]])
    assert found["0"][0].value == pytest.approx(expected[-1].item(), rel=1e-7)
    assert found["0"][0].space == "support"


def test_a_layer_of_which_nothing_survives_is_left_out():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2)).double()
    mask = {"0.weight": torch.zeros(2, 2) > 0, "1.weight": torch.ones(2, 2) > 0}
    batches = [(torch.ones(3, 2).double(), torch.tensor([0, 1, 0]))]
    assert list(layer_extremes(model, batches, mask)) == ["1"]


def test_the_density_has_the_moments_of_the_spectrum(case):
    spectrum = torch.linalg.eigvalsh(dense_hessian(*case)).numpy()
    model, batches = case
    found = spectral_density(model, batches, probes=80, steps=12, seed=3)
    assert found.dimension == len(spectrum)
    assert found.products == 80 * 12
    assert found.n == 23
    np.testing.assert_allclose(found.weights.sum(1), 1.0)
    for power in (1, 2, 3):
        mean, error = found.moment(power)
        assert abs(mean - (spectrum**power).mean()) < 4 * error
    # With a step for every coordinate the nodes are the eigenvalues, and the shares are right.
    whole = spectral_density(model, batches, probes=80, steps=99, seed=3)
    points = np.quantile(spectrum, [0.1, 0.5, 0.9]) + 1e-9
    shares = (spectrum[None] <= points[:, None]).mean(1)
    np.testing.assert_allclose(whole.share_below(points), shares, atol=0.06)


def test_the_density_integrates_to_one(case):
    found = spectral_density(case[0], case[1], probes=2, steps=10)
    low, high = found.nodes.min() - 1, found.nodes.max() + 1
    points = np.linspace(low, high, 4000)
    density = found.density(points, width=0.05)
    assert density.min() >= 0
    assert np.trapezoid(density, points) == pytest.approx(1.0, abs=1e-6)
    # The mass around the largest node is that node's weight.
    top = found.nodes > found.nodes.max() - 1e-9
    near = abs(points - found.nodes.max()) < 0.05
    assert density[near].max() >= found.weights[top].sum() / 2 / (0.05 * (2 * np.pi) ** 0.5) * 0.99


def test_the_density_of_the_support_ignores_removed_weights(case):
    model, batches = case
    mask = magnitude_mask(model, 0.5)
    mask.apply(model)
    found = spectral_density(model, batches, mask.parts, probes=1, steps=8)
    assert found.dimension == sum(p.numel() for p in model.parameters()) - 15
    assert found.space == "support"
    assert np.isnan(found.moment(1)[1])


def test_a_density_needs_a_probe_and_a_step(case):
    with pytest.raises(AuditError, match="at least 1 of each"):
        spectral_density(case[0], case[1], probes=0)
