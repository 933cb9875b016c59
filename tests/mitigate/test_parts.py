"""The small parts of the solver, against answers by hand: no network is trained."""

import logging
import math

import pytest
import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.mitigate.harm import HarmWatch, _standard_errors, levelled
from audit.mitigate.line import LossLine, loss_on_line
from audit.mitigate.multipliers import Multipliers
from audit.mitigate.readings import Readings
from audit.mitigate.statistics import Reference, group_statistics, statistics_of
from audit.mitigate.weights import MaskedWeights
from audit.prune.mask import Mask
from tests.conftest import make_groups

# --- multipliers ----------------------------------------------------------------------------------


def test_multipliers_ascend_between_zero_and_their_bound() -> None:
    found = Multipliers(3, step=0.5, bound=1.0)
    steps = [([1.0, -1.0, 4.0], [0.5, 0.0, 1.0]), ([-0.4, 0.2, -0.2], [0.3, 0.1, 0.9])]
    for violation, expected in steps:
        found.update(torch.tensor(violation))
        assert found.values.tolist() == pytest.approx(expected)


def test_the_gain_answers_to_the_change_of_a_violation() -> None:
    """0.5·(1 + 2·1) = 1.5; then 1.5 + 0.5·(0.4 + 2·(0.4 − 1)) = 1.1."""
    found = Multipliers(1, step=0.5, bound=9.0, gain=2.0)
    for violation, expected in ((1.0, 1.5), (0.4, 1.1)):
        found.update(torch.tensor([violation]))
        assert found.values.item() == pytest.approx(expected)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_violation_that_is_not_finite_is_as_last_known(broken: float) -> None:
    found = Multipliers(2, step=1.0, bound=9.0, gain=1.0)
    found.update(torch.tensor([0.5, 0.1]))
    found.update(torch.tensor([broken, 0.3]))
    # 1.0 + 0.5 without a change; 0.2 + (0.3 + 0.2).
    assert found.values.tolist() == pytest.approx([1.5, 0.7])
    assert found.last.tolist() == pytest.approx([0.5, 0.3])


@pytest.mark.parametrize(("steps", "mean"), [(1, 1.0), (4, 3.5), (5, 4.0)])
def test_multipliers_settle_at_the_mean_of_the_second_half(steps: int, mean: float) -> None:
    found = Multipliers(1, step=1.0, bound=99.0)
    found.settle()
    assert found.values.item() == 0.0
    for _ in range(steps):
        found.update(torch.tensor([1.0]))
    again = Multipliers(1, step=1.0, bound=99.0)
    again.load_state_dict(found.state_dict())
    for one in (found, again):
        one.settle()
        assert one.values.item() == mean
    assert Multipliers(2, 1.0, 1.0).state_dict()["path"].shape == (0, 2)


# --- readings -------------------------------------------------------------------------------------

SURE = {0: [4.0, 0.0], 1: [0.0, 4.0]}


def logits(*classes: int) -> Tensor:
    return torch.tensor([SURE[one] for one in classes])


def counted(found: Readings) -> tuple[list[list[float]], list[list[float]]]:
    """Samples of each group and class, and how many of them are right."""
    known = found.statistics()
    return known.class_counts.tolist(), known.sums[..., 1].tolist()


def test_readings_count_the_last_that_was_seen_of_every_sample() -> None:
    labels, groups = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    dense = Reference.of(logits(0, 1, 0), labels)
    found = Readings(3, groups=2, classes=2)
    assert counted(found) == ([[0, 0], [0, 0]], [[0, 0], [0, 0]])
    found.append(logits(0, 0, 1), labels, groups, dense)
    assert counted(found) == ([[1, 1], [0, 1]], [[1, 0], [0, 1]])
    found.write(torch.tensor([1, 2]), logits(1, 0), labels[1:])
    assert counted(found) == ([[1, 1], [0, 1]], [[1, 1], [0, 0]])
    known = found.statistics()
    wrong, right = math.log1p(math.exp(4.0)), math.log1p(math.exp(-4.0))
    assert known.loss.tolist() == pytest.approx([right, wrong], rel=1e-5)
    assert known.dense_accuracy.tolist() == [1.0, 0.0]
    assert known.rates.tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert counted(Readings.from_state(found.state_dict())) == counted(found)


