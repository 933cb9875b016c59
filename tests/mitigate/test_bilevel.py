"""The bi-level solver: its gradient, its bookkeeping, and that it helps the group that is hurt."""

import copy
from dataclasses import replace
from itertools import combinations

import pytest
import torch

from audit.errors import AuditError
from audit.mitigate import FairPruner
from audit.mitigate.bilevel import BilevelSettings, mask_gradient
from audit.mitigate.constraints import CONSTRAINTS, make_constraints
from audit.mitigate.solution import multiplier_samples, upper_samples
from audit.mitigate.solver import solve
from audit.models import Architecture, TrainingSettings, build_model, train
from audit.prune.mask import measured_mask
from audit.prune.projection import project

SETTINGS = BilevelSettings(training=TrainingSettings(epochs=6, batch_size=16, learning_rate=0.1))


TRAINED: dict[int, torch.nn.Module] = {}


def dense(data, epochs=20):
    """A dense network for the two groups, trained once for all tests of this file."""
    if epochs not in TRAINED:
        model = build_model(Architecture("mlp", data.input_shape, 2, {"width": 16}))
        train(model, data, data.indices("train"), TrainingSettings(epochs=epochs, batch_size=16))
        TRAINED[epochs] = model
    return copy.deepcopy(TRAINED[epochs])


def test_the_implicit_gradient_is_exact_where_the_lower_loss_is_linear():
    """L_low = cᵀz gives θ* = −m⊙c/γ; the derivative of L_up(m⊙θ*(m)) comes from autograd."""
    torch.manual_seed(0)
    linear, target, ridge = torch.randn(6), torch.randn(6), 0.7
    mask = torch.ones(6, requires_grad=True)
    solution = -mask * linear / ridge
    upper_loss = 0.5 * ((mask * solution - target) ** 2).sum()
    (exact,) = torch.autograd.grad(upper_loss, mask)
    theta = solution.detach()
    upper = theta - target
    found = mask_gradient(
        {"w": theta}, {"w": mask.detach().bool()}, {"w": upper}, {"w": linear}, ridge
    )
    torch.testing.assert_close(found["w"], exact)


def quadratic(bend):
    """L_low = ½ zᵀAz − bᵀz with A of size `bend`, ridge 1, and L_up = ½|z − t|²."""
    generator = torch.Generator().manual_seed(4)
    factor = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix = bend * factor @ factor.T / 6
    linear = torch.randn(6, generator=generator, dtype=torch.float64)
    target = torch.randn(6, generator=generator, dtype=torch.float64)
    return matrix, linear, target


def lower_solution(matrix, linear, mask):
    """θ*(m): the unique root of m⊙(A(m⊙θ) − b) + θ = 0."""
    bent = mask[:, None] * matrix * mask
    return torch.linalg.solve(bent + torch.eye(6, dtype=torch.float64), mask * linear)


def exact_and_found(bend):
    matrix, linear, target = quadratic(bend)
    mask = torch.ones(6, dtype=torch.float64, requires_grad=True)
    z = mask * lower_solution(matrix, linear, mask)
    (exact,) = torch.autograd.grad(0.5 * (z - target).square().sum(), mask)
    theta = z.detach()
    found = mask_gradient(
        {"w": theta},
        {"w": torch.ones(6, dtype=torch.bool)},
        {"w": theta - target},
        {"w": matrix @ theta - linear},
        1.0,
    )
    return exact, found["w"]


def test_the_implicit_gradient_errs_in_proportion_to_the_curvature():
    """Hessian-free: exact where the lower loss is flat against the ridge, first order beyond."""
    errors = []
    for bend in (1e-2, 1e-3, 1e-4):
        exact, found = exact_and_found(bend)
        errors.append(((found - exact).norm() / exact.norm()).item())
    assert errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.2)
    exact, found = exact_and_found(1.0)
    assert torch.cosine_similarity(exact, found, dim=0) > 0.5


