"""Multipliers, the Lagrangian, the staged baselines, and all methods at one budget."""

import copy
from itertools import pairwise

import cooper
import pytest
import torch
from cooper.multipliers import DenseMultiplier
from cooper.optim import nuPI, nuPIInitType
from torch.nn import functional

from audit.errors import AuditError
from audit.measure.network import class_logits
from audit.mitigate import MITIGATION_METHODS, loss_on_line, mitigate
from audit.mitigate.bilevel import BilevelSettings
from audit.mitigate.constraints import CONSTRAINTS, GroupLoss, make_constraints
from audit.mitigate.lagrangian import Lagrangian, SplitReadings
from audit.mitigate.multipliers import Multipliers
from audit.mitigate.readings import Readings
from audit.mitigate.solver import solve
from audit.mitigate.stages import Stage, StageSettings, _Runner, run_stages
from audit.mitigate.statistics import Reference, group_statistics
from audit.models import Architecture, TrainingSettings, build_model, train
from audit.prune.distillation import evaluated_logits
from audit.prune.mask import measured_mask

TRAINING = TrainingSettings(epochs=6, batch_size=16, learning_rate=0.1)
FAIR, PLAIN = Stage(fair=True, pruned=True), Stage(fair=False, pruned=True)


TRAINED: dict[int, torch.nn.Module] = {}


def dense(data, epochs=20):
    """A dense network for the two groups, trained once for all tests of this file."""
    if epochs not in TRAINED:
        model = build_model(Architecture("mlp", data.input_shape, 2, {"width": 16}))
        train(model, data, data.indices("train"), TrainingSettings(epochs=epochs, batch_size=16))
        TRAINED[epochs] = model
    return copy.deepcopy(TRAINED[epochs])


def accuracy(model, data, split="test"):
    batch = data.batch(data.indices(split))
    return (model(batch.inputs).argmax(1) == batch.labels).float().mean().item()


class Watched:
    """A Lagrangian whose multipliers read the select split, and what it makes of a batch."""

    def __init__(self, model, data, text="group-loss", **more):
        self.data = data
        self.dense = Reference.of(evaluated_logits(model, data), data.labels)
        self.split = SplitReadings(data, self.dense, data.indices("select"))
        self.lagrangian = Lagrangian(self.split.readings, make_constraints(text), **more)

    def loss(self, outputs, batch):
        logits = class_logits(outputs)
        losses = functional.cross_entropy(logits, batch.labels, reduction="none")
        dense = self.dense.at(batch.indices)
        return self.lagrangian.loss(losses, logits, batch.labels, batch.groups, dense)

    def ascend(self, violation):
        """Move the first constraint's multipliers by a violation of one's own."""
        self.lagrangian.multipliers[0].update(violation)
        self.lagrangian.settle()


def test_multipliers_are_projected_bounded_and_settle_at_their_mean():
    multipliers = Multipliers(3, step=1.0, bound=2.0)
    multipliers.update(torch.tensor([1.0, -1.0, float("nan")]))
    assert multipliers.values.tolist() == [1.0, 0.0, 0.0]
    multipliers.update(torch.tensor([5.0, 0.5, 0.25]))
    assert multipliers.values.tolist() == [2.0, 0.5, 0.25]
    multipliers.update(torch.tensor([-1.0, 0.5, 0.25]))
    multipliers.settle()
    assert multipliers.values.tolist() == [1.5, 0.75, 0.375]


def test_the_gain_adds_the_change_of_the_violation():
    multipliers = Multipliers(2, step=0.5, bound=10.0, gain=4.0)
    multipliers.update(torch.tensor([1.0, -1.0]))
    assert multipliers.values.tolist() == [2.5, 0.0]  # η(s + κ(s − 0)), projected
    multipliers.update(torch.tensor([0.5, 1.0]))
    assert multipliers.values.tolist() == [1.75, 4.5]  # 2.5 + η(0.5 − 4·0.5), 0 + η(1 + 4·2)


