"""Fair without harm: constraints that could be met by making everybody worse off are not."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audit import from_arrays
from audit.data.grouped import GroupedData
from audit.mitigate import make_constraints, mitigate
from audit.mitigate.constraints import NoHarm
from audit.mitigate.harm import levelled, mask_notes
from audit.mitigate.statistics import group_statistics
from audit.models import Architecture, TrainingSettings, build_model, train
from audit.prune import Mask, prune
from audit.study.making import prune_model, train_model

TRAINING = TrainingSettings(epochs=10)
RATE = 0.9


def imbalanced() -> GroupedData:
    """6,000 rows, 92 % of one class: 96 % in a large group, 78 % in a small one."""
    generator = np.random.default_rng(0)
    groups = (generator.random(6000) < 0.8).astype(int)
    labels = (generator.random(6000) < np.where(groups == 1, 0.96, 0.78)).astype(int)
    inputs = generator.standard_normal((6000, 8)).astype(np.float32)
    inputs[:, 0] += 0.7 * (2 * labels - 1)
    inputs[:, 1] += 2 * groups - 1
    inputs[:, 2] += 0.4 * (2 * labels - 1)
    return from_arrays(inputs, labels, groups, attribute="group", name="imbalanced")


class Found:
    """What a network does on the test split."""

    def __init__(self, model: nn.Module, data: GroupedData) -> None:
        batch = data.batch(data.indices("test"))
        logits = model(batch.inputs).detach()
        found = group_statistics(logits, batch.labels, batch.groups, logits, 2, soft=False)
        self.balanced = float(found.overall_class_rates.diagonal().mean())
        self.parity = float((found.rates[0] - found.rates[1]).abs().max())
        self.odds = float((found.recalls[0] - found.recalls[1]).abs().max())
        self.most = float(found.overall_rates.max())
        self.groups = found.recalls.mean(1)


@pytest.fixture(scope="module")
def trial() -> tuple[GroupedData, nn.Module, Found, Found]:
    """The data, its dense network, what that does, and what it does pruned by magnitude."""
    data = imbalanced()
    dense = build_model(Architecture("mlp", (8,), 2, {"width": 32}))
    train(dense, data, data.indices("train"), TRAINING)
    plain = copy.deepcopy(dense)
    prune(plain, data, "magnitude", RATE, TRAINING)
    return data, dense, Found(dense, data), Found(plain, data)


def fair(dense: nn.Module, data: GroupedData, text: str) -> tuple[Found, tuple[str, ...]]:
    model = copy.deepcopy(dense)
    solution = mitigate(model, data, "bilevel", RATE, make_constraints(text), TRAINING)
    return Found(model, data), solution.notes


def test_parity_alone_is_met_by_a_collapse_which_is_said(
    trial: tuple[GroupedData, nn.Module, Found, Found], caplog: pytest.LogCaptureFixture
) -> None:
    data, dense, before, plain = trial
    with caplog.at_level("WARNING", "audit"):
        found, notes = fair(dense, data, "demographic-parity+no-harm=none")
    assert found.balanced < plain.balanced - 0.05
    assert found.most > 0.97 > before.most
    assert any("levelling down" in note for note in notes)
    assert any(record.message in notes for record in caplog.records)
    running = [r.message for r in caplog.records if r.message.startswith("step ")]
    kinds = [message.split(": ")[1][:20] for message in running]
    assert 0 < len(kinds) == len(set(kinds))


@pytest.mark.parametrize("constraint", ["demographic-parity", "equalised-odds"])
def test_with_no_harm_beside_it_nobody_pays(
    trial: tuple[GroupedData, nn.Module, Found, Found], constraint: str
) -> None:
    """By default: less of a gap than magnitude's, no collapse, nobody far below the dense one."""
    data, dense, before, plain = trial
    found, notes = fair(dense, data, constraint)
    gap = "parity" if constraint == "demographic-parity" else "odds"
    assert getattr(found, gap) < 0.5 * getattr(plain, gap)
    assert found.balanced > before.balanced - 0.05
    assert found.most < 0.97
    assert float((before.groups - found.groups).max()) < 0.09
    assert not [note for note in notes if "levelling down" in note or "collapse" in note]


def statistics(logits: Tensor, dense: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    found = group_statistics(logits, labels, groups, dense, 2, soft=False)
    return NoHarm().violation(found)


def test_the_violation_is_the_fall_of_balanced_accuracy_less_the_tolerance() -> None:
    """Group 0: of class 0 one of two is lost, of class 1 none; group 1 has class 1 alone."""
    right, wrong = [3.0, 0.0], [0.0, 3.0]
    dense = torch.tensor([right, right, wrong, wrong])
    logits = torch.tensor([right, wrong, wrong, wrong])
    found = statistics(logits, dense, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1]))
    torch.testing.assert_close(found, torch.tensor([0.25 - 0.02, 0.0 - 0.02]))


