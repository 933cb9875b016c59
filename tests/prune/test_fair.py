"""FairGRAPE and FairPrune: by hand, against slow and dense oracles, and against their purpose."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from audit.errors import AuditError
from audit.prune.fairgrape import fair_choice, fairgrape_mask, group_importance
from audit.prune.fairprune import fairprune_mask, fairprune_scores, hessian_diagonal
from audit.prune.magnitude import magnitude_mask
from audit.prune.mask import keep_largest, prunable_weights


def small(activation: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), activation, nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(2, 4), activation, nn.Linear(4, 3),
    ).double()  # fmt: skip
    model.get_buffer("1.running_mean").normal_()
    model.get_buffer("1.running_var").uniform_(0.5, 2.0)
    return model


def batches(seed: int, n: int = 9, size: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 1, 4, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (n,), generator=generator)
    return list(zip(inputs.split(size), labels.split(size), strict=True))


def mean_loss(model: nn.Module, samples, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    inputs = torch.cat([x for x, _ in samples])
    labels = torch.cat([y for _, y in samples])
    logits = functional_call(model.eval(), weights, (inputs,))
    return nn.functional.cross_entropy(logits, labels)


def dense_diagonal(model: nn.Module, samples, name: str) -> torch.Tensor:
    weight = prunable_weights(model)[name].detach()
    hessian = torch.autograd.functional.hessian(
        lambda at: mean_loss(model, samples, {name: at.view_as(weight)}), weight.flatten()
    )
    return torch.diagonal(hessian).view_as(weight)


def test_fair_choice_by_hand():
    """Targets 11/16 and 5/16.

    a is the larger: weight 0 (a keeps 6, b 0).  Then b lacks 5/16: weight 3 (6, 3).
    a has 6/9 < 11/16, lacking .02: weight 1 (9, 4).  a has 9/13 > 11/16, so b lacks: of b's best,
    3 and 1 are taken, so weight 2 (11, 5), and weight 4 is left for the last.
    """
    importance = torch.tensor([[6.0, 3.0, 2.0, 0.0, 0.0], [0.0, 1.0, 1.0, 3.0, 0.0]]).double()
    assert fair_choice(importance, 5).tolist() == [0, 3, 1, 2, 4]
    assert fair_choice(importance, 2).tolist() == [0, 3]


def test_of_two_equal_groups_each_chooses_in_turn():
    importance = torch.tensor([[4.0, 3.0, 0.0, 0.0], [0.0, 0.0, 4.0, 3.0]]).double()
    assert fair_choice(importance, 4).tolist() == [0, 2, 1, 3]


def test_one_group_chooses_by_importance_and_no_importance_by_position():
    assert fair_choice(torch.tensor([[1.0, 5.0, 3.0]]).double(), 3).tolist() == [1, 2, 0]
    assert fair_choice(torch.zeros(3, 4).double(), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_fair_choice_against_its_definition(seed):
    """The same greedy choice with all shares computed anew at every step."""
    values = np.random.default_rng(seed).gamma(0.3, size=(4, 60))
    target = values.sum(1) / values.sum()
    left, kept = list(range(60)), list[int]()
    while len(kept) < 40:
        own = values[:, kept].sum(1)
        share = own / own.sum() if kept else np.zeros(4)
        group = int(np.argmax(target - share))
        best = max(left, key=lambda weight: values[group, weight])
        left.remove(best)
        kept.append(best)
    assert fair_choice(torch.from_numpy(values), 40).tolist() == kept


def test_importance_is_that_of_each_groups_mean_gradient():
    model, groups = small(nn.ReLU()), [batches(0), batches(1, n=5)]
    found = group_importance(model, groups)
    for name, weight in prunable_weights(model).items():
        at = weight.detach().clone().requires_grad_()
        for group, samples in enumerate(groups):
            slope = torch.autograd.grad(mean_loss(model, samples, {name: at}), at)[0]
            expected = (weight.detach().abs() * slope.abs()) ** 2
            torch.testing.assert_close(found[name][group], expected)


def wide() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 60), nn.ReLU(), nn.Linear(60, 40), nn.ReLU(), nn.Linear(40, 3)
    ).double()


def unfairness(importance: dict[str, torch.Tensor], mask) -> float:
    """The sum over layers and groups of |share kept − share of the dense network|."""
    total = 0.0
    for name, part in importance.items():
        dense, kept = part.flatten(1).sum(1), (part * mask.parts[name]).flatten(1).sum(1)
        total += float((dense / dense.sum() - kept / kept.sum()).abs().sum())
    return total


@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_groups_keep_their_shares_better_than_under_magnitude(rate):
    model, groups = wide(), [batches(seed, n=6) for seed in range(5)]
    importance = group_importance(model, groups)
    fair = fairgrape_mask(model, groups, rate)
    plain = magnitude_mask(model, rate, "layer")
    assert fair.layer_sparsity() == plain.layer_sparsity()
    assert unfairness(importance, fair) < 0.2 * unfairness(importance, plain)


def test_a_layer_of_a_hundred_thousand_weights_takes_no_minutes():
    values = torch.rand(5, 100_000, generator=torch.Generator().manual_seed(0)).double()
    chosen = fair_choice(values, 20_000)
    assert len(chosen.unique()) == 20_000


def test_no_groups_are_an_error():
    with pytest.raises(AuditError, match="found no groups"):
        fairgrape_mask(wide(), [], 0.5)
    with pytest.raises(AuditError, match="found no samples"):
        fairgrape_mask(wide(), [[]], 0.5)


def test_the_diagonal_is_exact_where_activations_are_piecewise_linear():
    model, samples = small(nn.ReLU()), batches(0)
    found = hessian_diagonal(model, samples)
    assert set(found) == {"0.weight", "5.weight", "7.weight"}
    for name, part in found.items():
        torch.testing.assert_close(part, dense_diagonal(model, samples, name), atol=1e-12, rtol=0)
        assert part.abs().max() > 1e-3


def test_elsewhere_the_diagonal_is_the_gauss_newton_part():
    """Jᵀ(diag p − ppᵀ)J of the dense Jacobian of the logits: never negative, not all of it."""
    model, samples = small(nn.Tanh()), batches(0)
    inputs = torch.cat([x for x, _ in samples])
    weight = model.get_parameter("0.weight").detach()
    jacobian = torch.autograd.functional.jacobian(
        lambda at: functional_call(model.eval(), {"0.weight": at}, (inputs,)), weight
    ).flatten(2)
    chances = model(inputs).softmax(1).detach()
    middle = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None, :]
    expected = torch.einsum("ncp,nck,nkp->p", jacobian, middle, jacobian) / len(inputs)
    found = hessian_diagonal(model, samples)["0.weight"].flatten()
    torch.testing.assert_close(found, expected)
    assert (found >= 0).all()
    assert not torch.allclose(found, dense_diagonal(model, samples, "0.weight").flatten())


def test_one_logit_is_read_as_two_classes():
    torch.manual_seed(0)
    model = nn.Linear(2, 1).double()
    inputs = torch.tensor([[1.0, 2.0]]).double()
    chance = torch.sigmoid(model(inputs)).item()
    found = hessian_diagonal(model, [(inputs, torch.tensor([1]))])["weight"]
    torch.testing.assert_close(found, chance * (1 - chance) * inputs**2)


def test_neither_the_batches_nor_the_order_matter_and_the_model_is_given_back():
    model, samples = small(nn.ReLU()).train(), batches(0)
    found = hessian_diagonal(model, samples)
    assert all(module.training for module in model.modules())
    inputs, labels = (torch.cat([pair[k] for pair in samples]).flip(0) for k in (0, 1))
    for name, part in hessian_diagonal(model, [(inputs, labels)]).items():
        torch.testing.assert_close(part, found[name])
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    single = hessian_diagonal(model.float(), [(x.float(), y) for x, y in samples])
    for name, part in single.items():
        torch.testing.assert_close(part, found[name], rtol=1e-3, atol=1e-5)


def test_fairprune_by_hand():
    """Input 0 is only seen in group 0, input 1 only in group 1: H is diagonal, h = p(1 − p)x²."""
    model = nn.Linear(2, 2, bias=False).double()
    model.weight.data = torch.tensor([[1.0, 1.0], [1.0, 1.0]]).double()
    first = [(torch.tensor([[2.0, 0.0]]).double(), torch.tensor([0]))]
    second = [(torch.tensor([[0.0, 2.0]]).double(), torch.tensor([1]))]
    scores = fairprune_scores(model, [first, second], unprivileged=1, beta=0.5)["weight"]
    torch.testing.assert_close(scores, torch.tensor([[-0.25, 0.5], [-0.25, 0.5]]).double())
    mask = fairprune_mask(model, [first, second], 1, 0.5, beta=0.5)
    assert mask.parts["weight"].tolist() == [[False, True]] * 2
    other = fairprune_mask(model, [first, second], 0, 0.5, beta=0.5)
    assert other.parts["weight"].tolist() == [[True, False]] * 2


def test_fairprune_of_several_groups_against_dense_hessians():
    model, groups = small(nn.ReLU()), [batches(seed) for seed in range(3)]
    scores = fairprune_scores(model, groups, unprivileged=1, beta=0.3)
    for name, weight in prunable_weights(model).items():
        h = [dense_diagonal(model, samples, name) for samples in groups]
        expected = 0.5 * weight.detach() ** 2 * (h[1] - 0.3 * (h[0] + h[2]) / 2)
        torch.testing.assert_close(scores[name], expected, atol=1e-12, rtol=1e-9)
    mask, same = fairprune_mask(model, groups, 1, 0.6, 0.3), keep_largest(scores, 0.6)
    assert all(torch.equal(part, same.parts[name]) for name, part in mask.parts.items())


@pytest.mark.parametrize(("number", "which"), [(1, 0), (2, 2), (2, -1)])
def test_fairprune_needs_two_groups_and_one_of_them(number, which):
    groups = [batches(seed) for seed in range(number)]
    with pytest.raises(AuditError, match="expected the position of one of two groups"):
        fairprune_scores(small(nn.ReLU()), groups, which, 0.3)