@pytest.mark.parametrize("gain", [0.0, 7.0])
def test_multipliers_are_coopers(gain):
    """The same path as cooper's nuPI, whose ascent step differentiates a Lagrangian."""
    peer = DenseMultiplier(num_constraints=4)
    constraint = cooper.Constraint(cooper.ConstraintType.INEQUALITY, multiplier=peer)
    kind = nuPIInitType.ZEROS
    optimizer = nuPI(
        peer.parameters(), lr=0.3, Kp=torch.tensor(gain), init_type=kind, maximize=True
    )
    own = Multipliers(4, step=0.3, bound=1e9, gain=gain)
    for violation in torch.randn(30, 4, generator=torch.Generator().manual_seed(0)):
        store = constraint.compute_contribution_to_lagrangian(
            cooper.ConstraintState(violation), "dual"
        )
        optimizer.zero_grad()
        store.lagrangian_contribution.backward()
        optimizer.step()
        peer.post_step_()
        own.update(violation)
        torch.testing.assert_close(own.values, peer.weight.detach())
    assert own.values.max() > 0


def test_a_violation_that_is_not_known_is_as_last_known():
    multipliers = Multipliers(1, step=1.0, bound=20.0, gain=30.0)
    path = []
    for violation in (0.1, float("nan"), 0.1):
        multipliers.update(torch.tensor([violation]))
        path.append(multipliers.values.item())
    assert path == pytest.approx([3.1, 3.2, 3.3])


def swing(gain: float) -> float:
    """How far x is still from 1 at worst, late in the dual ascent of: x small, x ≥ 1."""
    multipliers, x, path = Multipliers(1, step=1.0, bound=20.0, gain=gain), 0.0, []
    for _ in range(400):
        multipliers.update(torch.tensor([1 - x]))
        x -= 0.01 * (0.1 * x - multipliers.values.item())
        path.append(abs(x - 1))
    return max(path[-100:])


def test_the_gain_brings_a_swinging_multiplier_to_rest():
    assert swing(gain=0.0) > 0.3
    assert swing(gain=20.0) < 0.01


def test_the_weight_of_a_group_is_its_share_with_its_multiplier(two_groups):
    """The gradient of the Lagrangian is that of Σ_b w_b J_b, w_b = (π_b + μ_b)/(1 + Σμ)."""
    model = dense(two_groups, 1)
    batch = two_groups.batch(two_groups.indices("train"))
    found = Watched(model, two_groups, "excess-loss", step=0.3)
    found.ascend(torch.tensor([10.0, 0.0]))
    few, many = found.lagrangian.scales[0].tolist()
    multiplier = found.lagrangian.multipliers[0].values.tolist()
    assert multiplier == [pytest.approx(3.0), 0.0]
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(found.loss(model(batch.inputs), batch), parameters)
    losses = functional.cross_entropy(model(batch.inputs), batch.labels, reduction="none")
    share = (batch.groups == 0).float().mean()
    weights = torch.stack([share + 3 * few, 1 - share]) / (1 + 3 * few)
    means = torch.stack([losses[batch.groups == group].mean() for group in (0, 1)])
    expected = torch.autograd.grad(weights @ means, parameters)
    assert many > few
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_without_constraints_the_lagrangian_is_the_mean_loss(two_groups):
    model = dense(two_groups, 1)
    batch = two_groups.batch(two_groups.indices("train")[:7])
    found = Watched(model, two_groups, "none").loss(model(batch.inputs), batch)
    expected = functional.cross_entropy(model(batch.inputs), batch.labels)
    torch.testing.assert_close(found, expected)