def test_scores_that_follow_the_gradient_reach_the_best_mask_of_a_quadratic():
    """All masks of 3 of 6 weights are tried; score, project, solve, repeat finds the best one."""
    matrix, linear, target = quadratic(0.05)

    def upper_loss(mask):
        return 0.5 * (mask * lower_solution(matrix, linear, mask) - target).square().sum().item()

    masks = []
    for chosen in combinations(range(6), 3):
        mask = torch.zeros(6, dtype=torch.float64)
        mask[list(chosen)] = 1
        masks.append(mask)
    best = min(masks, key=upper_loss)
    full = torch.ones(6, dtype=torch.float64)
    theta = lower_solution(matrix, linear, full)
    scores = theta.abs()
    mask = project({"w": scores}, 0.5).parts["w"]
    assert upper_loss(mask.double()) > upper_loss(best) + 0.01
    for _ in range(200):
        z = mask * theta
        gradient = mask_gradient(
            {"w": theta}, {"w": mask}, {"w": z - target}, {"w": matrix @ z - linear}, 1.0
        )
        scores = scores - 0.05 * gradient["w"]
        mask = project({"w": scores}, 0.5).parts["w"]
    assert torch.equal(mask.double(), best)


def test_the_mask_gradient_of_a_removed_weight_is_theta_times_gradient():
    found = mask_gradient(
        {"w": torch.tensor([2.0])},
        {"w": torch.tensor([False])},
        {"w": torch.tensor([3.0])},
        {"w": torch.tensor([5.0])},
        ridge=1.0,
    )
    assert found["w"].item() == 6.0


@pytest.mark.parametrize("constraint", ["none", *CONSTRAINTS, "excess-accuracy+equalised-odds"])
def test_the_solver_reaches_the_rate_in_the_steps_of_fine_tuning(two_groups, constraint):
    model = dense(two_groups, 3)
    solution = solve(model, two_groups, 0.8, make_constraints(constraint), SETTINGS)
    assert solution.mask.survivors == round(0.2 * solution.mask.size)
    measured = measured_mask(model)
    assert all(
        torch.equal(measured.parts[name], part) for name, part in solution.mask.parts.items()
    )
    samples = len(two_groups.indices("train", "select"))
    assert solution.steps == solution.passes == SETTINGS.training.steps(samples)
    assert bool(solution.history) == (constraint != "none")
    assert all(len(row["violation"]) == len(row["multiplier"]) for row in solution.history)


@pytest.mark.parametrize(
    ("structure", "rate"), [("layer", 0.6), ("filter", 0.5), ("2:4", 0.5), ("1:4", 0.75)]
)
def test_the_solver_keeps_every_structure(image_groups, structure, rate):
    model = build_model(Architecture("convnet", (1, 8, 8), 2, {"width": 4}))
    settings = replace(SETTINGS, structure=structure)
    solution = solve(model, image_groups, rate, make_constraints("excess-accuracy"), settings)
    mask = measured_mask(model)
    assert all(torch.equal(mask.parts[n], part) for n, part in solution.mask.parts.items())
    if structure == "filter":
        rows = mask.parts["0.weight"].flatten(1)
        assert (rows.all(1) | ~rows.any(1)).all()
        assert abs(mask.sparsity - rate) < 0.1
    elif structure == "layer":
        assert all(abs(s - rate) < 0.1 for s in mask.layer_sparsity().values())
    else:
        keep, block = (int(part) for part in structure.split(":"))
        inputs = mask.parts["4.weight"].movedim(1, -1).reshape(-1, block)
        assert (inputs.sum(1) == keep).all()


def test_a_pattern_knows_its_rate(two_groups):
    with pytest.raises(AuditError, match=r"expected rate 0\.5"):
        solve(dense(two_groups, 1), two_groups, 0.9, (), replace(SETTINGS, structure="2:4"))


