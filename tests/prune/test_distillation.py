"""Learning from the dense network, and varied images: terms that every method can have."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.mitigate import MITIGATION_METHODS, make_constraints, mitigate
from audit.models import Architecture, TrainingSettings, build_model, train
from audit.models.augmentation import AUGMENTATIONS, augmented
from audit.prune import PRUNING_METHODS, prune
from audit.prune.distillation import distilled_losses
from audit.study.making import prune_model, train_model
from audit.study.settings import METHODS, Method, settings_from

FAST = TrainingSettings(epochs=3, batch_size=32, learning_rate=0.05)


def test_the_loss_compares_with_the_dense_network() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    dense = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    labels = torch.tensor([0, 0])
    found = distilled_losses(logits, labels, dense, 0.25, 2.0)
    teacher, student = (dense / 2).softmax(1), (logits / 2).softmax(1)
    divergence = (teacher * (teacher.log() - student.log())).sum(1)
    hard = functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(found, 0.75 * hard + 0.25 * 4 * divergence)
    assert divergence[1].item() == 0.0
    torch.testing.assert_close(distilled_losses(logits, labels, dense, 0.0, 2.0), hard)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"distillation": 1.5}, "distillation = 1.5; expected a number from 0 to 1"),
        ({"distillation": 0.5, "temperature": 0.0}, "found temperature = 0"),
        ({"augmentation": "spin"}, "expected one of none, flip, crop"),
    ],
)
def test_terms_that_cannot_be(terms: dict[str, object], message: str) -> None:
    with pytest.raises(AuditError, match=message):
        replace(TrainingSettings(), **terms)
    for name in ("magnitude", "bilevel"):
        with pytest.raises(AuditError, match=message):
            Method(name, options=terms)


@pytest.fixture
def dense(image_groups: GroupedData) -> nn.Module:
    model = build_model(Architecture("convnet", (1, 8, 8), 2, {"width": 8}), seed=0)
    train(model, image_groups, image_groups.indices("train"), TrainingSettings(epochs=5))
    return model


def pruned(
    dense: nn.Module, data: GroupedData, method: str, training: TrainingSettings
) -> tuple[nn.Module, tuple[str, ...]]:
    model = copy.deepcopy(dense)
    rate = 0.5
    if method in PRUNING_METHODS:
        return model, prune(model, data, method, rate, training).notes
    constraints = make_constraints(MITIGATION_METHODS[method].constraint)
    return model, mitigate(model, data, method, rate, constraints, training).notes


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_learn_from_the_dense_network(
    method: str, dense: nn.Module, image_groups: GroupedData
) -> None:
    """What it then predicts on new images is nearer to the dense network; and it says so."""
    images = image_groups.batch(image_groups.indices("test")).inputs
    before = dense(images).log_softmax(1).detach()
    distance = {}
    for share in (0.0, 1.0):
        training = replace(FAST, epochs=8, distillation=share, temperature=1.0)
        model, notes = pruned(dense, image_groups, method, training)
        after = model(images).log_softmax(1)
        distance[share] = functional.kl_div(
            after, before, reduction="batchmean", log_target=True
        ).item()
        assert any("100% of the training loss" in note for note in notes) == (share > 0)
    assert distance[1.0] < distance[0.0]


@pytest.mark.parametrize("method", ["magnitude", "gradual", "bilevel", "prune-then-fair"])
def test_every_method_can_learn_from_varied_images(
    method: str, dense: nn.Module, image_groups: GroupedData
) -> None:
    plain, _ = pruned(dense, image_groups, method, FAST)
    varied, notes = pruned(dense, image_groups, method, replace(FAST, augmentation="crop"))
    again, _ = pruned(dense, image_groups, method, replace(FAST, augmentation="crop"))
    differs = [
        not torch.equal(a, b) for a, b in zip(plain.parameters(), varied.parameters(), strict=True)
    ]
    assert any(differs)
    assert any("varied while training (crop)" in note for note in notes)
    assert all(
        torch.equal(a, b) for a, b in zip(varied.parameters(), again.parameters(), strict=True)
    )


def numbered() -> Tensor:
    """Images whose pixels are told apart: 64 of 3×16×16."""
    return torch.arange(64 * 3 * 16 * 16).float().view(64, 3, 16, 16)


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = numbered()
    found = augmented(images, "flip", torch.Generator().manual_seed(0))
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    kept = (found == images).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 16 < int(mirrored.sum()) < 48


def test_a_crop_shifts_all_channels_of_an_image_alike_by_at_most_an_eighth() -> None:
    images = numbered()
    found = augmented(images, "crop", torch.Generator().manual_seed(0))
    shifts = set()
    for image, one in zip(images, found, strict=True):
        down, across = divmod(int(one[0, 4, 4] - image[0, 4, 4]) + 2 * 16 + 2, 16)
        shifts.add((down - 2, across - 2))
        inner = one[:, 4:12, 4:12]
        top, left = 4 + down - 2, 4 + across - 2
        assert torch.equal(inner, image[:, top : top + 8, left : left + 8])
        assert one.min() >= image.min()
        assert one.max() <= image.max()
    assert {shift for pair in shifts for shift in pair} == {-2, -1, 0, 1, 2}


def test_without_augmentation_nothing_is_drawn_and_tables_have_none() -> None:
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    images = numbered()
    assert augmented(images, "none", generator) is images
    assert torch.equal(generator.get_state(), state)
    for name in AUGMENTATIONS[1:]:
        with pytest.raises(AuditError, match="augmentation is for images"):
            augmented(torch.zeros(4, 3), name, generator)


def test_an_entry_of_a_study_may_set_its_own_terms(two_groups: GroupedData) -> None:
    dense = train_model(two_groups, "mlp", FAST, {"width": 8})
    method = Method("magnitude", options={"distillation": 0.5})
    found = prune_model(dense, two_groups, method, 0.5, FAST).provenance
    assert found.settings["distillation"] == 0.5
    assert found.notes[0].startswith("50% of the training loss")
    with pytest.raises(AuditError, match="'mask_share' in the options of magnitude"):
        Method("magnitude", options={"mask_share": 0.5})


def test_a_study_distils_all_its_methods_and_never_the_dense_network(
    two_groups: GroupedData,
) -> None:
    content = {
        "data": {"dataset": "digits"},
        "model": {"name": "mlp"},
        "study": {"methods": ["magnitude", "bilevel"], "rates": [0.9]},
        "pruning": {"distillation": 0.7, "temperature": 3.0, "augmentation": "crop"},
    }
    assert settings_from(content).pruning.notes[0].startswith("70% of the training loss")
    assert settings_from(content).training.distillation == 0
    with pytest.raises(AuditError, match="no parent to learn from"):
        train_model(two_groups, "mlp", replace(FAST, distillation=0.5))
