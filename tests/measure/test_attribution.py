"""Taylor attribution and theorem 1: by hand, by a dense Hessian, and by the order of the rest."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

from audit.errors import AuditError
from audit.measure.attribution import loss_bound, one_shot, taylor_attribution, taylor_terms
from audit.measure.hessian import Hessian, flatten
from audit.prune.magnitude import magnitude_mask


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def samples(size=23):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, 3, generator=generator).double()
    return inputs, torch.arange(size) % 3


def ragged(inputs, labels):
    return list(zip(inputs.split(10), labels.split(10), strict=True))


def moved(model, step):
    """The model with every parameter moved along one fixed direction."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(5)
    for parameter in other.parameters():
        noise = torch.randn(parameter.shape, generator=generator).double()
        parameter.data += step * noise
    return other


def mean_loss(model, inputs, labels):
    return float(nn.functional.cross_entropy(model(inputs), labels).detach())


def test_a_quadratic_has_no_remainder():
    """f(x) = gᵀx + ½ xᵀHx: slope and curvature of two blocks add up to f(δ) exactly."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, 5, generator=generator).double()
    matrix = matrix + matrix.T
    gradient, delta = torch.randn(2, 5, generator=generator).double()
    slope, curvature = taylor_terms(gradient, matrix @ delta, delta, [2, 3])
    change = gradient @ delta + 0.5 * delta @ matrix @ delta
    assert float(slope.sum() + curvature.sum()) == pytest.approx(float(change), rel=1e-12)
    assert float(slope[0]) == pytest.approx(float(gradient[:2] @ delta[:2]))
    cross = 0.5 * float(delta[:2] @ matrix[:2, 2:] @ delta[2:])
    own = 0.5 * float(delta[:2] @ matrix[:2, :2] @ delta[:2])
    assert float(curvature[0]) == pytest.approx(own + cross)


def test_it_agrees_with_the_dense_hessian():
    model, (inputs, labels) = network(), samples()
    pruned = copy.deepcopy(model)
    magnitude_mask(pruned, 0.5).apply(pruned)
    found = taylor_attribution(model, pruned, ragged(inputs, labels))
    names = [name for name, _ in model.named_parameters()]
    values = [p.detach() for p in model.parameters()]

    def loss(vector):
        pieces = vector.split([value.numel() for value in values])
        parts = {n: v.view_as(o) for n, v, o in zip(names, pieces, values, strict=True)}
        return nn.functional.cross_entropy(functional_call(model, parts, (inputs,)), labels)

    start = torch.cat([value.flatten() for value in values])
    delta = torch.cat([p.detach().flatten() for p in pruned.parameters()]) - start
    matrix, gradient = hessian(loss)(start), torch.func.grad(loss)(start)
    assert found.layers == ("0", "2")
    slope, curvature = taylor_terms(gradient, matrix @ delta, delta, [20, 18])
    torch.testing.assert_close(found.slope, slope)
    torch.testing.assert_close(found.curvature, curvature)
    risk = mean_loss(pruned, inputs, labels) - mean_loss(model, inputs, labels)
    assert found.excess_risk == pytest.approx(risk, rel=1e-9)
    assert found.distance == pytest.approx(float(delta.norm()))
    assert found.n == 23


def test_everything_adds_up_and_the_samples_average_to_the_totals():
    model, (inputs, labels) = network(), samples()
    found = taylor_attribution(model, moved(model, 0.3), ragged(inputs, labels))
    total = found.total_slope + found.total_curvature + found.buffers + found.remainder
    assert total == pytest.approx(found.excess_risk, rel=1e-12)
    assert float(found.slope_samples.mean()) == pytest.approx(found.total_slope, rel=1e-9)
    assert float(found.curvature_samples.mean()) == pytest.approx(found.total_curvature, rel=1e-9)
    assert found.buffers == 0.0


def test_the_remainder_is_of_third_order():
    model, batches = network(), ragged(*samples())
    steps = (0.02, 0.01)
    rests = [taylor_attribution(model, moved(model, step), batches).remainder for step in steps]
    assert abs(rests[0]) > 1e-9
    assert rests[0] / rests[1] == pytest.approx(8.0, rel=0.2)


def test_running_statistics_are_told_apart():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()
    pruned = copy.deepcopy(model)
    pruned.get_buffer("1.running_mean").add_(0.5)
    inputs, labels = samples()
    found = taylor_attribution(model, pruned, ragged(inputs, labels))
    expected = mean_loss(pruned.eval(), inputs, labels) - mean_loss(model.eval(), inputs, labels)
    assert found.buffers == pytest.approx(expected, rel=1e-9)
    assert found.buffers == pytest.approx(found.excess_risk, rel=1e-12)
    assert found.total_slope == found.total_curvature == 0.0
    assert found.remainder == pytest.approx(0.0, abs=1e-12)


def test_two_architectures_have_no_difference():
    with pytest.raises(AuditError, match="one architecture"):
        taylor_attribution(network(), nn.Linear(3, 3).double(), ragged(*samples()))


def test_one_shot_pruning_is_read_off_the_tensors():
    model = network()
    pruned = copy.deepcopy(model)
    magnitude_mask(pruned, 0.5).apply(pruned)
    assert one_shot(model, pruned)
    assert one_shot(model, model)
    pruned[2].bias.data += 1e-6
    assert not one_shot(model, pruned)


def test_theorem_1_holds_for_small_steps_with_exact_numbers():
    """Up to the remainder, R ≤ ‖g‖‖δ‖ + ½ λ_max‖δ‖² whatever the direction."""
    model, (inputs, labels) = network(), samples()
    batches = ragged(inputs, labels)
    operator = Hessian(model, batches)
    size = len(operator.survivors)
    matrix = torch.stack([operator(row) for row in torch.eye(size).double()])
    largest = float(torch.linalg.eigvalsh(matrix)[-1])
    for step in (1e-3, -1e-3, 1e-2, 0.3):
        found = taylor_attribution(model, moved(model, step), batches)
        bound = loss_bound(largest, found, applies=False)
        assert bound.slack >= found.remainder - 1e-12
        assert bound.value == pytest.approx(bound.slope + bound.curvature)
        assert bound.slack == pytest.approx(bound.value - found.excess_risk)


def test_the_networks_are_given_back_as_they_came():
    model, batches = network().train(), ragged(*samples())
    model[0].weight.grad = torch.ones(5, 3).double()
    other = moved(model, 0.1).train()
    before = flatten(dict(model.named_parameters())).clone()
    taylor_attribution(model, other, batches)
    assert model.training
    assert other.training
    assert (model[0].weight.grad == 1).all()
    assert torch.equal(flatten(dict(model.named_parameters())), before)
