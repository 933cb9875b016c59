"""Figures of the report, as SVG: one style, readable without colour and in print."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter
from scipy.stats import spearmanr

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D")
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
MUTED = "#b4bbc5"
INK = "#1d2430"
MOST_EMPHASISED = 4
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8c95a3",
    "grid.color": "#e8ebef",
    "text.color": INK,
    "text.parse_math": False,
    "svg.fonttype": "path",
}
NAMES = {
    "accuracy": "accuracy",
    "excess_risk": "excess risk (nats)",
    "excess_accuracy_gap": "excess accuracy gap",
    "gradient_norm": "gradient norm",
    "hessian_max_eigenvalue": "largest eigenvalue λ_max",
    "boundary_closeness": "closeness to the boundary",
    "input_distance": "input distance to the boundary",
}
LOGARITHMIC = ("gradient_norm", "hessian_max_eigenvalue")
SHARES = ("accuracy", "excess_accuracy_gap")


@dataclass(frozen=True)
class Drawing:
    """A figure ready for the page: its SVG, what it says in words (alt), and its caption."""

    svg: str
    alt: str
    caption: str


def groups_by_rate(
    table: pd.DataFrame, metrics: Sequence[str], emphasised: Sequence[str], name: str
) -> str:
    """Every group's metric against the rate: a row of panels a metric, a column a method.

    `table` has the columns method, rate, group, metric, value, low, high; the dense network is
    the rate 0 of every method. The emphasised groups are coloured and marked.
    """
    methods = list(dict.fromkeys(table["method"]))
    rates = sorted(table["rate"].unique())

    def draw(axes: Any) -> None:
        for row, metric in enumerate(metrics):
            for column, method in enumerate(methods):
                own = table[(table["method"] == method) & (table["metric"] == metric)]
                axis = axes[row, column]
                _lines(axis, own, rates, emphasised)
                _decorate(axis, metric, rates)
                if row == 0:
                    axis.set_title(method)
                if column == 0:
                    axis.set_ylabel(NAMES[metric])
        _legend(axes[0, -1], emphasised)

    return _svg(draw, len(metrics), len(methods), name, share_rows=True)


def methods_by_rate(table: pd.DataFrame, name: str) -> str:
    """The largest excess accuracy gap and the overall accuracy against the rate, methods compared.

    `table` has the columns method, rate, metric, value, low, high.
    """
    methods = list(dict.fromkeys(table["method"]))
    rates = sorted(table["rate"].unique())
    titles = {
        "max_excess_accuracy_gap": "largest excess accuracy gap: lower is fairer",
        "accuracy": "overall accuracy",
    }

    def draw(axes: Any) -> None:
        for axis, (metric, title) in zip(axes[0], titles.items(), strict=True):
            for place, method in enumerate(methods):
                own = table[(table["method"] == method) & (table["metric"] == metric)]
                offset = 0.08 * (place - (len(methods) - 1) / 2)
                _errors(axis, own, rates, place, method, offset)
            axis.set_title(title)
            axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            _rate_axis(axis, rates)
        axes[0, 0].axhline(0.0, color="#8c95a3", linewidth=0.8)
        axes[0, 0].legend(frameon=False, loc="upper left")

    return _svg(draw, 1, 2, name, height=3.4)


def harm_by_cause(table: pd.DataFrame, causes: Sequence[str], harm: str, name: str) -> str:
    """A group's harm against each cause, groups labelled; the rank correlation in the title.

    `table` has one row a group: group, the causes, and the harm.
    """

    def draw(axes: Any) -> None:
        for axis, cause in zip(axes[0], causes, strict=True):
            known = table[[cause, harm, "group"]].dropna()
            axis.scatter(known[cause], known[harm], color=COLOURS[1], s=26, zorder=3)
            for row in known.itertuples(index=False):
                axis.annotate(
                    short(row.group, 12),
                    (getattr(row, cause), getattr(row, harm)),
                    xytext=(4, 3),
                    textcoords="offset points",
                    fontsize=8,
                )
            if cause in LOGARITHMIC and (known[cause] > 0).all():
                axis.set_xscale("log")
                _plain_ticks(axis.xaxis)
            axis.axhline(0.0, color="#8c95a3", linewidth=0.8)
            axis.margins(0.18)
            axis.set_xlabel(NAMES[cause].replace(" to the boundary", ""))
            axis.set_title(_correlation(known[cause], known[harm]), fontweight="normal")
        axes[0, 0].set_ylabel(NAMES[harm])

    return _svg(draw, 1, len(causes), name, height=3.0)


def dumbbells(
    table: pd.DataFrame, metrics: Sequence[str], labels: tuple[str, str], name: str
) -> str:
    """Baseline and candidate of every group joined by a line, a panel a metric."""
    groups = list(dict.fromkeys(table["group"]))[::-1]

    def draw(axes: Any) -> None:
        for axis, metric in zip(axes[0], metrics, strict=True):
            own = table[table["metric"] == metric].set_index("group").reindex(groups)
            places = np.arange(len(groups))
            axis.hlines(places, own["baseline"], own["candidate"], color=MUTED, linewidth=2)
            for side, place in (("baseline", 0), ("candidate", 1)):
                errors = _error_bars(own[side], own[f"{side}_ci_low"], own[f"{side}_ci_high"])
                axis.errorbar(
                    own[side],
                    places + (0.14 if place == 0 else -0.14),
                    xerr=errors,
                    fmt=MARKERS[place],
                    color=COLOURS[place],
                    markersize=5,
                    elinewidth=0.9,
                    label=short(labels[place], 34),
                )
            axis.set_yticks(places, [short(group, 22) for group in groups])
            axis.set_title(NAMES[metric])
            if metric in SHARES:
                axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            if metric != "accuracy":
                axis.axvline(0.0, color="#8c95a3", linewidth=0.8)
        for axis in axes[0, 1:]:
            axis.set_yticklabels([])
        handles, names = axes[0, 0].get_legend_handles_labels()
        axes[0, 0].figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False)

    return _svg(draw, 1, len(metrics), name, height=1.1 + 0.34 * len(groups))


def short(name: object, most: int) -> str:
    """A name cut to a length that a figure can hold."""
    text = str(name) or "(empty)"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _svg(
    draw: Callable[[Any], None],
    rows: int,
    columns: int,
    name: str,
    height: float = 2.9,
    share_rows: bool = False,
) -> str:
    """Draw on a grid of axes and return the SVG; its ids carry the name, so that none clash."""
    style = sns.axes_style("whitegrid") | STYLE | {"svg.hashsalt": name}
    with mpl.rc_context(style):
        figure = Figure(
            figsize=(max(6.4, min(10.4, 5.2 * columns)), height * rows), layout="constrained"
        )
        axes = figure.subplots(
            rows, columns, squeeze=False, sharey="row" if share_rows else False, sharex=False
        )
        draw(axes)
        for axis in axes.flat:
            sns.despine(ax=axis)
        buffer = StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def _lines(
    axis: Axes, table: pd.DataFrame, rates: Sequence[float], emphasised: Sequence[str]
) -> None:
    for key, own in table.groupby("group", observed=True):
        group = str(key)
        own = own.sort_values("rate")
        places = [rates.index(float(rate)) for rate in own["rate"]]
        if group not in emphasised:
            axis.plot(places, own["value"], color=MUTED, linewidth=1.0, zorder=1)
            continue
        place = list(emphasised).index(group)
        shift = 0.05 * (place - (len(emphasised) - 1) / 2)
        axis.errorbar(
            [p + shift for p in places],
            own["value"],
            yerr=_error_bars(own["value"], own["low"], own["high"]),
            color=COLOURS[place],
            marker=MARKERS[place],
            linestyle=DASHES[place],
            markersize=5,
            elinewidth=0.9,
            zorder=3,
        )


def _errors(
    axis: Axes,
    table: pd.DataFrame,
    rates: Sequence[float],
    place: int,
    method: str,
    offset: float,
) -> None:
    own = table.sort_values("rate")
    axis.errorbar(
        [rates.index(rate) + offset for rate in own["rate"]],
        own["value"],
        yerr=_error_bars(own["value"], own["low"], own["high"]),
        color=COLOURS[place % len(COLOURS)],
        marker=MARKERS[place % len(MARKERS)],
        linestyle=DASHES[place % len(DASHES)],
        markersize=5.5,
        elinewidth=0.9,
        label=short(method, 40),
    )


def _error_bars(value: pd.Series, low: pd.Series, high: pd.Series) -> Any:
    """Lengths below and above; none where the interval is unknown."""
    bars = np.stack([(value - low).to_numpy(float), (high - value).to_numpy(float)])
    return np.clip(np.nan_to_num(bars), 0.0, None)


def _decorate(axis: Axes, metric: str, rates: Sequence[float]) -> None:
    _rate_axis(axis, rates)
    if metric in SHARES:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if metric in LOGARITHMIC:
        axis.set_yscale("log")
        _plain_ticks(axis.yaxis)
    if metric in ("excess_risk", "excess_accuracy_gap"):
        axis.axhline(0.0, color="#8c95a3", linewidth=0.8)


def _plain_ticks(axis: Axis) -> None:
    """Logarithmic ticks as plain numbers: mathtext is off, since names may hold dollar signs."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _rate_axis(axis: Axes, rates: Sequence[float]) -> None:
    """Rates at even steps: the high ones, where the harm is, would else lie on one another."""
    axis.set_xticks(range(len(rates)), ["dense" if rate == 0 else f"{rate:.0%}" for rate in rates])
    axis.set_xlabel("weights removed")
    axis.grid(visible=False, axis="x")


def _legend(axis: Axes, emphasised: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[p], marker=MARKERS[p], linestyle=DASHES[p])
        for p in range(len(emphasised))
    ]
    labels = [f"group {short(group, 18)}" for group in emphasised]
    handles.append(Line2D([], [], color=MUTED))
    labels.append("other groups")
    axis.figure.legend(handles, labels, loc="outside right upper", frameon=False)


def _correlation(one: pd.Series, other: pd.Series) -> str:
    if len(one) < 3 or one.nunique() < 2 or other.nunique() < 2:
        return "too few groups"
    return f"ρ = {spearmanr(one, other).statistic:+.2f}"