@pytest.mark.parametrize("ramp", [0.0, 0.4])
def test_the_rate_is_reached_at_once_or_along_the_ramp(two_groups, monkeypatch, ramp):
    rates = []
    original = FairPruner._projected

    def spy(self):
        rates.append(original(self).sparsity)
        return original(self)

    monkeypatch.setattr(FairPruner, "_projected", spy)
    solve(dense(two_groups, 1), two_groups, 0.75, (), replace(SETTINGS, ramp_share=ramp))
    assert rates == sorted(rates)
    assert rates[-1] == 0.75
    assert rates[0] == (0.75 if ramp == 0 else 0.0)


def test_the_solver_repeats_itself(two_groups):
    first, again = dense(two_groups, 3), dense(two_groups, 3)
    for model in (first, again):
        solve(model, two_groups, 0.8, make_constraints("excess-accuracy"), SETTINGS)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_weights_do_not_see_the_select_split_before_the_mask_freezes(two_groups, monkeypatch):
    """With no settling phase, weight steps read train alone, and mask steps select alone."""
    seen: dict[str, set[tuple[float, ...]]] = {"step_on": set(), "observe_on": set()}
    for name, rows in seen.items():
        original = getattr(FairPruner, name)

        def spy(self, samples, original=original, rows=rows, **more):
            rows.update(map(tuple, samples.inputs.tolist()))
            return original(self, samples, **more)

        monkeypatch.setattr(FairPruner, name, spy)
    solution = solve(dense(two_groups, 1), two_groups, 0.5, (), replace(SETTINGS, mask_share=1.0))
    inputs = {
        split: set(map(tuple, two_groups.batch(two_groups.indices(split)).inputs.tolist()))
        for split in ("train", "select")
    }
    assert seen["step_on"] <= inputs["train"]
    assert seen["observe_on"] == inputs["select"]
    assert solution.mask.survivors == round(0.5 * solution.mask.size)


def test_once_all_is_settled_the_weights_see_the_select_split_too(two_groups, monkeypatch):
    seen: set[tuple[float, ...]] = set()
    original = FairPruner.step_on

    def spy(self, samples):
        seen.update(map(tuple, samples.inputs.tolist()))
        return original(self, samples)

    monkeypatch.setattr(FairPruner, "step_on", spy)
    settled = replace(SETTINGS, mask_share=0.3, multiplier_share=0.4)
    inputs = set(map(tuple, two_groups.batch(two_groups.indices("select")).inputs.tolist()))
    solve(dense(two_groups, 1), two_groups, 0.5, (), settled)
    assert inputs <= seen
    seen.clear()
    solve(dense(two_groups, 1), two_groups, 0.5, (), replace(settled, settle_split="train"))
    assert not inputs & seen


def test_the_implicit_gradient_of_a_removed_weight_is_masked():
    """θ⊙g_up − (1/γ) g_low⊙(m⊙g_up): without its mask a removed weight would pull as if it were in."""
    theta, upper, lower = (
        torch.tensor([2.0, 2.0]),
        torch.tensor([3.0, 3.0]),
        torch.tensor([5.0, 5.0]),
    )
    mask = {"w": torch.tensor([True, False])}
    found = mask_gradient({"w": theta}, mask, {"w": upper}, {"w": lower}, 0.5)["w"]
    assert found.tolist() == [2 * 3 - 5 * 3 / 0.5, 2 * 3]


def test_running_statistics_do_not_see_the_select_split(monkeypatch, image_groups):
    original = FairPruner.observe_on

    def checked(self, samples, **more):
        before = [buffer.clone() for buffer in self.model.buffers()]
        original(self, samples, **more)
        after = list(self.model.buffers())
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))

    monkeypatch.setattr(FairPruner, "observe_on", checked)
    model = build_model(Architecture("convnet", (1, 8, 8), 2, {"width": 4}))
    assert solve(model, image_groups, 0.5, (), SETTINGS).steps > 0


def test_a_group_too_small_for_select_is_read_from_training_and_said(two_groups):
    data = two_groups
    few = data.group_names.index("few")
    select = data.splits["select"]
    moved = select[data.groups[select] == few]
    splits = dict(data.splits)
    splits["select"] = select[data.groups[select] != few]
    splits["train"] = torch.cat([splits["train"], moved]).sort().values
    upper, notes = upper_samples(replace(data, splits=splits))
    assert int((data.groups[upper] == few).sum()) == len(data.indices("train", "select", group=few))
    assert "'few'" in notes[0]


