"""Computed weights made permanent are the weights that the network computes with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.models import Architecture, Provenance, make_checkpoint
from audit.models.permanent import make_permanent, permanent_copy
from audit.prune.mask import measured_sparsity, prunable_weights

Change = Callable[[nn.Module], Any]


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def old_spectral(layer: nn.Module) -> None:
    nn.utils.spectral_norm(layer)


def old_weight(layer: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(layer)


def pruned_twice(layer: nn.Module) -> None:
    prune.l1_unstructured(layer, "weight", 0.5)
    prune.random_unstructured(layer, "weight", 0.25)
    prune.random_unstructured(layer, "bias", 0.5)


CHANGES: dict[str, Change] = {
    "spectral norm": parametrizations.spectral_norm,
    "weight norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "own": lambda layer: parametrize.register_parametrization(layer, "weight", Halved()),
    "two": lambda layer: [
        parametrize.register_parametrization(layer, "weight", Halved()) for _ in range(2)
    ],
    "old spectral norm": old_spectral,
    "old weight norm": old_weight,
    "pruning masks": pruned_twice,
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_copy_is_the_same_function_of_plain_weights(name: str) -> None:
    model, inputs = plain(), torch.randn(9, 4)
    CHANGES[name](model[0])
    model(inputs).sum().backward()
    model.eval()
    before, expected = set(model.state_dict()), model(inputs)
    copied, made = permanent_copy(model)
    assert set(copied.state_dict()) == set(plain().state_dict())
    torch.testing.assert_close(copied(inputs), expected)
    assert set(model.state_dict()) == before
    assert torch.equal(model(inputs), expected)
    assert made
    assert all("'0." in one for one in made)
    assert all(p.requires_grad and p.is_leaf for p in copied.parameters())
    assert set(prunable_weights(copied)) == {"0.weight", "2.weight"}


@pytest.mark.parametrize("name", CHANGES)
def test_frozen_parts_make_a_frozen_weight(name: str) -> None:
    model = plain()
    CHANGES[name](model[0])
    model[0].requires_grad_(False)
    copied, _ = permanent_copy(model)
    frozen = {name for name, p in copied.named_parameters() if not p.requires_grad}
    assert frozen == {"0.weight", "0.bias"}


def test_masks_become_zeros() -> None:
    model = plain()
    prune.global_unstructured([(model[0], "weight"), (model[2], "weight")], prune.L1Unstructured, amount=0.75)  # fmt: skip
    copied, made = permanent_copy(model)
    assert measured_sparsity(copied) == pytest.approx(0.75)
    assert made == ("pruning mask of '0.weight'", "pruning mask of '2.weight'")


def test_plain_networks_are_left_alone() -> None:
    model = plain()
    assert make_permanent(model.eval()) == ()
    assert permanent_copy(model)[1] == ()


def test_computed_weights_of_recurrent_layers_are_refused() -> None:
    model = nn.Sequential(nn.LSTM(4, 3))
    parametrizations.weight_norm(model[0], "weight_hh_l0")
    with pytest.raises(AuditError, match="recurrent layer '0' are computed by WeightNorm"):
        permanent_copy(model)


@pytest.mark.parametrize("name", CHANGES)
def test_a_layer_whose_weight_is_computed_is_not_pruned_unseen(name: str) -> None:
    model = plain()
    CHANGES[name](model[0])
    with pytest.raises(AuditError, match="layer '0' is computed anew in every pass; make it"):
        prunable_weights(model)


def build_spectral(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    model = plain()
    parametrizations.spectral_norm(model[0])
    return model


@pytest.mark.parametrize("name", CHANGES)
def test_checkpoints_hold_plain_weights_and_say_so(name: str, two_groups: GroupedData) -> None:
    """Whether the function that builds the network computes weights, or somebody did later."""
    factory = f"{__name__}:build_spectral"
    model = plain()
    CHANGES[name](model[0])
    model.eval()
    architecture = Architecture(factory, (4,), 2)
    checkpoint = make_checkpoint(model, architecture, two_groups, Provenance("dense"))
    inputs = torch.randn(5, 4)
    torch.testing.assert_close(checkpoint.model(factory)(inputs), model(inputs))
    (note,) = checkpoint.provenance.notes
    assert note.startswith("made permanent before anything was measured: ")
