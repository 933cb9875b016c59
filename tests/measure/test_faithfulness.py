"""Agreement with the dense network: counted by hand, and against scipy and torch."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from audit.errors import AuditError
from audit.measure.faithfulness import divergence, faithfulness


def test_every_kind_of_change_is_counted_once() -> None:
    label = np.array(["a"] * 7)
    dense = np.array(["a", "a", "b", "b", "b", "a", "c"])
    pruned = np.array(["a", "b", "a", "b", "c", "c", "a"])
    found = faithfulness(label, dense, pruned, np.zeros(7, int), 1)
    assert [found.n[0], found.agree[0], found.broken[0], found.mended[0], found.moved[0]] == [
        7,
        2,
        2,
        2,
        1,
    ]


def test_the_four_add_up_in_every_group() -> None:
    generator = np.random.default_rng(0)
    label, dense, pruned = generator.integers(0, 4, (3, 500))
    groups = generator.integers(0, 3, 500)
    found = faithfulness(label, dense, pruned, groups, 4)
    np.testing.assert_array_equal(
        found.agree + found.broken + found.mended + found.moved, np.bincount(groups, minlength=4)
    )
    np.testing.assert_array_equal(found.agree, np.bincount(groups[dense == pruned], minlength=4))
    assert np.isnan(found.p_value[3])


@pytest.mark.parametrize(("broken", "mended"), [(9, 1), (1, 9), (5, 5), (0, 6), (40, 20)])
def test_mcnemar_is_the_exact_binomial_test(broken: int, mended: int) -> None:
    label = np.zeros(broken + mended + 30, int)
    dense, pruned = label.copy(), label.copy()
    pruned[:broken] = 1
    dense[broken : broken + mended] = 1
    found = faithfulness(label, dense, pruned, label, 1)
    wanted = binomtest(broken, broken + mended).pvalue
    tail = sum(
        np.prod([(broken + mended - k) / (k + 1) for k in range(i)])
        for i in range(min(broken, mended) + 1)
    )
    assert found.p_value[0] == pytest.approx(wanted)
    assert found.p_value[0] == pytest.approx(min(1.0, 2 * tail / 2 ** (broken + mended)))


def test_nothing_broken_and_nothing_mended_is_no_evidence() -> None:
    label = np.zeros(50, int)
    assert faithfulness(label, label, label, label, 1).p_value[0] == 1.0


def test_lengths_must_agree() -> None:
    for odd in range(4):
        for size in (2, 4):
            one, two, three, four = (
                np.zeros(size if place == odd else 3, int) for place in range(4)
            )
            with pytest.raises(AuditError, match="expected one of each"):
                faithfulness(one, two, three, four, 1)


def test_divergence_is_that_of_torch() -> None:
    first, second = torch.randn(2, 40, 5, dtype=torch.float64).log_softmax(-1)
    wanted = torch.nn.functional.kl_div(second, first, reduction="none", log_target=True).sum(1)
    np.testing.assert_allclose(divergence(first.numpy(), second.numpy()), wanted, rtol=1e-12)


def test_divergence_is_zero_of_itself_and_never_below() -> None:
    logs = torch.randn(500, 7).log_softmax(-1)
    nearly = (logs + 1e-6 * torch.randn(500, 7)).log_softmax(-1)
    assert (divergence(logs.double().numpy(), logs.double().numpy()) < 1e-12).all()
    found = divergence(logs.double().numpy(), nearly.double().numpy())
    assert (found >= 0).all()
    assert found.max() < 1e-6


def test_what_the_pruned_network_rules_out_is_infinitely_far() -> None:
    with np.errstate(divide="ignore"):
        dense, pruned = np.log([[0.5, 0.5], [1.0, 0.0]]), np.log([[1.0, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(divergence(dense, pruned), [np.inf, np.log(2)])


def test_divergence_needs_the_same_classes() -> None:
    with pytest.raises(AuditError, match="same samples and classes"):
        divergence(np.zeros((3, 2)), np.zeros((3, 4)))