def test_a_constraint_is_worked_out_once_a_multiplier_weighs_it(two_groups, monkeypatch):
    model = dense(two_groups)
    batch = two_groups.batch(two_groups.indices("train")[:32])
    found, asked = Watched(model, two_groups, "group-loss"), []
    surrogate = GroupLoss.surrogate

    def counted(self, statistics):
        asked.append(self)
        return surrogate(self, statistics)

    monkeypatch.setattr(GroupLoss, "surrogate", counted)
    plain = functional.cross_entropy(model(batch.inputs), batch.labels)
    assert found.loss(model(batch.inputs), batch).item() == pytest.approx(plain.item())
    assert not asked
    found.ascend(torch.tensor([1.0, 0.0]))
    assert found.loss(model(batch.inputs), batch).item() != pytest.approx(plain.item(), rel=1e-3)
    assert len(asked) == 1


def test_one_logit_is_read_as_two_classes(two_groups):
    """p = (1 − σ(z), σ(z)), in the loss, in what is remembered and in a whole method."""
    model = torch.nn.Linear(4, 1)
    batch = two_groups.batch(two_groups.indices("select"))
    found = Watched(model, two_groups, "group-loss")
    logits = model(batch.inputs)
    expected = functional.binary_cross_entropy_with_logits(logits[:, 0], batch.labels.float())
    torch.testing.assert_close(found.loss(logits, batch), expected)
    found.split.remember(batch, -logits)
    readings = found.split.readings
    assert torch.equal(readings.predicted, (logits[:, 0] < 0).long())
    opposite = functional.binary_cross_entropy_with_logits(
        -logits[:, 0], batch.labels.float(), reduction="none"
    )
    torch.testing.assert_close(readings.losses, opposite.detach())
    solution = mitigate(
        model, two_groups, "bilevel", 0.5, make_constraints("excess-loss"), TRAINING
    )
    assert solution.mask.survivors == 2


def test_multipliers_read_what_was_last_remembered(two_groups):
    model = dense(two_groups, 1)
    found = Watched(model, two_groups, "excess-accuracy")
    assert found.lagrangian.ascend()["violation"] == pytest.approx([0.0, 0.0])
    few = two_groups.indices("select", group=0)
    labels = two_groups.labels[few]
    wrong = functional.one_hot(1 - labels, 2).float()
    found.split.remember(two_groups.batch(few), wrong)
    before = (found.dense.logits[few].argmax(1) == labels).float().mean().item()
    share = len(few) / len(two_groups.indices("select"))
    assert found.lagrangian.ascend()["violation"] == pytest.approx(
        [before - share * before, -share * before], abs=1e-6
    )


@pytest.mark.parametrize(
    ("constraint", "step"), [("group-loss", 1e9), *((name, 1e3) for name in CONSTRAINTS)]
)
def test_no_multiplier_step_destroys_the_network(two_groups, constraint, step):
    """Even where every multiplier jumps to its bound at once, and the weights' share is extreme."""
    model = dense(two_groups)
    constraints = make_constraints(constraint)
    settings = BilevelSettings(TRAINING, multiplier_step=step)
    solution = solve(model, two_groups, 0.5, constraints, settings)
    jumps = {value for row in solution.history for value in row["multiplier"]}
    assert max(jumps) in (0.0, constraints[0].multiplier_bound)
    assert accuracy(model, two_groups) > 0.75


def test_the_network_recovers_from_absurd_multipliers(two_groups):
    """Trained on with the constraint's own step, it is as good as one that never saw them."""
    spoilt, plain = dense(two_groups), dense(two_groups)
    settings = StageSettings(TRAINING, multiplier_step=1e3)
    stages = [Stage(fair=True, pruned=False)]
    run_stages(spoilt, two_groups, 0.5, (GroupLoss(),), settings, stages)
    for model in (spoilt, plain):
        run_stages(model, two_groups, 0.5, (GroupLoss(),), StageSettings(TRAINING), stages)
    assert accuracy(spoilt, two_groups) > accuracy(plain, two_groups) - 0.03


