"""Constraints, on numbers small enough to follow by hand, and against fairlearn."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from torch.nn import functional

from audit.errors import AuditError
from audit.mitigate.constraints import (
    CONSTRAINTS,
    Constraint,
    DemographicParity,
    EqualAccuracy,
    EqualisedOdds,
    ExcessAccuracy,
    ExcessLoss,
    GradientCurvature,
    GroupLoss,
    NoHarm,
    WorstGroup,
    make_constraints,
)
from audit.mitigate.statistics import detached, fill_absent, group_statistics

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [3.0, 0.0]])
LABELS = torch.tensor([0, 0, 1, 0])
GROUPS = torch.tensor([0, 0, 1, 1])
DENSE = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])


def statistics(soft, logits=LOGITS, groups=GROUPS, number=3, **more):
    return group_statistics(logits, LABELS, groups, DENSE, number, soft, **more)


def test_statistics_are_means_over_samples():
    losses = functional.cross_entropy(LOGITS, LABELS, reduction="none")
    found = statistics(soft=False)
    torch.testing.assert_close(found.loss[:2], torch.stack([losses[:2].mean(), losses[2:].mean()]))
    assert found.accuracy[:2].tolist() == [0.5, 0.5]
    assert found.dense_accuracy[:2].tolist() == [1.0, 0.5]
    assert found.overall_dense_accuracy.item() == 0.75
    assert found.rates[:2].tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert found.class_rates[0, 0].tolist() == [0.5, 0.5]
    assert found.class_rates[1].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert found.overall_class_rates[0].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert math.isnan(found.loss[2])
    assert found.class_rates[0, 1].isnan().all()
    assert found.counts.tolist() == [2, 2, 0]
    assert found.class_counts.tolist() == [[2, 0], [1, 1], [0, 0]]
    assert found.group_shares.tolist() == [0.5, 0.5, 0.0]


def test_soft_accuracy_is_the_probability_of_the_true_class():
    found = statistics(soft=True)
    probabilities = LOGITS.softmax(1)
    torch.testing.assert_close(
        found.overall_accuracy, probabilities[torch.arange(4), LABELS].mean()
    )
    torch.testing.assert_close(found.rates[1], probabilities[2:].mean(0))


def test_an_absent_group_comes_from_the_last_batch_and_gives_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    found = statistics(True, logits)
    assert fill_absent(found, statistics(soft=True)).loss[2].isnan()
    earlier = statistics(True, groups=torch.tensor([2, 2, 2, 2]))
    filled = fill_absent(found, earlier)
    assert filled.loss[2].detach().item() == earlier.loss[2].item()
    torch.testing.assert_close(filled.class_rates[2].detach(), earlier.class_rates[2])
    (filled.loss.sum() + filled.class_rates.nan_to_num().sum()).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert not detached(filled).loss.requires_grad


def test_the_violation_of_excess_accuracy_is_the_gap_less_the_tolerance():
    found = ExcessAccuracy(0.1).violation(statistics(soft=False))
    # Group 0 falls from 1 to .5, group 1 stays at .5, all fall from .75 to .5.
    torch.testing.assert_close(found[:2], torch.tensor([0.5 - 0.25 - 0.1, 0.0 - 0.25 - 0.1]))


def test_excess_loss_is_the_excess_risk_beyond_the_populations():
    risk = functional.cross_entropy(LOGITS, LABELS, reduction="none") - functional.cross_entropy(
        DENSE, LABELS, reduction="none"
    )
    expected = torch.stack([risk[:2].mean(), risk[2:].mean()]) - risk.mean() - 0.05
    torch.testing.assert_close(ExcessLoss(0.05).violation(statistics(False))[:2], expected)


def test_the_surrogates_never_ask_for_a_higher_loss_of_the_others():
    """Whatever the multipliers, every sample's weight in the loss stays positive."""
    logits = LOGITS.clone().requires_grad_()
    losses = functional.cross_entropy(logits, LABELS, reduction="none")
    (plain,) = torch.autograd.grad(losses.sum(), logits, retain_graph=True)
    for constraint in (GroupLoss(), ExcessLoss(), ExcessAccuracy()):
        found = statistics(True, logits, number=2)
        total = losses.mean() + torch.tensor([0.0, 50.0]) @ constraint.surrogate(found)
        (gradient,) = torch.autograd.grad(total, logits, retain_graph=True)
        weights = (gradient / plain)[:, 0]
        assert (weights > 0).all()
        assert weights[2:].min() > 10 * weights[:2].max()


