"""Results as a study would give them, made without a network: the harm is chosen by the test."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.columns import GROUP_COLUMNS, LAYER_COLUMNS
from audit.findings.answers import Answers
from audit.findings.causes import causes_table
from audit.findings.comparison import comparison_table
from audit.findings.error_rates import rates_table
from audit.findings.exemplars import exemplar_table
from audit.findings.finding import claimed
from audit.findings.making import conclude
from audit.findings.outcomes import make_outcomes
from audit.findings.results import SCHEMA_VERSION, Results
from audit.metrics import shown

DIGITS = tuple("0123456789")
METHODS = (("magnitude", "none"), ("bilevel", "excess-accuracy"))
EIGENVALUES = ("hessian_max_eigenvalue", "hessian_min_eigenvalue")


def fake_results(
    groups: Sequence[str] = DIGITS,
    methods: Sequence[tuple[str, str]] = METHODS,
    rates: Sequence[float] = (0.8, 0.9, 0.95, 0.98),
    seeds: int = 1,
    n: int = 90,
    harmed: Sequence[str] = ("8",),
    harm: float = 0.3,
    small: Sequence[str] = (),
    absent: Sequence[str] = (),
    dense: bool = True,
    compared: Sequence[str] | None = None,
) -> Results:
    """Results in which `harmed` groups lose `harm` of their accuracy at the highest rate.

    `harm` falls with the square of the rate, and a constrained method keeps all but a fifth of it.
    """
    sizes = {name: 0 if name in absent else 8 if name in small else n for name in groups}
    models = [_model("dense", "none", 0.0, seed) for seed in range(seeds)] if dense else []
    models += [
        _model(method, constraint, rate, seed)
        for seed in range(seeds)
        for method, constraint in methods
        for rate in rates
    ]
    top = max([model["rate"] for model in models], default=0.0) or 1.0
    tables, samples, overall = [], [], []
    for model in models:
        lost = harm * (model["rate"] / top) ** 2 * (0.2 if model["constraint"] != "none" else 1.0)
        own = _groups(model, sizes, harmed, lost)
        tables.append(own)
        samples.append(_samples(model, own))
        overall += _overall(model, own)
    table = pd.concat(tables, ignore_index=True)
    table["group"] = pd.Categorical(table["group"], categories=list(groups), ordered=True)
    every = pd.concat(samples, ignore_index=True)
    record = _record(models, overall, sizes)
    causes = causes_table(table, models, {name: 10 * n for name, n in sizes.items()})
    record["tables"]["causes"] = _plain(causes)
    layers = _layers(models, sizes)
    if compared is None:
        record["tables"]["exemplars"] = _plain(
            exemplar_table(make_outcomes(every, table, record), models)
        )
    else:
        baseline, *candidates = compared
        difference = pd.concat([comparison_table(table, every, baseline, c) for c in candidates])
        record["tables"] |= {"compared": list(compared), "comparison": _plain(difference)}
    record["tables"]["rates"] = _plain(rates_table(every, table, record))
    record |= conclude(table, every, layers, record)
    return Results(table, Answers.of(every), record, layers)


def bounds(results: Results, claim: str, network: str, row: dict[str, Any], side: str = "") -> Any:
    """The interval that a page shows: that of the claim, or where there is none the row's own."""
    one = claimed(results.record, claim).get((network, str(row["group"])))
    wanted = {"pays": "excess_accuracy_gap", "changes": "accuracy"}[claim]
    if one is None or one.low is None or one.runs > 1 or row["metric"] != wanted:
        return row[f"{side}ci_low"], row[f"{side}ci_high"]
    return one.low, one.high


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _layers(models: list[dict[str, Any]], sizes: dict[str, int]) -> pd.DataFrame:
    """Taylor terms of two layers, for the pruned models."""
    rows = [
        {"model": model["name"], "group": group, "layer": layer, "n": n, "metric": metric,
         "value": share * model["rate"]}
        for model in models
        if model["rate"]
        for group, n in sizes.items()
        if n
        for layer, share in (("conv", 0.1), ("head", 0.3))
        for metric in ("taylor_slope", "taylor_curvature")
    ]  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=list(LAYER_COLUMNS))


def _model(method: str, constraint: str, rate: float, seed: int) -> dict[str, Any]:
    parts = [method, constraint] if constraint != "none" else [method]
    name = "-".join([*parts, f"{rate:g}", f"seed{seed}"] if rate else [*parts, f"seed{seed}"])
    return {
        "model": name,
        "name": name,
        "method": method,
        "constraint": constraint,
        "rate": rate,
        "sparsity": rate,
        "seed": seed,
        "file": f"models/{name}.pt",
        "sha256": f"{abs(hash(name)):064x}"[:64],
        "parameters": 90250,
        "surviving_parameters": round(90250 * (1 - rate)),
        "multiply_adds": 123456,
        "surviving_multiply_adds": round(123456 * (1 - rate)),
        "layer_sparsity": {"0.weight": rate / 2, "4.weight": rate},
        "architecture": "convnet",
        "arguments": {"width": 32},
        "input_shape": [1, 8, 8],
        "steps": 460,
        "settings": {},
        "notes": [],
        "parent": None,
    }