@pytest.mark.parametrize("name", list(MITIGATION_METHODS))
def test_every_method_has_one_budget_and_reaches_the_rate(two_groups, name):
    method = MITIGATION_METHODS[name]
    model = dense(two_groups, 3)
    constraints = make_constraints(method.constraint)
    solution = mitigate(model, two_groups, name, 0.8, constraints, TRAINING)
    steps = TRAINING.steps(len(two_groups.indices("train", "select")))
    assert solution.steps == solution.passes == steps
    assert solution.readings > 0
    assert solution.mask.survivors == round(0.2 * solution.mask.size)
    measured = measured_mask(model)
    assert all(torch.equal(measured.parts[n], p) for n, p in solution.mask.parts.items())
    assert solution.history
    assert not model.training


@pytest.mark.parametrize("split", ["select", "train"])
@pytest.mark.parametrize("stages", [[FAIR], [PLAIN, FAIR], [FAIR, PLAIN], [FAIR, FAIR]])
def test_every_stage_learns_from_train_and_select(two_groups, monkeypatch, split, stages):
    """Multipliers that read select do so before any weight has seen it; in the end all have."""
    order: list[tuple[str, set[int]]] = []
    step, remember = _Runner._weight_step, SplitReadings.remember

    def spy_step(self, indices, *rest):
        order.append(("weights", set(indices.tolist())))
        return step(self, indices, *rest)

    def spy_remember(self, batch, outputs):
        order.append(("multipliers", set(batch.indices.tolist())))
        return remember(self, batch, outputs)

    monkeypatch.setattr(_Runner, "_weight_step", spy_step)
    monkeypatch.setattr(SplitReadings, "remember", spy_remember)
    settings = StageSettings(TRAINING, multiplier_split=split)
    model = dense(two_groups, 1)
    solution = run_stages(model, two_groups, 0.5, (GroupLoss(),), settings, stages)
    select = set(two_groups.indices("select").tolist())
    both = set(two_groups.indices("train", "select").tolist())
    seen = {
        who: set().union(*(s for w, s in order if w == who)) for who in ("weights", "multipliers")
    }
    assert solution.steps == TRAINING.steps(len(both))
    assert seen["weights"] == both
    assert seen["multipliers"] == (select if split == "select" else both)
    last = max(place for place, (who, _) in enumerate(order) if who == "multipliers")
    before = set().union(*(s for who, s in order[:last] if who == "weights"))
    assert bool(before & select) == (split == "train")


def test_multipliers_move_once_an_epoch_in_the_lagrangian_dual(two_groups):
    model = dense(two_groups, 1)
    solution = mitigate(model, two_groups, "lagrangian-dual", 0.5, (GroupLoss(),), TRAINING)
    assert len(solution.history) == TRAINING.epochs


def test_gradual_pruning_only_removes(two_groups, monkeypatch):
    masks = []
    original = _Runner._prune

    def spy(self, rate):
        original(self, rate)
        masks.append(self.mask)

    monkeypatch.setattr(_Runner, "_prune", spy)
    mitigate(
        dense(two_groups, 1), two_groups, "gradual-excess-accuracy", 0.9,
        make_constraints("excess-accuracy"), TRAINING,
    )  # fmt: skip
    assert len(masks) > 5
    for one, other in pairwise(masks):
        assert all(not (part & ~one.parts[n]).any() for n, part in other.parts.items())


def test_in_rounds_a_fifth_of_what_is_left_goes_and_the_rest_trains(two_groups, monkeypatch):
    plain, rounds = _Runner._weight_step, []

    def watched(runner, indices, fair, optimizer):
        rate = optimizer.param_groups[0]["lr"]
        rounds.append((runner.mask.sparsity, rate, fair, copy.deepcopy(runner.mask)))
        plain(runner, indices, fair, optimizer)

    monkeypatch.setattr(_Runner, "_weight_step", watched)
    model = dense(two_groups)
    solution = mitigate(model, two_groups, "prune-in-rounds-then-fair", 0.5, training=TRAINING)
    assert solution.mask.sparsity == pytest.approx(0.5, abs=0.01)
    starts = [entry for entry in rounds if entry[1] == TRAINING.learning_rate]
    assert [entry[0] for entry in starts] == pytest.approx([0.2, 0.36, 0.488, 0.5, 0.5], abs=0.01)
    assert [entry[2] for entry in starts] == [False] * 4 + [True]
    for before, after in pairwise(entry[3] for entry in rounds):
        assert all((after.parts[name] <= before.parts[name]).all() for name in after.parts)