def test_the_surrogate_asks_for_the_recall_of_every_class_and_for_no_groups_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 3, generator=generator).requires_grad_()
    labels, groups = torch.arange(40) % 3, torch.arange(40) % 2
    found = group_statistics(logits, labels, groups, logits.detach(), 2, soft=True)
    surrogate = NoHarm(0.0).surrogate(found)
    torch.testing.assert_close(surrogate.detach(), torch.zeros(2))
    (gradient,) = torch.autograd.grad(surrogate.sum(), logits)
    assert (gradient.gather(1, labels[:, None]) < 0).all()


def test_parity_has_no_harm_beside_it_unless_it_is_left_out_by_name() -> None:
    for name in ("demographic-parity", "equalised-odds"):
        assert make_constraints(name)[1:] == (NoHarm(0.02),)
        assert make_constraints(name, 0.1)[1:] == (NoHarm(0.02),)
        assert make_constraints(f"{name}+no-harm=0.05")[1:] == (NoHarm(0.05),)
        assert len(make_constraints(f"{name}+no-harm=none")) == 1
    assert len(make_constraints("demographic-parity+equalised-odds")) == 3
    assert make_constraints("excess-accuracy+no-harm")[1] == NoHarm(0.02)
    assert len(make_constraints("excess-accuracy")) == 1


def test_levelling_and_collapse_are_told_apart_from_noise() -> None:
    labels, groups = torch.arange(400) % 2, (torch.arange(400) // 2) % 2
    dense = torch.nn.functional.one_hot(labels, 2).float()

    def notes(logits: Tensor) -> tuple[str, ...]:
        found = group_statistics(logits, labels, groups, dense, 2, soft=False)
        return tuple(levelled(found, ("few", "many")).values())

    assert notes(dense) == ()
    collapsed = torch.tensor([[1.0, 0.0]]).repeat(400, 1)
    found = notes(collapsed)
    assert "100.0% of the samples" in found[0]
    assert "50.0 points below" in found[1]
    assert "few by 50.0 points, many by 50.0 points" in found[2]
    slight = dense.clone()
    slight[:4] = 1 - slight[:4]
    assert notes(slight) == ()


def test_a_layer_without_weights_is_said() -> None:
    full = {"one": torch.ones(2, 2, dtype=torch.bool), "two": torch.zeros(2, 2, dtype=torch.bool)}
    assert (
        "without any weight left: two" in mask_notes(nn.Sequential(nn.Linear(2, 2)), Mask(full))[0]
    )
    assert mask_notes(nn.Linear(2, 2), Mask({"one": full["one"]})) == ()


def test_the_notes_are_of_the_network_as_it_ends(
    trial: tuple[GroupedData, nn.Module, Found, Found],
) -> None:
    """Multipliers stop reading early; what the select split shows in the end is what is said."""
    data, dense, _, _ = trial
    for method in ("bilevel", "gradual-excess-accuracy", "fair-then-prune"):
        model = copy.deepcopy(dense)
        constraints = make_constraints("demographic-parity+no-harm=none")
        notes = mitigate(model, data, method, RATE, constraints, TRAINING).notes
        rows = data.indices("select")
        batch = data.batch(rows)
        logits, before = model(batch.inputs).detach(), dense(batch.inputs).detach()
        found = group_statistics(logits, batch.labels, batch.groups, before, 2, soft=False)
        wanted = levelled(found, data.group_names, "the select split").values()
        assert [note for note in notes if "the select split" in note] == list(wanted)


def test_without_a_select_split_nothing_is_said_of_one(
    trial: tuple[GroupedData, nn.Module, Found, Found],
) -> None:
    data, dense, _, _ = trial
    whole = data.indices("train", "select")
    splits = {"train": whole, "select": whole[:0], "test": data.indices("test")}
    model = copy.deepcopy(dense)
    constraints = make_constraints("demographic-parity+no-harm=none")
    notes = mitigate(model, replace(data, splits=splits), "bilevel", RATE, constraints, TRAINING)
    told = " ".join(notes.notes)
    assert f"there is no select split: the solver's multipliers read the {len(whole):,}" in told
    assert "on the train split" in told
    assert "on the select split" not in told
    assert "too small for select samples" not in told


def test_a_plain_method_says_a_collapse_too(
    trial: tuple[GroupedData, nn.Module, Found, Found],
) -> None:
    data, _, _, _ = trial
    settings = TrainingSettings(epochs=10)
    checkpoint = train_model(data, "mlp", settings, {"width": 32})
    one_shot = TrainingSettings(epochs=0)
    said = prune_model(checkpoint, data, "random", 0.98, one_shot).provenance.notes
    assert any("collapse: one class is predicted for" in note for note in said)
    plain = prune_model(checkpoint, data, "magnitude", 0.5, TRAINING).provenance.notes
    assert not any("collapse" in note for note in plain)
