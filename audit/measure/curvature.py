"""Eigenvalues of the Hessian of a group's mean loss (M6), with residuals and estimated errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from audit.errors import AuditError
from audit.measure.hessian import (
    Hessian,
    chosen,
    flatten,
    second_order,
    unflatten,
)
from audit.measure.lanczos import Krylov, Ratios, lanczos
from audit.measure.layout import in_layout
from audit.measure.network import (
    Batches,
    Parameters,
    class_logits,
    differentiating,
    directional_derivative,
    evaluating,
    inner,
    pairs,
    sample_losses,
    trainable,
)

SUBSET_SHARE = 8
SMALLEST_SUBSET = 24
SUBSET_PRODUCTS = 10
"""Lanczos starts from the Ritz vectors of every eighth sample: ten products there cost little more
than one on all samples, and save several. A smaller group starts from its gradient."""

PROBES = 4
"""Per-sample curvatures that are computed a second, safer way."""

NUMBERS_AT_ONCE = 2**26


@dataclass(frozen=True)
class CurvatureSettings:
    """When Lanczos stops.

    tolerance      an eigenvalue has converged when its estimated error is at most so much of the
                   larger |λ| of the two ends
    max_products   Hessian products on all samples
    extra          further products granted to the smallest eigenvalue after the largest has
                   converged; it lies in the crowded end of the spectrum and often needs more
    seed           of the subset and of the random part of the start
    """

    tolerance: float = 1e-3
    max_products: int = 60
    extra: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Eigenvalue:
    """An eigenvalue of H_a with what qualifies it (M6).

    value      vᵀHv of the unit vector v that was found
    residual   ‖Hv − λv‖: some eigenvalue lies within it of `value`
    error      the estimated distance to that eigenvalue: residual²/gap where the next eigenvalue is
               more than two residuals away, the residual itself where it is not
    products   Hessian products on all samples that were spent, shared by all that are asked for
    space      support (the surviving weights) or ambient (all coordinates)
    vector     v, flat float64 [P]; `curvature_samples` tells what every sample adds to `value`
    """

    value: float
    residual: float
    error: float
    products: int
    converged: bool
    space: str
    n: int
    vector: Tensor


def hessian_extremes(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None = None,
    settings: CurvatureSettings | None = None,
) -> tuple[Eigenvalue, Eigenvalue]:
    """The algebraically largest and smallest eigenvalue of H_a (M6; Tran et al. 2022).

    `mask` is the surviving weights, for the space 'support'; None for 'ambient'. Unlike power
    iteration, this does not mistake a large negative eigenvalue for the largest one.

    Raises AuditError as `Hessian` does.

    >>> from audit.measure.curvature import hessian_extremes
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(model.weight)  # one logit: H = p(1 − p)x² = x²/4
    >>> largest, smallest = hessian_extremes(model, [(torch.tensor([[2.0]]), torch.tensor([1]))])
    >>> largest.value, largest.converged
    (1.0, True)
    """
    largest, smallest = _eigenvalues(model, batches, mask, settings, (-1, 0))
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
    if number < 1:
        raise AuditError(f"found {number} eigenvalues to compute; expected at least 1")
    return _eigenvalues(model, batches, mask, settings, tuple(range(-1, -1 - number, -1)))


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


def _eigenvalues(
    model: nn.Module,
    batches: Batches,
    mask: Mapping[str, Tensor] | None,
    settings: CurvatureSettings | None,
    wanted: tuple[int, ...],
) -> tuple[Eigenvalue, ...]:
    """The eigenvalues at these positions of the ascending spectrum, largest (−1) first."""
    settings = settings or CurvatureSettings()
    hessian = Hessian(model, batches, mask)
    start, ratios = _start(hessian, settings.seed, wanted)
    stop = _Stop(settings, wanted, ratios)
    krylov = lanczos(hessian, start, stop)
    limit = settings.tolerance * float(abs(krylov.values[[0, -1]]).max())
    space = "ambient" if mask is None else "support"
    found = []
    for index in _present(wanted, krylov):
        pair = krylov.pair(index, ratios)
        converged = pair.error <= max(limit, 1e-12)
        found.append(
            Eigenvalue(
                pair.value,
                pair.residual,
                pair.error,
                hessian.products,
                converged,
                space,
                hessian.count,
                pair.vector,
            )
        )
    return tuple(found)


class _Stop:
    """Whether all wanted Ritz values have converged, or the products that are allowed are spent."""

    def __init__(self, settings: CurvatureSettings, wanted: Sequence[int], ratios: Ratios) -> None:
        self.settings, self.wanted, self.ratios = settings, wanted, ratios
        self.allowed = settings.max_products

    def __call__(self, krylov: Krylov) -> bool:
        size = len(krylov.values)
        scale = float(abs(krylov.values[[0, -1]]).max())
        done = krylov.errors(self.ratios) <= self.settings.tolerance * scale
        if done[-1]:
            self.allowed = min(self.allowed, size + self.settings.extra)
        enough = size >= len(self.wanted) and all(done[index] for index in self.wanted)
        return enough or size >= self.allowed


def _present(wanted: tuple[int, ...], krylov: Krylov) -> list[int]:
    """The wanted positions that the spectrum has."""
    return [index for index in wanted if -len(krylov.values) <= index]


def _start(hessian: Hessian, seed: int, wanted: tuple[int, ...]) -> tuple[Tensor, Ratios]:
    """Where Lanczos starts, and how near the second eigenvalue is to the first at either end.

    The Ritz vectors of a random eighth of the samples, the gradient's direction and a small random
    part: no eigenvector may be orthogonal to the start.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(hessian.survivors), dtype=torch.float64, generator=generator)
    noise = _unit(noise * hessian.survivors)
    slope = _unit(flatten(hessian.gradient) * hessian.survivors)
    size = hessian.count // SUBSET_SHARE
    if size < SMALLEST_SUBSET:
        return slope + 0.1 * noise, (None, None)
    positions = torch.randperm(hessian.count, generator=generator)[:size].sort().values
    subset = hessian.of(positions)
    first = _unit(flatten(subset.gradient) * hessian.survivors) + 0.3 * noise
    krylov = lanczos(subset, first, _rough if wanted == (-1,) else _thorough)
    start = 0.1 * slope + 0.03 * noise
    for index in _present(wanted, krylov):
        start = start + krylov.pair(index).vector
    return start, _ratios(krylov)


