"""λ_max of every group's Hessian: time against true error, beside every peer.

True error: against Lanczos in float64 to a certified error of 1e-6. Every tool runs at a ladder of
tolerances; the fastest setting whose largest error over the groups is at most 1e-3 is its time at
equal true error. All tools run in one process of one thread, in turn, several times over; the
processor is timed.

The peers are installed beside the project by: make peers; then export PYTHONPATH=.venv/peers
Run: python benchmarks/curvature.py --utkface FOLDER --adult FOLDER
Draw: python benchmarks/curvature.py --draw curvature
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, hardware, store, versions
from networks import NETWORKS, Network
from scipy.sparse.linalg import eigsh
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from audit.measure.curvature import CurvatureSettings, top_eigenvalues
from audit.models.zoo import Architecture, build_model

TARGET = 1e-3
Batch = tuple[torch.Tensor, torch.Tensor]
TRUTH = CurvatureSettings(tolerance=1e-6, smallest=False, max_products=300)


@dataclass(frozen=True)
class Case:
    """A network and the samples of each group."""

    name: str
    model: nn.Module
    groups: dict[str, Batch]


@dataclass(frozen=True)
class Tool:
    """A way to compute λ_max; `settings` runs from loose to tight."""

    name: str
    compute: Callable[[nn.Module, Batch, Any], float]
    settings: tuple[Any, ...]


def ours(model: nn.Module, batch: Batch, tolerance: float) -> float:
    settings = CurvatureSettings(tolerance=tolerance)
    return top_eigenvalues(model, [batch], settings=settings)[0].value


def pyhessian(model: nn.Module, batch: Batch, tolerance: float) -> float:
    from pyhessian import hessian

    operator = hessian(model, nn.functional.cross_entropy, data=batch, cuda=batch[0].is_cuda)
    return float(operator.eigenvalues(maxIter=500, tol=tolerance, top_n=1)[0][0])


def curvlinops(model: nn.Module, batch: Batch, tolerance: float) -> float:
    from curvlinops import HessianLinearOperator

    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = nn.CrossEntropyLoss()
    operator = HessianLinearOperator(model, loss, parameters, [batch], check_deterministic=False)
    found = eigsh(operator.to_scipy(), k=1, which="LA", tol=tolerance, return_eigenvectors=False)
    return float(found[0])


def eigenthings(model: nn.Module, batch: Batch, products: int) -> float:
    from hessian_eigenthings import HessianOperator, lanczos

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    operator = HessianOperator(model, [batch], loss)
    return float(lanczos(operator, k=1, max_iter=products, which="LA", seed=0).eigenvalues[0])


TOOLS = (
    Tool("this project", ours, (1e-2, 1e-3, 1e-4)),
    Tool("PyHessian, power iteration", pyhessian, (3e-3, 1e-3, 3e-4, 1e-4)),
    Tool("hessian-eigenthings, Lanczos", eigenthings, (4, 6, 8, 10)),
    Tool("curvlinops with scipy eigsh", curvlinops, (1e-1,)),
)


def case(network: Network, folders: dict[str, str], most: int | None) -> Case:
    """A trained network of networks.py, and its first test samples of each of so many groups."""
    dense, data = network.dense(**folders)
    groups = {}
    for group, label in enumerate(data.group_names[:most]):
        rows = data.indices("test", group=group)[: network.samples]
        batch = data.batch(rows)
        if len(rows):
            groups[label] = (batch.inputs.clone(), batch.labels.clone())
    return Case(network.title, dense.model(network.model).eval(), groups)


def random_images(samples: int, device: str) -> Iterator[Case]:
    """ResNet-18 at 64×64 on random images, for an accelerator that has no data."""
    model = build_model(Architecture("resnet18", (3, 64, 64), 5, {}), 0).to(device).eval()
    generator = torch.Generator().manual_seed(0)
    groups = {}
    for group in range(5):
        inputs = torch.randn(samples, 3, 64, 64, generator=generator).to(device)
        labels = torch.randint(5, (samples,), generator=generator).to(device)
        groups[str(group)] = (inputs, labels)
    yield Case("ResNet-18, random images", model, groups)


def truth(case: Case) -> dict[str, float]:
    """λ_max in float64, certified to a millionth of it."""
    model = build_double(case.model)
    found = {}
    for group, (inputs, labels) in case.groups.items():
        (value,) = top_eigenvalues(model, [(inputs.double(), labels)], settings=TRUTH)
        if not value.converged:
            raise SystemExit(f"{case.name}, {group}: the truth may be off by {value.error:.1e}")
        found[group] = value.value
    return found


def build_double(model: nn.Module) -> nn.Module:
    import copy

    return copy.deepcopy(model).double()


def measured(case: Case, repeats: int) -> list[dict[str, Any]]:
    expected = truth(case)
    runs: dict[tuple[str, Any], list[float]] = {}
    errors: dict[tuple[str, Any], dict[str, float]] = {}
    chosen = [tool for tool in TOOLS if works(tool, case)]
    for _ in range(repeats):
        for tool in chosen:
            for setting in tool.settings:
                start, found = seconds(case), {}
                for group, batch in case.groups.items():
                    found[group] = tool.compute(case.model, batch, setting)
                runs.setdefault((tool.name, setting), []).append(seconds(case) - start)
                errors[tool.name, setting] = {
                    group: abs(value / expected[group] - 1) for group, value in found.items()
                }
    return [
        {
            "case": case.name,
            "tool": name,
            "setting": setting,
            "seconds": statistics.median(taken),
            "seconds_all": taken,
            "largest_error": max(errors[name, setting].values()),
            "errors": errors[name, setting],
        }
        for (name, setting), taken in runs.items()
    ]


def seconds(case: Case) -> float:
    """Of the processor, which other work changes little; on an accelerator, of the clock."""
    if next(iter(case.groups.values()))[0].is_cuda:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def works(tool: Tool, case: Case) -> bool:
    """Warm up; a peer that is not installed is named and left out."""
    group = min(case.groups.values(), key=lambda batch: len(batch[1]))
    try:
        tool.compute(case.model, (group[0][:8], group[1][:8]), tool.settings[0])
    except ImportError as error:
        print(f"{tool.name}: left out ({error})")
        return False
    return True


def at_equal_error(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each tool's fastest setting with a largest error of at most 1e-3, and our ratio to it."""
    found = []
    for case in dict.fromkeys(row["case"] for row in rows):
        best: dict[str, dict[str, Any]] = {}
        for row in rows:
            good = row["case"] == case and row["largest_error"] <= TARGET
            if good and row["seconds"] < best.get(row["tool"], {"seconds": np.inf})["seconds"]:
                best[row["tool"]] = row
        own = best["this project"]["seconds"]
        for tool, row in best.items():
            ratio = row["seconds"] / own
            found.append({k: row[k] for k in ("case", "setting", "seconds", "largest_error")})
            found[-1] |= {"tool": tool, "ratio": ratio}
    return found


