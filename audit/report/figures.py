"""Figures of the report, as SVG: one style, readable without colour and in print."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from audit.findings.words import interval, number, percent, points
from audit.measure.spectrum import SpectralDensity
from audit.metrics import metric as told
from audit.report.svg import INK, RATE, WIDEST, Tips, distinct, heading, short, svg

# Six of each, so that no two of six methods look alike even without colour.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#6b4c00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
MUTED = "#b4bbc5"
MOST_ACROSS = 3
MOST_METHODS = 6
MOST_LABELLED = 14
BESIDE_A_POINT = 12
"""Letters of a name that stand beside a point and leave its neighbours room."""
MOST_WRITTEN = 160
MOST_DRAWN = 60
"""Groups that a figure of a page's height can name, one below the other."""
LETTER = 0.09
"""Inches that a letter of a name takes, on the average."""
NARROW = 30.0
"""Times the lowest value of a logarithmic axis: one that is no longer has ticks between powers."""
SLANT = 0.72
"""Of its length, the height of a name that is written at 45 degrees."""
ROW = 0.24
"""Inches of a row of a heat map, so that its number and its name are read."""
SMALLEST = 9.6
"""In points where a figure is WIDEST: as small as paper can take it."""


def _percent_tick(value: float, _: object = None) -> str:
    """A share in percent; an axis may reach beyond 0 and 100 %, which no share does."""
    return f"{100 * max(value, 0.0):.6g}%" if -1e-9 <= value <= 1 + 1e-9 else ""


def _points_tick(value: float, _: object = None) -> str:
    """A difference of shares in points: its unit stands beside the axis."""
    return f"{100 * value:.6g}".replace("-", "−")


PERCENT, POINTS = FuncFormatter(_percent_tick), FuncFormatter(_points_tick)


def _ticks(own: Axis, metric: str) -> None:
    """Shares in percent, differences of shares in points; all else as it is."""
    unit = told(metric).unit
    if unit in ("share", "points"):
        own.set_major_formatter(PERCENT if unit == "share" else POINTS)


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

    def draw(axes: Any, tips: Tips) -> None:
        for (row, column), axis in np.ndenumerate(axes):
            metric = metrics[row if across else column]
            method = methods[column if across else row]
            own = table[(table["method"] == method) & (table["metric"] == metric)]
            _lines(axis, own, rates, emphasised, tips, metric, f"{name}-{row}-{column}")
            _decorate(axis, metric, rates)
            if row < len(axes) - 1:
                axis.set_xlabel("")
                axis.tick_params(axis="x", labelbottom=False)
            head, side = (method, told(metric).axis) if across else (_brief(metric), method)
            if row == 0:
                axis.set_title(heading(head, axes.shape[1]))
            if column == 0:
                axis.set_ylabel("\n".join(_label_lines(side)))
        _legend(axes[0, 0], emphasised)

    rows, columns = len(metrics), len(methods)
    if across:
        return svg(draw, rows, columns, name, share="row")
    return svg(draw, columns, rows, name, share="col")


def _brief(metric: str) -> str:
    """The name of a metric where many panels stand side by side."""
    one = told(metric)
    return one.axis.replace(one.title, one.brief)


def overall_title(metric: str) -> str:
    """A number over all samples, told from that of the groups."""
    title = told(metric).axis
    return f"overall {title}" if metric == "accuracy" else title


def _label_lines(text: str) -> list[str]:
    """A label of several lines, whole; a method's constraint stands on lines of its own."""
    name, bracket, rest = text.partition(" (")
    return wrap(name, 24) + (wrap(f"({rest}", 24) if bracket else [])


