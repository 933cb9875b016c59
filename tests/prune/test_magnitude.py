"""Magnitude pruning step by step: schedules, masks that only tighten, and rewinding."""

import copy
import itertools

import pytest
import torch
from torch import nn

import audit.prune.magnitude as room
from audit.errors import AuditError
from audit.models.training import TrainingSettings, train
from audit.prune.magnitude import (
    RAMP,
    gradual_magnitude,
    lottery_ticket,
    magnitude_mask,
    magnitudes,
    rung_steps,
)
from audit.prune.mask import Mask, keep_largest, measured_mask, prunable_weights
from audit.prune.schedule import cubic_rate, ladder

FEW = TrainingSettings(epochs=4, batch_size=16)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 2))


def removed(mask: Mask) -> torch.Tensor:
    return torch.cat([~part.flatten() for part in mask.parts.values()])


@pytest.fixture
def path(monkeypatch) -> list[tuple[dict, Mask]]:
    """The weights and the mask every time that a mask has been applied."""
    seen: list[tuple[dict, Mask]] = []
    apply = Mask.apply

    def watched(self: Mask, model: nn.Module) -> None:
        apply(self, model)
        seen.append(({n: w.detach().clone() for n, w in prunable_weights(model).items()}, self))

    monkeypatch.setattr(Mask, "apply", watched)
    return seen


def test_the_cubic_schedule():
    assert cubic_rate(0.8, 0.0) == 0.0
    assert cubic_rate(0.8, 0.5) == pytest.approx(0.8 * (1 - 0.125))
    assert cubic_rate(0.8, 1.0) == cubic_rate(0.8, 0.6, ramp=0.5) == 0.8
    assert cubic_rate(0.8, 0.25, ramp=0.5) == cubic_rate(0.8, 0.5)
    assert cubic_rate(0.8, 0.0, ramp=0.0) == 0.8


@pytest.mark.parametrize(("rate", "rungs"), [(0.0, 1), (0.2, 1), (0.36, 2), (0.9, 11), (0.98, 18)])
def test_the_ladder_ends_at_the_rate(rate, rungs):
    found = ladder(rate)
    assert len(found) == rungs
    assert found[-1] == rate
    assert found[:-1] == pytest.approx([1 - 0.8**j for j in range(1, rungs)])
    assert list(found) == sorted(found)


def test_a_ladder_out_of_range_is_an_error():
    with pytest.raises(AuditError, match="0 ≤ rate < 1"):
        ladder(1.0)


@pytest.mark.parametrize(("steps", "rungs"), [(1, 1), (1, 5), (7, 3), (240, 18), (10, 40)])
def test_the_rungs_share_the_budget(steps, rungs):
    found = rung_steps(steps, rungs)
    assert len(found) == rungs
    assert sum(found) == steps
    assert found[-1] >= steps / 2
    assert max(found[:-1], default=0) - min(found[:-1], default=0) <= 1


def test_layerwise_and_patterned_masks_of_a_network():
    model = network()
    assert magnitude_mask(model, 0.75, "layer").layer_sparsity() == {
        "0.weight": 0.75,
        "3.weight": 0.75,
    }
    patterned = magnitude_mask(model, 0.5, "2:4").parts["3.weight"]
    sizes = model.get_parameter("3.weight").detach().abs()
    torch.testing.assert_close(sizes[patterned].sum(), sizes.view(2, 5, 4).topk(2).values.sum())


def test_gradual_pruning_follows_its_schedule_and_only_tightens(two_groups, path):
    model, rows = network(), two_groups.indices("train", "select")
    mask, steps = gradual_magnitude(model, two_groups, rows, 0.9, FEW)
    assert steps == FEW.steps(len(rows))
    assert mask.survivors == 12
    rates = sorted({m.sparsity for _, m in path})
    assert len(rates) > 20
    first = path[0][1].sparsity
    assert first == pytest.approx(cubic_rate(0.9, 1 / steps, RAMP), abs=0.01)
    for (_, before), (weights, after) in itertools.pairwise(path):
        assert (removed(after) | ~removed(before)).all()
        assert all((weights[n][~part] == 0).all() for n, part in after.parts.items())
    settled = [m.sparsity for _, m in path[-int((1 - RAMP) * steps) :]]
    assert set(settled) == {mask.sparsity}
    assert torch.equal(removed(measured_mask(model)), removed(mask))
    assert not model.training


@pytest.mark.parametrize("method", [gradual_magnitude, lottery_ticket])
def test_one_step_is_enough_to_reach_the_rate(method, two_groups):
    model, rows = network(), two_groups.indices("train")[:10]
    mask, steps = method(model, two_groups, rows, 0.9, TrainingSettings(epochs=1))
    assert steps == 1
    assert mask.survivors == measured_mask(model).survivors == 12


def test_every_rung_starts_from_the_dense_weights(two_groups, monkeypatch):
    model, rows = network(), two_groups.indices("train", "select")
    dense = copy.deepcopy(model.state_dict())
    starts, lengths, seeds, ends = [], [], [], []

    def watched(model, data, indices, settings, *rest):
        starts.append(copy.deepcopy(model.state_dict()))
        lengths.append(settings.steps(len(indices)))
        seeds.append(settings.seed)
        taken = train(model, data, indices, settings, *rest)
        ends.append({n: w.detach().clone() for n, w in prunable_weights(model).items()})
        return taken

    monkeypatch.setattr(room, "train", watched)
    mask, steps = lottery_ticket(model, two_groups, rows, 0.6, FEW)
    total = FEW.steps(len(rows))
    assert steps == sum(lengths) == total
    assert lengths == rung_steps(total, 5)
    assert len(set(seeds)) == 5
    for rung, start in enumerate(starts):
        masks = {n: start[n] != 0 for n in prunable_weights(model)}
        rate = 1 - sum(int(m.sum()) for m in masks.values()) / 120
        assert rate == pytest.approx(ladder(0.6)[rung], abs=0.5 / 120)
        for name, value in start.items():
            kept = masks.get(name, torch.ones_like(value, dtype=torch.bool))
            assert torch.equal(value[kept], dense[name][kept]), name
        if rung:
            # Pruned by the magnitudes that the rung before had trained, not by the dense ones.
            alive = {n: w.abs() for n, w in ends[rung - 1].items()}
            expected = keep_largest(alive, ladder(0.6)[rung]).parts
            assert all(torch.equal(masks[n], part) for n, part in expected.items())
    assert torch.equal(removed(measured_mask(model)), removed(mask))


def test_without_learning_the_ticket_is_the_magnitude_mask(two_groups):
    model, rows = network(), two_groups.indices("train")
    dense = {name: weight.detach().clone() for name, weight in prunable_weights(model).items()}
    still = TrainingSettings(epochs=2, learning_rate=0.0)
    mask, _ = lottery_ticket(model, two_groups, rows, 0.7, still)
    expected = keep_largest({name: weight.abs() for name, weight in dense.items()}, 0.7)
    for name, weight in prunable_weights(model).items():
        assert torch.equal(mask.parts[name], expected.parts[name])
        assert torch.equal(weight, dense[name] * expected.parts[name])


def test_what_is_removed_ranks_below_a_weight_of_zero():
    model = nn.Linear(3, 1, bias=False)
    model.weight.data = torch.tensor([[0.0, 5.0, 1.0]])
    mask = Mask({"weight": torch.tensor([[True, False, True]])})
    assert magnitudes(model, mask)["weight"].tolist() == [[0.0, -1.0, 1.0]]
    assert magnitudes(model)["weight"].tolist() == [[0.0, 5.0, 1.0]]
