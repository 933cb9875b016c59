"""Structured criteria: by hand, against torch-pruning, and on coupled layers."""

import pytest
import torch
import torch_pruning
from torch import nn

from audit.models.zoo import Architecture, build_model
from audit.prune.channels import channel_groups
from audit.prune.filters import distance_sums, filter_vectors, fpgm_mask, norm_mask
from audit.prune.mask import prunable_weights
from audit.prune.projection import ChannelGroup, Slices


def network() -> nn.Sequential:
    """Three hidden neurons whose weights are 1-2-3, read by two classes."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    model[0].weight.data = torch.tensor([[3.0, 0.0], [2.0, 2.0], [-4.0, 0.0]])
    return model


def kept(mask) -> list[int]:
    return mask.parts["0.weight"].any(1).nonzero().flatten().tolist()


def test_l1_and_l2_by_hand():
    """L1 norms 3, 4, 4; L2 norms 3, 2.83, 4: they disagree on who is the smallest."""
    model = network()
    groups = channel_groups(model, torch.zeros(1, 2))
    assert kept(norm_mask(model, groups, 1 / 3, order=1)) == [1, 2]
    assert kept(norm_mask(model, groups, 1 / 3, order=2)) == [0, 2]


def test_fpgm_by_hand():
    """Distances: (0,1) √5 = 2.24, (0,2) 7, (1,2) √40 = 6.32: filter 1 lies nearest to the others."""
    model = network()
    groups = channel_groups(model, torch.zeros(1, 2))
    sums = distance_sums(model.get_parameter("0.weight").detach())
    torch.testing.assert_close(sums, torch.tensor([9.2361, 8.5606, 13.3246]), atol=1e-4, rtol=0)
    assert kept(fpgm_mask(model, groups, 1 / 3)) == [0, 2]


def test_fpgm_does_not_care_where_the_filters_lie():
    """Added to every filter, a constant moves the median along: norms change, distances do not."""
    model = network()
    groups = channel_groups(model, torch.zeros(1, 2))
    before = fpgm_mask(model, groups, 1 / 3)
    model.get_parameter("0.weight").data += 100.0
    assert kept(fpgm_mask(model, groups, 1 / 3)) == kept(before)
    assert kept(norm_mask(model, groups, 1 / 3)) == [0, 1]


def test_the_nearest_filter_to_the_geometric_median_has_the_smallest_sum():
    """Weiszfeld's median of many filters: the smallest sum of distances is the filter next to it."""
    vectors = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).double()
    median = vectors.mean(0)
    for _ in range(200):
        weights = 1 / (vectors - median).norm(dim=1)
        median = (weights[:, None] * vectors).sum(0) / weights.sum()
    nearest = (vectors - median).norm(dim=1).argmin()
    assert distance_sums(vectors).argmin() == nearest


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_scores_agree_with_torch_pruning(name):
    shape = (5,) if name == "mlp" else (1, 8, 8)
    model = build_model(Architecture(name, shape, 3, {"width": 8}))
    for weight in prunable_weights(model).values():
        # torch-pruning's FPGM measures distances of |θ|: the same thing where θ > 0.
        weight.data.abs_()
    example = torch.zeros(1, *shape)
    graph = torch_pruning.DependencyGraph().build_dependency(model, (example,))
    weights = prunable_weights(model)
    names = {model.get_submodule(layer.rpartition(".")[0]): layer for layer in weights}
    theirs = {names[group[0].dep.target.module]: group for group in graph.get_all_groups()}
    first = {"p": 1, "normalizer": None, "group_reduction": "first"}
    for group in channel_groups(model, example):
        (part,) = group.outputs
        vectors = filter_vectors(weights, group)
        norms = torch_pruning.importance.MagnitudeImportance(**first)(theirs[part.layer])
        sums = torch_pruning.importance.FPGMImportance(**first)(theirs[part.layer])
        torch.testing.assert_close(vectors.abs().sum(1).float(), norms)
        torch.testing.assert_close(distance_sums(vectors).float(), sums, rtol=1e-4, atol=1e-4)


def test_the_filters_of_coupled_layers_stand_side_by_side():
    weights = {"a": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([[30.0, 31.0], [40.0, 41.0]])}
    group = ChannelGroup(
        2,
        (
            Slices("a", torch.tensor([0, 1]), torch.tensor([0, 1])),
            Slices("b", torch.tensor([1, 0]), torch.tensor([0, 1])),
        ),
    )
    assert filter_vectors(weights, group).tolist() == [[1, 40, 41], [2, 30, 31]]


def test_a_channel_of_several_rows_and_one_of_none():
    weights = {"a": torch.tensor([[1.0], [2.0], [3.0], [4.0]])}
    group = ChannelGroup(3, (Slices("a", torch.arange(4), torch.tensor([0, 2, 0, 2])),))
    assert filter_vectors(weights, group).tolist() == [[1, 3], [0, 0], [2, 4]]


@pytest.mark.parametrize("criterion", [norm_mask, fpgm_mask])
def test_residual_networks_lose_whole_channels(criterion):
    model = build_model(Architecture("resnet10", (3, 8, 8), 3, {"width": 8}))
    groups = channel_groups(model, torch.zeros(1, 3, 8, 8))
    mask = criterion(model, groups, 0.7)
    assert mask.sparsity == pytest.approx(0.7, abs=0.02)
    for group in groups:
        left = {
            tuple(sorted({int(c) for p, c in zip(s.positions, s.channels, strict=True)
                          if mask.parts[s.layer][p].any()}))
            for s in group.outputs
        }  # fmt: skip
        assert len(left) == 1, "coupled layers lose the same channels"
    assert mask.parts["9.weight"].any(1).all()
