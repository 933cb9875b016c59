"""Figures of the report, as SVG: one style, readable without colour and in print."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from scipy.stats import spearmanr

from audit.study.verdict import percent

# Six of each, so that no two of six methods look alike even without colour.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#6b4c00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
MUTED = "#b4bbc5"
INK = "#1d2430"
MOST_EMPHASISED = 4
MOST_ACROSS = 3
WIDEST = 10.4  # inches
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
PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.6g}%")


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

    More than MOST_ACROSS methods stand below one another instead.

    `table` has the columns method, rate, group, metric, value, low, high; the dense network is
    the rate 0 of every method. The emphasised groups are coloured and marked.
    """
    methods = list(dict.fromkeys(table["method"]))
    rates = sorted(table["rate"].unique())
    across = len(methods) <= MOST_ACROSS

    def draw(axes: Any) -> None:
        axes = axes if across else axes.T
        for row, metric in enumerate(metrics):
            for column, method in enumerate(methods):
                own = table[(table["method"] == method) & (table["metric"] == metric)]
                axis = axes[row, column]
                _lines(axis, own, rates, emphasised)
                _decorate(axis, metric, rates)
                if row == 0 or not across:
                    axis.set_title(short(method, 32))
                if column == 0 or not across:
                    axis.set_ylabel(NAMES[metric])
        _legend(axes[0, 0], emphasised)

    rows, columns = len(metrics), len(methods)
    if across:
        return _svg(draw, rows, columns, name, share="row")
    return _svg(draw, columns, rows, name, share="col")


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
            axis.yaxis.set_major_formatter(PERCENT)
            _rate_axis(axis, rates)
        axes[0, 0].axhline(0.0, color="#8c95a3", linewidth=0.8)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        axes[0, 0].figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False)

    return _svg(draw, 1, 2, name, height=3.6)


def harm_by_cause(table: pd.DataFrame, causes: Sequence[str], harm: str, name: str) -> str:
    """A group's harm against each cause, groups labelled; the rank correlation in the title.

    `table` has one row a group: group, the causes, and the harm.
    """

    def draw(axes: Any) -> None:
        for axis, cause in zip(axes[0], causes, strict=True):
            known = table[[cause, harm, "group"]].dropna()
            axis.scatter(known[cause], known[harm], color=COLOURS[1], s=26, zorder=3)
            if cause in LOGARITHMIC and (known[cause] > 0).all():
                axis.set_xscale("log")
                _plain_ticks(axis.xaxis)
            axis.axhline(0.0, color="#8c95a3", linewidth=0.8)
            axis.margins(0.18)
            _label_points(
                axis, known[[cause, harm]].to_numpy(float), list(known["group"]), len(causes)
            )
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
            ends = own[["baseline", "candidate"]].to_numpy(float).T
            axis.plot(ends, [places + 0.14, places - 0.14], color=MUTED, linewidth=2, zorder=1)
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
                axis.xaxis.set_major_formatter(PERCENT)
            if metric != "accuracy":
                axis.axvline(0.0, color="#8c95a3", linewidth=0.8)
        for axis in axes[0, 1:]:
            axis.set_yticklabels([])
        handles, names = axes[0, 0].get_legend_handles_labels()
        axes[0, 0].figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False)

    return _svg(draw, 1, len(metrics), name, height=1.1 + 0.34 * len(groups))


def short(name: object, most: int) -> str:
    """A name cut to a length that a figure can hold, on one line."""
    text = " ".join(str(name).split()) or "(empty)"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _svg(
    draw: Callable[[Any], None],
    rows: int,
    columns: int,
    name: str,
    height: float = 2.9,
    share: Literal["none", "row", "col"] = "none",
) -> str:
    """Draw on a grid of axes and return the SVG; its ids carry the name, so that none clash."""
    style = sns.axes_style("whitegrid") | STYLE | {"svg.hashsalt": name}
    with mpl.rc_context(style):
        figure = Figure(
            figsize=(max(6.4, min(WIDEST, 5.2 * columns)), height * rows), layout="constrained"
        )
        axes = figure.subplots(rows, columns, squeeze=False, sharey=share, sharex=False)
        draw(axes)
        for axis in axes.flat:
            sns.despine(ax=axis)
        _fit_ticks(axes, figure.get_figwidth() / columns)
        buffer = StringIO()
        with warnings.catch_warnings():
            # A name in a script that the font lacks shows as boxes here; the tables have it whole.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
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


def _label_points(axis: Axes, points: Any, names: Sequence[object], panels: int) -> None:
    """Name each point, on whichever side of it lies farthest from the others and their names."""
    # A panel in typographic points, nearly: the layout is settled only when the figure is drawn.
    width, height = 72 * WIDEST / panels, 72 * 3.0
    spread = [np.log(points[:, 0]) if axis.get_xscale() == "log" else points[:, 0], points[:, 1]]
    places = np.stack([_unit(spread[0]) * width * 0.7, _unit(spread[1]) * height * 0.6], 1)
    sides = np.array([(4, 3), (4, -9), (-9, 3), (-9, -9), (-3, 8), (-3, -14)])
    taken = [*places]
    for place, point, name in zip(places, points, names, strict=True):
        others = np.array([other for other in taken if other is not place] or [place + 99])
        centres = place + sides + (3, 3)
        nearest = np.linalg.norm(centres[:, None] - others[None], axis=2).min(1)
        # Sides within a point of the best are as good: the first of them keeps a plain look.
        best = int(np.argmax(nearest > min(nearest.max() - 1, 14)))
        taken.append(centres[best])
        axis.annotate(
            short(name, 12),
            tuple(point),
            xytext=tuple(sides[best]),
            textcoords="offset points",
            fontsize=8,
        )


def _unit(values: Any) -> Any:
    span = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / span if span > 0 else np.zeros(len(values))


def _error_bars(value: pd.Series, low: pd.Series, high: pd.Series) -> Any:
    """Lengths below and above; none where the interval is unknown."""
    bars = np.stack([(value - low).to_numpy(float), (high - value).to_numpy(float)])
    return np.clip(np.nan_to_num(bars), 0.0, None)


def _decorate(axis: Axes, metric: str, rates: Sequence[float]) -> None:
    _rate_axis(axis, rates)
    if metric in SHARES:
        axis.yaxis.set_major_formatter(PERCENT)
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
    axis.set_xticks(range(len(rates)), ["dense" if rate == 0 else percent(rate) for rate in rates])
    axis.set_xlabel("weights removed")
    axis.grid(visible=False, axis="x")


def _fit_ticks(axes: Any, width: float) -> None:
    """Stand the names of the rates upright where a panel of so many inches is too narrow."""
    for axis in axes.flat:
        labels = [label.get_text() for label in axis.get_xticklabels()]
        if axis.get_xlabel() == "weights removed" and len(labels) > 1.5 * width:
            axis.tick_params(axis="x", labelrotation=90)


def _legend(axis: Axes, emphasised: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[p], marker=MARKERS[p], linestyle=DASHES[p])
        for p in range(len(emphasised))
    ]
    labels = [short(group, 18) for group in emphasised]
    handles.append(Line2D([], [], color=MUTED))
    labels.append("other groups")
    axis.figure.legend(
        handles,
        labels,
        title="group",
        alignment="left",
        loc="outside right upper",
        frameon=False,
    )


def _correlation(one: pd.Series, other: pd.Series) -> str:
    if len(one) < 3 or one.nunique() < 2 or other.nunique() < 2:
        return "too few groups"
    return f"ρ = {spearmanr(one, other).statistic:+.2f}".replace("-", "−")
