"""SNIP, GraSP and SynFlow against what defines them."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call

from audit.errors import AuditError
from audit.prune.mask import keep_largest, prunable_weights
from audit.prune.saliency import (
    flows,
    grasp_mask,
    grasp_scores,
    positive_copy,
    snip_mask,
    synflow_mask,
)


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.Tanh(),
        nn.Linear(5, 3),
    ).double()  # fmt: skip


@pytest.fixture
def samples() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Eleven samples in ragged batches."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(11, 1, 4, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (11,), generator=generator)
    return list(zip(inputs.split(4), labels.split(4), strict=True))


def joined(samples):
    return torch.cat([x for x, _ in samples]), torch.cat([y for _, y in samples])


def loss_and_flow(model, samples, parameters) -> tuple[torch.Tensor, torch.Tensor]:
    """J and ‖∇J‖² as functions of the parameters, written anew."""
    inputs, labels = joined(samples)
    buffers = dict(model.eval().named_buffers())
    logits = functional_call(model, {**parameters, **buffers}, (inputs,))
    loss = nn.functional.cross_entropy(logits, labels)
    gradient = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    return loss, torch.stack([part.square().sum() for part in gradient]).sum()


def leaves(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}


def test_snip_by_hand():
    """Logits (2, 0) of the input (1, 2): p = (0.88, 0.12), g = (p − y) xᵀ for y = 0."""
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[2.0, 0.0], [1.0, -0.5]])
    batches = [(torch.tensor([[1.0, 2.0]]), torch.tensor([0]))]
    # |g⊙θ| = 0.12 · [[1·2, 2·0], [1·1, 2·0.5]]
    assert snip_mask(layer, batches, 0.75).parts["weight"].tolist() == [[True, False], [False] * 2]
    assert snip_mask(layer, batches, 0.25).parts["weight"].tolist() == [[True, False], [True] * 2]


def test_snip_ranks_by_the_slope_of_the_loss_in_each_weights_mask(network, samples):
    at = leaves(network)
    weights = {name: at[name] for name in prunable_weights(network)}
    switches = {n: torch.ones_like(w).requires_grad_() for n, w in weights.items()}
    masked = at | {name: weight.detach() * switches[name] for name, weight in weights.items()}
    inputs, labels = joined(samples)
    logits = functional_call(network.eval(), masked, (inputs,))
    loss = nn.functional.cross_entropy(logits, labels)
    slopes = torch.autograd.grad(loss, list(switches.values()))
    expected = keep_largest({n: s.abs() for n, s in zip(switches, slopes, strict=True)}, 0.6)
    found = snip_mask(network, samples, 0.6)
    assert all(torch.equal(part, expected.parts[name]) for name, part in found.parts.items())


def test_grasp_against_the_dense_hessian(network, samples):
    at = leaves(network)
    names = list(at)
    sizes = [at[name].numel() for name in names]
    start = torch.cat([at[name].detach().flatten() for name in names])

    def loss(vector: torch.Tensor) -> torch.Tensor:
        pieces = vector.split(sizes)
        parameters = {n: p.view_as(at[n]) for n, p in zip(names, pieces, strict=True)}
        inputs, labels = joined(samples)
        buffers = dict(network.eval().named_buffers())
        logits = functional_call(network, {**parameters, **buffers}, (inputs,))
        return nn.functional.cross_entropy(logits, labels)

    hessian = torch.autograd.functional.hessian(loss, start)
    gradient = torch.autograd.functional.jacobian(loss, start)
    pieces = dict(zip(names, (start * (hessian @ gradient)).split(sizes), strict=True))
    for name, part in grasp_scores(network, samples).items():
        torch.testing.assert_close(part.flatten(), pieces[name], rtol=1e-9, atol=1e-12)


def test_grasp_first_removes_what_raises_the_gradient_flow_most(network, samples):
    """A tiny step of each weight towards zero, measured: the kept ones raise the flow least."""
    at = leaves(network)
    changes = {}
    step = 1e-6
    before = loss_and_flow(network, samples, at)[1].item()
    for name in prunable_weights(network):
        part = torch.zeros_like(at[name])
        for place in range(part.numel()):
            moved = {n: v.detach().clone().requires_grad_() for n, v in at.items()}
            moved[name].data.view(-1)[place] *= 1 - step
            flow = loss_and_flow(network, samples, moved)[1].item()
            part.view(-1)[place] = (flow - before) / step
        changes[name] = part
    mask = grasp_mask(network, samples, 0.5)
    kept = torch.cat([changes[n][m] for n, m in mask.parts.items()])
    gone = torch.cat([changes[n][~m] for n, m in mask.parts.items()])
    assert kept.max() < gone.min() + 1e-6
    assert gone.max() > 0
    assert kept.min() < 0
    scores = torch.cat([s.flatten() for s in grasp_scores(network, samples).values()])
    slopes = torch.cat([changes[n].flatten() for n in mask.parts])
    torch.testing.assert_close(-2 * scores, slopes, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("criterion", [snip_mask, grasp_mask])
def test_the_batches_do_not_matter_and_the_model_is_given_back(criterion, network, samples):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    mask = criterion(network, samples, 0.7)
    inputs, labels = joined(samples)
    order = torch.randperm(11)
    whole = criterion(network, [(inputs[order], labels[order])], 0.7)
    assert mask.survivors == round(0.3 * 102)
    assert all(torch.equal(part, whole.parts[name]) for name, part in mask.parts.items())
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(v, before[n]) for n, v in network.state_dict().items())


@pytest.mark.parametrize("criterion", [snip_mask, grasp_mask])
def test_a_frozen_layer_is_refused(criterion, network, samples):
    network[6].weight.requires_grad_(False)
    with pytest.raises(AuditError, match=r"'6\.weight' is frozen"):
        criterion(network, samples, 0.5)


def test_no_samples_is_an_error(network):
    with pytest.raises(AuditError, match="found no samples"):
        snip_mask(network, [], 0.5)


def test_flow_by_hand():
    """Of two linear layers: |W1_ij| Σ_k |W2_ki| and |W2_ki| Σ_j |W1_ij|, biases left out."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    model[0].weight.data = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    model[2].weight.data = torch.tensor([[-1.0, 4.0], [2.0, 0.0]])
    found = flows(positive_copy(model), torch.ones(1, 2, dtype=torch.float64))
    assert found["0.weight"].tolist() == [[3.0, 6.0], [2.0, 12.0]]
    assert found["2.weight"].tolist() == [[3.0, 14.0], [6.0, 0.0]]


