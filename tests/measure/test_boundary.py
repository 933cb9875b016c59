"""The iterated distance to the boundary: closed form, brute force, invariants."""

import numpy as np
import pytest
import torch
from torch import nn

from audit.errors import AuditError
from audit.measure.boundary import deepfool_distance, input_distance


def toy():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def points(size=12):
    generator = torch.Generator().manual_seed(1)
    return 1.5 * torch.randn(size, 2, generator=generator).double()


def test_a_linear_model_takes_one_step_to_the_closed_form():
    """|w·x + b|/‖w‖, with the sign of being right."""
    model = nn.Linear(2, 1).double()
    inputs = points()
    logit = model(inputs).detach()[:, 0]
    labels = (logit > 0).long()
    labels[0] = 1 - labels[0]
    found = deepfool_distance(model, [(inputs, labels)])
    expected = logit.abs() / model.weight.detach().norm()
    expected[0] *= -1
    torch.testing.assert_close(found.distance, expected, rtol=1e-6, atol=1e-9)
    assert found.steps.tolist() == [1] * len(inputs)
    assert found.converged.all()
    torch.testing.assert_close(
        found.distance, input_distance(model, [(inputs, labels)]), rtol=1e-6, atol=1e-9
    )


def test_it_is_an_upper_bound_close_to_the_shortest_way():
    """Against rays in all directions of the plane."""
    model, inputs = toy(), points()
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    found = deepfool_distance(model, [(inputs, labels)])
    angles = torch.linspace(0, 2 * np.pi, 721).double()[:-1]
    directions = torch.stack([angles.cos(), angles.sin()], 1)
    lengths = torch.linspace(0, 6, 3001).double()
    with torch.no_grad():
        for one, label, distance in zip(inputs, labels, found.distance, strict=True):
            rays = one + lengths[:, None, None] * directions
            changed = (model(rays.view(-1, 2)).argmax(1) != label).view(len(lengths), -1)
            if not changed.any():
                assert float(distance) > 6
                continue
            shortest = float(lengths[changed.any(1)].min())
            assert shortest - 0.01 <= float(distance) <= 1.6 * shortest + 0.01


def test_the_prediction_changes_at_that_distance_and_flat_networks_have_none():
    flat = nn.Linear(2, 2).double()
    nn.init.zeros_(flat.weight)
    flat.bias.data = torch.tensor([1.0, 0.0]).double()
    found = deepfool_distance(flat, [(points(3), torch.tensor([0, 1, 0]))], max_steps=5)
    assert found.distance.tolist() == [np.inf, -np.inf, np.inf]
    assert not found.converged.any()
    assert found.steps.tolist() == [5, 5, 5]


def test_batches_and_order_do_not_matter():
    model, inputs = toy(), points()
    labels = torch.arange(12) % 3
    whole = deepfool_distance(model, [(inputs, labels)]).distance
    parts = list(zip(inputs.split(5), labels.split(5), strict=True))
    torch.testing.assert_close(deepfool_distance(model, parts).distance, whole)
    order = torch.randperm(12)
    moved = deepfool_distance(model, [(inputs[order], labels[order])]).distance
    torch.testing.assert_close(moved, whole[order])


def test_images_and_the_models_mode():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten(), nn.Linear(8, 3)
    )
    model.train()
    inputs = torch.randn(4, 1, 4, 4)
    kept = inputs.clone()
    found = deepfool_distance(model, [(inputs, torch.tensor([0, 1, 2, 0]))])
    assert model.training
    assert torch.equal(inputs, kept)
    assert found.distance.dtype == torch.float64
    assert all(p.grad is None for p in model.parameters())


def test_whole_numbers_have_no_distance():
    with pytest.raises(AuditError, match="real numbers"):
        deepfool_distance(toy(), [(torch.ones(2, 2, dtype=torch.int64), torch.tensor([0, 1]))])
