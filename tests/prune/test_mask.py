"""Masks: exact sparsity, validation, and fine-tuning that keeps them."""

import pytest
import torch
from torch import nn

from audit.errors import AuditError
from audit.models.training import TrainingSettings
from audit.prune.fine_tune import fine_tune
from audit.prune.magnitude import magnitude_mask
from audit.prune.mask import (
    Mask,
    check_dense,
    is_pruned,
    keep_largest,
    measured_mask,
    other_sparsity,
    other_weights,
    prunable_weights,
    zero_head,
)
from audit.prune.random import random_mask


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    )


def test_only_convolution_and_linear_weights_are_prunable():
    assert set(prunable_weights(network())) == {"0.weight", "4.weight"}


def test_a_bare_layer_is_prunable_by_the_name_weight():
    assert set(prunable_weights(nn.Linear(2, 2))) == {"weight"}


def test_nothing_to_prune_is_an_error():
    with pytest.raises(AuditError, match="no convolution or linear layer"):
        prunable_weights(nn.BatchNorm1d(3))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("criterion", [magnitude_mask, random_mask])
def test_sparsity_is_exact_and_measured(criterion, rate):
    model = network()
    mask = criterion(model, rate)
    assert mask.survivors == round((1 - rate) * 51)
    mask.apply(model)
    measured = measured_mask(model)
    assert measured.sparsity == mask.sparsity
    assert measured.layer_sparsity() == mask.layer_sparsity()


def test_ties_do_not_change_the_count():
    mask = keep_largest({"a": torch.ones(10), "b": torch.ones(10)}, 0.75)
    assert mask.survivors == 5


def test_magnitude_is_global_over_layers():
    mask = keep_largest({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])}, 0.5)
    assert not mask.parts["a"].any()
    assert mask.parts["b"].all()


def test_magnitude_masks_are_nested():
    model = network()
    loose, tight = magnitude_mask(model, 0.5), magnitude_mask(model, 0.8)
    assert all((~tight.parts[name] | part).all() for name, part in loose.parts.items())


def test_random_masks_repeat_by_seed_and_differ_between_seeds():
    model = network()
    first, again, other = (random_mask(model, 0.5, seed).parts["4.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("rate", [1.0, 1.5, -0.1, float("nan")])
def test_a_rate_outside_its_range_is_an_error(rate):
    with pytest.raises(AuditError, match="0 ≤ rate < 1"):
        magnitude_mask(network(), rate)


def test_a_rate_that_leaves_nothing_is_an_error():
    with pytest.raises(AuditError, match="leaves none of 51"):
        magnitude_mask(network(), 0.999)


def test_a_mask_must_be_boolean_and_keep_something():
    with pytest.raises(AuditError, match=r"expected torch\.bool"):
        Mask({"a": torch.ones(2)})
    with pytest.raises(AuditError, match="removes every weight"):
        Mask({"a": torch.zeros(2, dtype=torch.bool)})


def test_a_mask_of_another_network_is_an_error():
    mask = magnitude_mask(network(), 0.5)
    with pytest.raises(AuditError, match="differ in layer"):
        mask.apply(nn.Linear(4, 2))
    other = nn.Sequential(*list(network())[:4], nn.Linear(12, 3))
    with pytest.raises(AuditError, match=r"'4\.weight' has shape \(2, 12\) in the mask"):
        mask.apply(other)


def test_fine_tuning_keeps_the_mask_and_trains_what_survives(two_groups):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    mask = magnitude_mask(model, 0.3)
    rows = two_groups.indices("train", "select")
    steps = fine_tune(model, mask, two_groups, rows, TrainingSettings(epochs=3, batch_size=16))
    assert steps == 3 * -(-len(rows) // 16)
    for name, weight in prunable_weights(model).items():
        assert torch.equal(weight[~mask.parts[name]], torch.zeros_like(weight[~mask.parts[name]]))
        kept = mask.parts[name]
        assert not torch.equal(weight[kept], before[name][kept])


class Recurrent(nn.Module):
    """A network whose weights are nearly all in layers that no method here prunes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 4, padding_idx=0)
        self.cell, self.norm = nn.LSTM(4, 4, batch_first=True), nn.LayerNorm(4)
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.cell(self.table(x))[0])
        return self.head(self.attention(x, x, x)[0][:, -1])


def test_zeros_of_any_layer_make_a_network_pruned():
    for name in ("table.weight", "cell.weight_hh_l0", "norm.weight", "attention.in_proj_weight"):
        torch.manual_seed(0)
        model = Recurrent()
        assert not is_pruned(model)
        with torch.no_grad():
            weight = model.get_parameter(name)
            weight[: len(weight) // 2] = 0
        assert is_pruned(model), name
        assert measured_mask(model).sparsity == 0
        with pytest.raises(AuditError, match=r"0\.0% of its weights are zeros, and \d+\.\d% of th"):
            check_dense(model)


def test_a_last_layer_that_starts_as_zeros_is_no_pruning():
    def network():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        nn.init.zeros_(model[2].weight)
        nn.init.zeros_(model[2].bias)
        return model

    fresh = network()
    check_dense(fresh)
    assert zero_head(fresh) == "2"
    # Nobody takes it for its own dense parent unless it is given as one.
    assert is_pruned(fresh)
    elsewhere, biased, first = network(), network(), network()
    with torch.no_grad():
        elsewhere[0].weight[0, 0] = 0
        biased[2].bias[0] = 1
        first[0].weight.zero_()
        first[2].weight.fill_(1)
    removed = {"2.weight": torch.zeros(2, 8, dtype=torch.bool)}
    for model, mask in ((elsewhere, None), (biased, None), (first, None), (fresh, removed)):
        assert zero_head(model, mask) is None
        with pytest.raises(AuditError, match="pruned already"):
            check_dense(model, mask)


def test_what_is_zero_from_the_start_or_computed_is_not_removed():
    torch.manual_seed(0)
    model = Recurrent()
    nn.init.zeros_(
        model.norm.weight
    )  # As of the last norm in each block of some residual networks.
    model.steps = nn.Parameter(torch.eye(8), requires_grad=False)
    assert other_sparsity(model) == 0
    assert set(other_weights(model)) == {
        "table.weight", "cell.weight_ih_l0", "cell.weight_hh_l0", "attention.in_proj_weight",
    }  # fmt: skip
    assert other_weights(model)["table.weight"].shape == (3, 4)