def test_of_a_stream_the_oldest_readings_go() -> None:
    found = Readings(3, groups=1, classes=2)
    for label, said in ((0, 1), (0, 0), (1, 1), (1, 0), (1, 1)):
        labels = torch.tensor([label])
        found.append(logits(said), labels, torch.tensor([0]), Reference.of(logits(said), labels))
    # The three last are of class 1, of which the middle one is wrong.
    assert counted(found) == ([[0, 3]], [[0, 2]])
    assert (found.filled, found.next) == (3, 2)


# --- weights under a mask -------------------------------------------------------------------------


def test_what_is_removed_keeps_its_value_and_what_survives_follows_the_optimiser() -> None:
    layer = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    held = MaskedWeights(layer, Mask({"weight": torch.tensor([[True, False, True]])}))
    assert layer.weight.tolist() == [[1.0, 0.0, 3.0]]
    assert held.gradients()["weight"].tolist() == [[0.0, 0.0, 0.0]]
    with torch.no_grad():
        layer.weight += 0.5
    held.follow()
    assert layer.weight.tolist() == [[1.5, 0.0, 3.5]]
    assert held.theta["weight"].tolist() == [[1.5, 2.0, 3.5]]
    held.set_mask(Mask({"weight": torch.tensor([[False, True, True]])}))
    assert layer.weight.tolist() == [[0.0, 2.0, 3.5]]
    assert held.mask.parts["weight"].tolist() == [[False, True, True]]
    layer(torch.ones(1, 3)).sum().backward()
    assert held.gradients()["weight"].tolist() == [[1.0, 1.0, 1.0]]


# --- harm -----------------------------------------------------------------------------------------


def right_on(shares: list[list[float]], dense: list[list[float]], n: float = 1000.0):
    """Two groups of so many samples of each of two classes, and the shares that are right."""
    now, before = torch.tensor(shares, dtype=torch.float64), torch.tensor(dense).double()
    rows = [torch.zeros_like(now), now, torch.zeros_like(now), before]
    first, second = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    as_first = now * first + (1 - now) * second
    sums = torch.stack([*rows, as_first, 1 - as_first], -1) * n
    return statistics_of(sums, torch.full((2, 2), n))


GOOD = [[0.9, 0.9], [0.9, 0.9]]


@pytest.mark.parametrize(
    ("shares", "kinds"),
    [
        (GOOD, set()),
        ([[0.89, 0.89], [0.88, 0.88]], set()),  # 1 and 2 points, 1.5 together
        ([[0.9, 0.9], [0.9, 0.83]], set()),  # 3.5 of a group, within its error beyond 2
        ([[0.85, 0.9], [0.88, 0.88]], {"all"}),
        ([[0.9, 0.9], [0.7, 0.9]], {"all", "groups"}),
        ([[1.0, 0.01], [1.0, 0.01]], {"collapse", "all", "groups"}),
        ([[1.0, 0.03], [1.0, 0.03]], {"all", "groups"}),
    ],
)
def test_harm_is_told_by_kind_beyond_its_tolerance(
    shares: list[list[float]], kinds: set[str]
) -> None:
    found = levelled(right_on(shares, GOOD), ("a", "b"))
    assert set(found) == kinds
    if kinds == {"all", "groups"} and shares[0][0] == 0.9:
        assert "balanced accuracy is 5.0 points below" in found["all"]
        assert found["groups"].endswith(": b by 10.0 points")


def test_the_error_of_a_group_counts_its_classes_and_both_networks() -> None:
    """Standard error √(4·0.09/n)/2 for 0.9 and 0.9 of two classes: 2 errors are 0.06 at n = 100."""
    for fall, said in ((0.075, False), (0.095, True)):
        shares = [[0.9, 0.9], [0.9 - fall, 0.9 - fall]]
        assert ("groups" in levelled(right_on(shares, GOOD, 100.0), ("a", "b"))) is said