def soft_accuracies(logits, labels, signs):
    """Soft accuracy of the samples with s = +1 and s = −1; one logit, labels ±1."""
    right = (labels * logits).sigmoid()
    return right[signs > 0].mean(), right[signs < 0].mean()


def printed_objective(logits, labels, signs):
    """Equation 8 of Dai et al. as printed: (1/N) Σ u(y f)/P(S = s) − 1, without the sign s."""
    shares = torch.where(signs > 0, (signs > 0).float().mean(), (signs < 0).float().mean())
    return ((labels * logits).sigmoid() / shares).mean() - 1


def corrected_objective(logits, labels, signs):
    """The same with the sign s_i inside u: soft Acc⁺ − soft Acc⁻."""
    shares = torch.where(signs > 0, (signs > 0).float().mean(), (signs < 0).float().mean())
    return ((signs * labels * logits).sigmoid() / shares).mean() - 1


@pytest.fixture
def signed():
    generator = torch.Generator().manual_seed(3)
    signs = torch.cat([torch.ones(60), -torch.ones(20)])
    labels = torch.randint(0, 2, (80,), generator=generator) * 2.0 - 1.0
    # Right for the larger group, hardly for the smaller.
    logits = labels * torch.where(signs > 0, 2.0, 0.1)
    return logits + 0.3 * torch.randn(80, generator=generator), labels, signs


def test_equation_8_with_its_sign_is_the_gap_of_soft_accuracies(signed):
    plus, minus = soft_accuracies(*signed)
    assert corrected_objective(*signed).item() == pytest.approx((plus - minus).item(), abs=1e-6)
    assert printed_objective(*signed).item() == pytest.approx((plus + minus - 1).item(), abs=1e-6)


def test_equation_8_as_printed_destroys_accuracy_and_the_constraint_does_not(signed):
    """Minimised alike: the printed formula turns every decision round; ours closes the gap."""
    logits, labels, signs = signed
    groups, classes = (signs > 0).long(), (labels > 0).long()
    dense = torch.stack([torch.zeros(80), logits], 1)

    def ours(values):
        pair = torch.stack([torch.zeros_like(values), values], 1)
        found = group_statistics(pair, classes, groups, dense, 2, soft=True)
        return EqualAccuracy().surrogate(found).clamp(min=0).sum()

    def minimised(objective):
        values = logits.clone().requires_grad_()
        optimizer = torch.optim.SGD([values], lr=5.0)
        for _ in range(400):
            optimizer.zero_grad()
            objective(values).backward()
            optimizer.step()
        values = values.detach()
        plus, minus = soft_accuracies(values, labels, signs)
        return (values * labels > 0).float().mean().item(), abs((plus - minus).item())

    before = soft_accuracies(*signed)
    accuracy = (logits * labels > 0).float().mean().item()
    printed_accuracy, _ = minimised(lambda values: printed_objective(values, labels, signs))
    fair_accuracy, fair_gap = minimised(ours)
    assert accuracy > 0.8
    assert printed_accuracy < 0.1
    assert fair_accuracy >= accuracy
    assert fair_gap < 0.1 * abs((before[0] - before[1]).item())


@pytest.mark.parametrize("kind", [GroupLoss, ExcessLoss, ExcessAccuracy, EqualAccuracy, WorstGroup])
def test_tolerance_shifts_every_violation(kind):
    shift = kind(0.0).violation(statistics(False)) - kind(0.2).violation(statistics(False))
    torch.testing.assert_close(shift.nan_to_num(0.2), torch.full_like(shift, 0.2))