def test_the_flow_is_the_same_through_every_layer(network):
    found = flows(positive_copy(network[:5]), torch.ones(1, 1, 4, 4, dtype=torch.float64))
    totals = [float(part.sum()) for part in found.values()]
    assert totals[0] == pytest.approx(totals[1], rel=1e-12)


def deep() -> nn.Sequential:
    """Eight layers of very different widths, on which one round of pruning collapses."""
    torch.manual_seed(0)
    widths = [8, 64, 4, 64, 64, 4, 64, 64, 3]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def connected(model: nn.Module, mask, shape: tuple[int, ...]) -> bool:
    positive = positive_copy(model)
    mask.apply(positive)
    return positive(torch.ones(1, *shape, dtype=torch.float64)).sum().item() > 0


def test_synflow_keeps_every_layer_alive_at_99_percent():
    model = deep()
    total = sum(weight.numel() for weight in prunable_weights(model).values())
    mask = synflow_mask(model, (8,), 0.99)
    assert mask.survivors == round(0.01 * total)
    assert all(part.any() for part in mask.parts.values())
    assert connected(model, mask, (8,))
    once = synflow_mask(model, (8,), 0.99, rounds=1)
    assert once.survivors == mask.survivors
    assert not connected(model, once, (8,))


def test_synflow_reads_neither_batch_norm_nor_biases_and_changes_nothing(network):
    other = copy.deepcopy(network)
    other[1].running_mean += 5
    other[1].weight.data.mul_(-3)
    other[4].bias.data += 2
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, second = (synflow_mask(model, (1, 4, 4), 0.8) for model in (network, other))
    assert all(torch.equal(part, second.parts[name]) for name, part in first.parts.items())
    assert all(torch.equal(v, before[n]) for n, v in network.state_dict().items())
    assert network.training