def methods_by_rate(
    table: pd.DataFrame, metrics: Sequence[str], dense: Mapping[str, float], name: str
) -> str:
    """Overall numbers against the rate, a panel each, the methods compared.

    `table` has the columns method, rate, metric, value, low, high and floor, which is unknown of
    what is no gap; `dense` the dense network's value of each metric.
    """
    methods = list(dict.fromkeys(table["method"]))
    rates = sorted(table["rate"].unique())

    def draw(axes: Any, tips: Tips) -> None:
        for axis, metric in zip(axes[0], metrics, strict=True):
            for place, method in enumerate(methods):
                own = table[(table["method"] == method) & (table["metric"] == metric)]
                offset = 0.08 * (place - (len(methods) - 1) / 2)
                _errors(axis, own, rates, place, method, offset)
                for row in own.to_dict("records"):
                    where = rates.index(row["rate"]) + offset
                    text = f"{method}, {percent(row['rate'])}: {_told(row, metric)}"
                    tips.add(axis, where, row["value"], text)
                _floors(axis, [rates.index(rate) + offset for rate in own["rate"]], own["floor"])
            axis.set_title(overall_title(metric))
            _ticks(axis.yaxis, metric)
            _rate_axis(axis, rates)
            if metric != "accuracy":
                axis.axhline(0.0, color="#8c95a3", linewidth=0.8)
            if dense.get(metric):
                axis.axhline(dense[metric], color=INK, linewidth=1.0, linestyle=(0, (4, 3)),
                             label="dense network")  # fmt: skip
                tips.add(axis, 0, dense[metric], f"dense: {number(dense[metric], metric)}")
        _legend_of_all(axes)

    return svg(draw, 1, len(metrics), name, height=3.6)


def _floors(axis: Axes, places: Sequence[float], floors: pd.Series) -> None:
    """What a gap would be by chance alone: a short line under or over its mark."""
    known = floors.notna().to_numpy()
    axis.scatter(np.asarray(places)[known], floors[known], marker="_", s=110, color="#8c95a3",
                 linewidths=1.4, zorder=2,
                 label="noise floor, 95th percentile" if known.any() else None)  # fmt: skip


def _legend_of_all(axes: Any) -> None:
    """One legend over the panels: each thing once."""
    found: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    axes.flat[0].figure.legend(found.values(), found.keys(), loc="outside upper left", ncols=3,
                               frameon=False)  # fmt: skip


