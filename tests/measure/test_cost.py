"""Multiply-adds by hand."""

import torch
from torch import nn

from audit.measure.cost import multiply_adds, surviving_multiply_adds


def test_multiply_adds_of_a_transposed_convolution():
    layer, inputs = nn.ConvTranspose1d(2, 3, 2, stride=2), torch.randn(1, 2, 5)
    assert multiply_adds(layer, inputs) == 2 * 3 * 2 * 5


def test_surviving_multiply_adds_are_those_of_weights_that_are_not_zero():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 25, 4))
    inputs = torch.randn(1, 1, 5, 5)
    assert surviving_multiply_adds(model, inputs) == multiply_adds(model, inputs)
    with torch.no_grad():
        model.get_parameter("0.weight").zero_()
        model.get_parameter("0.weight")[1, 0, 1, 1] = 1.0
        model.get_parameter("2.weight")[:3] = 0.0
    # One weight of the convolution at each of 25 places, and 50 weights of the linear layer once.
    assert surviving_multiply_adds(model, inputs) == 25 + 50
