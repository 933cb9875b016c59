"""Scores to masks: every structure by hand, exact counts, and what must never be removed."""

import doctest
import importlib

import pytest
import torch

from audit.errors import AuditError
from audit.prune.mask import largest
from audit.prune.projection import (
    STRUCTURES,
    ChannelGroup,
    Slices,
    channel_scores,
    keep_best_channels,
    keep_channels,
    keep_pattern,
    project,
)


def scores(*shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"{k}": torch.rand(shape, generator=generator) for k, shape in enumerate(shapes)}


def hidden(layer: str, reader: str, size: int) -> ChannelGroup:
    """The neurons of a linear layer that another one reads."""
    rows = torch.arange(size)
    return ChannelGroup(size, (Slices(layer, rows, rows),), (Slices(reader, rows, rows),))


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_weights_keep_exactly_the_largest_over_all_layers(rate):
    given = scores((4, 5), (3, 4))
    mask = project(given, rate)
    kept = torch.cat([given[n][m] for n, m in mask.parts.items()])
    gone = torch.cat([given[n][~m] for n, m in mask.parts.items()])
    assert len(kept) == round((1 - rate) * 32)
    assert len(gone) == 0 or kept.min() > gone.max()


def test_layers_keep_the_same_share_each_and_never_nothing():
    given = {"big": 10 + torch.arange(100.0).view(10, 10), "small": torch.tensor([[2.0, 1.0]])}
    mask = project(given, 0.9, "layer")
    assert mask.parts["big"].sum() == 10
    assert mask.parts["big"].flatten()[90:].all()
    assert mask.parts["small"].tolist() == [[True, False]]


def test_two_of_four_by_hand():
    given = {"a": torch.tensor([[4.0, 1.0, 3.0, 2.0, 5.0, 6.0, 7.0, 8.0]])}
    kept = project(given, 0.5, "2:4").parts["a"].int().tolist()
    assert kept == [[1, 0, 1, 0, 0, 0, 1, 1]]
    assert project(given, 0.0, "1:4").parts["a"].int().tolist() == [[1, 0, 0, 0, 0, 0, 0, 1]]


def test_a_pattern_runs_along_the_inputs_of_a_convolution():
    given = scores((3, 8, 2, 2))
    mask = project(given, 0.5, "2:4").parts["0"]
    assert mask.shape == (3, 8, 2, 2)
    assert (mask.view(3, 2, 4, 2, 2).sum(2) == 2).all()
    largest = given["0"].view(3, 2, 4, 2, 2).topk(2, dim=2).values.sum()
    torch.testing.assert_close(given["0"][mask].sum(), largest)


def test_a_short_block_keeps_at_most_as_many_and_ties_go_by_position():
    mask = keep_pattern({"a": torch.ones(2, 7), "b": -torch.ones(2, 1)}, 2, 4)
    assert mask.parts["a"].int().tolist() == [[1, 1, 0, 0, 1, 1, 0]] * 2
    assert mask.parts["b"].all()


@pytest.mark.parametrize("structure", ["row", "0:4", "5:4", "2:4:8", ""])
def test_an_unknown_structure_is_an_error(structure):
    with pytest.raises(AuditError, match="expected one of weight, layer, filter, 2:4"):
        project(scores((2, 4)), 0.5, structure)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_an_error(structure, value):
    given = scores((4, 4), (2, 4))
    given["1"][0, 0] = value
    with pytest.raises(AuditError, match="1 of 8 scores of '1' that are not finite"):
        project(given, 0.5, structure)


def test_channels_by_hand():
    """Neuron 1 of the hidden layer has the smallest Σ: its row goes, and the column that reads it."""
    given = {"in": torch.tensor([[3.0, 1.0], [1.0, 1.0], [2.0, 4.0]]), "out": torch.ones(2, 3)}
    group = hidden("in", "out", 3)
    assert channel_scores(given, group).tolist() == [4.0, 2.0, 6.0]
    mask = project(given, 1 / 3, "filter", (group,))
    assert mask.parts["in"].int().tolist() == [[1, 1], [0, 0], [1, 1]]
    assert mask.parts["out"].int().tolist() == [[1, 0, 1]] * 2