def test_standard_errors_are_of_the_mean_over_the_classes_there_are() -> None:
    """√(2·(0.5·0.5 + 0.75·0.25)/100)/2 of two classes, and √((0.16 + 0.09)/100) of one alone."""
    known = right_on([[0.5, 0.5], [0.8, 0.0]], [[0.75, 0.75], [0.9, 0.0]], 100.0)
    counts = known.class_counts.clone()
    counts[1, 1] = 0
    found = _standard_errors(statistics_of(known.sums, counts))
    assert found.tolist() == pytest.approx([math.sqrt(0.875 / 100) / 2, math.sqrt(0.25 / 100)])


def test_a_watch_looks_now_and_then_and_says_each_kind_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch, bad = HarmWatch(("a", "b")), right_on([[0.9, 0.9], [0.7, 0.9]], GOOD)
    logged = logging.getLogger("audit")
    logged.addHandler(caplog.handler)
    try:
        for step in range(1, 76):
            watch.look(step, right_on(GOOD, GOOD) if step <= 30 else bad)
    finally:
        logged.removeHandler(caplog.handler)
    told = list(dict.fromkeys(record.getMessage() for record in caplog.records))
    assert [text.split(":")[0] for text in told] == ["step 50", "step 50"]


# --- the line between two networks ----------------------------------------------------------------


def test_the_loss_on_a_line_has_its_ends_and_its_barrier() -> None:
    """Weights −w and w of a linear network: halfway it says nothing, and its loss is ln 2."""
    inputs = torch.tensor([[1.0], [-1.0]]).repeat(40, 1)
    data = make_groups(inputs, torch.tensor([1, 0]).repeat(40), (torch.arange(80) >= 20).long())
    ends = [nn.Linear(1, 2, bias=False) for _ in range(2)]
    for sign, end in zip((-1.0, 1.0), ends, strict=True):
        with torch.no_grad():
            end.weight.copy_(sign * torch.tensor([[-1.0], [1.0]]))
    found = loss_on_line(ends[0], ends[1], data, points=3)
    expected = [math.log1p(math.exp(2.0)), math.log(2.0), math.log1p(math.exp(-2.0))]
    assert found.loss.tolist() == pytest.approx(expected, rel=1e-6)
    assert found.accuracy[[0, 2]].tolist() == [0.0, 1.0]
    assert found.positions.tolist() == [0.0, 0.5, 1.0]
    assert found.group_loss.shape == (3, 2)
    assert found.counts.tolist() == data.sizes()["test"].tolist()
    assert found.barrier == 0.0  # a convex loss has none
    for other, points, said in (
        (ends[1], 1, "found 1 points"),
        (nn.Linear(2, 2), 3, "differ in their parameters"),
    ):
        with pytest.raises(AuditError, match=said):
            loss_on_line(ends[0], other, data, points)


def test_a_barrier_is_the_height_above_the_straight_line() -> None:
    points = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    none = torch.zeros(3, 1)
    loss = torch.tensor([1.0, 2.5, 2.0], dtype=torch.float64)
    assert LossLine(points, loss, loss, none, none, none).barrier == pytest.approx(1.0)


# --- statistics -----------------------------------------------------------------------------------


def test_statistics_of_an_absent_class_of_a_group_are_not_known() -> None:
    labels, groups = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1])
    found = group_statistics(logits(0, 1, 1), labels, groups, logits(0, 0, 0), 3, soft=False)
    assert found.counts.tolist() == [2, 1, 0]
    assert found.group_shares.tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert found.accuracy[:2].tolist() == [0.5, 1.0]
    assert found.dense_accuracy[:2].tolist() == [1.0, 0.0]
    assert found.accuracy[2].isnan()
    assert found.recalls.isnan().tolist() == [[False, True], [True, False], [True, True]]
    assert found.overall_accuracy.item() == pytest.approx(2 / 3)
    assert found.overall_dense_accuracy.item() == pytest.approx(2 / 3)
    assert found.overall_rates.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert found.overall_class_rates.tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert not found.complete
