"""Eigenvalues of the Hessian of a group's mean loss (M6), with residuals and bounded errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

from audit.errors import AuditError
from audit.measure.certificate import LONG_PROBE, Extreme, Goal, Search
from audit.measure.gradient import directional_derivatives
from audit.measure.hessian import (
    Hessian,
    flatten,
    second_order,
    unflatten,
)
from audit.measure.lanczos import Space, length
from audit.measure.layout import in_layout
from audit.measure.network import (
    Batches,
    Inputs,
    Parameters,
    as_batch,
    called_with,
    chosen,
    class_logits,
    differentiating,
    directional_derivative,
    evaluating,
    inner,
    pairs,
    rows_of,
    sample_losses,
    trainable,
)
from audit.measure.ranks import Shard

SUBSET_SHARE = 8
SMALLEST_SUBSET = 24
SUBSET_PRODUCTS = 8
"""The search starts from the Ritz vectors of every eighth sample: eight products there cost as much
as one on all samples, and save several. A smaller group starts from its gradient."""

SMALLEST_WORK = 2**22
"""Samples times coordinates: where they are fewer, a product on the subset takes as long as one on
all of them, nearly, and the search starts from the gradient too."""

PROBES = 4
"""Per-sample curvatures that are computed a second, safer way."""

NUMBERS_AT_ONCE = 2**26

ASYMMETRY = 10.0
"""Of √ε and the spectrum's scale: what rounding alone does not reach."""

FEW = 16
"""Where fewer vectors fit in float64, they are kept in single precision."""


@dataclass(frozen=True)
class CurvatureSettings:
    """How well an eigenvalue is wanted, and what may be spent on it.

    tolerance      an eigenvalue has converged when its error is at most so much of its own |λ|
    floor          or of the larger |λ| of the two ends
    risk           the chance, at most, that an error claimed is exceeded: 1 in 100
    smallest       whether products are spent on the smallest eigenvalue too; else it is what those
                   for the largest show of it, a bound
    max_products   Hessian products on all samples
    extra          further products granted to the smallest eigenvalue after the largest has
                   converged; it lies in the crowded end of the spectrum and often needs more
    basis_bytes    memory for the vectors that are kept; where it does not hold enough of them in
                   float64 they are kept in the network's own type, and the search restarts from
                   its best ones whenever they are full. Two more than are wanted at either end
                   are kept whatever they take: four for λ_max, and one vector to work with
    seed           of the subset and of the random vectors
    """

    tolerance: float = 1e-3
    floor: float = 1e-6
    risk: float = 0.01
    smallest: bool = True
    max_products: int = 60
    extra: int = 20
    basis_bytes: int = 2**28
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tolerance", "risk"):
            if not 0 < getattr(self, name) < 1:
                raise AuditError(f"found {name} {getattr(self, name)}; expected between 0 and 1")
        if self.max_products < 1:
            raise AuditError(f"found max_products {self.max_products}; expected at least 1")


@dataclass(frozen=True)
class Eigenvalue:
    """An eigenvalue of H_a with what qualifies it (M6).

    value      vᵀHv of the unit vector v that was found
    residual   ‖Hv − λv‖: some eigenvalue lies within it of `value`
    error      the eigenvalue that was asked for lies within this of `value`, outwards, up to the
               risk of the settings; infinite where nothing is known of what was not found
    products   Hessian products on all samples that were spent, shared by all that are asked for
    converged  whether the error is within the tolerance
    space      support (the surviving weights) or ambient (all coordinates)
    vector     v, flat [P], in float64 unless that took too much memory; `curvature_samples` tells
               what every sample adds to `value`
    bound      what `value` is where it has not converged: "at least" this, of the largest ones, or
               "at most", of the smallest; empty where it has
    """

    value: float
    residual: float
    error: float
    products: int
    converged: bool
    space: str
    n: int
    vector: Tensor
    bound: str = ""


def hessian_extremes(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    settings: CurvatureSettings | None = None,
) -> tuple[Eigenvalue, Eigenvalue]:
    """The algebraically largest and smallest eigenvalue of H_a (M6; Tran et al. 2022).

    `mask` is the surviving weights, for the space 'support'; None for 'ambient'. Unlike power
    iteration, this does not mistake a large negative eigenvalue for the largest one, nor a
    neighbour for the eigenvalue itself: see `audit.measure.certificate`.

    Raises AuditError as `Hessian` does.

    >>> from audit.measure.curvature import hessian_extremes
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(model.weight)  # one logit: H = p(1 − p)x² = x²/4
    >>> largest, smallest = hessian_extremes(model, [(torch.tensor([[2.0]]), torch.tensor([1]))])
    >>> largest.value, largest.converged
    (1.0, True)
    """
    (largest,), smallest = outer_eigenvalues(model, batches, mask, settings)
    return largest, smallest


