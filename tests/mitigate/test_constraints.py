"""Constraints, on numbers small enough to follow by hand."""

import math

import pytest
import torch
from torch.nn import functional

from audit.mitigate.constraints import (
    EqualAccuracy,
    ExcessAccuracy,
    GroupLoss,
    Reference,
    fill_absent,
    group_statistics,
    loss_and_accuracy,
)

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [3.0, 0.0]])
LABELS = torch.tensor([0, 0, 1, 0])
GROUPS = torch.tensor([0, 0, 1, 1])
REFERENCE = Reference(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1.0, 1.0, 1.0, 0.0]))


def statistics(soft: bool, logits=LOGITS, groups=GROUPS, number=3):
    loss, accuracy = loss_and_accuracy(logits, LABELS, soft)
    return group_statistics(loss, accuracy, groups, REFERENCE, number)


def test_statistics_are_means_over_samples():
    losses = functional.cross_entropy(LOGITS, LABELS, reduction="none")
    found = statistics(soft=False)
    torch.testing.assert_close(found.loss[:2], torch.stack([losses[:2].mean(), losses[2:].mean()]))
    assert found.accuracy[:2].tolist() == [0.5, 0.5]
    assert found.dense_accuracy[:2].tolist() == [1.0, 0.5]
    assert found.overall_dense_accuracy.item() == 0.75
    assert math.isnan(found.loss[2])
    assert found.counts.tolist() == [2, 2, 0]


def test_soft_accuracy_is_the_probability_of_the_true_class():
    found = statistics(soft=True)
    expected = LOGITS.softmax(1)[torch.arange(4), LABELS]
    torch.testing.assert_close(found.overall_accuracy, expected.mean())


def test_an_absent_group_comes_from_the_last_batch_and_gives_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    found = statistics(True, logits)
    last = fill_absent(found, statistics(soft=True))
    earlier = statistics(True, groups=torch.tensor([2, 2, 2, 2]))
    filled = fill_absent(found, earlier)
    assert last.loss[2].isnan()
    assert filled.loss[2].detach().item() == earlier.loss[2].item()
    filled.loss.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_violation_of_excess_accuracy_is_the_gap_less_the_tolerance():
    found = ExcessAccuracy(0.1).violation(statistics(soft=False))
    # Group 0 falls from 1 to .5, group 1 stays at .5, all fall from .75 to .5.
    torch.testing.assert_close(found[:2], torch.tensor([0.5 - 0.25 - 0.1, 0.0 - 0.25 - 0.1]))


def test_the_surrogates_never_ask_for_a_higher_loss_of_the_others():
    """Whatever the multipliers, every sample's weight in the loss stays positive."""
    logits = LOGITS.clone().requires_grad_()
    losses = functional.cross_entropy(logits, LABELS, reduction="none")
    (plain,) = torch.autograd.grad(losses.sum(), logits, retain_graph=True)
    for constraint in (GroupLoss(), ExcessAccuracy()):
        found = statistics(True, logits, number=2)
        total = losses.mean() + torch.tensor([0.0, 50.0]) @ constraint.surrogate(found)
        (gradient,) = torch.autograd.grad(total, logits, retain_graph=True)
        weights = (gradient / plain)[:, 0]
        assert (weights > 0).all()
        assert weights[2:].min() > 10 * weights[:2].max()


def test_minimising_the_accuracy_surrogate_closes_the_gap_and_raises_accuracy():
    """The sign that equation 8 of Dai et al. loses, kept: a gap is closed from below."""
    logits = LOGITS.clone().requires_grad_()
    optimizer = torch.optim.SGD([logits], lr=0.5)
    before = EqualAccuracy().surrogate(statistics(soft=True))
    for _ in range(200):
        found = statistics(True, logits, number=2)
        loss = EqualAccuracy().surrogate(found).clamp(min=0).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = statistics(True, logits, number=2)
    assert EqualAccuracy().surrogate(after).max() < 0.1 * before[:2].abs().max()
    assert after.overall_accuracy > statistics(soft=True).overall_accuracy


@pytest.mark.parametrize("kind", [GroupLoss, ExcessAccuracy, EqualAccuracy])
def test_tolerance_shifts_every_violation(kind):
    shift = kind(0.0).violation(statistics(False)) - kind(0.2).violation(statistics(False))
    torch.testing.assert_close(shift.nan_to_num(0.2), torch.full_like(shift, 0.2))
