"""Folded networks are the same networks, derivatives and all."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from audit.measure.convolution import Geometry, convolve
from audit.measure.folding import folded
from audit.measure.hessian import Hessian
from audit.models.zoo import Architecture, build_model


@pytest.mark.parametrize(
    ("settings", "bias"),
    [
        ({"padding": 1}, True),
        ({"stride": 2, "padding": (0, 1)}, False),
        ({"dilation": 2}, True),
        ({"groups": 2, "padding": 1}, False),
    ],
)
def test_a_convolution_and_its_derivatives_are_those_of_torch(settings, bias):
    torch.manual_seed(0)
    module = nn.Conv2d(2, 4, 3, bias=bias, **settings).double()
    geometry = Geometry.of(module)
    inputs = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    arguments = (inputs, module.weight, module.bias) if bias else (inputs, module.weight)

    def function(inputs, weight, bias=None):
        return convolve(inputs, weight, bias, geometry)

    torch.testing.assert_close(function(*arguments), module(inputs))
    assert gradcheck(function, arguments)
    assert gradgradcheck(function, arguments)


def test_other_paddings_are_left_to_torch():
    assert Geometry.of(nn.Conv2d(1, 1, 3, padding="same")) is None
    assert Geometry.of(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")) is None


def trained(model):
    """Running statistics and norms that are not the initial ones, in evaluation mode."""
    torch.manual_seed(2)
    model = model.double().train()
    model(torch.randn(16, 3, 8, 8).double())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.eval()


class Skipping(nn.Module):
    """The convolution's output goes past its norm too."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, inputs):
        found = self.one(inputs)
        return self.head((found + self.norm(found).relu()).mean((2, 3)))


class Viewing(nn.Module):
    """`view` needs contiguous memory."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(144, 2)

    def forward(self, inputs):
        return self.head(self.norm(self.one(inputs)).relu().view(len(inputs), -1))


class Twice(nn.Module):
    """One convolution, used twice with two norms."""

    def __init__(self):
        super().__init__()
        self.one, self.norms = (
            nn.Conv2d(3, 3, 3, padding=1),
            nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)]),
        )
        self.head = nn.Linear(3, 2)

    def forward(self, inputs):
        for norm in self.norms:
            inputs = norm(self.one(inputs)).tanh()
        return self.head(inputs.mean((2, 3)))


def networks():
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4, affine=False), nn.Tanh(),
        nn.Conv2d(4, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4), nn.Tanh(),
        nn.Flatten(), nn.Linear(64, 2),
    )  # fmt: skip
    wide = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Tanh(),
        nn.Conv2d(16, 32, 3, stride=2), nn.BatchNorm2d(32), nn.Tanh(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2),
    )  # fmt: skip
    residual = build_model(Architecture("resnet10", (3, 8, 8), 2, {"width": 2}), 0)
    return {
        "plain": plain,
        "wide": wide,
        "residual": residual,
        "skipping": Skipping(),
        "viewing": Viewing(),
        "twice": Twice(),
    }


@pytest.mark.parametrize("name", networks())
@pytest.mark.parametrize("reverse", [True, False])
def test_a_folded_network_gives_the_same_outputs(name, reverse):
    model = trained(networks()[name])
    inputs = torch.randn(5, 3, 8, 8).double()
    expected = model(inputs)
    with folded(model, inputs, reverse) as layout:
        found = model(inputs.contiguous(memory_format=layout))
        replaced = any("forward" in vars(module) for module in model.modules())
    torch.testing.assert_close(found, expected)
    # The residual network has strided 1×1 convolutions of few channels (`image_layout`).
    ordinary = name in ("viewing", "skipping", "residual")
    assert layout == (torch.contiguous_format if ordinary else torch.channels_last)
    assert replaced == (name != "skipping" and (reverse or name != "twice"))
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("name", networks())
def test_its_hessian_is_that_of_the_network(name):
    """Against the plain double backward of autograd, with kept graphs and without."""
    model = trained(networks()[name])
    inputs, labels = torch.randn(7, 3, 8, 8).double(), torch.arange(7) % 2
    loss = nn.functional.cross_entropy(model(inputs), labels)
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(loss, parameters, create_graph=True)
    vector = torch.randn(sum(p.numel() for p in parameters)).double()
    pieces = [
        v.view_as(p)
        for v, p in zip(vector.split([p.numel() for p in parameters]), parameters, strict=True)
    ]
    products = torch.autograd.grad(slopes, parameters, pieces)
    expected = torch.cat([part.flatten() for part in products])
    batches = [(inputs[:3], labels[:3]), (inputs[3:6], labels[3:6]), (inputs[6:], labels[6:])]
    for kept_bytes in (0, 200_000, 2**30):
        hessian = Hessian(model, batches, kept_bytes=kept_bytes)
        torch.testing.assert_close(hessian(vector), expected)
        torch.testing.assert_close(hessian(vector), expected)
        gradient = torch.cat([part.flatten() for part in hessian.gradient.values()])
        torch.testing.assert_close(gradient, torch.cat([s.flatten() for s in slopes]).detach())
        assert hessian.products == 2
        assert hessian.count == 7


def test_a_norm_scales_the_fewer_numbers_of_weights_and_outputs(monkeypatch):
    model = trained(networks()["wide"])
    seen: list[torch.Tensor] = []

    def watched(inputs, weight, bias, geometry):
        seen.append(weight)
        return convolve(inputs, weight, bias, geometry)

    monkeypatch.setattr("audit.measure.folding.convolve", watched)
    first, second = model[0], model[3]
    for samples, within in ((1, [True, False]), (20, [True, True])):
        inputs = torch.randn(samples, 3, 8, 8).double()
        with folded(model, inputs, reverse=True):
            seen.clear()
            model(inputs)
        scaled = [w is not own.weight for w, own in zip(seen, (first, second), strict=True)]
        assert scaled == within


def test_products_of_a_pruned_network_are_of_what_survives():
    model = trained(networks()["plain"])
    batches = [(torch.randn(5, 3, 8, 8).double(), torch.arange(5) % 2)]
    mask = {"0.weight": torch.rand(model[0].weight.shape) > 0.5}
    whole, pruned = Hessian(model, batches), Hessian(model, batches, mask)
    removed = int((~mask["0.weight"]).sum())
    assert pruned.dimension == whole.dimension - removed
    vector = torch.randn(pruned.dimension).double()
    everywhere = pruned.everywhere(vector)
    assert not everywhere[~pruned.survivors].any()
    torch.testing.assert_close(pruned.within(everywhere), vector)
    torch.testing.assert_close(pruned(vector), pruned.within(whole(everywhere)))


def test_a_product_is_added_in_place():
    model = trained(networks()["plain"])
    batches = [(torch.randn(5, 3, 8, 8).double(), torch.arange(5) % 2)]
    mask = {"0.weight": torch.rand(model[0].weight.shape) > 0.5}
    for hessian in (Hessian(model, batches), Hessian(model, batches, mask)):
        vector, into = torch.randn(2, hessian.dimension).double()
        expected = hessian(vector) + into
        assert hessian.add(vector, into) is into
        torch.testing.assert_close(into, expected)
        assert not any(p.grad is not None for p in model.parameters())
