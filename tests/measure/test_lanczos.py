"""Lanczos on operators whose spectrum is known."""

import numpy as np
import pytest
import torch

from audit.measure.lanczos import Krylov, lanczos


def until(size):
    return lambda krylov: len(krylov.values) >= size


def start(size):
    return torch.randn(size, generator=torch.Generator().manual_seed(0)).double()


def test_a_known_spectrum_is_exact_when_the_space_is_invariant():
    """Three distinct eigenvalues among forty: three products are enough, and exact."""
    spectrum = torch.tensor([-3.0] * 5 + [0.5] * 30 + [2.0] * 5).double()
    found = lanczos(lambda v: spectrum * v, start(40), until(3))
    assert found.values == pytest.approx([-3.0, 0.5, 2.0], rel=1e-12)
    assert found.residuals.max() < 1e-12


def test_an_invariant_space_is_left_for_the_other_eigenvectors():
    """A start inside an eigenspace, and an eigenvalue that comes twice."""
    spectrum = torch.tensor([1.0, 1.0, 5.0, 2.0]).double()
    found = lanczos(
        lambda v: spectrum * v, torch.tensor([1.0, 1e-30, 1e-30, 1e-30]).double(), until(9)
    )
    assert found.values == pytest.approx([1.0, 1.0, 2.0, 5.0], rel=1e-12)


def test_coordinates_outside_the_start_stay_outside():
    spectrum = torch.tensor([9.0, 2.0, 1.0]).double()
    found = lanczos(lambda v: spectrum * v, torch.tensor([0.0, 1.0, 1.0]).double(), until(9))
    assert found.values == pytest.approx([1.0, 2.0])
    assert found.pair(-1).vector[0] == 0.0


def test_the_operators_own_tensors_are_left_alone():
    found = lanczos(lambda v: v, torch.ones(4).double(), until(1))
    assert found.pair(-1).value == pytest.approx(1.0)
    assert found.pair(-1).vector.tolist() == pytest.approx([0.5] * 4)


@pytest.mark.parametrize("seed", range(5))
def test_the_estimated_error_is_one(seed):
    """Random spectra: the truth lies within the residual, and within the estimate for the largest."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(60, 60, generator=generator).double()
    matrix = matrix @ matrix.T / 60 - 0.5 * torch.eye(60)
    truth = torch.linalg.eigvalsh(matrix)
    vector = torch.randn(60, generator=generator).double()
    for size in (5, 10, 20):
        found = lanczos(lambda v: matrix @ v, vector, until(size))
        pair = found.pair(-1)
        again = float((matrix @ pair.vector - pair.value * pair.vector).norm())
        assert pair.residual == pytest.approx(again, rel=1e-6, abs=1e-12)
        assert float((truth - pair.value).abs().min()) <= pair.residual + 1e-12
        assert pair.error <= pair.residual
        if size > 5:
            assert truth[-1] - pair.value <= pair.error + 1e-12


def test_the_gap_is_never_taken_for_more_than_is_known():
    """residual²/gap: half of λ, half of the next Ritz value's distance, or what is known better."""
    coefficients = np.array([[0.6, 0.8], [-0.8, 0.6]])
    found = Krylov([], np.array([1.0, 10.0]), coefficients, 0.5, 0.0)
    assert found.residuals == pytest.approx([0.4, 0.3])
    assert found.errors()[1] == pytest.approx(0.3**2 / 4.5)
    assert found.errors((None, 0.8))[1] == pytest.approx(0.3**2 / 2.0)
    assert found.errors((None, 0.99))[1] == pytest.approx(0.3)  # not apart: the residual
    assert found.errors()[0] == pytest.approx(0.4)


def test_rounding_enters_the_residual():
    """An operator that is not quite symmetric, as products in float32 are."""
    generator = torch.Generator().manual_seed(0)
    noise = 1e-6 * torch.randn(30, 30, generator=generator).double()
    spectrum = torch.linspace(0, 1, 30).double()
    found = lanczos(lambda v: spectrum * v + noise @ v, start(30), until(29))
    assert 1e-7 < found.pair(-1).residual < 1e-4
