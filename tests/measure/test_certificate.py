"""Bounds of extreme eigenvalues: closed forms, known spectra, and hundreds of small networks."""

from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian

from audit.errors import AuditError
from audit.measure.attribution import Attribution, loss_bound
from audit.measure.certificate import Extreme, Goal, Search, outer_bound, tail
from audit.measure.curvature import CurvatureSettings, hessian_extremes, top_eigenvalues

BOTH = Goal(largest=1, smallest=1, tolerance=1e-3, floor=1e-6, risk=0.01)


def search(
    spectrum: Tensor, start: Tensor, goal: Goal = BOTH, room: int = 80, seed: int = 1
) -> Search:
    """A search on a diagonal operator, as far as it gets with forty products."""
    generator = torch.Generator().manual_seed(seed)
    found = Search(start, goal, room, generator)
    spent = 0
    while spent < min(40, len(spectrum)) and not found.finished:
        found.step(lambda vector: spectrum * vector)
        spent += 1
    return found


def ends(found: Search, goal: Goal = BOTH) -> tuple[list[Extreme], list[Extreme]]:
    return found.extremes(1, goal.largest), found.extremes(-1, goal.smallest)


def test_the_share_of_a_sphere_near_an_equator():
    """On a circle P(|cos| < δ) = 2 asin(δ)/π; on a sphere it is δ itself."""
    assert tail(1, 0.3) == 1.0
    assert tail(2, 0.3) == pytest.approx(math.sin(0.15 * math.pi))
    assert tail(3, 0.3) == pytest.approx(0.3)
    # In many dimensions a coordinate is normal with variance 1/d, its density 1/√(2π/d) at most.
    assert tail(10**6, 0.3) * 1e3 == pytest.approx(0.3 * math.sqrt(math.pi / 2), rel=1e-4)


def test_the_outer_bound_of_two_steps_by_hand():
    """p(t) = (t² − 1)/(1 · ½) reaches 1/c at t = √(1 + 1/(2c))."""
    found = outer_bound(np.array([0.0, 0.0]), np.array([1.0, 0.5]), 0.05)
    assert found == pytest.approx(math.sqrt(11.0), rel=2e-3)
    assert found >= math.sqrt(11.0)


def test_the_risk_is_spent_where_the_rest_hides_one_eigenvalue():
    """H = qqᵀ: one product from a random vector. The bound fails as often as it may, no more."""
    generator = np.random.default_rng(0)
    dimension, risk, failures = 400, 0.2, 0
    for _ in range(2000):
        noise = generator.normal(size=dimension)
        part = noise[0] / np.linalg.norm(noise)
        alpha, beta = part**2, abs(part) * math.sqrt(1 - part**2)
        bound = outer_bound(np.array([alpha]), np.array([beta]), tail(dimension, risk))
        failures += bound < 1.0
    assert failures / 2000 == pytest.approx(risk, abs=0.03)


def test_a_start_without_the_first_eigenvector_does_not_settle_on_the_second():
    """Lanczos from there finds 0.9, with a residual of nothing: an eigenvalue, but a neighbour."""
    spectrum = torch.cat([torch.linspace(-0.1, 0.1, 200), torch.tensor([0.5, 0.9, 1.0])]).double()
    start = torch.ones(203).double()
    start[-1] = 0.0
    (largest,), _ = ends(search(spectrum, start))
    assert largest.enough
    assert largest.value == pytest.approx(1.0, rel=1e-3)


def test_what_was_not_looked_for_is_not_bounded():
    spectrum = torch.linspace(0, 1, 50).double()
    found = Search(spectrum + 1, BOTH, 40, torch.Generator().manual_seed(0))
    found.step(lambda vector: spectrum * vector)
    (largest,), (smallest,) = ends(found)
    assert largest.error == smallest.error == np.inf
    assert not largest.enough
    assert not found.finished


def crowded(generator: np.random.Generator) -> np.ndarray:
    """A spectrum such as networks have, or worse: a bulk, with and without ends that stand out."""
    size = int(generator.choice([5, 20, 60, 200, 600]))
    values = generator.normal(size=size) * generator.uniform(0.001, 0.2)
    few = min(size - 1, int(generator.integers(1, 8)))
    match generator.integers(6):
        case 0:
            values[:few] = generator.uniform(0.2, 1.0, few)
        case 1:
            values[:few] = 1 - generator.uniform(0, 0.05, few)
        case 2:
            values[:2] = 1.0
        case 3:
            values[:few] = -generator.uniform(0.2, 1.0, few)
        case 4:
            values = generator.normal(size=size) ** 2
        case _:
            values = generator.normal(size=size)
    return np.sort(values)


