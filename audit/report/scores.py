"""Figures of scores: rates at every threshold, calibration, and the user's own metric by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from audit.columns import SCORE
from audit.findings.networks import shown_models
from audit.findings.results import Results
from audit.findings.scores import RATES, calibration_by_group, rates_by_threshold
from audit.findings.words import DASH, interval, named, number
from audit.report.figures import COLOURS, DASHES, MARKERS, MUTED, PERCENT
from audit.report.svg import Drawing, Tips, distinct, heading, short, svg
from audit.report.tables import Cell, Table, TableRow

MOST_NETWORKS = 2
MOST_GROUPS = 6
"""Groups of a figure: those of most samples, marked where they are too small to be judged."""


def score_figures(results: Results) -> list[Drawing]:
    """Rates of two classes at every threshold of the score, and calibration, group by group.

    Nothing where the samples hold no scores (MeasureSettings.scores, --scores).
    """
    classes = [str(name) for name in results.record["data"]["classes"]]
    if len(classes) != 2 or f"{SCORE}{classes[1]}" not in results.answers.columns:
        return []
    models, groups = shown_models(results.record)[-MOST_NETWORKS:], _largest(results.groups)
    given = (results.answers.together(models), results.groups)
    rates = {m: rates_by_threshold(*given, m, classes[1]) for m in models}
    sure = {m: calibration_by_group(*given, m, classes[1]) for m in models}
    rates = {m: own for m, own in rates.items() if not own.empty}
    if not rates:
        return []
    names, told = list(rates), ", ".join(rates)
    left = results.groups["group"].nunique() - len(groups)
    rest = f" The {len(groups)} largest of the groups are drawn." if left else ""
    return [
        Drawing(
            _rates(rates, groups, classes[1]),
            f"{', '.join(RATES)} of every group under {told} at every threshold of the score of "
            f"class {classes[1]}.",
            f"How often each group is predicted class {classes[1]}, rightly and wrongly, wherever "
            "the threshold of its score is put; the dashed line is where the network decides. "
            f"Shaded are 95 % intervals, each group's own.{rest}",
        ),
        Drawing(
            _calibrated({m: sure[m] for m in names}, groups),
            f"Share of class {classes[1]} against its score, group by group, under {told}.",
            f"How often the class is {classes[1]} where the network gives it that score: bins of "
            "equal numbers of each group's samples, with 95 % intervals. Below the dashed line the "
            f"score promises too much.{rest}",
        ),
    ]


def _largest(groups: pd.DataFrame) -> dict[str, str]:
    """The largest groups in declared order, with what the figure calls them."""
    own = groups[groups["metric"] == "accuracy"].drop_duplicates("group").astype({"group": str})
    chosen = set(own.sort_values("n", ascending=False).head(MOST_GROUPS)["group"])
    return {
        row["group"]: short(named(row["group"]), 18) + (f" ({row['flag']})" if row["flag"] else "")
        for row in own.to_dict("records")
        if row["group"] in chosen and row["n"] > 0
    }


def _rates(tables: Mapping[str, pd.DataFrame], groups: Mapping[str, str], positive: str) -> str:
    def draw(axes: Any, tips: Tips) -> None:
        for row, (model, table) in enumerate(tables.items()):
            for column, rate in enumerate(RATES):
                axis = axes[row, column]
                own = table[table["rate"] == rate]
                _curves(axis, own, "threshold", groups, tips)
                axis.axvline(0.5, color="#8c95a3", linewidth=0.8, linestyle="--", zorder=1)
                axis.set_title(rate if row == 0 else "")
                axis.set_xlabel(f"threshold on the score of {short(positive, 16)}")
            axes[row, 0].set_ylabel(short(model, 24))
        _legend(axes)

    return svg(draw, len(tables), len(RATES), "score-thresholds", share="row")


def _calibrated(tables: Mapping[str, pd.DataFrame], groups: Mapping[str, str]) -> str:
    def draw(axes: Any, tips: Tips) -> None:
        for axis, (model, table) in zip(axes[0], tables.items(), strict=True):
            axis.plot([0, 1], [0, 1], color="#8c95a3", linewidth=0.8, linestyle="--", zorder=1)
            _curves(axis, table, "score", groups, tips)
            axis.set_title(heading(model, len(tables)))
            axis.set_xlabel("mean score")
        axes[0, 0].set_ylabel("share of the class")
        _legend(axes)

    return svg(draw, 1, len(tables), "score-calibration", height=3.3, share="row")


def _curves(
    axis: Axes, table: pd.DataFrame, across: str, groups: Mapping[str, str], tips: Tips
) -> None:
    for place, (group, name) in enumerate(groups.items()):
        own = table[(table["group"] == group) & table["value"].notna()]
        if own.empty:
            continue
        colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
        x = own[across].to_numpy(dtype=float)
        axis.fill_between(x, own["ci_low"], own["ci_high"], color=colour, alpha=0.12, linewidth=0)
        axis.plot(x, own["value"], color=colour, linestyle=dash, linewidth=1.2, label=name)
        for row in own.to_dict("records"):
            between = interval(row["ci_low"], row["ci_high"], "accuracy")
            text = f"{name} at {row[across]:.2f}: {number(row['value'], 'accuracy')} {between}"
            tips.add(axis, row[across], row["value"], f"{text} of {row['n']:,}")
    axis.xaxis.set_major_formatter(PERCENT)
    axis.yaxis.set_major_formatter(PERCENT)


def _legend(axes: Any) -> None:
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].figure.legend(
        handles, labels, title="group", loc="outside right upper", alignment="left", frameon=False
    )


# --- the user's own metric ------------------------------------------------------------------------


def own_metric_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The user's own metric by network, stratum and group, with intervals."""
    differs = any("difference" in row for row in rows)
    strata = any(row["control"] for row in rows)
    columns = ["model", *(["stratum"] if strata else []), "group", "n", "value"]
    shown = []
    for row in rows:
        cells = [Cell(str(row["control"]), style="text")] if strata else []
        cells += [Cell(named(row["group"]), style="text"), Cell(f"{row['n']:,}")]
        cells.append(Cell(number(row["value"]), interval(row["ci_low"], row["ci_high"])))
        if differs:
            low, high = row.get("difference_ci_low"), row.get("difference_ci_high")
            known = row.get("difference")
            text = DASH if known is None else number(known, signed=True)
            cells.append(Cell(text, interval(low, high)))
        shown.append(TableRow(str(row["model"]), cells))
    note = (
        "95 % intervals, each its own, from a bootstrap within each group. A number that the "
        f"metric does not define is {DASH}."
    )
    title = f"Your own metric: {rows[0]['metric']}" if rows else "Your own metric"
    names = [*columns, *(["difference from the reference"] if differs else [])]
    return Table(title, names, shown, note, folded=True)