def outer_eigenvalues(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    settings: CurvatureSettings | None = None,
    number: int = 1,
) -> tuple[tuple[Eigenvalue, ...], Eigenvalue]:
    """The `number` largest eigenvalues of H_a, descending, and the smallest, from one search (M6).

    Fewer where the space has fewer coordinates. Raises AuditError as `Hessian` does.
    """
    if number < 1:
        raise AuditError(f"found {number} eigenvalues to compute; expected at least 1")
    hessian = Hessian(model, batches, mask)
    largest, (smallest,) = _searched(hessian, settings or CurvatureSettings(), number, 1)
    return largest, smallest


def top_eigenvalues(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    settings: CurvatureSettings | None = None,
    number: int = 1,
) -> tuple[Eigenvalue, ...]:
    """The `number` algebraically largest eigenvalues of H_a, descending (M6).

    Fewer where the space has fewer coordinates. Raises AuditError as `Hessian` does.
    """
    settings = replace(settings or CurvatureSettings(), smallest=False)
    return outer_eigenvalues(model, batches, mask, settings, number)[0]


def layer_extremes(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    settings: CurvatureSettings | None = None,
) -> dict[str, tuple[Eigenvalue, Eigenvalue]]:
    """Both ends of the spectrum of every layer's own block of the Hessian, by layer (M6).

    A layer is a module with trainable parameters of its own; its block holds the other layers
    fixed. Layers of which nothing survives are left out. Raises AuditError as `Hessian` does.
    """
    found = {}
    with evaluating(model):
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        for layer, own in layers(parameters).items():
            for name, parameter in parameters.items():
                parameter.requires_grad_(name in own)
            kept = None if mask is None else {n: part for n, part in mask.items() if n in own}
            if kept is None or len(kept) < len(own) or any(p.any() for p in kept.values()):
                found[layer] = hessian_extremes(model, batches, kept, settings)
    return found