def _ratios(krylov: Krylov) -> Ratios:
    """Second to first eigenvalue of the smallest and of the largest end, where they have one."""
    values = krylov.values
    if len(values) < 3:
        return None, None
    low = max(0.0, float(values[1] / values[0])) if values[0] < 0 else None
    high = max(0.0, float(values[-2] / values[-1])) if values[-1] > 0 else None
    return low, high


def _thorough(krylov: Krylov) -> bool:
    return len(krylov.values) >= SUBSET_PRODUCTS


def _rough(krylov: Krylov) -> bool:
    """The largest alone is isolated and needs less."""
    near = krylov.residuals[-1] <= 0.1 * abs(krylov.values[-1])
    return _thorough(krylov) or (len(krylov.values) > 2 and bool(near))


def _unit(vector: Tensor) -> Tensor:
    """The direction of a vector; zero where it is zero."""
    unit: Tensor = vector / vector.norm().clamp(min=1e-30)
    return unit


def curvature_samples(model: nn.Module, batches: Batches, eigenvalue: Eigenvalue) -> Tensor:
    """vᵀH_i v of every sample, float64 [n]: their mean is the eigenvalue (M6).

    A bootstrap of the mean gives the eigenvalue's interval to first order, since at an eigenvector
    the value does not change with v to first order.

    Differentiating twice along v costs a few forward passes, but PyTorch's rules of third order
    are missing for some layers (SiLU) and silently wrong for others (layer norm:
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
    try:
        samples = _curvatures_in_forward_mode(model, batches, direction)
    except NotImplementedError:
        return _curvatures_by_sample(model, batches, direction)
    largest = samples.abs().topk(min(PROBES, len(samples))).indices.sort().values
    probes = _curvatures_by_sample(model, chosen(batches, largest), direction)
    limit = 10 * torch.finfo(next(iter(direction.values())).dtype).eps ** 0.5
    agree = abs(samples.mean() - curvature) <= limit * samples.abs().mean() and torch.all(
        (samples[largest] - probes).abs() <= limit * probes.abs().max()
    )
    return samples if agree else _curvatures_by_sample(model, batches, direction)


def _curvatures_in_forward_mode(
    model: nn.Module, batches: Batches, direction: Parameters
) -> Tensor:
    """d²/dt² of each sample's loss at θ + tv."""
    parameters = trainable(model)
    found = []
    with second_order(model, batches) as layout, torch.no_grad():
        for inputs, labels in pairs(batches):
            losses = sample_losses(model, in_layout(inputs, layout), labels)

            def slopes(at: Parameters, losses: Callable[[Parameters], Tensor] = losses) -> Tensor:
                return directional_derivative(losses, at, direction)

            found.append(directional_derivative(slopes, parameters, direction).double().cpu())
    return torch.cat(found)


def _curvatures_by_sample(model: nn.Module, batches: Batches, direction: Parameters) -> Tensor:
    """A Hessian product a sample: derivatives of second order alone, some samples at a time."""
    parameters = trainable(model)
    at_once = max(1, NUMBERS_AT_ONCE // sum(value.numel() for value in parameters.values()))

    def curvature(one: Tensor, label: Tensor) -> Tensor:
        losses = sample_losses(model, one[None], label[None])
        gradient = grad(lambda at: losses(at).sum())
        second = grad(lambda at: inner(gradient(at), direction))(parameters)
        return inner(second, direction)

    found = []
    with differentiating(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        for inputs, labels in pairs(batches):
            try:
                values = vmap(curvature, chunk_size=at_once)(inputs, labels)
            except RuntimeError:
                # Some layers, such as an LSTM, cannot be batched over samples.
                values = torch.stack([curvature(x, y) for x, y in zip(inputs, labels, strict=True)])
            found.append(values.detach().cpu())
    return torch.cat(found)


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
    estimates agree within `tolerance`, which bounds no error; one more product gives the residual.
    `converged`: the residual is within 1 % of the value, and the value is not negative, for a
    negative one is the other end of the spectrum and not λ_max.

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
    vector = flatten(dict(enumerate(part.detach() for part in vectors[0])))
    vector, value = vector / vector.norm(), float(values[0])
    applied = hessian(vector)
    residual = float((applied - value * vector).norm())
    space = "ambient" if mask is None else "support"
    # Of the signed value: no negative one passes.
    converged = residual <= 1e-2 * value
    return Eigenvalue(
        value, residual, residual, len(used) + 1, converged, space, hessian.count, vector
    )


class _Masked(nn.Module):
    """A network as a function of its masked weights, so that removed ones have no derivative."""

    def __init__(self, model: nn.Module, mask: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.mask = model, mask

    def forward(self, inputs: Tensor) -> Tensor:
        weights = dict(self.model.named_parameters())
        kept = {name: weights[name] * mask for name, mask in self.mask.items()}
        outputs: Tensor = functional_call(self.model, kept, (inputs,))
        return outputs


def _mean_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(class_logits(outputs), labels)