def scatters(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], name: str) -> str:
    """One measure of a group against another, a panel a pair (across, up), groups labelled.

    `table` has one row a group: group, and the measures. The rank correlation is the title.
    """
    labels, key = _point_labels(list(table["group"]))
    columns = max(1, int(WIDEST / (0.4 + LETTER * max(map(len, key), default=1))))

    def draw(axes: Any, tips: Tips) -> None:
        if key:
            axes[0, 0].figure.legend(
                [Line2D([], [], linestyle="none")] * len(key), key, loc="outside lower left",
                ncols=columns, frameon=False, handlelength=0, handletextpad=0,
            )  # fmt: skip
        for place, (axis, (across, up)) in enumerate(zip(axes[0], pairs, strict=True)):
            known = table[[across, up, "group"]].dropna()
            axis.scatter(known[across], known[up], color=COLOURS[1], s=26, zorder=3)
            for metric, own in ((across, axis.xaxis), (up, axis.yaxis)):
                _scale(axis, own, metric, known[metric])
            if up == "excess_risk":
                axis.axhline(0.0, color="#8c95a3", linewidth=0.8)
            axis.margins(0.18)
            points = known[[across, up]].to_numpy(float)
            if labels:
                _label_points(axis, points, [labels[group] for group in known["group"]], len(pairs))
            for group, (x, y) in zip(known["group"], points, strict=True):
                text = f"{short(group, 60)}: {number(x, across)}, {number(y, up)}"
                tips.add(axis, x, y, text)
            if axis.get_xscale() == "linear" and known[across].min() >= 0 > axis.get_xlim()[0]:
                axis.set_xlim(-0.03 * known[across].max())
            axis.set_xlabel(_brief(across))
            axis.set_title(_correlation(known[across], known[up]), fontweight="normal")
            if place == 0 or pairs[place - 1][1] != up:
                axis.set_ylabel(told(up).axis)

    return svg(draw, 1, len(pairs), name, height=3.0 + 0.2 * -(-len(key) // columns))


def _point_labels(groups: Sequence[object]) -> tuple[dict[object, str], list[str]]:
    """What stands beside each group's point: its name, or a number where names are too long.

    And the key to the numbers. Nothing of so many groups that no label would be read.
    """
    if len(groups) > MOST_LABELLED:
        return {}, []
    if all(len(short(group, 99)) <= BESIDE_A_POINT for group in groups):
        return {group: short(group, BESIDE_A_POINT) for group in groups}, []
    numbers = {group: str(place) for place, group in enumerate(groups, 1)}
    names = zip(numbers.values(), distinct(groups, 44), strict=True)
    return numbers, [f"{number_of}  {name}" for number_of, name in names]


def _scale(axis: Axes, own: Axis, metric: str, values: pd.Series) -> None:
    """Logarithmic where that suits the measure, shares in percent."""
    if told(metric).logarithmic and len(values) and (values > 0).all():
        (axis.set_xscale if own is axis.xaxis else axis.set_yscale)("log")
        _plain_ticks(own)
    _ticks(own, metric)


def trade_off(table: pd.DataFrame, dense: float | None, name: str) -> str:
    """Accuracy against the largest excess accuracy gap, a mark a method, with the Pareto front.

    `table` has one row a method: method, and of accuracy and gap the value, low and high. On the
    front lie the methods that no other beats in both. `dense` is the dense network's accuracy,
    whose gap is zero: it is what the gap is measured from.
    """
    front = pareto_front(table["gap"].to_numpy(float), table["accuracy"].to_numpy(float))

    def draw(axes: Any, tips: Tips) -> None:
        axis = axes[0, 0]
        best = table[front].sort_values("gap")
        if len(best) > 1:
            axis.plot(best["gap"], best["accuracy"], color=MUTED, linewidth=1.4, zorder=1,
                      drawstyle="steps-post", label="Pareto front")  # fmt: skip
        for place, row in enumerate(table.to_dict("records")):
            on_front = bool(front[place])
            axis.errorbar(
                row["gap"],
                row["accuracy"],
                xerr=[[max(0.0, row["gap"] - row["gap_low"])],
                      [max(0.0, row["gap_high"] - row["gap"])]],
                yerr=[[max(0.0, row["accuracy"] - row["accuracy_low"])],
                      [max(0.0, row["accuracy_high"] - row["accuracy"])]],
                color=COLOURS[place % len(COLOURS)],
                marker=MARKERS[(place // len(COLOURS) + place) % len(MARKERS)],
                markerfacecolor=COLOURS[place % len(COLOURS)] if on_front else "white",
                markersize=7,
                elinewidth=0.8,
                linestyle="none",
                label=short(row["method"], 48),
            )  # fmt: skip
            text = (
                f"{row['method']}: accuracy {number(row['accuracy'], 'accuracy')}, largest gap "
                f"{number(row['gap'], 'excess_accuracy_gap')} points"
            )
            tips.add(axis, row["gap"], row["accuracy"], text)
        if dense is not None:
            axis.plot(0.0, dense, marker="*", markersize=11, color=INK, linestyle="none",
                      label="dense network")  # fmt: skip
            tips.add(axis, 0.0, dense, f"dense: accuracy {number(dense, 'accuracy')}")
        axis.xaxis.set_major_formatter(POINTS)
        axis.yaxis.set_major_formatter(PERCENT)
        axis.set_xlabel("largest excess accuracy gap (points): further left is fairer")
        axis.set_ylabel("overall accuracy")
        axis.figure.legend(loc="outside right upper", frameon=False)

    return svg(draw, 1, 1, name, height=3.8, least=8.0)


def pareto_front(cost: Any, gain: Any) -> Any:
    """Which points no other beats: none has a cost as low and a gain as high, one of them better.

    >>> pareto_front(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.9, 0.8])).tolist()
    [True, True, False]
    """
    no_worse = (cost[None] <= cost[:, None]) & (gain[None] >= gain[:, None])
    better = (cost[None] < cost[:, None]) | (gain[None] > gain[:, None])
    return ~(no_worse & better).any(1)


def heat_map(
    table: pd.DataFrame, metric: str, label: str, axes_are: tuple[str, str], name: str
) -> str:
    """A number for every row and column, written into its field; colours diverge at zero.

    `table` has rows and columns named as they are shown, and no colour where a value is missing;
    `axes_are` says what lies across and what upwards.
    """
    values = table.to_numpy(float)
    extent = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    negative = bool((values < 0).any())
    columns, rows = _shortened(table)
    slanted = LETTER * max(map(len, columns)) > _room(table, metric)

    def draw(axes: Any, _tips: Tips) -> None:
        import seaborn as sns  # takes long to import, and not every page has such a map

        axis = sns.heatmap(
            table,
            ax=axes[0, 0],
            cmap=_colours(negative),
            vmin=-extent if negative else 0.0,
            vmax=extent or 1.0,
            annot=_annotations(table, metric) if has_numbers(table, metric) else False,
            fmt="",
            annot_kws={"fontsize": SMALLEST},
            linewidths=0.6,
            cbar_kws={"label": "\n".join(wrap(label, 16))}
            | ({"format": PERCENT} if metric == "share" else {}),
        )
        axis.set(xlabel=axes_are[0], ylabel=axes_are[1])
        axis.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=45 if slanted else 0,
                        ha="right" if slanted else "center")  # fmt: skip
        axis.set_yticks(np.arange(len(rows)) + 0.5, rows, rotation=0)

    names = LETTER * max(map(len, columns)) * SLANT if slanted else 0.2
    height = max(names + 1.9, names + 0.7 + ROW * len(rows))
    return svg(draw, 1, 1, name, height=height, least=_width(table, metric))


def has_numbers(table: pd.DataFrame, metric: str) -> bool:
    """Whether a heat map's fields are few and wide enough for their numbers to be read."""
    return table.size <= MOST_WRITTEN and _written(table, metric) <= _room(table, metric)


def _shortened(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    columns, rows = table.columns, table.index
    return distinct(columns, 26), distinct(rows, 34)


def _written(table: pd.DataFrame, metric: str) -> float:
    """The width of the longest number, and half a letter of air."""
    return LETTER * (0.5 + max(map(len, _annotations(table, metric).flat)))


def _beside(table: pd.DataFrame) -> float:
    """What the names of the rows and the bar of colours take."""
    return 1.5 + LETTER * max(map(len, _shortened(table)[1]))


def _width(table: pd.DataFrame, metric: str) -> float:
    """As wide as its numbers need, as long as a page has room."""
    fields = len(table.columns) * _written(table, metric)
    return min(WIDEST, max(3.3 + 0.62 * len(table.columns), _beside(table) + 1.001 * fields))


def _room(table: pd.DataFrame, metric: str) -> float:
    """The width of a field, beside the names of the rows."""
    return (_width(table, metric) - _beside(table)) / len(table.columns)


def _colours(negative: bool) -> ListedColormap:
    """Few, so that the bar beside is no raster, and none so dark that it is white in dark mode."""
    name, low, high = ("RdBu_r", 0.12, 0.88) if negative else ("Blues", 0.0, 0.72)
    return ListedColormap(mpl.colormaps[name](np.linspace(low, high, 41)))


def _annotations(table: pd.DataFrame, metric: str) -> Any:
    if metric == "share":
        return table.map(lambda value: "" if pd.isna(value) else number(value, metric)).to_numpy()
    # Equal decimals, so that the eye compares lengths: three digits of the largest value.
    largest = float(np.nanmax(np.abs(table.to_numpy(float))))
    decimals = max(0, 2 - int(np.floor(np.log10(largest)))) if 0 < largest < np.inf else 2

    def written(value: float) -> str:
        return (
            ""
            if pd.isna(value)
            else f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")
        )

    return table.map(written).to_numpy()


def distributions(
    table: pd.DataFrame, quantiles: Sequence[float], names: tuple[str, str], name: str
) -> str:
    """Where the margins of every group lie before and after: two bars a group, with the median.

    `table` has columns side (a position in names), group, and one a quantile: five, outermost
    first; the thin bar reaches from the first to the last, the thick one is the middle half.
    """
    groups = list(dict.fromkeys(table["group"]))[::-1]

    def draw(axes: Any, tips: Tips) -> None:
        axis = axes[0, 0]
        for side in (0, 1):
            own = table[table["side"] == side].set_index("group")
            for place, group in enumerate(groups):
                if group not in own.index:
                    continue
                q = own.loc[group, list(quantiles)].to_numpy(float)
                at = place + (0.16 if side == 0 else -0.16)
                axis.plot(q[[0, 4]], [at, at], color=COLOURS[side], linewidth=1.2)
                axis.plot(q[[1, 3]], [at, at], color=COLOURS[side], linewidth=5.5, alpha=0.55,
                          solid_capstyle="butt")  # fmt: skip
                axis.plot(q[2], at, marker=MARKERS[side], color=COLOURS[side], markersize=5,
                          label=short(names[side], 34) if place == 0 else None,
                          linestyle="none")  # fmt: skip
                text = f"{short(group, 60)}, {names[side]}: median {q[2]:.2f}, middle half "
                tips.add(axis, q[2], at, text + f"{q[1]:.2f} to {q[3]:.2f}")
        axis.axvline(0.0, color="#8c95a3", linewidth=0.8)
        axis.set_yticks(range(len(groups)), distinct(groups, 22))
        axis.set_xlabel("margin: negative where the prediction is wrong")
        axis.figure.legend(loc="outside upper left", ncols=2, frameon=False)

    return svg(draw, 1, 1, name, height=0.9 + 0.19 * len(groups), least=8.4)


def spectral_densities(
    spectra: Sequence[Mapping[str, SpectralDensity]],
    groups: Sequence[str],
    names: Sequence[str],
    name: str,
) -> str:
    """The density of the eigenvalues of every group, a panel a network, both axes stretched.

    `spectra` has for each network those of its groups, by name. A node is widened to a hundredth of
    the extent of the network's spectra.
    """

    def draw(axes: Any, tips: Tips) -> None:
        for axis, found, title in zip(axes[0], spectra, names, strict=True):
            nodes = np.concatenate([one.nodes.ravel() for one in found.values()])
            low, high = float(nodes.min()), float(nodes.max())
            width = max(high - low, 1e-12) / 100
            points = np.linspace(low - 4 * width, high + 4 * width, 400)
            drawn = {group: found[group].density(points, width) for group in found}
            highest = max(float(density.max()) for density in drawn.values())
            for place, group in enumerate(groups):
                if group not in drawn:
                    continue
                density = drawn[group]
                colour, dash, label = _look(place, group)
                axis.plot(points, density, color=colour, linestyle=dash, linewidth=1.2, label=label)
                most = float(points[int(np.argmax(density))])
                tips.add(axis, most, density.max(), f"{short(group, 60)}: most at {number(most)}")
            axis.set_yscale("log")
            axis.set_ylim(1e-5 / width, 3 * highest)
            _plain_ticks(axis.yaxis)
            axis.set_title(heading(title, len(axes[0])))
            axis.set_xlabel("eigenvalue")
        axes[0, 0].set_ylabel("density")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        axes[0, 0].figure.legend(
            handles, labels, title="group", alignment="left", loc="outside right upper",
            frameon=False,
        )  # fmt: skip

    return svg(draw, 1, len(spectra), name, height=3.3)


def _look(place: int, group: str) -> tuple[str, Any, str | None]:
    """Colour, dashes and label of a group's line; those beyond the colours are grey together."""
    if place < len(COLOURS):
        return COLOURS[place], DASHES[place], short(group, 18)
    return MUTED, "-", "other groups" if place == len(COLOURS) else None


def dumbbells(
    table: pd.DataFrame, metrics: Sequence[str], labels: tuple[str, str], name: str
) -> str:
    """Baseline and candidate of every group joined by a line, a panel a metric.

    Of more than MOST_DRAWN groups those whose first metric changed most, and says so.
    """
    every = list(dict.fromkeys(table["group"]))[::-1]
    groups = every if len(every) <= MOST_DRAWN else _most_changed(table, metrics[0], every)

    def draw(axes: Any, tips: Tips) -> None:
        if len(groups) < len(every):
            axes[0, 0].figure.supxlabel(
                f"{len(groups)} of {len(every)} groups: those whose {told(metrics[0]).brief} "
                "changed most; the tables have all",
                fontsize=SMALLEST,
            )
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
                for where, (group, row) in zip(places, own.iterrows(), strict=True):
                    found = {"value": row[side], "low": row[f"{side}_ci_low"],
                             "high": row[f"{side}_ci_high"]}  # fmt: skip
                    text = f"{short(group, 60)}, {labels[place]}: {_told(found, metric)}"
                    tips.add(axis, row[side], where + (0.14 if place == 0 else -0.14), text)
            if told(metric).logarithmic and (own[["baseline", "candidate"]].min().min() > 0):
                axis.set_xscale("log")
                _plain_ticks(axis.xaxis)
            axis.set_yticks(places, distinct(groups, 22))
            axis.set_ylim(-0.6, len(groups) - 0.4)
            if axis.get_xscale() == "linear":
                axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.set_title(_brief(metric) if len(metrics) > 2 else told(metric).axis)
            _ticks(axis.xaxis, metric)
            if metric in ("excess_risk", "excess_accuracy_gap"):
                axis.axvline(0.0, color="#8c95a3", linewidth=0.8)
        for axis in axes[0, 1:]:
            axis.set_yticklabels([])
        handles, names = axes[0, 0].get_legend_handles_labels()
        axes[0, 0].figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False)

    return svg(draw, 1, len(metrics), name, height=max(1.7, 0.9 + 0.19 * len(groups)))


def _most_changed(table: pd.DataFrame, metric: str, groups: Sequence[str]) -> list[str]:
    """The MOST_DRAWN groups whose metric changed most, in their order."""
    own = table[table["metric"] == metric].set_index("group")
    change = (own["candidate"] - own["baseline"]).abs().reindex(pd.Index(groups))
    chosen = set(change.fillna(-1.0).nlargest(MOST_DRAWN).index)
    return [group for group in groups if group in chosen]


PARTS = {
    "composition": "for being near the boundary",
    "within": "beyond others at the same margin",
}
"""The two parts of a gap (M14), as the legend has them."""


def parts_of_gaps(table: pd.DataFrame, names: Sequence[str], name: str) -> str:
    """Every group's gap as one stacked bar of its two parts (M14), a panel a network.

    `table` has columns label, group, gap, composition and within. A part below zero reaches to the
    left; the diamond is the gap, their sum.
    """
    groups = list(dict.fromkeys(table["group"]))[::-1]

    def draw(axes: Any, tips: Tips) -> None:
        for axis, title in zip(axes[0], names, strict=True):
            own = table[table["label"] == title].set_index("group").reindex(groups)
            places = np.arange(len(groups))
            ends = {True: np.zeros(len(groups)), False: np.zeros(len(groups))}
            for colour, (part, label) in zip((COLOURS[1], COLOURS[0]), PARTS.items(), strict=True):
                size = np.nan_to_num(own[part].to_numpy(float))
                start = np.where(size >= 0, ends[True], ends[False])
                axis.barh(places, size, left=start, height=0.6, color=colour, alpha=0.85,
                          label=label, hatch="" if part == "composition" else "///",
                          edgecolor="white", linewidth=0.6)  # fmt: skip
                for sign in ends:
                    ends[sign] = ends[sign] + np.where((size >= 0) == sign, size, 0.0)
                for place, group in enumerate(groups):
                    text = f"{short(group, 60)}: {points(size[place])} points {label}"
                    tips.add(axis, start[place] + size[place] / 2, place, text)
            axis.plot(own["gap"], places, linestyle="none", marker="D", markersize=4.5, color=INK,
                      label="the gap: both together")  # fmt: skip
            axis.axvline(0.0, color="#8c95a3", linewidth=0.8)
            axis.set_yticks(places, distinct(groups, 22))
            axis.set_title(heading(title, len(names)))
            axis.xaxis.set_major_formatter(POINTS)
        axes[0, 0].figure.supxlabel("accuracy lost beyond the average (points)", fontsize="medium")
        lows, highs = zip(*(axis.get_xlim() for axis in axes[0]), strict=True)
        for axis in axes[0]:
            axis.set_xlim(min(lows), max(highs))
        for axis in axes[0, 1:]:
            axis.set_yticklabels([])
        _legend_of_all(axes)

    height = 1.1 + 0.19 * len(groups)
    return svg(draw, 1, len(names), name, height=height, share="none", least=8.4)


def reliability(
    table: pd.DataFrame, emphasised: Sequence[str], names: Sequence[str], name: str
) -> str:
    """Accuracy against confidence, a panel a network: under the diagonal it is too sure of itself.

    `table` has columns side (a position in names), group (None for all samples), confidence,
    accuracy, low, high and n: one row a bin.
    """

    def draw(axes: Any, tips: Tips) -> None:
        for side, axis in enumerate(axes[0]):
            ends = [float(table["confidence"].min()), 1.0]
            axis.plot(ends, ends, color="#8c95a3", linewidth=0.8, linestyle="--", zorder=1)
            own = table[table["side"] == side]
            for place, group in enumerate([None, *emphasised]):
                bins = own[own["group"].isna() if group is None else own["group"] == group]
                _reliability_line(axis, tips, bins, group, place - 1)
            axis.set_title(heading(names[side], len(names)))
            axis.set_xlabel("confidence of the prediction")
            axis.xaxis.set_major_formatter(PERCENT)
            axis.yaxis.set_major_formatter(PERCENT)
        axes[0, 0].set_ylabel("accuracy")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        axes[0, 0].figure.legend(
            handles, labels, loc="outside right upper", alignment="left", frameon=False
        )

    return svg(draw, 1, len(names), name, height=3.3, share="row")


def _reliability_line(
    axis: Axes, tips: Tips, bins: pd.DataFrame, group: str | None, place: int
) -> None:
    """The bins of one group, or of all samples in grey."""
    who = "all samples" if group is None else f"group {short(group, 18)}"
    axis.errorbar(
        bins["confidence"],
        bins["accuracy"],
        yerr=_error_bars(bins["accuracy"], bins["low"], bins["high"]),
        color=MUTED if group is None else COLOURS[place],
        marker="." if group is None else MARKERS[place],
        linestyle="-" if group is None else DASHES[place],
        markersize=5,
        elinewidth=0.9,
        label=who,
    )
    for row in bins.to_dict("records"):
        right, sure = (number(row[key], "accuracy") for key in ("accuracy", "confidence"))
        text = f"{who}: {right} right at confidence {sure}, {row['n']} samples"
        tips.add(axis, row["confidence"], row["accuracy"], text)


def _lines(
    axis: Axes,
    table: pd.DataFrame,
    rates: Sequence[float],
    emphasised: Sequence[str],
    tips: Tips,
    metric: str,
    name: str,
) -> None:
    by_group: dict[str, list[dict[Any, Any]]] = {}
    for row in table.to_dict("records"):
        by_group.setdefault(str(row["group"]), []).append(row)
    for group, rows in by_group.items():
        rows.sort(key=lambda row: float(row["rate"]))
        places = [rates.index(float(row["rate"])) for row in rows]
        value, low, high = (np.array([row[key] for row in rows], float)
                            for key in ("value", "low", "high"))  # fmt: skip
        identity = f"{name}-{group_class(group)}-line"
        shift = 0.0
        if group in emphasised:
            place = list(emphasised).index(group)
            shift = 0.05 * (place - (len(emphasised) - 1) / 2)
            drawn = axis.errorbar(
                [p + shift for p in places],
                value,
                yerr=_error_bars(value, low, high),
                color=COLOURS[place],
                marker=MARKERS[place],
                linestyle=DASHES[place],
                markersize=5,
                elinewidth=0.9,
                zorder=3,
            )
            drawn.lines[0].set_gid(identity)
        else:
            (line,) = axis.plot(places, value, color=MUTED, linewidth=1.0, zorder=1)
            line.set_gid(identity)
        for where, row in zip(places, rows, strict=True):
            rate = "dense" if row["rate"] == 0 else percent(float(row["rate"]))
            text = f"{short(group, 60)}, {rate}: {_told(row, metric)}"
            tips.add(axis, where + shift, row["value"], text)


def group_class(group: str) -> str:
    """A name for a group's lines that is safe in a page, whatever the group is called."""
    return "g" + hashlib.sha256(group.encode()).hexdigest()[:8]


def _told(row: Any, metric: str) -> str:
    """A value with its interval or spread, as tables have it."""
    value = number(row["value"], metric)
    extent = interval(row["low"], row["high"], metric)
    return f"{value} {extent}".strip()


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
        marker=MARKERS[(place + place // len(COLOURS)) % len(MARKERS)],
        linestyle=DASHES[place % len(DASHES)],
        markersize=5.5,
        elinewidth=0.9,
        label=short(method, 48),
    )


def _label_points(axis: Axes, points: Any, names: Sequence[str], panels: int) -> None:
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
            name,
            tuple(point),
            xytext=tuple(sides[best]),
            textcoords="offset points",
            fontsize=SMALLEST,
        )


def _unit(values: Any) -> Any:
    span = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / span if span > 0 else np.zeros(len(values))


def _error_bars(value: Any, low: Any, high: Any) -> Any:
    """Lengths below and above; none where the interval is unknown."""
    bars = np.stack([value - low, high - value]).astype(float)
    return np.clip(np.nan_to_num(bars), 0.0, None)


def _decorate(axis: Axes, metric: str, rates: Sequence[float]) -> None:
    _rate_axis(axis, rates)
    _ticks(axis.yaxis, metric)
    if told(metric).logarithmic:
        axis.set_yscale("log")
        _plain_ticks(axis.yaxis)
    if metric in ("excess_risk", "excess_accuracy_gap"):
        axis.axhline(0.0, color="#8c95a3", linewidth=0.8)


def _plain_ticks(axis: Axis) -> None:
    """Logarithmic ticks as plain numbers: mathtext is off, since names may hold dollar signs."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: _between(axis, value)))


def _between(axis: Axis, value: float) -> str:
    """Of an axis that is not much longer than a power of ten, which may hold none: 2 and 5 too."""
    low, high = sorted(axis.get_view_interval())
    return f"{value:g}" if high < NARROW * low and f"{value:e}"[0] in "25" else ""


def _rate_axis(axis: Axes, rates: Sequence[float]) -> None:
    """Rates at even steps: the high ones, where the harm is, would else lie on one another."""
    axis.set_xticks(range(len(rates)), ["dense" if rate == 0 else percent(rate) for rate in rates])
    axis.set_xlabel(RATE)
    axis.grid(visible=False, axis="x")


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
    return f"ρ = {one.rank().corr(other.rank()):+.2f}".replace("-", "−")