def test_multipliers_read_select_or_what_is_trained_on(two_groups):
    train = two_groups.indices("train")
    assert multiplier_samples(two_groups, "train", train)[0] is train
    read, _ = multiplier_samples(two_groups, "select", train)
    assert torch.equal(read, two_groups.indices("select"))


@pytest.mark.parametrize("option", ["fair_mask", "fair_weights", "multiplier_split"])
def test_ablations_change_the_solution_alone(two_groups, option):
    """Without the constraint in a step, or with multipliers of training data; at one budget."""
    changed = replace(SETTINGS, **{option: "train" if option == "multiplier_split" else False})
    constraints = make_constraints("group-loss")
    solutions, models = [], []
    for settings in (SETTINGS, changed):
        models.append(dense(two_groups, 3))
        solutions.append(solve(models[-1], two_groups, 0.8, constraints, settings))
    assert solutions[0].steps == solutions[1].steps
    different = [
        not torch.equal(a, b)
        for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True)
    ]
    assert any(different)


def test_without_fairness_in_either_step_the_solver_is_the_plain_one(two_groups):
    constraints = make_constraints("group-loss")
    blind = replace(SETTINGS, fair_mask=False, fair_weights=False)
    one, other = dense(two_groups, 3), dense(two_groups, 3)
    watched = solve(one, two_groups, 0.8, constraints, blind)
    solve(other, two_groups, 0.8, (), SETTINGS)
    assert watched.history
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_constraint_helps_the_small_group(two_groups):
    """At a rate that hurts, the small group's loss is lower with the constraint than without."""
    batch = two_groups.batch(two_groups.indices("test", group=two_groups.group_names.index("few")))
    losses = {"none": 0.0, "excess-loss": 0.0}
    for seed in range(3):
        training = replace(SETTINGS.training, seed=seed)
        settings = replace(SETTINGS, training=training)
        for name in losses:
            model = dense(two_groups)
            solve(model, two_groups, 0.9, make_constraints(name), settings)
            loss = torch.nn.functional.cross_entropy(model(batch.inputs), batch.labels)
            losses[name] += loss.item()
    assert losses["excess-loss"] < 0.9 * losses["none"]


def test_multipliers_go_on_reading_under_the_frozen_mask(two_groups):
    """Until they settle they read samples that the weights do not see; then the weights see all."""
    steps = {}
    for share in (0.5, 0.9):
        settings = replace(SETTINGS, mask_share=0.5, multiplier_share=share)
        solution = solve(dense(two_groups, 3), two_groups, 0.8, make_constraints("group-loss"),
                         settings)  # fmt: skip
        steps[share] = [row["step"] for row in solution.history]
        frozen = [row for row in solution.history if row["step"] >= 0.5 * solution.steps]
        assert all(row["changed"] == 0 for row in frozen)
        assert bool(frozen) == (share > 0.5)
    assert steps[0.9][: len(steps[0.5])] == steps[0.5]
    assert max(steps[0.9]) < 0.9 * solution.steps


def test_multipliers_freeze_when_the_last_constraint_asks_for_it(two_groups):
    lasts = {}
    for text in ("group-loss", "equalised-odds", "group-loss+equalised-odds"):
        solution = solve(dense(two_groups, 1), two_groups, 0.8, make_constraints(text), SETTINGS)
        lasts[text] = solution.history[-1]["step"] / solution.steps
    assert lasts["group-loss"] < 0.4
    assert lasts["equalised-odds"] == lasts["group-loss+equalised-odds"]
    assert 0.8 < lasts["equalised-odds"] < 0.9


def test_bad_rates(two_groups):
    with pytest.raises(AuditError, match="0 ≤ rate < 1"):
        solve(dense(two_groups, 1), two_groups, 1.0, (), SETTINGS)
