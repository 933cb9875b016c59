"""What a report shows, computed from the results alone: the verdict, sections, identity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from audit.report import figures
from audit.report.evidence import attribution_table, cause_table, exemplar_table, gap_table
from audit.report.figures import Drawing
from audit.report.tables import (
    Table,
    comparison_tables,
    eigenvalue_table,
    group_table,
    layer_table,
    model_table,
    size_table,
)
from audit.study.results import Results
from audit.study.verdict import BEYOND_ROUNDING, label, overall_table, percent

CAUSES = ("gradient_norm", "hessian_max_eigenvalue", "boundary_closeness", "input_distance")
DEFINITIONS = (
    (
        "Excess risk R(a)",
        "The mean loss of a group under the pruned network less that under its dense parent, on "
        "the same samples, in nats; above zero is harm (M1; Tran et al. 2022).",
    ),
    (
        "Excess accuracy gap ψ",
        "How much more accuracy a group lost than all samples together did (M3; Hashemizadeh et "
        "al. 2024). Its largest value says who paid most. A largest value over groups is above "
        "zero even for equal groups, by chance: read it with its interval.",
    ),
    (
        "Fairness violation ξ",
        "The largest difference of excess risk between two groups (M2; Tran et al. 2022). It "
        "counts a group that improved as much as one that was hurt.",
    ),
    (
        "Gradient norm",
        "The length of the mean gradient of the group's loss over all parameters (M5): how steep "
        "the loss is where the network stands.",
    ),
    (
        "Largest Hessian eigenvalue λ_max",
        "The strongest upward curvature of the group's loss (M6), for pruned networks over the "
        "surviving weights; by Lanczos, with the residual ‖Hv − λv‖.",
    ),
    (
        "Closeness to the boundary",
        "The mean of 1 − Σ p² over the group (M7): 0 where the network is sure, at most 1 − 1/C "
        "where all C classes are alike. The distance in output space is one less this.",
    ),
    (
        "Input distance",
        "The mean signed length of the first-order step in the input to the decision boundary "
        "(M7; the linear step of DeepFool); negative where a sample is misclassified. "
        "Samples around which the network is flat have no boundary to first order and are not "
        "counted.",
    ),
    (
        "Intervals",
        "95 %, over samples. Means: a studentised bootstrap of 2,000 resamples within each group, "
        "the same resample for both networks, to first order for gradient norms and eigenvalues. "
        "Shares: Wilson's interval. Drops in accuracy and gaps: Bonett and Price's, combined. "
        "The largest of several and ranges: an interval of their own, since the bootstrap of a "
        "maximum is too high. With several seeds, tables and figures show the mean and the spread "
        "over seeds instead.",
    ),
    (
        "Noise floor",
        "What a gap between groups would be if all groups were equal, at these sizes: median and "
        "95th percentile over resamples under equal rates. A gap within its floor is no finding.",
    ),
    (
        "Taylor terms",
        "Excess risk is slope gᵀδ plus curvature ½δᵀHδ plus a remainder, δ being what pruning and "
        "fine-tuning changed (M9). The first two add up exactly over the layers.",
    ),
    (
        "Sparsity",
        "The share of the weights of convolution and linear layers that are exactly zero in the "
        "file that was loaded, whatever rate was asked for.",
    ),
)


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    lead: str = ""
    figures: list[Drawing] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class View:
    """All that the page shows."""

    title: str
    created: str
    headline: str
    sentences: list[str]
    reading: str
    sections: list[Section]
    identity: list[tuple[str, str]]
    settings: str


def make_view(results: Results) -> View:
    """Everything on the page, computed from the results alone."""
    results = _of_one_split(results)
    record = results.record
    comparison = record["tables"].get("comparison")
    sections = _comparison_sections(results) if comparison else _study_sections(results)
    return View(
        title=_title(record),
        created=record["created"].replace("T", " ").replace("+00:00", " UTC"),
        headline=record["verdict"]["headline"],
        sentences=record["verdict"]["sentences"],
        reading=_reading(record),
        sections=[*sections, _evidence(results), _data_section(record)],
        identity=_identity(record),
        settings=json.dumps(record["settings"], indent=1, ensure_ascii=False, default=str),
    )


def _of_one_split(results: Results) -> Results:
    """The rows of one split, test if it is there: two splits are no two seeds."""
    splits = set(results.groups["split"])
    split = "test" if "test" in splits else results.record["overall"][0]["split"]
    overall = [row for row in results.record["overall"] if row["split"] == split]
    groups = results.groups[results.groups["split"] == split]
    return replace(results, groups=groups, record=results.record | {"overall": overall})


def _title(record: dict[str, Any]) -> str:
    data = record["data"]
    compared = record["tables"].get("compared")
    if compared:
        return f"{compared[0]} against {compared[1]}"
    return f"{data['name']}, groups by {data['attribute']}"


def _reading(record: dict[str, Any]) -> str:
    samples = max(row["n"] for row in record["overall"])
    split = record["overall"][0]["split"]
    seeds = len({model["seed"] for model in record["models"]})
    spread = (
        f" {seeds} seeds: numbers are means over seeds, ± their standard deviation."
        if seeds > 1
        else " Numbers in brackets are 95 % intervals over samples."
    )
    return (
        f"Measured on {samples:,} {split} samples in {len(record['data']['groups'])} groups; "
        f"{len(record['models'])} networks.{spread}"
    )


def _study_sections(results: Results) -> list[Section]:
    record = results.record
    pruned = [model for model in record["models"] if model["method"] != "dense"]
    if not pruned:
        return [Section("Groups", tables=[group_table(results.groups, "The dense network")])]
    rate = max(model["rate"] for model in pruned)
    named = results.groups.assign(label=_labels(results.groups))
    methods = list(dict.fromkeys(label(model) for model in pruned))
    emphasised = _emphasised(named, rate)
    points = _by_rate(named, methods)
    harm = Section(
        "Who pays, and from which rate on",
        figures=[
            Drawing(
                figures.groups_by_rate(points, ("accuracy", "excess_risk"), emphasised, "groups"),
                f"Accuracy and excess risk of every group against the pruning rate, for "
                f"{', '.join(methods)}; the groups that lose most are {', '.join(emphasised)}.",
                "Accuracy and excess risk of every group as weights are removed. Coloured are the "
                f"groups, at most {figures.MOST_EMPHASISED}, whose excess accuracy gap at "
                f"{percent(rate)} lies above zero with its whole interval under some method, or "
                "else the one with the largest gap; bars are "
                + _bars(record)
                + ". Rates stand at even steps.",
            ),
            Drawing(
                figures.methods_by_rate(_overall_by_rate(record), "methods"),
                f"Largest excess accuracy gap and overall accuracy against the pruning rate, for "
                f"{', '.join(methods)}.",
                f"Fairness and accuracy of the methods side by side; bars are {_bars(record)}.",
            ),
        ],
        tables=[model_table(record["models"], record["overall"])],
    )
    tables = [
        group_table(
            named[(named["label"] == method) & (named["rate"] == rate)],
            f"{method} at {percent(rate)}",
        )
        for method in methods
    ]
    note = "A coloured gap lies above zero with its whole interval."
    groups = Section(f"Every group at {percent(rate)}", lead=note, tables=tables)
    return [harm, _why(named, points, methods, rate, emphasised), groups]


def _why(
    named: pd.DataFrame,
    points: pd.DataFrame,
    methods: list[str],
    rate: float,
    emphasised: list[str],
) -> Section:
    known = [cause for cause in CAUSES if (named["metric"] == cause).any()]
    lead = (
        "Tran et al. (2022) trace the harm to two causes: groups whose loss is steep (gradient "
        "norm) or strongly curved (λ_max) where the dense network stands, and which lie close to "
        "the decision boundary. A correlation over a few groups is a hint, not a proof."
    )
    drawings = [
        Drawing(
            figures.groups_by_rate(points, known, emphasised, "causes"),
            "Gradient norm, largest Hessian eigenvalue, closeness and input distance of every "
            "group against the pruning rate.",
            "The four measures as weights are removed, method by method.",
        )
    ]
    dense = named[named["method"] == "dense"]
    if not dense.empty:
        drawings.insert(0, _scatter(named, dense, known, methods[0], rate))
    return Section("Why: slope, curvature and closeness to the boundary", lead, drawings)


def _scatter(
    named: pd.DataFrame, dense: pd.DataFrame, known: list[str], method: str, rate: float
) -> Drawing:
    def means(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[rows["flag"] == ""]
        return rows.groupby(["group", "metric"], observed=True)["value"].mean().unstack("metric")

    harmed = means(named[(named["label"] == method) & (named["rate"] == rate)])
    table = means(dense)[known].join(harmed["excess_risk"]).reset_index()
    table["group"] = table["group"].astype(str)
    return Drawing(
        figures.harm_by_cause(table, known, "excess_risk", "scatter"),
        f"Excess risk of every group under {method} at {percent(rate)} against its measures "
        "under the dense network.",
        f"What was measured on the dense network against the harm of {method} at {percent(rate)}. "
        "Each point is a group; ρ is the rank correlation over groups.",
    )


def _comparison_sections(results: Results) -> list[Section]:
    record = results.record
    names = record["tables"]["compared"]
    table = pd.DataFrame(record["tables"]["comparison"])
    numbers = table.columns.difference(["group", "metric", "flag"])
    table[numbers] = table[numbers].astype(float)
    shown = [
        m for m in ("accuracy", "excess_accuracy_gap", "excess_risk") if m in set(table["metric"])
    ]
    drawing = Drawing(
        figures.dumbbells(table, shown, (names[0], names[1]), "dumbbells"),
        f"{', '.join(figures.NAMES[m] for m in shown)} of every group under {names[0]} and "
        f"{names[1]}.",
        "Every group under both networks, with 95 % intervals over samples.",
    )
    models = model_table(record["models"], record["overall"])
    return [
        Section("Which network harms whom", figures=[drawing], tables=[models]),
        Section(
            "Baseline, candidate and difference",
            "Differences are paired on the same samples; a coloured one is worse for the group "
            "with its whole interval.",
            tables=comparison_tables(record["tables"]["comparison"], names),
        ),
    ]


def _evidence(results: Results) -> Section:
    notes = list(dict.fromkeys(note for m in results.record["models"] for note in m["notes"]))
    record = results.record
    tables = [layer_table(record["models"]), gap_table(record["overall"])]
    if record["tables"].get("causes"):
        tables.append(cause_table(record["tables"]["causes"]))
    if not results.layers.empty:
        tables.append(attribution_table(results.layers, results.groups))
    if record["tables"].get("exemplars"):
        tables.append(exemplar_table(record["tables"]["exemplars"]))
    tables.append(eigenvalue_table(results.groups))
    return Section("Evidence", tables=tables, notes=notes)


def _data_section(record: dict[str, Any]) -> Section:
    return Section("The data", tables=[size_table(record["data"])], notes=record["data"]["notes"])


def _labels(groups: pd.DataFrame) -> np.ndarray:
    methods, constraints = groups["method"].astype(str), groups["constraint"].astype(str)
    return np.where(constraints == "none", methods, methods + " (" + constraints + ")")


def _emphasised(named: pd.DataFrame, rate: float) -> list[str]:
    """The groups that lose most under any method at the rate, in declared order.

    Those whose gap lies above zero with its whole interval; where there is none, the largest gap.
    """
    rows = named[
        (named["rate"] == rate) & (named["metric"] == "excess_accuracy_gap") & (named["flag"] == "")
    ]
    means = (
        rows.groupby(["label", "group"], observed=True)["value"]
        .mean()
        .groupby("group", observed=True)
    )
    largest = means.max().nlargest(figures.MOST_EMPHASISED)
    harmed = set(rows.loc[rows["ci_low"] > BEYOND_ROUNDING, "group"])
    worst = [group for group in largest.index if group in harmed] or list(largest.index[:1])
    order = list(named["group"].cat.categories)
    return sorted((str(group) for group in worst), key=order.index)


def _by_rate(named: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Group values by method and rate, the dense network at rate 0 of each; mean over seeds."""
    keys = ["label", "rate", "group", "metric"]
    rows = _over_seeds(named.assign(group=named["group"].astype(str)), keys)
    dense = rows[rows["label"] == "dense"]
    parts = [
        pd.concat([dense, rows[rows["label"] == method]]).assign(method=method)
        for method in methods
    ]
    return pd.concat(parts, ignore_index=True)


