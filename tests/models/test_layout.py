"""Training in the faster layout changes nothing but the time that it takes."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from audit.models import TrainingSettings, layout, train, training
from audit.models.layout import training_layout


class Viewing(nn.Module):
    """Reads its images by `view`, which needs them in the ordinary layout."""

    def __init__(self):
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(192, 2)

    def forward(self, inputs):
        return self.linear(self.convolution(inputs).view(len(inputs), -1))


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def last(weight):
    return weight.is_contiguous(memory_format=torch.channels_last)


def test_kernels_and_images_are_laid_out_anew_and_given_back(image_groups):
    model, seen = convolutional(), []
    model[0].register_forward_pre_hook(lambda _, arguments: seen.append(last(arguments[0])))
    model[3].register_forward_pre_hook(lambda _, arguments: seen.append(last(arguments[0])))
    batch = image_groups.batch(image_groups.indices("train")[:4]).inputs
    with training_layout(model, image_groups, "cpu"):
        assert model.training
        assert last(model[3].weight)
        assert not model[3].weight.is_contiguous()
        seen.clear()
        model(batch)
        assert seen == [True, True]
    assert model[3].weight.is_contiguous()
    seen.clear()
    model(batch)
    assert seen[1] is False


@pytest.mark.parametrize("model", [Viewing(), nn.Sequential(nn.Flatten(), nn.Linear(64, 2))])
def test_networks_that_cannot_read_it_are_trained_all_the_same(model, image_groups):
    before = [p.clone() for p in model.parameters()]
    train(model, image_groups, image_groups.indices("train"), TrainingSettings(epochs=1))
    assert all(p.is_contiguous() for p in model.parameters())
    assert not any(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_tables_have_no_layout(two_groups):
    model = nn.Linear(4, 2)
    with training_layout(model, two_groups, "cpu"):
        assert not model._forward_pre_hooks


def test_what_is_learnt_is_the_same_up_to_rounding(image_groups, monkeypatch):
    found = []
    for context in (layout.training_layout, lambda *_: nullcontext()):
        monkeypatch.setattr(training, "training_layout", context)
        model = convolutional()
        train(model, image_groups, image_groups.indices("train"), TrainingSettings(epochs=2))
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_a_network_that_is_unsafe_with_channels_last_never_sees_them(image_groups):
    """Whether the images or the network itself come in that layout."""
    seen = []
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model[1].register_forward_pre_hook(lambda _, given: seen.append(given[0].stride()[1] == 1))
    images = image_groups.inputs.float().expand(-1, 1, -1, -1)
    data = replace(image_groups, inputs=images.contiguous(memory_format=torch.channels_last))
    with training_layout(model, data, "cpu"):
        model(data.batch(data.indices("train")[:5]).inputs)
        assert model[1].weight.stride() == (4, 1, 1, 1)
    assert seen == [False]