def draw(record: dict[str, Any], path: Path) -> None:
    """Error against time for every tool and setting, a panel a case."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "audit"
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    names = list(record["cases"])
    figure, axes = plt.subplots(1, len(names), figsize=(3.6 * len(names), 3.6), sharey=True)
    for axis, case in zip(np.atleast_1d(axes), names, strict=True):
        for tool, marker in zip(TOOLS, "os^D", strict=True):
            own = sorted(
                (row["seconds"], max(row["largest_error"], 1e-9))
                for row in record["rows"]
                if (row["case"], row["tool"]) == (case, tool.name)
            )
            axis.loglog(*zip(*own, strict=True), marker=marker, label=tool.name, linewidth=1.4)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.axhline(record["target_error"], color="0.6", linestyle=":", linewidth=1)
        axis.set(title=f"{case}\n{record['cases'][case]['parameters']:,} parameters")
        axis.set_xlabel("seconds, all groups")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    np.atleast_1d(axes)[0].set_ylabel("largest relative error of λ_max")
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(TOOLS), loc="lower center", frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utkface", help="folder of the aligned UTKFace images")
    parser.add_argument("--adult", help="folder of the UCI Adult files")
    parser.add_argument(
        "--network", action="append", choices=NETWORKS, help="by default all whose data is given"
    )
    parser.add_argument("--random", action="store_true", help="ResNet-18 on random images")
    parser.add_argument("--samples", type=int, default=200, help="random images of a group")
    parser.add_argument("--groups", type=int, help="the first so many alone; by default all")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--name", default="curvature", help="of the file of results")
    parser.add_argument("--draw", help="draw this stored result into docs/images, and end")
    options = parser.parse_args()
    if options.draw:
        record = json.loads((RESULTS / f"{options.draw}.json").read_text("utf-8"))
        draw(record, RESULTS.parents[1] / "docs" / "images" / f"{options.draw}.svg")
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    path = RESULTS / f"{options.name}.json"
    record = json.loads(path.read_text("utf-8")) if path.is_file() else {"rows": [], "cases": {}}
    for case in cases(options):
        kept = [row for row in record["rows"] if row["case"] != case.name]
        # Fused attention has no second derivative, and only ours would do without it by itself.
        with sdpa_kernel(SDPBackend.MATH):
            rows = kept + measured(case, options.repeats)
        size = {
            "parameters": sum(p.numel() for p in case.model.parameters()),
            "samples": {group: len(labels) for group, (_, labels) in case.groups.items()},
        }
        record = told(rows, record["cases"] | {case.name: size}, options.device)
        store(options.name, record)
        for row in record["at_equal_error"]:
            if row["case"] == case.name:
                print(
                    f"{row['case']:<24} {row['tool']:<30} {row['seconds']:8.2f} s  "
                    f"error {row['largest_error']:.0e}  {row['ratio']:.2f} times ours"
                )


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Those that are asked for and whose data is given."""
    known = {"utkface": options.utkface, "adult": options.adult}
    folders = {name: folder for name, folder in known.items() if folder}
    for name in options.network or NETWORKS:
        if NETWORKS[name].folder in folders:
            yield case(NETWORKS[name], folders, options.groups)
    if options.random:
        yield from random_images(options.samples, options.device)


def told(rows: list[dict[str, Any]], sizes: dict[str, Any], device: str) -> dict[str, Any]:
    """All that is stored."""
    return {
        "command": "python benchmarks/curvature.py --utkface FOLDER --adult FOLDER",
        "target_error": TARGET,
        "cases": sizes,
        "at_equal_error": at_equal_error(rows),
        "rows": rows,
        "versions": versions("pyhessian", "curvlinops-for-pytorch", "hessian-eigenthings", "scipy"),
        "hardware": hardware(device),
    }


if __name__ == "__main__":
    main()
