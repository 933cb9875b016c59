"""How many optimisation steps each fair method needs for the same fairness (Dai et al., Fig. 6).

Every method prunes the same dense networks with budgets that double, on equal terms: the same
constraint, data and share of distillation. Of each two-stage method every budget is a goal: its
mean accuracy and mean gap on test, which is the largest excess accuracy gap, or under its
constraint that of equalised odds. How few steps does each method need for both? The method that
prunes in rounds divides a budget among all of them, so that it is given larger ones too. Trials
that are stored already are not made again: remove the file of results to begin anew.

Run: python benchmarks/steps.py (digits)
     python benchmarks/steps.py --study STUDY.toml --constraint equalised-odds --name NAME
Draw: python benchmarks/steps.py --draw steps
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from choosing import dense_model, outcome, shortened
from common import RESULTS, hardware, store, versions
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter, ScalarFormatter

from audit import MeasureSettings, Method, StudySettings, TrainingSettings
from audit.data import load_data
from audit.data.grouped import GroupedData
from audit.files import replacing
from audit.models.checkpoint import Checkpoint
from audit.report.svg import STYLE
from audit.study.making import prune_model
from audit.study.settings import load_settings

GAPS = {
    "excess-accuracy": ("max_gap", "largest excess accuracy gap"),
    "equalised-odds": ("equalized_odds_difference", "equalised odds difference"),
}
"""What a constraint is judged by: the column, and its name in the figure."""
IN_ROUNDS = "prune-in-rounds-then-fair"
TWO_STAGE = ("prune-then-fair", "fair-then-prune", IN_ROUNDS)
LADDER = (1, 2, 4, 8, 16, 32)
LONGER = 3
"""How often the largest budget doubles for the method that prunes in rounds."""
SAME = 0.005
"""Means this near are the same: half a point, less than what the choice of samples makes."""

DIGITS = StudySettings(
    data={"dataset": "digits"},
    model="convnet",
    methods=(Method("magnitude"),),
    rates=(0.98,),
    training=TrainingSettings(epochs=30),
    measure=MeasureSettings(curvature="none"),
)


def methods(constraint: str, distillation: float) -> list[Method]:
    """The solver, the two-stage methods and the gradual one, all on the same terms."""
    return [
        Method(name, constraint, options={"distillation": distillation}, title=name)
        for name in ("bilevel", *TWO_STAGE, "gradual-excess-accuracy")
    ]


def budgets(method: Method, epochs: list[int]) -> list[int]:
    """The epochs of each of a method's trials."""
    if method.name != IN_ROUNDS:
        return epochs
    return [*epochs, *(max(epochs) * 2**longer for longer in range(1, LONGER + 1))]


def trial(
    dense: Checkpoint, data: GroupedData, method: Method, rate: float, training: TrainingSettings
) -> dict[str, Any]:
    made = prune_model(dense, data, method, rate, training)
    accuracy, after, differences = outcome(made, data)
    before, own, _ = outcome(dense, data)
    gaps = (own - after) - (before - accuracy)
    return {
        "method": method.label,
        "epochs": training.epochs,
        "steps": made.provenance.steps,
        "seed": training.seed,
        "accuracy": accuracy,
        "max_gap": float(gaps.max()),
        **differences,
    }


def targets(rows: list[dict[str, Any]], constraint: str) -> list[dict[str, Any]]:
    """The fewest steps with which each method equals each two-stage method at each budget."""
    gap, _ = GAPS[constraint]
    means = pd.DataFrame(rows).groupby(["method", "steps"])[["accuracy", gap]].mean()
    found = []
    for goal in (f"{name}-{constraint}" for name in TWO_STAGE):
        for goal_steps, reached in means.loc[goal].iterrows():
            for method, own in means.groupby(level="method"):
                good = own[
                    (own["accuracy"] >= reached["accuracy"] - SAME)
                    & (own[gap] <= reached[gap] + SAME)
                ]
                steps = None if good.empty else int(good.index.get_level_values("steps")[0])
                found.append(
                    {
                        "goal": goal,
                        "goal_steps": goal_steps,
                        "accuracy": float(reached["accuracy"]),
                        gap: float(reached[gap]),
                        "method": method,
                        "steps": steps,
                    }
                )
    return found


