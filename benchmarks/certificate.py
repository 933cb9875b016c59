"""How often an eigenvalue that is called converged is not the one that was asked for.

Hundreds of known spectra from starts that are rich and poor in the first eigenvectors, and hundreds
of small perceptrons, dense and pruned, in single precision, against dense float64 spectra. Beside
them the rule that a residual alone gives: converged where residual²/gap is small enough.

Run: python benchmarks/certificate.py
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import numpy as np
import torch
from common import hardware, store, versions
from torch import Tensor, nn
from torch.func import functional_call, hessian

from audit.measure.certificate import Goal, Search
from audit.measure.curvature import CurvatureSettings, outer_eigenvalues
from audit.measure.lanczos import Space

GOAL = Goal(largest=2, smallest=1, tolerance=1e-3, floor=1e-6, risk=0.01)
Found = Counter[str]


def spectrum(generator: np.random.Generator) -> np.ndarray:
    """A bulk, with and without eigenvalues that stand out, close ones and equal ones."""
    size = int(generator.choice([5, 20, 60, 200, 1000]))
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


def count(
    found: Found, value: float, truth: float, error: float, claim: bool, scale: float
) -> None:
    """Add one eigenvalue to the counts."""
    limit = max(GOAL.tolerance * abs(value), GOAL.floor * scale) * 1.01
    found["wanted"] += 1
    found["converged"] += claim
    found["converged, and wrong"] += claim and abs(truth - value) > limit
    found["error exceeded"] += abs(truth - value) > error * 1.01 + 1e-6 * scale


def spectra(number: int, poor: float) -> Found:
    """Both ends of known spectra, from starts that hold so much of the first eigenvectors."""
    found: Found = Counter()
    for seed in range(number):
        generator = np.random.default_rng(seed)
        values = spectrum(generator)
        operator, start = torch.from_numpy(values.copy()), generator.normal(size=len(values))
        start[[0, -1]] *= poor
        vector = torch.from_numpy(start)
        torch_generator = torch.Generator().manual_seed(seed)
        search = Search(vector, GOAL, 60, torch_generator)
        for _ in range(min(40, len(values))):
            if not search.finished:
                search.step(lambda v, operator=operator: operator * v)
        scale = float(abs(values).max())
        for side, wanted in ((1, GOAL.largest), (-1, GOAL.smallest)):
            for position, one in enumerate(search.extremes(side, wanted)):
                truth = values[-1 - position] if side == 1 else values[position]
                count(found, one.value, truth, one.error, one.enough, scale)
        _by_residual(found, operator, vector, values)
    return found


def _by_residual(found: Found, operator: Tensor, start: Tensor, values: np.ndarray) -> None:
    """The rule that this replaces: Lanczos until residual²/gap of the ends is small enough."""
    space = Space(start, 40)
    while len(space) < min(40, len(values)) and space.can_grow(0):
        space.grow(lambda v: operator * v, 0)
        ritz, leads = space.ritz[0], np.linalg.norm(space.couplings(), axis=1)
        if len(space) > 1 and all(
            _estimate(ritz, leads, end) <= 1e-3 * space.scale for end in (0, -1)
        ):
            break
    ritz, leads = space.ritz[0], np.linalg.norm(space.couplings(), axis=1)
    for end in (0, -1):
        claim = _estimate(ritz, leads, end) <= 1e-3 * space.scale
        found["by residual: converged"] += claim
        wrong = abs(ritz[end] - values[end]) > 1.01e-3 * space.scale
        found["by residual: converged, and wrong"] += claim and wrong


def _estimate(ritz: np.ndarray, leads: np.ndarray, end: int) -> float:
    gap = abs(ritz[end]) / 2
    if len(ritz) > 1:
        gap = min(gap, abs(ritz[end] - ritz[1 if end == 0 else -2]) / 2)
    return float(leads[end] ** 2 / gap if gap > 2 * leads[end] else leads[end])


def networks(number: int) -> Found:
    """Both ends and the second eigenvalue of small perceptrons, some of their weights removed."""
    found: Found = Counter()
    for seed in range(number):
        model, inputs, labels, mask = network(seed)
        truth = dense(model, inputs, labels, mask)
        batches = list(zip(inputs.split(32), labels.split(32), strict=True))
        settings = CurvatureSettings(seed=seed)
        largest, smallest = outer_eigenvalues(model, batches, mask or None, settings, 2)
        scale = float(abs(truth).max())
        pairs = zip((*largest, smallest), (truth[-1], truth[-2], truth[0]), strict=True)
        for one, exact in pairs:
            count(found, one.value, exact, one.error, one.converged, scale)
    return found


def network(seed: int) -> tuple[nn.Module, Tensor, Tensor, dict[str, Tensor]]:
    """A perceptron after a few steps of training, a share of its weights removed."""
    torch.manual_seed(seed)
    width = 4 + seed % 5
    model = nn.Sequential(
        nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    )
    inputs = torch.randn(30 + 10 * (seed % 20), 4)
    labels = (inputs[:, 0] + 0.5 * torch.randn(len(inputs)) > 0).long() + (inputs[:, 1] > 1).long()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(10 * (seed % 8)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    mask = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and seed % 4:
            mask[name] = torch.rand_like(parameter) > (seed % 4) * 0.25
            parameter.data *= mask[name]
    return model, inputs, labels, mask


def dense(model: nn.Module, inputs: Tensor, labels: Tensor, mask: dict[str, Tensor]) -> np.ndarray:
    """The spectrum of the Hessian over what the mask keeps, in float64, ascending."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spectra", type=int, default=60, help="of each kind of start")
    parser.add_argument("--networks", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {"command": "python benchmarks/certificate.py", "risk": GOAL.risk}
    record["spectra"] = {
        str(poor): dict(spectra(options.spectra, poor)) for poor in (1.0, 1e-3, 0.0)
    }
    record["networks"] = dict(networks(options.networks))
    for name, counts in [*record["spectra"].items(), ("networks", record["networks"])]:
        print(name, {key: int(value) for key, value in counts.items()})
    record["versions"], record["hardware"] = versions("scipy"), hardware()
    store("certificate", _plain(record))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return int(value) if isinstance(value, np.integer | np.bool_) else value


if __name__ == "__main__":
    main()