def test_fair_methods_help_the_small_group(two_groups):
    """At a rate that hurts, the small group's loss is lower with constraints than without."""
    rows = two_groups.indices("test", group=two_groups.group_names.index("few"))
    batch = two_groups.batch(rows)
    for name in ("lagrangian-dual", "gradual-excess-accuracy"):
        losses = {}
        for constraint in ("none", "group-loss"):
            model = dense(two_groups)
            mitigate(model, two_groups, name, 0.9, make_constraints(constraint), TRAINING)
            losses[constraint] = functional.cross_entropy(model(batch.inputs), batch.labels).item()
        assert losses["group-loss"] < 0.95 * losses["none"], name


def test_unknown_methods_and_options(two_groups):
    model = dense(two_groups, 1)
    with pytest.raises(AuditError, match="expected one of bilevel"):
        mitigate(model, two_groups, "magic")
    with pytest.raises(AuditError, match="option 'speed' of bilevel"):
        mitigate(model, two_groups, options={"speed": 1})
    with pytest.raises(AuditError, match="expected one of select, train"):
        mitigate(model, two_groups, options={"multiplier_split": "test"})
    with pytest.raises(AuditError, match="0 ≤ rate < 1"):
        mitigate(model, two_groups, "prune-then-fair", 1.0)


def test_the_line_between_two_networks_starts_and_ends_at_them(two_groups):
    one, other = dense(two_groups, 1), dense(two_groups, 20)
    before = [parameter.clone() for parameter in one.parameters()]
    line = loss_on_line(one, other, two_groups, 5)
    batch = two_groups.batch(two_groups.indices("test"))
    for end, model in ((0, one), (-1, other)):
        loss = functional.cross_entropy(model(batch.inputs).double(), batch.labels)
        torch.testing.assert_close(line.loss[end], loss.detach())
        assert line.accuracy[end].item() == pytest.approx(accuracy(model, two_groups), abs=1e-6)
    assert line.positions.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    shares = line.counts / line.counts.sum()
    torch.testing.assert_close(line.group_loss @ shares.double(), line.loss, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), before, strict=True))


def test_the_barrier_of_a_convex_loss_is_none(two_groups):
    """A linear softmax has a convex loss: on a line it lies below the chord."""
    one, other = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
    line = loss_on_line(one, other, two_groups, 11)
    assert line.barrier == pytest.approx(0.0, abs=1e-7)
    assert (line.loss[1:-1] < torch.lerp(line.loss[0], line.loss[-1], line.positions)[1:-1]).all()
    with pytest.raises(AuditError, match="two ends"):
        loss_on_line(one, other, two_groups, 1)
    with pytest.raises(AuditError, match="one architecture"):
        loss_on_line(one, torch.nn.Linear(4, 3), two_groups)


def test_readings_count_what_was_last_seen_of_every_sample() -> None:
    """Counted bit by bit as predictions are written, they are what all of them count to at once."""
    generator = torch.Generator().manual_seed(0)
    labels, groups = (torch.randint(0, k, (90,), generator=generator) for k in (3, 2))
    dense = Reference.of(torch.randn(90, 3, generator=generator), labels)
    readings = Readings(90, 2, 3)
    readings.append(dense.logits, labels, groups, dense)
    seen = dense.logits.clone()
    for _ in range(20):
        places = torch.randperm(90, generator=generator)[:17]
        seen[places] = torch.randn(17, 3, generator=generator)
        readings.write(places, seen[places], labels[places])
    found, wanted = readings.statistics(), group_statistics(seen, labels, groups, dense, 2, False)
    torch.testing.assert_close(found.sums, wanted.sums)
    assert torch.equal(found.class_counts, wanted.class_counts)
