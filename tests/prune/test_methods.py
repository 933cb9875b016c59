"""Every method by its name: equal budgets, exact zeros, the same result from the same seed."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from audit.commands.options import EngineName, ModelName, OutputKind, PruningMethod
from audit.data.grouped import GroupedData
from audit.data.spec import LOADERS
from audit.errors import AuditError
from audit.mitigate.methods import mitigate
from audit.models.outputs import OUTPUTS
from audit.models.training import TrainingSettings, train
from audit.models.zoo import ZOO, Architecture, build_model
from audit.prune import PRUNING_METHODS, Pruned, measured_mask, prunable_weights, prune
from audit.specs import KEYS
from audit.study.engines import ENGINES
from audit.study.making import prune_model, train_model
from audit.study.settings import METHODS, settings_from

SETTINGS = TrainingSettings(epochs=2, batch_size=32, learning_rate=0.01, seed=3)
STRUCTURED = ("l1-filter", "l2-filter", "fpgm")
WHOLE = tuple(name for name in PRUNING_METHODS if name not in (*STRUCTURED, "magnitude-2of4"))


@pytest.fixture
def dense(image_groups) -> nn.Module:
    model = build_model(Architecture("convnet", (1, 8, 8), 2, {"width": 8}), seed=0)
    train(model, image_groups, image_groups.indices("train"), TrainingSettings(epochs=5))
    return model


def pruned(
    model: nn.Module,
    data: GroupedData,
    method: str,
    rate: float,
    settings: TrainingSettings = SETTINGS,
) -> tuple[nn.Module, Pruned]:
    found = copy.deepcopy(model)
    return found, prune(found, data, method, rate, settings)


def rate_of(method: str) -> float:
    return 0.5 if method == "magnitude-2of4" else 0.8


@pytest.mark.parametrize("method", PRUNING_METHODS)
def test_every_method_has_the_budget_of_fine_tuning_and_keeps_its_mask(method, dense, image_groups):
    model, found = pruned(dense, image_groups, method, rate_of(method))
    rows = image_groups.indices("train", "select")
    assert found.steps == SETTINGS.epochs * math.ceil(len(rows) / 32)
    measured = measured_mask(model)
    for name, weight in prunable_weights(model).items():
        assert torch.equal(measured.parts[name], found.mask.parts[name])
        kept = found.mask.parts[name]
        assert not torch.equal(weight[kept], prunable_weights(dense)[name][kept])
    assert found.mask.sparsity == pytest.approx(rate_of(method), abs=0.02)
    assert not model.training
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("method", WHOLE)
@pytest.mark.parametrize("rate", [0.0, 0.95])
def test_the_count_is_exact(method, rate, dense, image_groups):
    mask = pruned(dense, image_groups, method, rate)[1].mask
    if method in ("magnitude-layerwise", "fairgrape"):
        for part in mask.parts.values():
            assert int(part.sum()) == max(1, round((1 - rate) * part.numel()))
    else:
        assert mask.survivors == round((1 - rate) * mask.size)


@pytest.mark.parametrize("method", PRUNING_METHODS)
def test_the_same_seed_gives_the_same_network(method, dense, image_groups):
    torch.manual_seed(1)
    first = pruned(dense, image_groups, method, rate_of(method))[0].state_dict()
    torch.manual_seed(2)
    again = pruned(dense, image_groups, method, rate_of(method))[0].state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_the_methods_are_not_all_one(dense, image_groups):
    masks = {}
    fast = TrainingSettings(epochs=6, batch_size=32)
    for method in PRUNING_METHODS:
        parts = pruned(dense, image_groups, method, rate_of(method), fast)[1].mask.parts
        masks[method] = torch.cat([part.flatten() for part in parts.values()])
    for one, other in itertools.combinations(masks, 2):
        assert not torch.equal(masks[one], masks[other]), (one, other)


def test_passes_for_scores_are_counted_apart(dense, image_groups):
    rows = image_groups.indices("train", "select")
    whole = math.ceil(len(rows) / 32)
    by_group = sum(
        math.ceil(len(image_groups.indices("train", "select", group=group)) / 32)
        for group in range(2)
    )
    expected = {"snip": whole, "grasp": 3 * whole, "synflow": 100, "fairgrape": by_group,
                "fairprune": 2 * by_group}  # fmt: skip
    for method in PRUNING_METHODS:
        found = pruned(dense, image_groups, method, rate_of(method))[1]
        assert found.passes == expected.get(method, 0), method


def test_the_notes_say_what_must_be_known(dense, image_groups):
    notes = {m: pruned(dense, image_groups, m, rate_of(m))[1].notes for m in PRUNING_METHODS}
    for method in STRUCTURED:
        assert "parameters and" in notes[method][0]
    assert notes["magnitude-2of4"] == (
        "layers whose inputs do not fill the blocks of 2:4 keep more than its share: 0.weight",
    )
    assert "before training" in notes["grasp"][0]
    assert "spared group" in notes["fairprune"][0]
    for method in ("fairgrape", "fairprune"):
        assert notes[method][-1].startswith(f"{method} chose all weights at once; its paper")
    silent = {"magnitude", "magnitude-layerwise", "gradual", "lottery-ticket", "random", "snip",
              "synflow"}  # fmt: skip
    assert {method for method, said in notes.items() if not said} == silent


def test_fairprune_spares_the_group_with_the_highest_loss(two_groups):
    """The classes of 'few' lie along another input, which a network trained on 'many' ignores."""
    model = build_model(Architecture("mlp", (4,), 2, {"width": 16}), seed=0)
    train(model, two_groups, two_groups.indices("train", group=1), TrainingSettings(epochs=5))
    assert "spared group 'few'" in prune(model, two_groups, "fairprune", 0.5, SETTINGS).notes[0]


def with_an_absent_group(data: GroupedData) -> GroupedData:
    """The same data, declared with a group of which there are no samples, between the others."""
    values = vars(data) | {
        "group_names": ("few", "none", "many"),
        "groups": torch.where(data.groups == 1, 2, 0),
    }
    return GroupedData(**values)


@pytest.mark.parametrize("method", ["fairgrape", "fairprune"])
def test_an_absent_group_has_no_say_and_is_named(method, dense, image_groups):
    plain = pruned(dense, image_groups, method, 0.8)[1]
    found = pruned(dense, with_an_absent_group(image_groups), method, 0.8)[1]
    assert found.notes[0] == "groups without train and select samples had no say: none"
    assert found.notes[1:] == plain.notes
    for name, part in found.mask.parts.items():
        assert torch.equal(part, plain.mask.parts[name])


@pytest.mark.parametrize("method", ["fairgrape", "fairprune"])
def test_a_group_of_one_sample_has_its_say(method, dense, image_groups):
    groups = torch.ones_like(image_groups.groups)
    groups[image_groups.indices("train")[0]] = 0
    data = GroupedData(**(vars(image_groups) | {"groups": groups}))
    assert pruned(dense, data, method, 0.8)[1].mask.sparsity == pytest.approx(0.8, abs=0.01)


def test_fairprune_of_a_single_group_is_an_error(dense, image_groups):
    values = vars(image_groups) | {
        "groups": torch.zeros_like(image_groups.groups),
        "group_names": ("all",),
    }
    with pytest.raises(AuditError, match="needs two or more"):
        prune(dense, GroupedData(**values), "fairprune", 0.5, SETTINGS)


def test_what_cannot_be_asked_for(dense, image_groups):
    for method, rate, message in (
        ("wish", 0.5, "expected one of magnitude, magnitude-layerwise"),
        ("magnitude", 1.0, "0 ≤ rate < 1"),
        ("magnitude-2of4", 0.9, "expected rate 0.5"),
        ("fpgm", 0.9999, "cannot be reached by removing whole filters"),
    ):
        with pytest.raises(AuditError, match=message):
            prune(dense, image_groups, method, rate, SETTINGS)


def test_the_command_line_and_the_studies_take_every_method():
    assert [method.value for method in PruningMethod] == list(PRUNING_METHODS)
    assert list(ModelName) == list(ZOO)
    assert list(OutputKind) == list(OUTPUTS)
    assert list(EngineName) == list(ENGINES)
    assert set(KEYS) == set(LOADERS)
    assert METHODS[: len(PRUNING_METHODS)] == tuple(PRUNING_METHODS)
    study = settings_from(
        {
            "data": {"dataset": "digits"},
            "model": {"name": "convnet"},
            "study": {"methods": list(PRUNING_METHODS), "rates": [0.5]},
        }
    )
    assert [method.label for method in study.methods] == list(PRUNING_METHODS)


def test_a_checkpoint_says_what_its_pruning_took(image_groups):
    training = TrainingSettings(epochs=1, batch_size=32)
    dense = train_model(image_groups, "convnet", training, {"width": 4})
    made = prune_model(dense, image_groups, "fairprune", 0.7, training)
    rows = image_groups.indices("train", "select")
    assert made.provenance.steps == training.steps(len(rows))
    assert made.provenance.settings["passes"] > 0
    assert "spared group" in made.provenance.notes[0]
    assert made.mask is not None
    model = made.model()
    assert measured_mask(model).sparsity == pytest.approx(0.7, abs=1e-3)


def test_no_epochs_prune_in_one_shot(two_groups):
    model = build_model(Architecture("mlp", two_groups.input_shape, 2, {"width": 8}))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pruned = prune(model, two_groups, "magnitude", 0.5, TrainingSettings(epochs=0))
    assert pruned.steps == 0
    for name, value in model.state_dict().items():
        kept = pruned.mask.parts.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(value, before[name] * kept)


def test_what_trains_needs_an_epoch(two_groups):
    model = build_model(Architecture("mlp", two_groups.input_shape, 2, {"width": 8}))
    with pytest.raises(AuditError, match="found 0 epochs; a method that prunes while it trains"):
        prune(model, two_groups, "gradual", 0.5, TrainingSettings(epochs=0))
    with pytest.raises(AuditError, match="found 0 epochs; a mitigation method needs"):
        mitigate(model, two_groups, training=TrainingSettings(epochs=0))
    with pytest.raises(AuditError, match="found 0 epochs; a dense network needs"):
        train_model(two_groups, "mlp", TrainingSettings(epochs=0))
    with pytest.raises(AuditError, match="found epochs = -1"):
        TrainingSettings(epochs=-1)