def _groups(
    model: dict[str, Any], sizes: dict[str, int], harmed: Sequence[str], lost: float
) -> pd.DataFrame:
    generator = np.random.default_rng([model["seed"], round(1000 * model["rate"])])
    drops = {
        name: (lost if name in harmed else 0.0) + 0.004 * generator.standard_normal()
        for name in sizes
    }
    total = sum(sizes.values())
    average = sum(drops[name] * n for name, n in sizes.items()) / total
    identity = {
        key: model[key] for key in ("model", "method", "constraint", "rate", "sparsity", "seed")
    }
    rows = []
    for place, (name, n) in enumerate(sizes.items()):
        drop = drops[name] if model["rate"] else 0.0
        steep = 0.2 * 1.7**place * (1 + model["rate"])
        values = {
            "loss": 0.1 + 2 * drop,
            "accuracy": 0.95 - 0.01 * place - drop,
            "excess_risk": 2 * drop,
            "excess_accuracy_gap": drop - average if model["rate"] else 0.0,
            "gradient_norm": steep,
            "hessian_max_eigenvalue": 4 * steep,
            "hessian_min_eigenvalue": -0.3 * steep,
            "boundary_closeness": 0.05 + 0.02 * place,
            "boundary_margin": 0.8 - 0.03 * place,
            "expected_calibration_error": 0.02 + 0.2 * drop if drop > 0 else 0.02,
            "input_distance": 2.0 - 0.15 * place,
        }
        flag = "absent" if n == 0 else "small" if n < 30 else ""
        for metric, value in values.items():
            row = {"split": "test", "attribute": "class", "group": name, "n": n, "metric": metric}
            half = 0.0 if model["rate"] == 0 and metric.startswith("excess") else 0.05
            row |= _qualified(value if n else np.nan, half, metric) | {"flag": flag}
            rows.append(identity | row)
    return pd.DataFrame(rows).reindex(columns=list(GROUP_COLUMNS))


def _qualified(value: float, half: float, metric: str) -> dict[str, Any]:
    width = half * max(1.0, abs(value))
    found: dict[str, Any] = {"value": value, "ci_low": value - width, "ci_high": value + width}
    if metric in EIGENVALUES:
        found |= {
            "residual": 1e-4,
            "error": 1e-6,
            "products": 24,
            "converged": True,
            "space": "support",
        }
    return found


def _samples(model: dict[str, Any], groups: pd.DataFrame) -> pd.DataFrame:
    """Samples whose share of right predictions is that of their group, as nearly as n allows."""
    own = groups[groups["metric"] == "accuracy"]
    parts = []
    for row in own[own["n"] > 0].to_dict("records"):
        right = np.arange(row["n"]) < round(row["value"] * row["n"])
        part = pd.DataFrame({"sample": [f"{row['group']}-{i}" for i in range(row["n"])]})
        part = part.assign(model=model["name"], split="test", group=row["group"], label="a")
        part["prediction"] = np.where(right, "a", "b")
        part["loss"] = np.where(right, 0.1, 2.0)
        parts.append(part.assign(margin=0.5, confidence=0.9, boundary_closeness=0.1))
    return pd.concat(parts, ignore_index=True)


def _overall(model: dict[str, Any], groups: pd.DataFrame) -> list[dict[str, Any]]:
    wide = groups[groups["flag"] == ""].pivot(index="group", columns="metric", values="value")
    total = int(groups.loc[groups["metric"] == "accuracy", "n"].sum())
    found = {metric: wide[metric].mean() for metric in ("accuracy", "loss", "excess_risk")}
    gap, risk = wide["excess_accuracy_gap"], wide["excess_risk"]
    if len(wide) > 1:
        found["fairness_violation"] = risk.max() - risk.min()
        found["max_excess_accuracy_gap"] = gap.max()
        found["excess_accuracy_gap_range"] = gap.max() - gap.min()
    return [
        {
            "model": model["name"],
            "split": "test",
            "n": total,
            "metric": metric,
            "group": gap.idxmax() if metric == "max_excess_accuracy_gap" else None,
            "value": float(value),
            "ci_low": float(value) - 0.012,
            "ci_high": float(value) + 0.012,
            "floor_median": 0.02 if metric in shown("gaps") else None,
            "floor_p95": 0.04 if metric in shown("gaps") else None,
            "corrected": float(value) - 0.02 if metric in shown("gaps") else None,
        }
        for metric, value in found.items()
    ]


def _record(
    models: list[dict[str, Any]], overall: list[dict[str, Any]], sizes: dict[str, int]
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "created": "2026-01-02T03:04:05+00:00",
        "command": "audit run study.toml",
        "settings": {"model": "convnet"},
        "versions": {"python": "3.11"},
        "data": {
            "name": "digits",
            "spec": {"dataset": "digits"},
            "attribute": "class",
            "classes": ["a", "b"],
            "groups": [
                {"group": name, "train": 4 * n, "select": n, "test": n} for name, n in sizes.items()
            ],
            "notes": ["Numbers made for a test."],
        },
        "models": models,
        "overall": overall,
        "tables": {},
    }


@pytest.fixture(scope="session")
def fake() -> Callable[..., Results]:
    """The maker of results; its arguments are those of `fake_results`."""
    return fake_results
