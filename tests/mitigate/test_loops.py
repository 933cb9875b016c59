"""Loops of other people: what they may get wrong, and what must be said or refused."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from audit import BilevelSettings, FairPruner
from audit.errors import AuditError
from audit.mitigate.constraints import ExcessAccuracy
from audit.mitigate.readings import Readings
from audit.mitigate.statistics import Reference
from audit.prune.mask import measured_sparsity

Batch = tuple[Tensor, Tensor, Tensor]


def samples(number: int = 256) -> Batch:
    inputs = torch.randn(number, 8, generator=torch.Generator().manual_seed(0))
    groups = torch.arange(number) % 3
    return inputs, (inputs[:, 0] + 0.3 * groups * inputs[:, 1] > 0).long(), groups


def batches() -> list[Batch]:
    return list(zip(*(part.split(32) for part in samples()), strict=True))


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(10):
        for inputs, labels, _ in batches():
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return model


def pruner_of(model: nn.Module, **more: Any) -> FairPruner:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    given = {"rate": 0.8, "groups": 3, "steps": 48, "optimizer": optimizer}
    return FairPruner(model, **{**given, **more})


def run(pruner: FairPruner, epochs: int = 6) -> FairPruner:
    for _ in range(epochs):
        for batch in batches():
            pruner.step(*batch)
    return pruner


# --- what is said of the end ----------------------------------------------------------------------


@pytest.mark.parametrize("constraint", ["excess-accuracy", "none"])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 480), (0, 48), (0, None)])
def test_a_network_that_was_never_read_at_its_rate_is_not_cleared(
    trained: nn.Module, constraint: str, epochs: int, steps: int | None,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    model = copy.deepcopy(trained)
    pruner = run(pruner_of(model, constraint=constraint, steps=steps), epochs)
    with caplog.at_level(logging.WARNING, "audit"):
        mask = pruner.finish()
    assert mask.survivors == round(0.2 * mask.size)
    assert measured_sparsity(model) == mask.sparsity
    (note,) = (one for one in pruner.notes if one.startswith("not known: whom"))
    assert "no sample has been read of it at rate 0.8" in note
    assert note in caplog.text


def test_a_loop_as_long_as_announced_or_longer_is_read(trained: nn.Module) -> None:
    for epochs in (6, 12):
        pruner = run(pruner_of(copy.deepcopy(trained)), epochs)
        mask = pruner.finish()
        assert mask.survivors == round(0.2 * mask.size)
        assert not any("not known" in note for note in pruner.notes)


def test_a_group_that_never_came_is_named(trained: nn.Module) -> None:
    pruner = pruner_of(copy.deepcopy(trained), groups=("a", "b", "c"), steps=8, rate=0.1)
    for inputs, labels, groups in batches():
        own = groups < 2
        pruner.step(inputs[own], labels[own], groups[own])
    pruner.finish()
    assert any("whether it harms c, of whom no sample" in note for note in pruner.notes)


def test_a_collapse_is_said_without_a_constraint_too(trained: nn.Module) -> None:
    model = copy.deepcopy(trained)
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    pruner = pruner_of(model, constraint="none", rate=0.99, steps=None, optimizer=still)
    for inputs, labels, _ in batches():
        pruner.step(inputs, labels, None)  # type: ignore[arg-type]
    pruner.finish()
    shares = model(samples()[0]).argmax(1).bincount(minlength=2) / 256
    assert float(shares.max()) == 1.0
    assert any("collapse: one class is predicted for" in note for note in pruner.notes)
    assert not any("groups" in note for note in pruner.notes)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(16), nn.Dropout(0.9)])
def test_what_is_read_is_the_network_in_evaluation_mode(layer: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), copy.deepcopy(layer), nn.ReLU(), nn.Linear(16, 2))
    model(samples()[0])  # running statistics
    given: dict[str, Any] = {"rate": 0.0, "optimizer": torch.optim.SGD(model.parameters(), lr=0.0)}
    pruner = pruner_of(model, **given)
    dense = copy.deepcopy(model).eval()
    inputs, labels, groups = samples(64)
    pruner.loss(inputs, labels, groups)
    assert pruner.lagrangian is not None
    assert model.training
    readings = pruner.lagrangian.readings
    if isinstance(layer, nn.Dropout):
        torch.testing.assert_close(readings.losses[:64], readings.dense[:64, 0])
    else:  # its running statistics have moved, and are those that it will be used with
        now = functional.cross_entropy(
            copy.deepcopy(model).eval()(inputs), labels, reduction="none"
        )
        torch.testing.assert_close(readings.losses[:64], now.detach())
    before = functional.cross_entropy(dense(inputs), labels, reduction="none")
    torch.testing.assert_close(readings.dense[:64, 0], before.detach())


def test_held_out_readings_are_of_held_out_samples_alone(trained: nn.Module) -> None:
    pruner = pruner_of(copy.deepcopy(trained))
    pruner.step(*batches()[0])
    pruner.observe(*(part[:7] for part in samples()))
    assert pruner.lagrangian is not None
    assert pruner.lagrangian.readings.filled == 7
    pruner.step(*batches()[0])
    assert pruner.lagrangian.readings.filled == 7


def test_of_more_samples_than_the_window_the_last_are_kept() -> None:
    labels = torch.arange(10) % 2
    logits = functional.one_hot(labels, 2).float()
    found = Readings(4, groups=1, classes=2)
    found.append(logits[:3], labels[:3], torch.zeros(3, dtype=torch.long),
                 Reference.of(logits[:3], labels[:3]))  # fmt: skip
    found.renew()
    found.append(logits[:1], labels[:1], torch.zeros(1, dtype=torch.long),
                 Reference.of(logits[:1], labels[:1]))  # fmt: skip
    assert found.newest().statistics().class_counts.tolist() == [[1, 0]]
    found.append(logits, labels, torch.zeros(10, dtype=torch.long), Reference.of(logits, labels))
    assert found.statistics().class_counts.tolist() == [[2, 2]]
    assert (found.filled, found.fresh) == (4, 4)


# --- the dense network ----------------------------------------------------------------------------


def test_the_model_itself_as_the_dense_network_is_copied(trained: nn.Module) -> None:
    model = copy.deepcopy(trained)
    pruner = pruner_of(model, dense=model)
    run(pruner)
    assert pruner.dense is not None
    for one, other in zip(pruner.dense.parameters(), trained.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_pruned_network_is_no_dense_one(trained: nn.Module) -> None:
    model = copy.deepcopy(trained)
    run(pruner_of(model)).finish()
    with pytest.raises(AuditError, match="pruned already as the dense one"):
        pruner_of(model, rate=0.9)
    further = run(pruner_of(model, rate=0.9, dense=trained)).finish()
    assert further.survivors == round(0.1 * further.size)
    with pytest.raises(AuditError, match=r"outputs of shape \(32, 3\)"):
        run(pruner_of(copy.deepcopy(trained), dense=nn.Linear(8, 3)))


def test_inputs_that_a_network_changes_in_place_reach_both_as_they_were(
    trained: nn.Module,
) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(trained)

        def forward(self, inputs: Tensor) -> Mapping[str, Tensor]:
            return {"logits": self.network(inputs.mul_(0.5))}

    pruner = pruner_of(Scaled(), rate=0.0)
    inputs, labels, groups = samples(64)
    before = inputs.clone()
    pruner.step(inputs, labels, groups)
    assert torch.equal(inputs, before)
    assert pruner.lagrangian is not None
    readings = pruner.lagrangian.readings
    torch.testing.assert_close(readings.losses[:64], readings.dense[:64, 0])


# --- what a batch may be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y, g: (x, y, g - 1), "found group -1; expected each sample's position"),
        (lambda x, y, g: (x, y, g + 1), "found group 3; expected each sample's position"),
        (lambda x, y, g: (x, y, torch.where(g == 0, float("nan"), g)), "found group nan"),
        (lambda x, y, g: (x, y, g + 0.5), r"found group 0\.5"),
        (lambda x, y, g: (x, y, ["a"] * len(g)), r"found groups \['a', 'a'"),
        (lambda x, y, g: (x, y, None), "found groups None"),
        (lambda x, y, g: (x, y, functional.one_hot(g)), r"found groups of shape \(32, 3\)"),
        (lambda x, y, g: (x, y, g[:5]), "found 5 groups for 32 labels"),
        (lambda x, y, g: (x, y + 1, g), "found label 2, and the network has 2 classes"),
        (lambda x, y, g: (x, torch.where(y == 0, -100, y), g), "found label -100"),
        (lambda x, y, g: (x, functional.one_hot(y, 2), g), r"found labels of shape \(32, 2\)"),
        (lambda x, y, g: (x[:9], y, g), "found 32 labels, and outputs for 9 samples"),
        (lambda x, y, g: (x[:0], y[:0], g[:0]), "a batch without samples"),
    ],
)
@pytest.mark.parametrize("way", ["step", "loss", "observe"])
def test_a_batch_that_cannot_be_is_refused_before_anything_moves(
    trained: nn.Module, change: Any, said: str, way: str
) -> None:
    model = copy.deepcopy(trained)
    pruner = pruner_of(model, rate=0.0)
    with pytest.raises(AuditError, match=said) as found:
        getattr(pruner, way)(*change(*batches()[0]))
    assert "\n" not in str(found.value)
    for one, other in zip(model.parameters(), trained.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y, g: (x, y.int(), g.to(torch.uint8)),
        lambda x, y, g: (x, y.float()[:, None], g.double()[:, None]),
        lambda x, y, g: (x, y.numpy(), g.tolist()),
    ],
)
def test_positions_are_taken_in_whatever_form(trained: nn.Module, change: Any) -> None:
    one, other = (pruner_of(copy.deepcopy(trained)) for _ in range(2))
    one.step(*batches()[0])
    other.step(*change(*batches()[0]))
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_groups_of_few_bits_do_not_run_over() -> None:
    model = nn.Linear(8, 3)
    labels, groups = torch.arange(260) % 3, torch.arange(260) % 130
    pruner = pruner_of(model, groups=130)
    pruner.loss(torch.randn(260, 8), labels, groups.to(torch.uint8))
    assert pruner.lagrangian is not None
    assert (pruner.lagrangian.readings.statistics().counts == 2).all()


def test_samples_are_observed_where_no_gradient_is_recorded(trained: nn.Module) -> None:
    one, other = (pruner_of(copy.deepcopy(trained)) for _ in range(2))
    inputs, labels, groups = samples(32)
    one.observe(inputs, labels, groups)
    with torch.inference_mode():
        other.observe(inputs + 0, labels + 0, groups + 0)
    for name, score in one.scores.items():
        assert torch.equal(score, other.scores[name])
    with torch.no_grad(), pytest.raises(AuditError, match="are shown to `observe`"):
        one.loss(inputs, labels, groups)


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())])
def test_probabilities_are_no_logits(trained: nn.Module, last: nn.Module) -> None:
    pruner = pruner_of(nn.Sequential(copy.deepcopy(trained), last))
    with pytest.raises(AuditError, match="look like probabilities, and the pruner takes logits"):
        pruner.step(*samples())


class OneColumn(nn.Module):
    """One output a sample: what becomes of the difference of two logits."""

    def __init__(self, model: nn.Module, last: Any) -> None:
        super().__init__()
        self.model, self.last = copy.deepcopy(model), last

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found = self.model(inputs)
        return self.last(found[:, 1] - found[:, 0])


def test_declared_probabilities_are_pruned_as_the_logits_that_they_are_of(
    trained: nn.Module,
) -> None:
    """The sigmoid of a logit, and that logit, say the same: so do their losses and masks."""
    plain = pruner_of(OneColumn(trained, nn.Identity()))
    sigmoid = pruner_of(OneColumn(trained, nn.Sigmoid()), outputs="probabilities")
    for batch in batches()[:6]:
        losses = [float(one.step(*batch)) for one in (plain, sigmoid)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    kept = [one.finish().parts["model.2.weight"] for one in (plain, sigmoid)]
    assert torch.equal(*kept)


def test_one_logit_within_0_and_1_is_refused_until_it_is_declared(trained: nn.Module) -> None:
    """As a network that is not trained yet may give; small batches are added up."""
    network = OneColumn(trained, lambda one: 0.5 + one.tanh() / 10)
    inputs, labels, groups = samples(96)
    pruner = pruner_of(copy.deepcopy(network))
    for begin in (0, 20, 40):
        rows = slice(begin, begin + 20)
        pruner.step(inputs[rows], labels[rows], groups[rows])
    assert any("whether the network gives logits" in note for note in pruner.notes)
    with pytest.raises(AuditError, match=r"say outputs='probabilities', or outputs='logits'"):
        pruner.step(inputs[60:], labels[60:], groups[60:])
    declared = pruner_of(network, outputs="logits")
    declared.step(inputs, labels, groups)
    assert not any("gives logits" in note for note in declared.notes)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ("sigmoid", "found outputs 'sigmoid'; expected one of logits"),
        ("log-probabilities", "do not sum to 1, as log-probabilities do"),
    ],
)
def test_what_outputs_are_declared_to_be_is_held_against_them(
    trained: nn.Module, outputs: str, said: str
) -> None:
    with pytest.raises(AuditError, match=said):
        pruner_of(copy.deepcopy(trained), outputs=outputs).step(*samples())


# --- what a pruner may be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rate": "0.5"}, "found rate '0.5'"),
        ({"rate": None}, "found rate None"),
        ({"rate": float("nan")}, "found rate nan"),
        ({"constraint": None}, "found constraint None"),
        ({"constraint": ExcessAccuracy}, "found constraint <class"),
        ({"constraint": "excess_acuracy"}, "did you mean 'excess-accuracy'"),
        ({"groups": 0}, "found groups 0"),
        ({"groups": "abc"}, "found groups 'abc'"),
        ({"groups": ["a", "a"]}, "found a group twice"),
        ({"groups": None}, "found groups None"),
        ({"groups": True}, "found groups True"),
        ({"steps": 0}, "found steps 0"),
        ({"steps": 2.5}, r"found steps 2\.5"),
        ({"steps": float("inf")}, "found steps inf"),
        ({"window": 0}, "found window 0"),
        ({"settings": {"structure": "filter"}}, "found settings"),
        ({"dense": "dense.pt"}, "found dense 'dense.pt'"),
        ({"optimizer": "adam"}, "found optimizer 'adam'"),
        ({"criterion": "ce"}, "found criterion 'ce'"),
    ],
)
def test_arguments_that_cannot_be_are_refused_in_one_line(
    trained: nn.Module, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(AuditError, match=said) as found:
        pruner_of(copy.deepcopy(trained), **more)
    assert "\n" not in str(found.value)


def test_constraints_and_groups_are_taken_in_whatever_form(trained: nn.Module) -> None:
    for constraint in (ExcessAccuracy(), [ExcessAccuracy()], ["excess-accuracy"]):
        more: dict[str, Any] = {"constraint": constraint, "groups": np.int64(3), "steps": 48.0}
        pruner = pruner_of(copy.deepcopy(trained), **more)
        assert pruner.constraints == (ExcessAccuracy(),)
        assert (pruner.names, pruner.steps) == (["0", "1", "2"], 48)


@pytest.mark.parametrize("constraint", ["excess-accuracy", "none"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_criterion_that_gives_one_loss_is_refused(
    trained: nn.Module, constraint: str, reduction: str
) -> None:
    own = nn.CrossEntropyLoss(reduction=reduction)
    pruner = pruner_of(copy.deepcopy(trained), criterion=own, constraint=constraint)
    with pytest.raises(AuditError, match="as reduction='none' gives"):
        pruner.step(*batches()[0])


def test_a_criterion_is_given_the_labels_as_they_are(trained: nn.Module) -> None:
    def binary(logits: Tensor, labels: Tensor) -> Tensor:
        score = logits[:, 1:] - logits[:, :1]
        return functional.binary_cross_entropy_with_logits(score, labels, reduction="none")[:, 0]

    pruner = pruner_of(copy.deepcopy(trained), criterion=binary)
    inputs, labels, groups = batches()[0]
    own = pruner.loss(inputs, labels.float()[:, None], groups)
    torch.testing.assert_close(own, functional.cross_entropy(trained(inputs), labels))


# --- several pruners, and their ends --------------------------------------------------------------


def test_a_copy_of_a_pruner_goes_on_as_the_pruner_does(trained: nn.Module) -> None:
    one = run(pruner_of(copy.deepcopy(trained)), 1)
    other = copy.deepcopy(one)
    assert other.model is not one.model
    for pruner in (one, other):
        run(pruner, 5)
    first, second = one.finish(), other.finish()
    assert all(torch.equal(part, second.parts[name]) for name, part in first.parts.items())
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_newer_pruner_takes_a_network_over(trained: nn.Module) -> None:
    model = copy.deepcopy(trained)
    older = run(pruner_of(model, rate=0.5), 1)
    newer = pruner_of(model, dense=trained)
    with pytest.raises(AuditError, match="newer FairPruner has taken over"):
        older.step(*batches()[0])
    run(newer)
    older.end()
    mask = newer.finish()
    assert measured_sparsity(model) == mask.sparsity == pytest.approx(0.8)


def test_a_pruner_that_has_finished_takes_no_step(trained: nn.Module) -> None:
    pruner = run(pruner_of(copy.deepcopy(trained)))
    state = pruner.state_dict()
    mask = pruner.finish()
    again = pruner.finish()
    assert all(torch.equal(part, again.parts[name]) for name, part in mask.parts.items())
    for way in (pruner.step, pruner.loss, pruner.observe):
        with pytest.raises(AuditError, match="it has finished"):
            way(*batches()[0])
    for later in (pruner.after_step, lambda: pruner.load_state_dict(state)):
        with pytest.raises(AuditError, match="it has finished"):
            later()


# --- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"groups": 2}, "a state of other groups"),
        ({"groups": ("a", "b", "c")}, "a state of other groups"),
        ({"constraint": "equalised-odds"}, "a state of other constraints"),
        ({"constraint": "none"}, "a state of other constraints"),
        ({"settings": BilevelSettings(structure="layer")}, "a state of other structure"),
    ],
)
def test_a_state_of_something_else_is_refused(
    trained: nn.Module, more: dict[str, Any], said: str
) -> None:
    state = run(pruner_of(copy.deepcopy(trained)), 1).state_dict()
    other = pruner_of(copy.deepcopy(trained), **more)
    with pytest.raises(AuditError, match=said):
        other.load_state_dict(state)
    with pytest.raises(AuditError, match="found a state without"):
        other.load_state_dict({"scores": {}})
    with pytest.raises(AuditError, match="a state of other weights"):
        pruner_of(nn.Linear(8, 2)).load_state_dict(state)


def test_a_state_stays_what_it_was(trained: nn.Module) -> None:
    """In memory, too: what the pruner does afterwards is no part of it."""
    model = copy.deepcopy(trained)
    pruner = run(pruner_of(model), 2)
    state, kept = pruner.state_dict(), copy.deepcopy(pruner.state_dict())
    run(pruner, 2)
    assert state["history"] == kept["history"]
    for name in ("scores", "theta", "parts"):
        assert all(torch.equal(state[name][n], part) for n, part in kept[name].items())


def test_a_compiled_network_takes_a_table_of_inputs_as_before() -> None:
    class Taking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 2)

        def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
            found: Tensor = self.layer(batch["x"])
            return found

    compiled = torch.compile(Taking(), backend="eager")
    inputs, labels, groups = batches()[0]
    pruner = pruner_of(compiled, rate=0.0)
    pruner.step({"x": inputs}, labels, groups)
    assert pruner.done == 1