def stored_rows(name: str, terms: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that an earlier run on the same terms has stored."""
    path = RESULTS / f"{name}.json"
    record = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    same = all(record.get(key) == value for key, value in terms.items())
    rows: list[dict[str, Any]] = record["rows"] if record and same else []
    return rows


def draw(record: dict[str, Any], path: Path) -> None:
    """Accuracy and largest gap against steps, mean and spread over seeds."""
    table = pd.DataFrame(record["rows"])
    constraint = record["constraint"]
    colours = ("#D55E00", "#0072B2", "#009E73", "#56B4E9", "#CC79A7")
    with mpl.rc_context(STYLE | {"svg.fonttype": "path", "font.size": 9.5}):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        axes = figure.subplots(1, 2)
        panels = (GAPS[constraint], ("accuracy", "overall accuracy"))
        for axis, (metric, title) in zip(axes, panels, strict=True):
            for place, (method, own) in enumerate(table.groupby("method", sort=False)):
                found = own.groupby("steps")[metric].agg(["mean", "std"]).reset_index()
                axis.errorbar(
                    found["steps"] * (1 + 0.03 * (place - 2)), found["mean"],
                    yerr=found["std"], color=colours[place], marker="os^vD"[place],
                    linestyle=("-", "--", ":", "--", "-.")[place], markersize=5, elinewidth=0.9,
                    label=method.removesuffix(f"-{constraint}"),
                )  # fmt: skip
            axis.set_xscale("log", base=2)
            axis.set_xticks(sorted(table["steps"].unique()))
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
            axis.set(title=title, xlabel="optimisation steps after the dense training")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=5,
                      frameon=False)  # fmt: skip
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None}, facecolor="white")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", help="TOML file whose data, model and training are taken")
    parser.add_argument("--rate", type=float, default=0.98)
    parser.add_argument("--constraint", choices=GAPS, default="excess-accuracy")
    parser.add_argument("--distillation", type=float, default=0.0, help="κ of every method")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--epochs", type=int, nargs="+", default=list(LADDER))
    parser.add_argument("--name", default="steps", help="of the file of results")
    parser.add_argument("--draw", metavar="NAME", help="draw stored results and stop")
    arguments = parser.parse_args()
    image = Path(__file__).parents[1] / "docs" / "images"
    if arguments.draw:
        record = json.loads((RESULTS / f"{arguments.draw}.json").read_text("utf-8"))
        draw(record, image / f"{arguments.draw}.svg")
        return
    settings = load_settings(arguments.study) if arguments.study else DIGITS
    data = load_data(settings.data)
    seeds = range(arguments.seeds)
    pool = Parallel(n_jobs=arguments.jobs)
    dense = pool(delayed(dense_model)(settings, data, seed) for seed in seeds)
    terms = {name: getattr(arguments, name) for name in ("constraint", "rate", "distillation")}
    rows = stored_rows(arguments.name, terms)
    known = {(row["method"], row["epochs"], row["seed"]) for row in rows}
    rows += pool(
        delayed(trial)(
            dense[seed], data, method, arguments.rate,
            replace(settings.pruning, epochs=epochs, seed=seed),
        )
        for method in methods(arguments.constraint, arguments.distillation)
        for epochs in budgets(method, arguments.epochs)
        for seed in seeds
        if (method.label, epochs, seed) not in known
    )  # fmt: skip
    record = {
        "command": shlex.join(["python", "benchmarks/steps.py", *map(shortened, sys.argv[1:])]),
        **terms,
        "rows": rows,
        "targets": targets(rows, arguments.constraint),
        "versions": versions(),
        "hardware": hardware(),
    }
    store(arguments.name, record)
    print(pd.DataFrame(record["targets"]).to_string())
    draw(record, image / f"{arguments.name}.svg")


if __name__ == "__main__":
    main()