@pytest.fixture
def crossed():
    """Predictions of 3 classes for 600 samples of 2 × 3 crossed groups, all cells filled."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (600,), generator=generator)
    groups = torch.randint(0, 2, (600,), generator=generator) * 3
    groups = groups + torch.randint(0, 3, (600,), generator=generator)
    logits = torch.randn(600, 3, generator=generator)
    logits[torch.arange(600), labels] += 0.3 * groups
    return logits, labels, groups


def one_against_rest(metric, logits, labels, groups):
    predictions = logits.argmax(1)
    return max(
        metric((labels == k).numpy(), (predictions == k).numpy(), sensitive_features=groups.numpy())
        for k in range(3)
    )


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        (DemographicParity, demographic_parity_difference),
        (EqualisedOdds, equalized_odds_difference),
    ],
)
def test_a_met_rate_constraint_bounds_fairlearns_difference(crossed, kind, metric):
    """The tolerance is in fairlearn's unit: where every violation is ≤ 0, its difference is ≤ τ."""
    logits, labels, groups = crossed
    found = group_statistics(logits, labels, groups, logits, 6, soft=False)
    worst = kind(0.0).violation(found).max().item()
    difference = one_against_rest(metric, logits, labels, groups)
    # Two groups differ by at most twice the largest distance from the population, and by it at least.
    assert worst < difference <= 2 * worst + 1e-6
    assert kind(2 * worst).violation(found).max().item() == pytest.approx(0.0, abs=1e-6)


def test_rates_of_groups_follow_one_another_within_every_class(crossed):
    logits, labels, groups = crossed
    found = group_statistics(logits, labels, groups, logits, 6, soft=False)
    violation = DemographicParity().violation(found).view(2, 3, 6)
    expected = (logits.argmax(1)[groups == 4] == 2).double().mean() - (
        logits.argmax(1) == 2
    ).double().mean()
    assert violation[0, 2, 4].item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(violation[0], -violation[1])
    scale = DemographicParity().scale(found).view(2, 3, 6)
    torch.testing.assert_close(scale[1, 2], torch.bincount(groups) / 600)
    odds = EqualisedOdds().violation(found).view(2, 2, 3, 6)
    rows = (groups == 4) & (labels != 2)
    expected = (logits.argmax(1)[rows] == 2).double().mean() - (
        logits.argmax(1)[labels != 2] == 2
    ).double().mean()
    assert odds[1, 0, 2, 4].item() == pytest.approx(expected.item(), abs=1e-6)


def test_odds_of_a_class_that_a_group_does_not_have_say_nothing():
    """Group = label, as in predicting ethnicity: only the own class has a true positive rate."""
    found = group_statistics(LOGITS, LABELS, LABELS, DENSE, 2, soft=False)
    right, wrong = EqualisedOdds().violation(found).view(2, 2, 2, 2)[:, 0]
    assert right.isnan().tolist() == [[False, True], [True, False]]
    assert wrong.isnan().tolist() == [[True, False], [False, True]]


def test_the_worst_groups_loss_is_what_is_minimised():
    found = statistics(True)
    assert WorstGroup().surrogate(found).item() == found.loss[:2].max().item()
    assert WorstGroup().scale(found).tolist() == [1.0]


