"""The solver on a network of torchvision, in a loop of one's own, at 64×64."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from audit import FairPruner
from audit.mitigate.bilevel import BilevelSettings
from audit.prune.mask import measured_mask

models = pytest.importorskip("torchvision.models", reason="the extra vision is not installed")

STEPS = 16


def images(number: int = 48) -> tuple[Tensor, Tensor, Tensor]:
    """Of the second class are those with a bright half; three groups, of which one is darker."""
    generator = torch.Generator().manual_seed(0)
    labels, groups = torch.arange(number) % 2, torch.arange(number) % 3
    pictures = torch.randn(number, 3, 64, 64, generator=generator)
    pictures[:, :, :, 32:] += 1.5 * labels[:, None, None, None]
    return pictures - 0.5 * (groups == 2)[:, None, None, None], labels, groups


@pytest.fixture(scope="module")
def dense() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = models.resnet18(num_classes=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # so few steps
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    pictures, labels, _ = images()
    for step in range(STEPS):
        rows = torch.arange(8) + 8 * (step % 6)
        optimizer.zero_grad()
        functional.cross_entropy(model(pictures[rows]), labels[rows]).backward()
        optimizer.step()
    return model


def test_a_resnet_is_fine_tuned_and_loses_whole_filters(dense: nn.Module) -> None:
    model = copy.deepcopy(dense).train()
    pictures, labels, groups = images()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=STEPS)
    pruner = FairPruner(
        model, rate=0.6, constraint="excess-accuracy", groups=3, steps=STEPS, optimizer=optimizer,
        settings=BilevelSettings(structure="filter"), example=pictures[:2],
    )  # fmt: skip
    for step in range(STEPS):
        rows = torch.arange(8) + 8 * (step % 6)
        pruner.step(pictures[rows], labels[rows], groups[rows])
        scheduler.step()
    mask = pruner.finish()
    assert mask.sparsity == pytest.approx(0.6, abs=0.02)
    found = measured_mask(model)
    assert all(torch.equal(found.parts[name], part) for name, part in mask.parts.items())
    with torch.no_grad():
        right = model.eval()(pictures).argmax(1) == labels
    assert float(right.float().mean()) > 0.8
