"""Eigenvalues against two further libraries: `make peers` installs them and runs these tests."""

import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from audit.measure.curvature import CurvatureSettings, hessian_extremes

EXACT = CurvatureSettings(tolerance=1e-10, max_products=400, extra=400)


@pytest.fixture
def case():
    """A convolutional network with batch norm and ragged batches of its samples, in float64."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 3),
    )
    model(torch.randn(32, 1, 8, 8))  # running statistics that are not the initial ones
    model.double().eval()
    inputs = torch.randn(23, 1, 8, 8, dtype=torch.float64)
    labels = torch.arange(23) % 3
    return model, list(zip(inputs.split(10), labels.split(10), strict=True))


def mean_loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize(("end", "position"), [("LA", 0), ("SA", 1)])
def test_curvlinops_finds_the_same_ends_of_the_spectrum(case, end, position):
    curvlinops = pytest.importorskip("curvlinops", reason="curvlinops is missing: make peers")
    model, batches = case
    operator = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), [*model.parameters()], batches
    )
    found = eigsh(operator.to_scipy(), k=1, which=end, tol=1e-12, return_eigenvectors=False)
    own = hessian_extremes(model, batches, settings=EXACT)[position]
    # The smallest lies in the crowded end, where the search ends by its certificate.
    assert own.value == pytest.approx(found[0], rel=1e-8 if end == "LA" else 1e-6)
    assert abs(own.value - found[0]) <= own.error + 1e-9


def test_hessian_eigenthings_finds_the_same_eigenvalue_on_one_batch(case):
    eigenthings = pytest.importorskip(
        "hessian_eigenthings", reason="hessian-eigenthings is missing: make peers"
    )
    model, batches = case
    # One batch: its mean over batches weighs the samples of a ragged last batch more.
    whole = [tuple(torch.cat(parts) for parts in zip(*batches, strict=True))]
    operator = eigenthings.HessianOperator(model, whole, mean_loss)
    found = eigenthings.lanczos(operator, k=1, max_iter=30, which="LA", seed=0)
    own = hessian_extremes(model, batches, settings=EXACT)[0]
    assert own.value == pytest.approx(float(found.eigenvalues[0]), rel=1e-6)
