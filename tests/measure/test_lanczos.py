"""Lanczos on operators whose spectrum is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.measure.lanczos import Space, dot, dots, length


def start(size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).double()


def grown(spectrum: Tensor, vector: Tensor, size: int, room: int = 80) -> Space:
    """The Krylov space of a diagonal operator, of that size if there is so much of it."""
    space = Space(vector, room)
    while len(space) < size and space.can_grow(0):
        space.grow(lambda v: spectrum * v, 0)
    return space


def test_a_known_spectrum_is_exact_when_the_space_is_invariant():
    """Three distinct eigenvalues among forty: three products are enough, and exact."""
    spectrum = torch.tensor([-3.0] * 5 + [0.5] * 30 + [2.0] * 5).double()
    found = grown(spectrum, start(40), 9)
    assert found.ritz[0] == pytest.approx([-3.0, 0.5, 2.0], rel=1e-12)
    assert abs(found.couplings()).max() < 1e-12
    assert not found.can_grow(0)


def test_an_invariant_space_is_left_by_another_vector():
    """A start inside an eigenspace, and an eigenvalue that comes twice."""
    spectrum = torch.tensor([1.0, 1.0, 5.0, 2.0]).double()
    found = grown(spectrum, torch.tensor([1.0, 0.0, 0.0, 0.0]).double(), 4)
    assert found.ritz[0].tolist() == [1.0]
    while len(found) < 4:
        way = found.offer(start(4, seed=len(found)))
        found.grow(lambda v: spectrum * v, way)
    assert found.ritz[0] == pytest.approx([1.0, 1.0, 2.0, 5.0], rel=1e-12)


def test_coordinates_outside_the_start_stay_outside():
    spectrum = torch.tensor([9.0, 2.0, 1.0]).double()
    found = grown(spectrum, torch.tensor([0.0, 1.0, 1.0]).double(), 9)
    assert found.ritz[0] == pytest.approx([1.0, 2.0])
    assert found.vector(-1)[0] == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_growing_two_ways_in_any_order_keeps_the_books(seed):
    """M is BHBᵀ, and ‖Hv − λv‖ of every Ritz pair is what the couplings say."""
    generator = np.random.default_rng(seed)
    matrix = torch.from_numpy(generator.normal(size=(30, 30)))
    matrix = matrix + matrix.T
    space = Space(start(30), 30)
    space.grow(lambda v: matrix @ v, 0)
    other = space.offer(start(30, seed=7))
    for way in generator.permutation([0] * 5 + [other] * 5):
        space.grow(lambda v: matrix @ v, int(way))
    basis = space.basis
    torch.testing.assert_close(basis @ basis.T, torch.eye(11).double(), atol=1e-10, rtol=0)
    assert np.allclose((basis @ matrix @ basis.T).numpy(), space.matrix, atol=1e-10)
    for index, value in enumerate(space.ritz[0]):
        vector = space.vector(index)
        residual = float((matrix @ vector - value * vector).norm())
        assert np.linalg.norm(space.couplings()[index]) == pytest.approx(residual, rel=1e-8)


def test_a_restart_keeps_the_ritz_vectors_and_what_leads_out_of_them():
    spectrum = torch.linspace(-1, 1, 60).double() ** 3
    space = grown(spectrum, start(60), 12)
    values, vectors = space.ritz[0][-3:], [space.vector(index) for index in (-3, -2, -1)]
    leads = abs(space.couplings()[-3:])
    space.shrink(np.array([9, 10, 11]))
    assert space.ritz[0] == pytest.approx(values)
    assert abs(space.couplings()) == pytest.approx(leads)
    for index, vector in enumerate(vectors):
        assert abs(float(space.vector(index) @ vector)) == pytest.approx(1.0)
    while len(space) < 12:
        space.grow(lambda v: spectrum * v, 0)
    assert space.ritz[0][-1] >= values[-1]
    residual = float((spectrum * space.vector(-1) - space.ritz[0][-1] * space.vector(-1)).norm())
    assert np.linalg.norm(space.couplings()[-1]) == pytest.approx(residual, rel=1e-6, abs=1e-10)


def test_rounding_is_seen():
    """An operator that is not quite symmetric, as products in float32 are."""
    generator = torch.Generator().manual_seed(0)
    noise = 1e-6 * torch.randn(30, 30, generator=generator).double()
    spectrum = torch.linspace(0, 1, 30).double()
    space = Space(start(30), 30)
    while len(space) < 29 and space.can_grow(0):
        space.grow(lambda v: spectrum * v + noise @ v, 0)
    assert 1e-7 < space.rounding < 1e-4


def test_many_numbers_of_single_precision_are_summed_as_well_as_few():
    """Eight million coordinates: float32 alone would lose the fourth digit, and more of more."""
    rows = torch.randn(2, 2**23 + 1, generator=torch.Generator().manual_seed(0))
    one, other = rows
    exact = (rows.double() @ rows.double().T).numpy()
    rounding = torch.finfo(torch.float32).eps * exact[0, 0]
    assert length(one) ** 2 == pytest.approx(exact[0, 0], abs=rounding)
    assert dot(one, other) == pytest.approx(exact[0, 1], abs=0.1 * rounding)
    assert dots(rows, other).tolist() == pytest.approx(exact[1].tolist(), abs=rounding)


def test_products_of_many_coordinates_in_single_precision_stay_symmetric():
    """The basis is orthonormal to the digits of its type, whatever the number of coordinates."""
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.rand(2**23, generator=generator)
    found = Space(torch.randn(2**23, generator=generator), 4)
    for _ in range(4):
        found.grow(lambda v: spectrum * v, 0)
    assert found.rounding < 1e-5 * found.scale
    own = found.basis.double()
    assert torch.allclose(own @ own.T, torch.eye(4).double(), atol=1e-5)
