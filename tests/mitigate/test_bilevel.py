"""The bi-level solver: its gradient, its bookkeeping, and that it helps the group that is hurt."""

import pytest
import torch

from audit.errors import AuditError
from audit.mitigate.bilevel import (
    BilevelSettings,
    cubic_rate,
    mask_gradient,
    solve,
    upper_samples,
)
from audit.mitigate.constraints import make_constraint
from audit.mitigate.multipliers import Multipliers
from audit.models import Architecture, TrainingSettings, build_model, train
from audit.prune.mask import measured_mask

SETTINGS = BilevelSettings(training=TrainingSettings(epochs=6, batch_size=16, learning_rate=0.1))


def dense(data, epochs=20):
    model = build_model(Architecture("mlp", data.input_shape, 2, {"width": 16}))
    train(model, data, data.indices("train"), TrainingSettings(epochs=epochs, batch_size=16))
    return model


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


def test_the_mask_gradient_of_a_removed_weight_is_theta_times_gradient():
    found = mask_gradient(
        {"w": torch.tensor([2.0])},
        {"w": torch.tensor([False])},
        {"w": torch.tensor([3.0])},
        {"w": torch.tensor([5.0])},
        ridge=1.0,
    )
    assert found["w"].item() == 6.0


@pytest.mark.parametrize("constraint", ["none", "group-loss", "excess-accuracy", "equal-accuracy"])
def test_the_solver_reaches_the_rate_in_the_steps_of_fine_tuning(two_groups, constraint):
    model = dense(two_groups)
    solution = solve(model, two_groups, 0.8, make_constraint(constraint, 0.0), SETTINGS)
    assert solution.mask.survivors == round(0.2 * solution.mask.size)
    measured = measured_mask(model)
    assert all(
        torch.equal(measured.parts[name], part) for name, part in solution.mask.parts.items()
    )
    samples = len(two_groups.indices("train", "select"))
    assert solution.steps == SETTINGS.training.steps(samples)
    assert bool(solution.history) == (constraint != "none")


def test_the_solver_repeats_itself(two_groups):
    first, again = dense(two_groups), dense(two_groups)
    for model in (first, again):
        solve(model, two_groups, 0.8, make_constraint("excess-accuracy", 0.0), SETTINGS)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_weights_do_not_see_the_select_split_before_the_mask_freezes(two_groups, monkeypatch):
    """With no settling phase, weight steps read train alone, and mask steps select alone."""
    select = set(two_groups.indices("select").tolist())
    seen = {"_weight_step": set(), "_mask_step": set()}
    from audit.mitigate import bilevel

    for name, rows in seen.items():
        original = getattr(bilevel._Solver, name)

        def spy(self, indices, *rest, original=original, rows=rows):
            rows.update(indices.tolist())
            return original(self, indices, *rest)

        monkeypatch.setattr(bilevel._Solver, name, spy)
    settings = BilevelSettings(training=SETTINGS.training, mask_share=1.0)
    solve(dense(two_groups), two_groups, 0.5, None, settings)
    assert seen["_weight_step"] <= set(two_groups.indices("train").tolist())
    assert seen["_mask_step"] == select


def test_running_statistics_do_not_see_the_select_split(monkeypatch, image_groups):
    from audit.mitigate import bilevel

    original = bilevel._Solver._mask_step

    def checked(self, indices, rate):
        before = [buffer.clone() for buffer in self.model.buffers()]
        result = original(self, indices, rate)
        after = list(self.model.buffers())
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        return result

    monkeypatch.setattr(bilevel._Solver, "_mask_step", checked)
    model = build_model(Architecture("convnet", (1, 8, 8), 2, {"width": 4}))
    solution = solve(model, image_groups, 0.5, None, SETTINGS)
    assert solution.steps > 0


def test_a_group_too_small_for_select_is_read_from_training_and_said(two_groups):
    data = two_groups
    few = data.group_names.index("few")
    select = data.splits["select"]
    moved = select[data.groups[select] == few]
    from dataclasses import replace

    splits = dict(data.splits)
    splits["select"] = select[data.groups[select] != few]
    splits["train"] = torch.cat([splits["train"], moved]).sort().values
    upper, notes = upper_samples(replace(data, splits=splits))
    assert int((data.groups[upper] == few).sum()) == len(data.indices("train", "select", group=few))
    assert "'few'" in notes[0]


def test_the_constraint_helps_the_small_group(two_groups):
    """At a rate that hurts, the small group's loss is lower with the constraint than without."""
    rows = two_groups.indices("test", group=two_groups.group_names.index("few"))
    losses = {}
    for name in ("none", "excess-accuracy"):
        model = dense(two_groups)
        solve(model, two_groups, 0.9, make_constraint(name, 0.0), SETTINGS)
        batch = two_groups.batch(rows)
        losses[name] = torch.nn.functional.cross_entropy(model(batch.inputs), batch.labels).item()
    assert losses["excess-accuracy"] < 0.9 * losses["none"]


@pytest.mark.parametrize("step", [0.1, 1e3, 1e9])
def test_no_multiplier_step_destroys_the_network(two_groups, step):
    model = dense(two_groups)
    settings = BilevelSettings(training=SETTINGS.training, multiplier_step=step)
    solve(model, two_groups, 0.5, make_constraint("group-loss", 0.0), settings)
    batch = two_groups.batch(two_groups.indices("test"))
    assert (model(batch.inputs).argmax(1) == batch.labels).float().mean() > 0.7


def test_multipliers_are_projected_bounded_and_settle_at_their_mean():
    multipliers = Multipliers(3, step=1.0, bound=2.0)
    multipliers.update(torch.tensor([1.0, -1.0, float("nan")]))
    assert multipliers.values.tolist() == [1.0, 0.0, 0.0]
    multipliers.update(torch.tensor([5.0, 0.5, 0.25]))
    assert multipliers.values.tolist() == [2.0, 0.5, 0.25]
    multipliers.update(torch.tensor([-1.0, 0.5, 0.25]))
    multipliers.settle()
    assert multipliers.values.tolist() == [1.5, 0.75, 0.375]


def test_the_rate_rises_along_a_cubic():
    assert [cubic_rate(0.8, progress, 0.4) for progress in (0.0, 0.2, 0.4, 0.9)] == [
        0.0,
        pytest.approx(0.7),
        0.8,
        0.8,
    ]
    assert cubic_rate(0.8, 0.0, 0.0) == 0.8


def test_bad_rates_and_constraints(two_groups):
    with pytest.raises(AuditError, match="0 ≤ rate < 1"):
        solve(dense(two_groups, 1), two_groups, 1.0, None, SETTINGS)
    with pytest.raises(AuditError, match="expected none, group-loss"):
        make_constraint("fairness", 0.0)
    with pytest.raises(AuditError, match="expected 0 or more"):
        make_constraint("group-loss", -0.1)