def _overall_by_rate(record: dict[str, Any]) -> pd.DataFrame:
    table = overall_table(record["overall"], record["models"])
    table = table.astype({"ci_low": float, "ci_high": float})
    rows = _over_seeds(table, ["method", "rate", "metric"])
    return rows[rows["method"] != "dense"]


def _over_seeds(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Value with low and high: the interval of one seed, or mean ± deviation of several."""
    table = table.replace([np.inf, -np.inf], np.nan)
    grouped = table.groupby(keys, observed=True, sort=False)
    found = grouped.agg(
        value=("value", "mean"),
        spread=("value", "std"),
        count=("value", "size"),
        low=("ci_low", "mean"),
        high=("ci_high", "mean"),
    ).reset_index()
    several = found["count"] > 1
    found.loc[several, "low"] = (found["value"] - found["spread"])[several]
    found.loc[several, "high"] = (found["value"] + found["spread"])[several]
    return found


def _bars(record: dict[str, Any]) -> str:
    seeds = len({model["seed"] for model in record["models"]})
    return (
        f"one standard deviation over {seeds} seeds" if seeds > 1 else "95 % intervals over samples"
    )


def _identity(record: dict[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    spec = ", ".join(f"{key}={value}" for key, value in record["data"]["spec"].items())
    rows = [
        ("Command", record["command"] or "made in Python"),
        ("Data", spec or record["data"]["name"]),
        ("Versions", versions),
    ]
    for model in record["models"]:
        file = model["file"] or "in memory"
        digest = f", SHA-256 {model['sha256']}" if model["sha256"] else ""
        rows.append((model["name"], f"{model['architecture']}, {file}{digest}"))
    return rows