def own_metric_figures(rows: Sequence[Mapping[str, Any]]) -> list[Drawing]:
    """The user's own metric of every group, a marker a network; a panel a stratum."""
    table = pd.DataFrame([row for row in rows if row["value"] is not None])
    if table.empty:
        return []
    name = str(table["metric"].iloc[0])
    kept = list(dict.fromkeys(table["control"]))[:3]
    more = table["control"].nunique() - len(kept)
    rest = f" {more} more strata are in the table." if more > 0 else ""
    return [
        Drawing(
            _own_metric(table, kept, name),
            f"{name} of every group under {', '.join(dict.fromkeys(table['model']))}.",
            f"{name} of every group, with 95 % intervals, each its own.{rest}",
        )
    ]


def _own_metric(table: pd.DataFrame, strata: Sequence[str], name: str) -> str:
    groups = list(dict.fromkeys(table["group"]))[::-1]
    models = list(dict.fromkeys(table["model"]))

    def draw(axes: Any, tips: Tips) -> None:
        for axis, stratum in zip(axes[0], strata, strict=True):
            for place, model in enumerate(models):
                own = table[(table["model"] == model) & (table["control"] == stratum)]
                shift = 0.5 * ((place + 0.5) / len(models) - 0.5)
                _points(axis, own, groups, place, shift, tips)
            axis.set_yticks(range(len(groups)), distinct([named(group) for group in groups], 22))
            axis.set_title(heading(stratum, len(axes[0])))
            axis.set_xlabel(short(name, 40))
        for axis in axes[0, 1:]:
            axis.set_yticklabels([])
        handles, labels = axes[0, 0].get_legend_handles_labels()
        axes[0, 0].figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False)

    return svg(draw, 1, len(strata), "own-metric", height=1.0 + 0.25 * len(groups))


def _points(
    axis: Axes, own: pd.DataFrame, groups: Sequence[str], place: int, shift: float, tips: Tips
) -> None:
    colour = COLOURS[place] if place < len(COLOURS) else MUTED
    marker = MARKERS[place % len(MARKERS)]
    for row in own.to_dict("records"):
        y = groups.index(row["group"]) + shift
        known = not (pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]))
        if known:
            axis.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, linewidth=0.9)
        axis.plot(row["value"], y, marker, color=colour, markersize=5)
        between = interval(row["ci_low"], row["ci_high"])
        text = f"{named(row['group'])}, {row['model']}: {number(row['value'])} {between}"
        tips.add(axis, row["value"], y, f"{text}, {row['n']:,} samples")
    if len(own):
        axis.plot([], [], marker, color=colour, label=short(str(own["model"].iloc[0]), 34))