def layers(names: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Parameters by the module that owns them, in the network's order.

    >>> layers(dict(nn.Sequential(nn.Linear(2, 2)).named_parameters()))
    {'0': ['0.weight', '0.bias']}
    """
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition(".")[0] or "(root)", []).append(name)
    return found


def _searched(
    hessian: Hessian, settings: CurvatureSettings, largest: int, smallest: int
) -> tuple[tuple[Eigenvalue, ...], tuple[Eigenvalue, ...]]:
    """So many of the largest and of the smallest eigenvalues, from the outside in."""
    generator = torch.Generator().manual_seed(settings.seed)
    goal = Goal(
        largest,
        smallest if settings.smallest else 0,
        settings.tolerance,
        settings.floor,
        settings.risk,
    )
    search = _search(hessian, goal, settings, generator)
    # The start has read it; of a large network it is as much as a vector of the search.
    hessian.gradient.clear()
    _spend(search, hessian, settings)
    found = []
    for side, number in ((1, largest), (-1, smallest)):
        found.append(tuple(_qualified(hessian, one, side) for one in search.extremes(side, number)))
    return found[0], found[1]


def _search(
    hessian: Hessian,
    goal: Goal,
    settings: CurvatureSettings,
    generator: torch.Generator,
    start: Tensor | None = None,
) -> Search:
    """A search whose vectors fit the memory that is allowed, in single precision if need be.

    It works in place on its start.
    """
    room, dtype = settings.basis_bytes // (8 * hessian.dimension), torch.float64
    if room < FEW + goal.largest + goal.smallest:
        dtype = hessian.dtype
        room = settings.basis_bytes // (dtype.itemsize * hessian.dimension)
    # More is never filled; what is less would send every probe aside.
    room = min(room, max(settings.max_products + settings.extra, 2 * LONG_PROBE))
    if start is None:
        start = _start(hessian, goal, generator, dtype, room)
    return Search(start.to(dtype), goal, room, generator)


def _spend(search: Search, hessian: Hessian, settings: CurvatureSettings) -> None:
    """Products until everything is found, or those that are allowed are spent."""
    allowed = min(settings.max_products, search.space.dimension)
    while hessian.products < allowed and not search.finished:
        if search.met(1):
            # Counted from where the largest have converged.
            allowed = min(allowed, hessian.products + settings.extra)
        search.step(hessian)
        _check_symmetry(search, hessian)


def _check_symmetry(search: Search, hessian: Hessian) -> None:
    """Raises AuditError where products are not those of a symmetric matrix, beyond rounding."""
    limit = ASYMMETRY * torch.finfo(hessian.dtype).eps ** 0.5 * max(search.space.scale, 1e-6)
    if search.space.rounding > limit:
        raise AuditError(
            "the Hessian's products are not those of a symmetric matrix, so PyTorch's second "
            "derivative of some layer is wrong or missing; measure it without curvature"
        )


def _qualified(hessian: Hessian, found: Extreme, side: int) -> Eigenvalue:
    bound = "" if found.enough else "at least" if side == 1 else "at most"
    return Eigenvalue(
        found.value,
        found.residual,
        found.error,
        hessian.products,
        bool(found.enough),
        hessian.space,
        hessian.count,
        hessian.everywhere(found.vector),
        bound,
    )


def _start(
    hessian: Hessian, goal: Goal, generator: torch.Generator, dtype: torch.dtype, room: int
) -> Tensor:
    """Where the search starts: the Ritz vectors of a random eighth of the samples, the gradient.

    In `dtype`, and by way of no more vectors than there is room for.
    """
    noise = _unit(torch.randn(hessian.dimension, dtype=dtype, generator=generator))
    size = hessian.count // SUBSET_SHARE
    if size < SMALLEST_SUBSET or hessian.count * len(hessian.survivors) < SMALLEST_WORK:
        return noise.mul_(1e-3).add_(_slope(hessian, dtype))
    positions = torch.randperm(hessian.count, generator=generator)[:size].sort().values
    subset = hessian.of(positions)
    first = _slope(subset, dtype).add_(noise, alpha=0.3)
    products = max(3, min(SUBSET_PRODUCTS, room))
    space = Space(first, products)
    while len(space) < space.capacity and space.can_grow(0):
        space.grow(subset, 0)
    start = noise.mul_(1e-3).add_(_slope(hessian, dtype), alpha=0.1)
    for index in range(min(goal.largest, len(space))):
        start.add_(space.vector(-1 - index))
    for index in range(min(goal.smallest, len(space))):
        start.add_(space.vector(index))
    return start


def _slope(hessian: Hessian, dtype: torch.dtype) -> Tensor:
    """The direction of the mean gradient within the space."""
    return _unit(hessian.within(flatten(hessian.gradient, dtype)))


def _unit(vector: Tensor) -> Tensor:
    """The direction of a vector, in place; zero where it is zero."""
    return vector.div_(max(length(vector), 1e-30))


def curvature_samples(model: nn.Module, batches: Batches, eigenvalue: Eigenvalue) -> Tensor:
    """vᵀH_i v of every sample, float64 [n]: their mean is the eigenvalue (M6).

    A bootstrap of the mean gives the eigenvalue's interval to first order, since at an eigenvector
    the value does not change with v to first order.

    Differentiating twice along v costs a few forward passes, but PyTorch's rules for it are missing
    for some layers and silently wrong for others (instance norm, a layer norm that is not a module:
    github.com/pytorch/pytorch/issues/196700). So the mean is checked, and so are the largest
    samples, since errors can cancel in the mean; where they are off, or a rule is missing, each
    sample is given a Hessian product of its own.
    """
    parameters = trainable(model)
    return curvatures_along(
        model, batches, unflatten(eigenvalue.vector, parameters), eigenvalue.value
    )


def curvatures_along(
    model: nn.Module, batches: Batches, direction: Parameters, curvature: float
) -> Tensor:
    """vᵀH_i v of every sample, float64 [n], for a direction whose vᵀHv is known."""
    return samples_along(model, batches, direction, curvature)[1]


def samples_along(
    model: nn.Module, batches: Batches, direction: Parameters, curvature: float
) -> tuple[Tensor, Tensor]:
    """g_iᵀv and vᵀH_i v of every sample, float64 [n], for a direction whose vᵀHv is known."""
    try:
        slopes, samples = _in_forward_mode(model, batches, direction)
    except NotImplementedError:
        slopes = directional_derivatives(model, batches, direction)
        return slopes, _curvatures_by_sample(model, batches, direction)
    largest = samples.abs().topk(min(PROBES, len(samples))).indices.sort().values
    probes = _curvatures_by_sample(model, chosen(batches, largest), direction)
    limit = 10 * torch.finfo(next(iter(direction.values())).dtype).eps ** 0.5
    agree = abs(samples.mean() - curvature) <= limit * samples.abs().mean() and torch.all(
        (samples[largest] - probes).abs() <= limit * probes.abs().max()
    )
    return slopes, samples if agree else _curvatures_by_sample(model, batches, direction)


def _in_forward_mode(
    model: nn.Module, batches: Batches, direction: Parameters
) -> tuple[Tensor, Tensor]:
    """d/dt and d²/dt² of each sample's loss at θ + tv, from one pass."""
    parameters = trainable(model)
    shard, found = Shard(batches), []
    with second_order(model, batches) as layout, torch.no_grad():
        for inputs, labels in shard.pairs():
            losses = sample_losses(model, in_layout(inputs, layout), labels)

            def slopes(at: Parameters, losses: Callable[[Parameters], Tensor] = losses) -> Tensor:
                return directional_derivative(losses, at, direction)

            pair = jvp(slopes, (parameters,), (direction,))
            found.append([part.double().cpu() for part in pair])
    first, second = (shard.joined(parts) for parts in zip(*found, strict=True))
    return first, second


def _curvatures_by_sample(model: nn.Module, batches: Batches, direction: Parameters) -> Tensor:
    """A Hessian product a sample: derivatives of second order alone, some samples at a time."""
    parameters = trainable(model)
    at_once = max(1, NUMBERS_AT_ONCE // sum(value.numel() for value in parameters.values()))

    def curvature(one: Inputs, label: Tensor) -> Tensor:
        losses = sample_losses(model, as_batch(one), label[None])
        gradient = grad(lambda at: losses(at).sum())
        second = grad(lambda at: inner(gradient(at), direction))(parameters)
        return inner(second, direction)

    shard, found = Shard(batches), []
    with differentiating(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        for inputs, labels in shard.pairs():
            try:
                values = vmap(curvature, chunk_size=at_once)(inputs, labels)
            except RuntimeError:
                # Some layers, such as an LSTM, cannot be batched over samples.
                rows = range(len(labels))
                values = torch.stack([curvature(rows_of(inputs, row), labels[row]) for row in rows])
            found.append(values.detach().cpu())
    return shard.joined(found)


def pyhessian_max_eigenvalue(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    tolerance: float = 1e-5,
    max_products: int = 500,
    seed: int = 0,
) -> Eigenvalue:
    """The eigenvalue of largest MAGNITUDE by PyHessian's power iteration, for comparison.

    The whole group is one batch, since PyHessian keeps the graph of one. With a mask the network
    is measured as a function of the masked weights: the space 'support'. PyHessian stops when two
    estimates agree within `tolerance`, which bounds no error: the residual and a bound of what it
    missed are found from its vector by a search of our own. `converged`: λ_max lies within 1 % of
    the value; a negative value is the other end of the spectrum, and "at least" says little then.

    Raises AuditError where PyHessian is not installed.
    """
    try:
        from pyhessian import hessian as peer
    except ImportError as error:
        raise AuditError("PyHessian is not installed: pip install pyhessian") from error
    found = list(pairs(batches))
    whole = (torch.cat([x for x, _ in found]), torch.cat([y for _, y in found]))
    hessian = Hessian(model, found, mask)
    devices = [whole[0].device] if whole[0].is_cuda else []
    used: list[int] = []
    with differentiating(model), torch.random.fork_rng(devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model.zero_grad()
        operator = peer(_Masked(model, mask or {}), _mean_loss, data=whole, cuda=bool(devices))
        operator.gradsH[0].register_hook(lambda _: used.append(1))
        values, vectors = operator.eigenvalues(maxIter=max_products, tol=tolerance, top_n=1)
    vector = _unit(flatten(dict(enumerate(part.detach() for part in vectors[0]))))
    value = float(values[0])
    goal = Goal(1, 0, 5e-3, CurvatureSettings.floor, CurvatureSettings.risk)
    settings = CurvatureSettings(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    search = _search(hessian, goal, settings, generator, hessian.within(vector).clone())
    search.step(hessian)
    residual = search.extremes(1, 1)[0].residual
    _spend(search, hessian, settings)
    (best,) = search.extremes(1, 1)
    missed = max(best.value + best.error - value, 0.0)
    converged = bool(missed <= 1e-2 * value)
    return Eigenvalue(
        value,
        residual,
        missed,
        len(used) + hessian.products,
        converged,
        hessian.space,
        hessian.count,
        vector,
        "" if converged else "at least",
    )


class _Masked(nn.Module):
    """A network as a function of its masked weights, so that removed ones have no derivative."""

    def __init__(self, model: nn.Module, mask: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.mask = model, mask

    def forward(self, inputs: Tensor) -> Tensor:
        weights = dict(self.model.named_parameters())
        kept = {name: weights[name] * mask for name, mask in self.mask.items()}
        outputs: Tensor = called_with(self.model, kept, inputs)
        return outputs


def _mean_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(class_logits(outputs), labels)