@pytest.mark.parametrize("poor", [1.0, 1e-3, 0.0])
def test_no_claim_is_wrong_more_often_than_is_said(poor):
    """Both ends and the first three of 60 spectra, from starts poor in both first eigenvectors."""
    goal = Goal(largest=3, smallest=1, tolerance=1e-3, floor=1e-6, risk=0.01)
    claims = wrong = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        values = crowded(generator)
        start = torch.from_numpy(generator.normal(size=len(values)))
        start[[0, -1]] *= poor
        spectrum = torch.from_numpy(values.copy())
        for side, found in zip((1, -1), ends(search(spectrum, start, goal), goal), strict=True):
            for position, one in enumerate(found):
                truth = values[-1 - position] if side == 1 else values[position]
                limit = max(1e-3 * abs(one.value), 1e-6 * abs(values).max())
                assert side * (truth - one.value) >= -1e-9  # always an inner bound
                claims += one.enough
                wrong += one.enough and abs(truth - one.value) > limit * (1 + 1e-6)
    assert claims > 120
    assert wrong <= 0.01 * claims


def test_a_small_room_restarts_and_finds_the_same():
    generator = np.random.default_rng(3)
    values = np.sort(np.concatenate([generator.normal(size=500) * 0.3, [1.6, 2.5, 4.0, 4.5]]))
    spectrum, start = torch.from_numpy(values), torch.from_numpy(generator.normal(size=504))
    goal = Goal(largest=2, smallest=0, tolerance=1e-3, floor=1e-6, risk=0.01)
    for dtype in (torch.float64, torch.float32):
        found = search(spectrum.to(dtype), start.to(dtype), goal, room=10)
        assert found.space.basis.dtype == dtype
        assert len(found.space) <= 10
        first, second = found.extremes(1, 2)
        assert first.enough
        assert second.enough
        assert [first.value, second.value] == pytest.approx([4.5, 4.0], rel=1e-3)


def dense(model: nn.Module, inputs: Tensor, labels: Tensor, mask: dict[str, Tensor]) -> np.ndarray:
    """The eigenvalues of the Hessian over what the mask keeps, in float64, ascending."""
    weights = {name: p.detach().double() for name, p in model.named_parameters()}
    flat = torch.cat([value.flatten() for value in weights.values()])
    sizes = [value.numel() for value in weights.values()]
    ones = {name: torch.ones_like(value) for name, value in weights.items()}
    kept = torch.cat([mask.get(name, one).flatten() for name, one in ones.items()]).nonzero()[:, 0]

    def loss(part: Tensor) -> Tensor:
        pieces = flat.index_put((kept,), part).split(sizes)
        named = {n: p.view_as(weights[n]) for n, p in zip(weights, pieces, strict=True)}
        return nn.functional.cross_entropy(functional_call(model, named, inputs.double()), labels)

    return np.asarray(torch.linalg.eigvalsh(hessian(loss)(flat[kept])))