def test_coupled_layers_lose_the_same_channel_by_their_joint_sum():
    rows = torch.arange(2)
    group = ChannelGroup(2, (Slices("a", rows, rows), Slices("b", rows, rows)))
    given = {"a": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([[5.0], [1.0]])}
    mask = project(given, 0.5, "filter", (group,))
    assert mask.parts["a"].tolist() == mask.parts["b"].tolist() == [[True], [False]]


def test_groups_of_other_scales_compare():
    """Layers whose scores differ by a factor of a thousand lose as many channels."""
    given = scores((20, 4), (20, 4), (3, 4))
    given["1"] = 1000 * given["0"]
    mask = project(given, 0.5, "filter")
    kept = [int(mask.parts[name].any(1).sum()) for name in ("0", "1")]
    assert abs(kept[0] - kept[1]) <= 1
    assert 0 < min(kept) <= max(kept) < 20


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.8])
def test_the_number_of_channels_comes_closest_to_the_rate(rate):
    """Against a count of every prefix of the removals, weights that lose both ends counted once."""
    given = scores((6, 5), (7, 6), (3, 7))
    groups = (hidden("0", "1", 6), hidden("1", "2", 7))
    wanted = round((1 - rate) * 93)
    mask = keep_channels(given, rate, groups)
    reachable = {keep_channels(given, tried / 200, groups).survivors for tried in range(0, 180)}
    assert abs(mask.survivors - wanted) == min(abs(count - wanted) for count in reachable)
    assert len(reachable) == 12  # 5 + 6 channels can go, and none


def test_every_group_keeps_its_best_channel_and_the_classes_stay():
    given = scores((6, 5), (7, 6), (3, 7))
    groups = (hidden("0", "1", 6), hidden("1", "2", 7))
    smallest = 5 + 1 + 3
    mask = keep_channels(given, 1 - smallest / 93, groups)
    assert mask.survivors == smallest
    assert mask.parts["0"].any(1).nonzero().item() == int(given["0"].sum(1).argmax())
    assert mask.parts["2"].any(1).all()
    with pytest.raises(AuditError, match=r"the largest is 0\.9032"):
        keep_channels(given, 0.95, groups)


def test_without_groups_the_last_layer_stays_whole():
    given = scores((8, 3, 3, 3), (2, 32))
    mask = project(given, 0.5, "filter")
    assert mask.parts["1"].all()
    assert mask.parts["0"].flatten(1).any(1).sum() == 3  # 64 + 3·27 is next to 140
    with pytest.raises(AuditError, match="no hidden layer"):
        project({"0": given["1"]}, 0.5, "filter")


def test_channels_that_are_all_equal_still_come_to_the_count():
    shapes = {"0": torch.Size((10, 4)), "1": torch.Size((2, 10))}
    mask = keep_best_channels(shapes, 0.5, (hidden("0", "1", 10),), [torch.zeros(10)])
    assert mask.survivors == 30


def test_negative_scores_rank_below_positive_ones():
    given = {"in": torch.tensor([[-5.0], [0.5], [1.0], [-0.1]]), "out": torch.ones(1, 4)}
    kept = project(given, 0.5, "filter", (hidden("in", "out", 4),)).parts["in"].flatten()
    assert kept.tolist() == [False, True, True, False]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_a_rate_out_of_range_is_an_error(structure, rate):
    with pytest.raises(AuditError, match="0 ≤ rate < 1"):
        project(scores((4, 4), (2, 4)), rate, structure)


@pytest.mark.parametrize("values", [torch.rand, torch.ones, torch.zeros])
@pytest.mark.parametrize("number", [1, 17, 200])
def test_the_largest_are_those_of_a_stable_sort(values, number):
    given = (8 * values(200)).round()
    expected = torch.zeros(200, dtype=torch.bool)
    expected[torch.sort(given, descending=True, stable=True).indices[:number]] = True
    assert torch.equal(largest(given, number), expected)


@pytest.mark.parametrize("name", ["fairgrape", "filters", "magnitude", "projection", "schedule"])  # fmt: skip
def test_the_examples_of_the_docstrings_run(name):
    done = doctest.testmod(importlib.import_module(f"audit.prune.{name}"))
    assert done.attempted > 0
    assert done.failed == 0
