"""Coupled channels, and smaller networks that compute what the masked ones do."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from audit.errors import AuditError
from audit.measure.cost import cost, multiply_adds
from audit.models.zoo import Architecture, build_model
from audit.prune.channels import channel_groups, shrink
from audit.prune.magnitude import magnitude_mask, magnitudes
from audit.prune.mask import Mask, prunable_weights
from audit.prune.projection import project


class Separable(nn.Module):
    """An inverted residual block as in MobileNetV2, whose middle convolution is depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
        self.wide = nn.Sequential(nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
        self.depth = nn.Sequential(
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
        )
        self.narrow = nn.Sequential(nn.Conv2d(12, 6, 1, bias=False), nn.BatchNorm2d(6))
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.stem(inputs)
        hidden = hidden + self.narrow(self.depth(self.wide(hidden)))
        logits: torch.Tensor = self.head(hidden.mean((2, 3)))
        return logits


class Joined(nn.Module):
    """Two convolutions side by side, as in a DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 5, 3), nn.Conv2d(3, 7, 3)
        self.norm, self.head = nn.BatchNorm2d(12), nn.Linear(12 * 36, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        both = torch.relu(self.norm(torch.cat([self.one(inputs), self.two(inputs)], 1)))
        logits: torch.Tensor = self.head(both.flatten(1))
        return logits


class Centred(nn.Module):
    """Its hidden neurons are read together, by their mean, which no graph of layers shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.first(inputs)
        logits: torch.Tensor = self.last(hidden - hidden.mean(1, keepdim=True))
        return logits


def zoo(name: str, shape: tuple[int, ...]) -> nn.Module:
    return build_model(Architecture(name, shape, 3, {"width": 6}))


NETWORKS = {
    "mlp": (lambda: zoo("mlp", (5,)), (5,)),
    "convnet": (lambda: zoo("convnet", (1, 8, 8)), (1, 8, 8)),
    "resnet10": (lambda: zoo("resnet10", (3, 8, 8)), (3, 8, 8)),
    "resnet18": (lambda: zoo("resnet18", (3, 8, 8)), (3, 8, 8)),
    "separable": (Separable, (3, 8, 8)),
    "joined": (Joined, (3, 8, 8)),
}


def trained_looking(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network whose batch norms shift, scale and remember something, and seven inputs."""
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.running_mean, module.weight.data, module.bias.data):
                value.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model.eval(), torch.randn(7, *shape)


def named(groups) -> list[tuple[int, set[str], set[str]]]:
    return [(g.size, {s.layer for s in g.outputs}, {s.layer for s in g.inputs}) for g in groups]


@pytest.mark.parametrize("rate", [0.3, 0.7])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_smaller_network_computes_what_the_masked_one_does(name, rate):
    model, inputs = trained_looking(name)
    mask = project(magnitudes(model), rate, "filter", channel_groups(model, inputs[:1]))
    smaller = shrink(model, mask, inputs[:2])
    masked = copy.deepcopy(model)
    mask.apply(masked)
    with torch.no_grad():
        expected, found = masked(inputs), smaller(inputs)
    assert (expected - model(inputs)).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    left = sum(weight.numel() for weight in prunable_weights(smaller).values())
    assert left == mask.survivors
    assert all((weight != 0).all() for weight in prunable_weights(smaller).values())


def test_groups_of_a_chain_of_layers():
    model, inputs = trained_looking("convnet")
    assert named(channel_groups(model, inputs)) == [
        (24, {"13.weight"}, {"15.weight"}),
        (12, {"8.weight"}, {"13.weight"}),
        (12, {"4.weight"}, {"8.weight"}),
        (6, {"0.weight"}, {"4.weight"}),
    ]
    flattened = channel_groups(model, inputs)[1].inputs[0]
    # A channel of 2×2 places is read by four neighbouring columns.
    assert flattened.channels.tolist() == [k // 4 for k in flattened.positions.tolist()]
    assert len(flattened.positions) == 48


def test_a_residual_sum_couples_its_layers():
    model, inputs = trained_looking("resnet10")
    first = next(g for g in named(channel_groups(model, inputs)) if "0.weight" in g[1])
    assert first == (
        6,
        {"0.weight", "3.second.0.weight"},
        {"3.first.0.weight", "4.first.0.weight", "4.shortcut.0.weight"},
    )


def test_depthwise_filters_go_with_the_channel_they_filter():
    model, inputs = trained_looking("separable")
    groups = named(channel_groups(model, inputs))
    assert (12, {"wide.0.weight", "depth.0.weight"}, {"narrow.0.weight"}) in groups


def test_logits_and_mixed_channels_are_in_no_group():
    normed = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(),
                           nn.Linear(5, 2))  # fmt: skip
    assert named(channel_groups(normed, torch.randn(2, 4))) == [(5, {"3.weight"}, {"5.weight"})]
    grouped = nn.Sequential(nn.Conv1d(2, 4, 1), nn.Conv1d(4, 4, 1, groups=2), nn.Conv1d(4, 2, 1))
    assert channel_groups(grouped, torch.randn(2, 2, 3)) == ()
    assert channel_groups(nn.Linear(4, 2), torch.randn(2, 4)) == ()


def test_a_single_sample_is_enough_to_trace_and_nothing_of_the_model_changes():
    model, inputs = trained_looking("resnet10")
    model.train()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert named(channel_groups(model, inputs[:1])) == named(channel_groups(model, inputs))
    mask = project(magnitudes(model), 0.5, "filter", channel_groups(model, inputs))
    shrink(model, mask, inputs)
    cost(model, inputs, repeats=1)
    assert all(module.training for module in model.modules())
    assert not model[0].weight.requires_grad
    assert model[6].first[0].weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_channels_that_nothing_reads_go_whatever_removed_them():
    model, inputs = trained_looking("mlp")
    parts = {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable_weights(model).items()}
    parts["5.weight"][:, [1, 4]] = False
    smaller = shrink(model, Mask(parts), inputs)
    assert smaller[3].out_features == 4
    assert smaller[5].weight.shape == (3, 4)


def test_a_mask_of_single_weights_leaves_the_shape():
    model, inputs = trained_looking("convnet")
    mask = magnitude_mask(model, 0.3)
    smaller = shrink(model, mask, inputs)
    mask.apply(model)
    assert torch.equal(smaller(inputs), model(inputs))
    shapes = [parameter.shape for parameter in model.parameters()]
    assert [parameter.shape for parameter in smaller.parameters()] == shapes


def test_one_channel_stays_where_nothing_is_read():
    model, inputs = trained_looking("mlp")
    parts = {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable_weights(model).items()}
    parts["5.weight"][:] = False
    smaller = shrink(model, Mask(parts), inputs)
    assert smaller[3].out_features == 1
    torch.testing.assert_close(smaller(inputs), model[5].bias.expand(7, 3))


def test_a_network_that_the_graph_does_not_understand_is_refused():
    torch.manual_seed(0)
    model, inputs = Centred(), torch.randn(3, 4)
    mask = project(magnitudes(model), 0.5, "filter", channel_groups(model, inputs))
    with pytest.raises(AuditError, match="cannot be shrunk"):
        shrink(model, mask, inputs)


def test_a_mask_of_another_network_is_refused():
    model, inputs = trained_looking("mlp")
    with pytest.raises(AuditError, match="does not fit"):
        shrink(model, Mask({"weight": torch.ones(2, 2, dtype=torch.bool)}), inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_multiply_adds_agree_with_the_flop_counter_of_torch(name):
    model, inputs = trained_looking(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs)
    assert multiply_adds(model, inputs) == counter.get_total_flops() / 2


def test_the_smaller_network_costs_less():
    model, inputs = trained_looking("resnet18")
    mask = project(magnitudes(model), 0.9, "filter", channel_groups(model, inputs))
    before, after = cost(model, inputs, 3), cost(shrink(model, mask, inputs), inputs, 3)
    assert after.parameters < 0.15 * before.parameters
    assert after.multiply_adds < 0.5 * before.multiply_adds
    assert before.multiply_adds == multiply_adds(model, inputs[:1])
    assert before.batch == 7
    assert after.latency > 0