def pruned_network(seed: int) -> tuple[nn.Module, Tensor, Tensor, dict[str, Tensor]]:
    """A perceptron that fits some samples somewhat, a random share of its weights removed."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    for parameter in model.parameters():
        parameter.data *= 1.0 + seed % 3
    inputs = torch.randn(20 + 30 * (seed % 2), 4)
    labels = torch.randint(3, (len(inputs),))
    mask = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and seed % 4:
            mask[name] = torch.rand_like(parameter) > (seed % 4) * 0.25
            parameter.data *= mask[name]
    return model, inputs, labels, mask


def test_converged_speaks_of_this_eigenvalue_of_thirty_networks():
    """In single precision, against the dense Hessian in double: both ends and the second."""
    claims = wrong = 0
    for seed in range(30):
        model, inputs, labels, mask = pruned_network(seed)
        truth = dense(model, inputs, labels, mask)
        batches = list(zip(inputs.split(16), labels.split(16), strict=True))
        largest, smallest = hessian_extremes(model, batches, mask or None)
        _, second = top_eigenvalues(model, batches, mask or None, number=2)
        scale = abs(truth).max()
        for one, exact in ((largest, truth[-1]), (smallest, truth[0]), (second, truth[-2])):
            claims += one.converged
            limit = max(1e-3 * abs(one.value), 1e-6 * scale)
            wrong += one.converged and abs(one.value - exact) > limit * 1.01
        assert largest.value <= truth[-1] + 1e-5 * scale
        assert smallest.value >= truth[0] - 1e-5 * scale
        assert largest.value + largest.error >= truth[-1] - 1e-6 * scale
    assert claims >= 75
    assert wrong <= 0.01 * claims


def test_what_did_not_converge_is_a_bound():
    model, inputs, labels, _ = pruned_network(0)
    truth = dense(model, inputs, labels, {})
    few = CurvatureSettings(max_products=2)
    largest, smallest = hessian_extremes(model, [(inputs, labels)], settings=few)
    assert (largest.bound, smallest.bound) == ("at least", "at most")
    assert not largest.converged
    assert truth[0] - 1e-6 <= smallest.value
    assert largest.value <= truth[-1] + 1e-6


def test_the_smallest_costs_nothing_where_it_is_not_asked_for():
    model, inputs, labels, _ = pruned_network(0)
    truth = dense(model, inputs, labels, {})
    settings = CurvatureSettings(smallest=False)
    largest, smallest = hessian_extremes(model, [(inputs, labels)], settings=settings)
    (alone,) = top_eigenvalues(model, [(inputs, labels)])
    assert largest.converged
    assert largest.products == smallest.products == alone.products
    assert smallest.bound == "at most"
    assert smallest.value >= truth[0] - 1e-6


def test_single_precision_and_restarts_serve_where_memory_is_short():
    settings, claims = CurvatureSettings(basis_bytes=0), 0
    for seed in range(6):
        model, inputs, labels, _ = pruned_network(seed)
        truth = dense(model, inputs, labels, {})
        (largest,) = top_eigenvalues(model, [(inputs, labels)], settings=settings)
        assert largest.vector.dtype == torch.float32
        assert largest.value <= truth[-1] * (1 + 1e-5)
        assert largest.value + largest.error >= truth[-1] * (1 - 1e-5)
        claims += largest.converged
        if largest.converged:
            assert largest.value == pytest.approx(truth[-1], rel=1.01e-3)
    assert claims >= 4


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"tolerance": 0.0}, "tolerance"), ({"risk": 1.0}, "risk"), ({"max_products": 0}, "products")],
)
def test_settings_that_make_no_sense_are_refused(wrong, said):
    with pytest.raises(AuditError, match=said):
        CurvatureSettings(**wrong)


def test_theorem_1_has_no_bound_where_the_largest_eigenvalue_has_none():
    one = torch.tensor([1.0]).double()
    found = Attribution(("0",), one, one, 0.5, 0.0, 0.0, 2.0, 3.0, 1, one, one)
    assert loss_bound(4.0, found, True).value == pytest.approx(2.0 * 3.0 + 0.5 * 4.0 * 9.0)
    assert math.isinf(loss_bound(math.inf, found, True).value)


class Halved(torch.autograd.Function):
    """A square whose first derivative is right and whose second one is silently wrong."""

    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:
        context.save_for_backward(inputs)
        return inputs.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, slope: Tensor) -> Tensor:
        (inputs,) = context.saved_tensors
        return 2 * inputs * slope


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.last(Halved.apply(self.first(inputs)))
        return logits


def test_products_that_are_not_symmetric_are_refused():
    torch.manual_seed(0)
    batches = [(torch.randn(20, 3), torch.arange(20) % 2)]
    with pytest.raises(AuditError, match="symmetric"):
        top_eigenvalues(Twice(), batches)


def test_a_search_without_room_works_with_five_vectors():
    """Four that are kept and what is pending: a product takes the place of one of the four."""
    size = 5000
    spectrum = torch.cat([torch.linspace(-1, 1, size - 2), torch.tensor([3.0, 2.9])])
    peak = 0
    # Kept, so that no storage of another test's is freed and counted as the search's.
    others = [one for one in gc.get_objects() if type(one) is Tensor and one.numel() >= size]
    elsewhere = {one.untyped_storage().data_ptr() for one in others}

    def look(vector):
        nonlocal peak
        gc.collect()
        held = {}
        for one in gc.get_objects():
            if type(one) is not Tensor or one.numel() < size:
                continue
            if one.untyped_storage().data_ptr() not in elsewhere:
                held[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        peak = max(peak, sum(held.values()))

    class Operator:
        def __call__(self, vector):
            return self.add(vector, torch.zeros_like(vector))

        def add(self, vector, into):
            look(vector)
            return into.addcmul_(spectrum, vector)

    goal = Goal(1, 0, 1e-3, 1e-6, 0.01)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(size, generator=generator)
    search = Search(start, goal, 0, generator)
    del start
    for _ in range(60):
        if search.finished:
            break
        search.step(Operator())
    (found,) = search.extremes(1, 1)
    assert found.enough
    assert found.value == pytest.approx(3.0, rel=1e-3)
    assert peak <= 5 * 4 * size + size


def test_a_long_probe_is_not_ended_by_restarts():
    """In a crowd a probe takes more steps than the space has room for: it goes on aside."""
    size = 4000
    crowd = torch.linspace(6.8, -6.0, size - 1)
    spectrum = torch.cat([torch.tensor([8.0]), crowd]).double()
    generator = torch.Generator().manual_seed(0)
    beginning = 0.02 * torch.randn(size, generator=generator).double()
    beginning[0] += 1
    search = Search(beginning, Goal(1, 0, 1e-3, 1e-6, 0.01), 29, generator)
    for _ in range(40):
        if not search.finished:
            search.step(lambda vector: spectrum * vector)
    (found,) = search.extremes(1, 1)
    assert found.enough
    assert found.value == pytest.approx(8.0, rel=1e-3)
