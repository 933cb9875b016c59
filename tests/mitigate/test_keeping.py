"""Which network of a run is kept, and by samples that no weight has seen."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from audit.data.grouped import GroupedData
from audit.mitigate import BilevelSettings, FairPruner, make_constraints, solve
from audit.mitigate.keeping import Candidate, best, front
from audit.mitigate.statistics import group_statistics
from audit.models import Architecture, TrainingSettings, build_model, train
from audit.prune.distillation import evaluated_logits
from audit.prune.mask import measured_mask

SETTINGS = BilevelSettings(
    training=TrainingSettings(epochs=6, batch_size=16), mask_split="train", settle_split="train"
)


def of(step: int, violation: float, accuracy: float) -> Candidate:
    return Candidate(step, violation, accuracy, {})


def test_the_front_holds_what_nothing_beats() -> None:
    early, fair, good, worse = of(0, 0.2, 0.9), of(1, 0.0, 0.8), of(2, 0.1, 0.9), of(3, 0.1, 0.85)
    assert [one.step for one in front([early, fair, good, worse])] == [1, 2]
    assert [one.step for one in front([good, replace(good, step=5)])] == [5]


@pytest.mark.parametrize(
    ("candidates", "step"),
    [
        ([of(0, 0.1, 0.9), of(1, 0.05, 0.897), of(2, 0.0, 0.85)], 1),
        ([of(0, 0.0, 0.9), of(1, 0.0, 0.9)], 1),
        ([of(0, 0.0, 0.6), of(1, 0.3, 0.9)], 1),
        ([of(0, 0.0, 0.9)], 0),
    ],
)
def test_the_fairest_of_the_nearly_most_accurate_is_kept(
    candidates: list[Candidate], step: int
) -> None:
    """Never one that is fair by being bad: it is not nearly as accurate."""
    assert best(candidates).step == step


@pytest.fixture
def dense(two_groups: GroupedData) -> nn.Module:
    model = build_model(Architecture("mlp", two_groups.input_shape, 2, {"width": 16}))
    train(
        model, two_groups, two_groups.indices("train"), TrainingSettings(epochs=10, batch_size=16)
    )
    return model


def test_select_stays_unseen_by_weights_and_mask(
    two_groups: GroupedData, dense: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[tuple[float, ...]]] = {"step_on": set(), "observe_on": set()}
    masks = []
    for name, rows in seen.items():
        original = getattr(FairPruner, name)

        def spy(self, samples, *rest, original=original, rows=rows, name=name, **more):  # type: ignore[no-untyped-def]
            if name == "step_on" or not self.frozen:
                rows.update(map(tuple, samples.inputs.tolist()))
            masks.append(self.done)
            return original(self, samples, *rest, **more)

        monkeypatch.setattr(FairPruner, name, spy)
    solution = solve(dense, two_groups, 0.5, make_constraints("excess-accuracy"), SETTINGS)
    inputs = two_groups.batch(two_groups.indices("train")).inputs
    learnt = set(map(tuple, inputs.tolist()))
    assert masks
    assert seen["step_on"] == learnt
    assert seen["observe_on"] <= learnt
    assert solution.history
    assert solution.steps == SETTINGS.training.steps(len(two_groups.indices("train", "select")))


def test_the_network_kept_is_the_one_that_select_shows_to_be_best(
    two_groups: GroupedData, dense: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.mitigate import solver

    looked: list[Candidate] = []

    def spy(candidates: list[Candidate]) -> list[Candidate]:
        looked.append(candidates[-1])
        return front(candidates)

    monkeypatch.setattr(solver, "front", spy)
    before = evaluated_logits(dense, two_groups)
    constraint = make_constraints("excess-accuracy")
    model = copy.deepcopy(dense)
    solution = solve(model, two_groups, 0.8, constraint, SETTINGS)
    kept = best(looked)
    assert len(looked) > 1
    rows = two_groups.indices("select")
    found = group_statistics(
        evaluated_logits(model, two_groups, rows=rows), two_groups.labels[rows],
        two_groups.groups[rows], before[rows], 2, soft=False,
    )  # fmt: skip
    assert float(found.overall_accuracy) == kept.accuracy
    assert max(0.0, float(constraint[0].violation(found).max())) == pytest.approx(kept.violation)
    assert all(
        torch.equal(part, solution.mask.parts[name])
        for name, part in measured_mask(model).parts.items()
    )
    assert f"after {kept.step + 1:,} of" in " ".join(solution.notes)