def test_gradient_and_curvature_of_a_quadratic_are_exact():
    """Losses ½ κ θ² have the gradient κθ and the Hessian κ, both differentiable."""
    theta = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    curvatures = torch.tensor([[3.0, 1.0], [5.0, 2.0]], dtype=torch.float64)
    found = statistics(True, number=2)
    losses = 0.5 * (curvatures * theta**2).sum(1) + 0.1 * theta[0] ** 4
    # Two groups of one sample, each of a class of its own.
    sums = torch.zeros(2, 2, found.sums.shape[2], dtype=torch.float64)
    sums = sums.index_put((torch.arange(2), torch.arange(2), torch.tensor(0)), losses)
    found = replace(found, sums=sums, class_counts=torch.eye(2).double(), parameters=(theta,))
    surrogate = GradientCurvature(0.1).surrogate(found)
    gradients = curvatures * theta + torch.stack([0.4 * theta[0] ** 3, torch.zeros(())])
    hessians = curvatures[:, 0] + 1.2 * theta[0] ** 2
    slopes = gradients.norm(dim=1)
    expected = torch.cat([slopes / gradients.mean(0).norm(), hessians / hessians.mean()]) - 1.1
    torch.testing.assert_close(surrogate.detach(), expected.detach(), atol=1e-4, rtol=1e-4)
    (derivative,) = torch.autograd.grad(surrogate[2], theta)
    torch.testing.assert_close(
        derivative[0], (2.4 * theta[0] / hessians.mean()).detach(), atol=1e-3, rtol=1e-3
    )
    with pytest.raises(AuditError, match="statistics of a batch"):
        GradientCurvature().violation(statistics(False))


@dataclass(frozen=True)
class MostLoss(Constraint):
    """A constraint of one's own: no group's loss above the tolerance."""

    def surrogate(self, found):
        return found.loss - self.tolerance


def test_a_constraint_of_ones_own_needs_one_method():
    found = MostLoss(0.5)
    torch.testing.assert_close(
        found.violation(statistics(False))[:2] + 0.5, statistics(True).loss[:2]
    )
    assert found.scale(statistics(False)).tolist() == [0.5, 0.5, 0.0]


def test_several_constraints_are_named_with_their_own_tolerances():
    assert make_constraints("none") == ()
    assert make_constraints("excess-accuracy=0.01+equalised-odds", 0.05) == (
        ExcessAccuracy(0.01),
        EqualisedOdds(0.05),
        NoHarm(0.02),
    )
    assert make_constraints("audit.mitigate.constraints:GroupLoss") == (GroupLoss(0.0),)
    assert len({type(c) for name in CONSTRAINTS for c in make_constraints(name)}) == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fairness", "expected one of group-loss"),
        ("group-loss=-0.1", "expected 0 or more"),
        ("group-loss=nan", "expected 0 or more"),
        ("group-loss=much", "expected a number"),
        ("excess-accuracy=2", "which is a share; expected at most 1"),
        ("equalised-odds+no-harm=5", "found tolerance 5 of no-harm, which is a share"),
        ("group-loss+group-loss=0.1", "twice"),
        ("no.such:Thing", "cannot be imported"),
        ("audit.errors:AuditError", "is no constraint"),
    ],
)
def test_constraints_that_cannot_be_made(text, message):
    with pytest.raises(AuditError, match=message):
        make_constraints(text)


def test_statistics_do_not_depend_on_the_order_of_samples():
    order = torch.tensor([2, 0, 3, 1])
    one = statistics(True)
    other = group_statistics(
        LOGITS[order], LABELS[order], GROUPS[order], DENSE[order], 3, soft=True
    )
    for name in ("loss", "accuracy", "rates", "class_rates", "overall_class_rates"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), equal_nan=True)
    assert np.isclose(one.overall_loss.item(), other.overall_loss.item())


def test_equal_accuracy_moves_the_lower_side_alone():
    """Below: the group is raised and the population held. Above: the population, the group held."""
    logits = torch.tensor([[2.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 0.3]], requires_grad=True)
    labels, groups = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 1, 1])
    dense = logits.detach()
    found = group_statistics(logits, labels, groups, dense, 2, soft=True)
    surrogate = EqualAccuracy().surrogate(found)
    own, whole = found.accuracy, found.overall_accuracy
    for group in (0, 1):
        (below,) = torch.autograd.grad(surrogate[group], logits, retain_graph=True)
        (of_group,) = torch.autograd.grad(-own[group], logits, retain_graph=True)
        torch.testing.assert_close(below, of_group)
        (above,) = torch.autograd.grad(surrogate[2 + group], logits, retain_graph=True)
        (of_all,) = torch.autograd.grad(-whole, logits, retain_graph=True)
        torch.testing.assert_close(above, of_all)
