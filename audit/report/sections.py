"""The sections of a report, and the figures in them, from results alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from audit.findings.causes import trained_sizes
from audit.findings.finding import claimed, findings_of
from audit.findings.networks import overall_table
from audit.findings.outcomes import is_dense
from audit.findings.results import Results
from audit.findings.words import first_upper, label, labels, layer_named, percent
from audit.measure.spectrum import SpectralDensity
from audit.metrics import METRICS, shown
from audit.report import figures
from audit.report.gallery import Strip
from audit.report.readable import readable
from audit.report.shaping import (
    BINS,
    MOST_EMPHASISED,
    bars,
    before_and_after,
    bins,
    by_rate,
    emphasised,
    marked,
    over_seeds,
    overall_by_rate,
    parts_of_gaps,
    told_small,
    wide,
)
from audit.report.svg import Drawing, short
from audit.report.tables import (
    MOST_LINES,
    Table,
    comparison_tables,
    group_table,
    layer_kinds,
    model_table,
)

RELATIONS = (
    ("group_size", "gradient_norm"),
    ("accuracy", "gradient_norm"),
    ("boundary_closeness", "hessian_max_eigenvalue"),
    ("accuracy", "hessian_max_eigenvalue"),
    ("gradient_norm", "hessian_max_eigenvalue"),
)
"""What Tran et al. (2022) relate: pairs of measures of the groups under the dense network."""
ODDS = "equalized_odds_difference"
SIDE_BY_SIDE = ("max_excess_accuracy_gap", "equalized_odds_difference", "accuracy")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NOTE_LINE = 50
"""Characters of a line of a note on half a page, at the least."""
T = TypeVar("T")


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    lead: str = ""
    figures: list[Drawing] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)

    @property
    def rows(self) -> list[list[Drawing]]:
        """The figures as they are printed: two narrow ones of one height beside one another."""
        return _in_pairs(
            self.figures,
            lambda one, other: one.printed + other.printed < 1 and one.height == other.height,
        )

    @property
    def spreads(self) -> list[list[Table]]:
        """The tables as they are printed: two that are narrow beside one another."""
        return _in_pairs(self.tables, lambda one, other: one.is_narrow and other.is_narrow)

    @property
    def notes_beside(self) -> bool:
        """Whether the notes are printed beside the last table, which leaves them half a page."""
        last = self.spreads[-1] if self.tables and self.notes else []
        lines = sum(ceil(len(note) / NOTE_LINE) for note in self.notes)
        return len(last) == 1 and last[0].is_narrow and lines <= MOST_LINES


def _in_pairs(ones: Sequence[T], fit: Callable[[T, T], bool]) -> list[list[T]]:
    """All in their order, in rows of one, or of two neighbours that fit beside one another."""
    rows: list[list[T]] = []
    for one in ones:
        if rows and len(rows[-1]) == 1 and fit(rows[-1][0], one):
            rows[-1].append(one)
        else:
            rows.append([one])
    return rows


def study_sections(results: Results) -> list[Section]:
    """Who pays, at what price it is mended, why, what the constraint changed, every group."""
    record = results.record
    pruned = [model for model in record["models"] if model["method"] != "dense"]
    if not pruned:
        return [Section("Groups", tables=[group_table(results.groups, "The dense network")])]
    study = _Study(results, pruned)
    sections = [
        study.harm(),
        study.why(),
        study.mended(),
        study.predictions(),
        study.layers(),
        study.every_group(),
    ]
    return [section for section in sections if section.figures or section.tables]


class _Study:
    """What the sections of a study have in common: its methods, its rate, who is in colour."""

    def __init__(self, results: Results, pruned: Sequence[dict[str, Any]]) -> None:
        self.results, self.record = results, results.record
        self.named = results.groups.assign(label=labels(results.groups))
        self.methods = list(dict.fromkeys(label(model) for model in pruned))
        self.baseline = self.methods[0]
        self.rate = max(model["rate"] for model in pruned if label(model) == self.baseline)
        self.at_rate = [
            method
            for method in self.methods
            if any(label(m) == method and m["rate"] == self.rate for m in pruned)
        ]
        self.pays = claimed(self.record, "pays")
        self.emphasised = emphasised(self.named, self.rate, self.baseline, self.pays)
        self.points = by_rate(self.named, self.methods[: figures.MOST_METHODS])
        table = overall_table(self.record["overall"], self.record["models"])
        self.overall = overall_by_rate(table)
        dense = table[table["method"] == "dense"].groupby("metric")["value"].mean()
        self.dense = {str(metric): float(value) for metric, value in dense.items()}
        self.marked = marked(results.groups)
        self.judged = [name for name in SIDE_BY_SIDE if name != ODDS or _odds_found(self.record)]
        self.bars = bars(self.record)

    def harm(self) -> Section:
        """The harm against the rate, and the methods side by side."""
        drawn = [
            Drawing(
                figures.groups_by_rate(
                    self.points, shown("harm by rate"), self.emphasised, "groups"
                ),
                f"Accuracy and excess risk of every group against the pruning rate, for "
                f"{', '.join(self.methods[: figures.MOST_METHODS])}; the groups that lose most are "
                f"{', '.join(self.emphasised)}.",
                "Accuracy and excess risk of every group as weights are removed. Coloured are the "
                f"groups, at most {MOST_EMPHASISED}, that were found to pay at "
                f"{percent(self.rate)}, first of all under {self.baseline}, or else the one with "
                f"the largest gap; bars are {self.bars}. "
                "Rates stand at even steps.",
                self._groups(),
            ),
            Drawing(
                figures.methods_by_rate(self.overall, self.judged, self.dense, "methods"),
                f"{', '.join(figures.overall_title(metric) for metric in self.judged)} against the "
                f"pruning rate, for {', '.join(self.methods)}.",
                "Fairness and accuracy of the methods side by side; of gaps and differences lower "
                f"is fairer. Bars are {self.bars}; the short grey lines are what equal groups of "
                "these sizes would show by chance.",
            ),
        ]
        trade = self._trade_off()
        if len(trade) > 1:
            drawn.append(
                Drawing(
                    figures.trade_off(trade, self.dense.get("accuracy"), "trade-off"),
                    f"Overall accuracy against the largest excess accuracy gap of every method at "
                    f"{percent(self.rate)}.",
                    f"The choice at {percent(self.rate)}: filled marks lie on the Pareto front, no "
                    f"other method is both fairer and more accurate; bars are {self.bars}.",
                )
            )
        listed = readable(self.results).record
        table = model_table(listed["models"], listed["overall"])
        return Section("Who pays, and from which rate on", figures=drawn, tables=[table])

    def _groups(self) -> list[tuple[str, str]]:
        """Every group with the class of its lines, for readers who pick out their own."""
        names = [str(group) for group in self.named["group"].cat.categories]
        return [(figures.group_class(name), short(name, 40)) for name in names]

    def _trade_off(self) -> pd.DataFrame:
        own = self.overall[self.overall["rate"] == self.rate].set_index(["method", "metric"])
        rows = []
        for method in self.at_rate:
            row: dict[str, Any] = {"method": method}
            for name, metric in (("accuracy", "accuracy"), ("gap", "max_excess_accuracy_gap")):
                if (method, metric) not in own.index:
                    break
                found = own.loc[(method, metric)]
                known = found[["value", "low", "high"]].to_numpy(float)
                known = np.where(np.isfinite(known), known, known[0])
                row |= {name: known[0], f"{name}_low": known[1], f"{name}_high": known[2]}
            else:
                rows.append(row)
        return pd.DataFrame(rows)

    def why(self) -> Section:
        """The measures that the papers hold to cause the harm, and the layers it comes from."""
        known = [
            cause for cause in shown("causes by rate") if (self.named["metric"] == cause).any()
        ]
        lead = (
            "First, how much of each gap is what any group's samples pay so near the dense "
            "network's decision boundary. Then what Tran et al. (2022) trace the harm to: groups "
            "whose loss is steep (gradient norm) or strongly curved (λ_max) where the dense "
            "network stands. A correlation over a few groups is a hint, not a proof."
        )
        networks = {
            method: [str(m["name"]) for m in self.record["models"]
                     if label(m) == method and m["rate"] == self.rate]
            for method in self.at_rate
        }  # fmt: skip
        drawn = _parts(self.record, networks, self.marked, f" at {percent(self.rate)}")
        dense = [str(model["name"]) for model in self.record["models"] if is_dense(model)]
        before = wide(self.named[self.named["model"].isin(dense)], trained_sizes(self.record))
        if not before.empty:
            drawn += self._relations(before, known)
        drawn.append(
            Drawing(
                figures.groups_by_rate(self.points, known, self.emphasised, "causes"),
                "Gradient norm, largest Hessian eigenvalue, closeness and input distance of every "
                "group against the pruning rate.",
                "The four measures as weights are removed, method by method.",
                self._groups(),
            )
        )
        chosen = self._chosen(self.baseline)
        drawn += _attribution(self.results, chosen, self.title(), self.marked)
        return Section("Why: closeness to the boundary, slope and curvature", lead, drawn)

    def _relations(self, before: pd.DataFrame, known: Sequence[str]) -> list[Drawing]:
        harmed = wide(self._rows(self.baseline), trained_sizes(self.record))
        if "excess_risk" not in harmed:
            return []
        with_harm = before[list(known)].join(harmed["excess_risk"]).reset_index()
        drawn = [
            Drawing(
                figures.scatters(with_harm, [(cause, "excess_risk") for cause in known], "scatter"),
                f"Excess risk of every group under {self.title()} against its measures under the "
                "dense network.",
                f"What was measured on the dense network against the harm of {self.title()}. Each "
                "point is a group that is large enough to be judged; ρ is the rank correlation.",
            )
        ]
        pairs = [pair for pair in RELATIONS if set(pair) <= set(before.columns)]
        for up, name in (("gradient_norm", "slopes"), ("hessian_max_eigenvalue", "curvatures")):
            own = [pair for pair in pairs if pair[1] == up]
            if own:
                what = [METRICS[across].axis for across, _ in own]
                drawn.append(
                    Drawing(
                        figures.scatters(before.reset_index(), own, name),
                        f"{METRICS[up].axis} of every group under the dense network against "
                        f"{', '.join(what)}.",
                        f"{METRICS[up].axis.capitalize()} against {' and '.join(what)}, all under "
                        "the dense network. Groups too small to be judged are left out.",
                    )
                )
        return drawn

    def mended(self) -> Section:
        """What the fairest constrained method changes beside the harm, group by group."""
        trade = self._trade_off()
        constrained = trade[trade["method"].str.endswith(")")] if len(trade) else trade
        if constrained.empty:
            return Section("")
        fairest = str(constrained.sort_values("gap")["method"].iloc[0])
        if fairest == self.baseline:
            return Section("")
        sides = [
            over_seeds(self._rows(method), ["group", "metric"]).set_index(["group", "metric"])
            for method in (self.baseline, fairest)
        ]
        changed = [
            m
            for m in shown("constraint")
            if all((side.index.get_level_values(1) == m).any() for side in sides)
        ]
        rows = []
        for group in self.named["group"].cat.categories:
            for metric in changed:
                if not all((group, metric) in side.index for side in sides):
                    continue
                row: dict[str, Any] = {"group": self.marked[str(group)], "metric": metric}
                for name, side in zip(("baseline", "candidate"), sides, strict=True):
                    found = side.loc[(group, metric)]
                    row |= {name: found["value"], f"{name}_ci_low": found["low"],
                            f"{name}_ci_high": found["high"]}  # fmt: skip
                rows.append(row)
        drawn = Drawing(
            figures.dumbbells(pd.DataFrame(rows), changed, (self.baseline, fairest), "constraint"),
            f"{', '.join(METRICS[m].axis for m in changed)} of every group under {self.baseline} "
            f"and {fairest} at {percent(self.rate)}.",
            f"Every group at {percent(self.rate)} under {self.baseline} and under {fairest}, the "
            f"constrained method with the smallest largest gap; bars are {self.bars}."
            f"{told_small(self.marked)}",
        )
        return Section("What the fairness constraint changes", figures=[drawn])

    def predictions(self) -> Section:
        """How sure the network is of each group, before and after."""
        dense = next((m["name"] for m in self.record["models"] if is_dense(m)), None)
        chosen = self._chosen(self.baseline)
        if dense is None or chosen is None:
            return Section("")
        samples = self.results.answers.together((dense, chosen))
        drawn = _margins(samples, (dense, chosen), self.marked)
        drawn += _calibration(samples, self.named, (dense, chosen), self.emphasised, self.marked)
        return Section("How sure the network is, before and after", figures=drawn)

    def layers(self) -> Section:
        """Where the weights were removed."""
        chosen = [
            model
            for model in self.record["models"]
            if model["rate"] == self.rate and model["seed"] == self.record["models"][0]["seed"]
        ]
        return Section("Where weights were removed", figures=_layer_sparsity(chosen))

    def every_group(self) -> Section:
        """One table a method at the highest rate."""
        tables = [
            group_table(self._rows(method), f"{method} at {percent(self.rate)}", pays=self.pays)
            for method in self.at_rate
        ]
        note = (
            "Coloured are the gaps of groups that were found to pay. Intervals of the gap hold for "
            "all groups at once; others are each group's own."
        )
        return Section(f"Every group at {percent(self.rate)}", lead=note, tables=tables)

    def title(self) -> str:
        """The first method at the highest rate, in words."""
        return f"{self.baseline} at {percent(self.rate)}"

    def _rows(self, method: str) -> pd.DataFrame:
        chosen = (self.named["label"] == method) & (self.named["rate"] == self.rate)
        found: pd.DataFrame = self.named[chosen]
        return found

    def _chosen(self, method: str) -> str | None:
        """The network of a method at the highest rate, of the first seed."""
        found = (m for m in self.record["models"] if label(m) == method and m["rate"] == self.rate)
        return next((str(model["name"]) for model in found), None)


def _odds_found(record: dict[str, Any]) -> bool:
    """Whether some network's equalised odds were found to be beyond chance."""
    return any(
        one.claim == "beyond_chance" and one.metric == ODDS and one.decision
        for one in findings_of(record)
    )


def comparison_sections(results: Results) -> list[Section]:
    """Baseline and candidate side by side."""
    record = results.record
    names = record["tables"]["compared"]
    table = pd.DataFrame(record["tables"]["comparison"])
    numbers = table.columns.difference(["candidate_name", "group", "metric", "flag"])
    table[numbers] = table[numbers].astype(float)
    pays, changes = (claimed(record, claim) for claim in ("pays", "changes"))
    small = marked(results.groups)
    sections = [Section("The networks", tables=[model_table(record["models"], record["overall"])])]
    parts = _parts(record, {name: [name] for name in names}, small)
    if parts:
        sections.append(Section("Why: how much is closeness to the boundary", figures=parts))
    for place, candidate in enumerate(names[1:]):
        own = table[table["candidate_name"] == candidate]
        pair = (names[0], candidate)
        sections.append(
            Section(f"{pair[0]} against {pair[1]}", figures=_side_by_side(own, pair, place, small))
        )
    drawn = _margins(results.answers.together(names[:2]), (names[0], names[1]), small)
    if drawn:
        rest = f"The first two of {len(names)} networks; samples.parquet has the margins of all."
        lead = rest if len(names) > 2 else ""
        sections.append(Section("How sure each network is", lead, figures=drawn))
    note = (
        f"Each network and its difference from {names[0]}. Differences are paired on the same "
        "samples; a coloured one is worse for the group with its whole interval."
    )
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    tables = comparison_tables(rows, names, pays, changes)
    sections.append(Section("Every group", note, tables=tables))
    drawn = _layer_sparsity(record["models"])
    for place, name in enumerate(names):
        drawn += _attribution(results, name, name, small, f"attribution-{place}")
    if drawn:
        sections.append(Section("Layer by layer", figures=drawn))
    return sections


def _parts(
    record: dict[str, Any], networks: dict[str, list[str]], small: dict[str, str], where: str = ""
) -> list[Drawing]:
    """The gaps of every group as two parts (M14), where a dense network was beside."""
    table = parts_of_gaps(record, networks)
    if table.empty:
        return []
    known = [name for name in networks if (table["label"] == name).any()][: figures.MOST_ACROSS]
    table["group"] = table["group"].astype(str).map(small)
    rest = len(table["label"].unique()) - len(known)
    more = f" Shown are {len(known)} networks; {rest} more stand there." if rest else ""
    return [
        Drawing(
            figures.parts_of_gaps(table, known, "parts"),
            f"The gap of every group under {', '.join(known)}{where} in two parts.",
            f"What every group lost beyond the average{where}, in two parts: what any group's "
            "samples so near the dense network's decision boundary lose, and what this group loses "
            "beyond others at the same margin. Their intervals stand in the evidence: “Who pays "
            f"for being near the boundary”.{more}{told_small(small)}",
        )
    ]


def _side_by_side(
    table: pd.DataFrame, pair: tuple[str, str], place: int, small: dict[str, str]
) -> list[Drawing]:
    """Harm and causes of every group under a pair of networks, where they were measured."""
    kinds = {"harm": shown("harm compared"), "causes": shown("causes compared")}
    table = table.assign(group=table["group"].astype(str).map(small))
    drawn = []
    for name, wanted in kinds.items():
        known = set(table.loc[table[["baseline", "candidate"]].notna().any(axis=1), "metric"])
        metrics = [metric for metric in wanted if metric in known]
        if not metrics:
            continue
        what = ", ".join(METRICS[metric].axis for metric in metrics)
        drawn.append(
            Drawing(
                figures.dumbbells(table, metrics, pair, f"dumbbells-{name}-{place}"),
                f"{what} of every group under {pair[0]} and {pair[1]}.",
                f"{first_upper(what)} of every group under both networks, with "
                f"each group's own 95 % interval.{told_small(small)}",
            )
        )
    return drawn


def _attribution(
    results: Results,
    model: str | None,
    title: str,
    small: dict[str, str],
    name: str = "attribution",
) -> list[Drawing]:
    """The Taylor terms of every layer and group, slope and curvature together."""
    layers, kinds = results.layers, layer_kinds(results.record["models"])
    terms = layers[
        (layers["model"] == model) & layers["metric"].isin(["taylor_slope", "taylor_curvature"])
    ]
    if terms.empty:
        return []
    wide = terms.pivot_table(
        index="group", columns="layer", values="value", aggfunc="sum", observed=True, sort=False
    )
    wide.index = wide.index.astype(str).map(small)
    wide = wide.loc[:, wide.abs().max() > 0]
    wide.columns = [layer_named(str(layer), kinds) for layer in wide.columns]
    if wide.empty or not np.isfinite(wide.to_numpy()).any():
        return []
    return [
        Drawing(
            figures.heat_map(wide, "nats", "slope + curvature (nats)", ("layer", "group"), name),
            f"What the change of every layer cost every group under {title}, by the Taylor series.",
            f"Which layer's change hurt whom under {title}: slope and curvature terms of the "
            "Taylor series at the dense network, in nats; red is harm. After long fine-tuning it "
            "says little: compare its sum with the excess risk."
            f"{_colour_alone(wide, 'nats', 'layers.parquet')}{told_small(small)}",
        )
    ]


def _colour_alone(table: pd.DataFrame, metric: str, file: str) -> str:
    """Where a heat map's numbers are, if its fields are too narrow for them."""
    if figures.has_numbers(table, metric):
        return ""
    return f" The fields are too narrow for their numbers, which {file} holds."


def _layer_sparsity(models: Sequence[dict[str, Any]]) -> list[Drawing]:
    """The measured sparsity of every layer, a row a network."""
    pruned = {m["name"]: m["layer_sparsity"] for m in models if m["sparsity"]}
    if not pruned:
        return []
    kinds = layer_kinds(models)
    table = pd.DataFrame(pruned).T.astype(float)
    table.columns = [layer_named(str(layer), kinds) for layer in table.columns]
    across = ("layer", "network")
    return [
        Drawing(
            figures.heat_map(table, "share", "share removed", across, "layer-sparsity"),
            "The share of the weights of every layer that is zero, for every network.",
            "The share of every layer's weights that is exactly zero, as measured in the file."
            f"{_colour_alone(table, 'share', 'results.json')}",
        )
    ]


def _margins(
    samples: pd.DataFrame, models: tuple[str, str], small: dict[str, str]
) -> list[Drawing]:
    """The margins of every group under two networks."""
    rows = []
    for side, name in enumerate(models):
        own = samples[(samples["model"] == name) & samples["margin"].notna()]
        signed = own["margin"].where(own["label"] == own["prediction"], -own["margin"])
        found = signed.groupby(own["group"].astype(str)).quantile(np.array(QUANTILES)).unstack()
        rows += [
            {"side": side, "group": shown_as} | found.loc[group].to_dict()
            for group, shown_as in small.items()
            if group in found.index
        ]
    if not rows:
        return []
    return [
        Drawing(
            figures.distributions(pd.DataFrame(rows), QUANTILES, models, "margins"),
            f"Margins of every group under {models[0]} and {models[1]}.",
            "The margin is the largest less the second largest probability. Thick: the middle half "
            "of a group's samples; thin: from the 5th to the 95th of a hundred; the mark is the "
            f"median.{told_small(small)}",
        )
    ]


def _calibration(
    samples: pd.DataFrame,
    groups: pd.DataFrame,
    models: tuple[str, str],
    emphasised: Sequence[str],
    small: dict[str, str],
) -> list[Drawing]:
    """Whether two networks are as often right as they are sure: by bins, and by every group."""
    rows = []
    for side, model in enumerate(models):
        own = samples[samples["model"] == model]
        rows += bins(own, side, None)
        for group in emphasised:
            rows += bins(own[own["group"].astype(str) == group], side, group)
    if not rows:
        return []
    drawn = [
        Drawing(
            figures.reliability(pd.DataFrame(rows), emphasised, models, "calibration"),
            f"Accuracy against confidence under {models[0]} and {models[1]}, for all samples and "
            f"for {', '.join(emphasised)}.",
            f"How often a prediction is right when the network is so sure of it: {BINS} bins of "
            "equal numbers of samples, with 95 % intervals. Below the dashed line the network is "
            "surer than it is right.",
        )
    ]
    metrics = ("expected_calibration_error", "boundary_closeness")
    wide = before_and_after(groups, models, metrics)
    wide["group"] = wide["group"].astype(str).map(small)
    if wide["metric"].nunique() == len(metrics):
        drawn.append(
            Drawing(
                figures.dumbbells(wide, metrics, models, "calibration-error"),
                f"Calibration error and closeness to the boundary of every group under {models[0]} "
                f"and {models[1]}.",
                "Calibration error and closeness to the boundary of every group before and after; "
                f"bars are 95 % intervals over samples.{told_small(small)}",
            )
        )
    return drawn


def spectra(models: Sequence[dict[str, Any]]) -> list[Drawing]:
    """The spectral density of every group's Hessian, a panel a network, where it was asked for.

    Of many networks, those of the first seed; of those, the dense one and the last.
    """
    known = [model for model in models if model.get("spectra")]
    known = [model for model in known if model["seed"] == known[0]["seed"]]
    known = known if len(known) <= figures.MOST_ACROSS else [known[0], known[-1]]
    if not known:
        return []
    groups = list(dict.fromkeys(group for model in known for group in model["spectra"]))
    names = [model["name"] for model in known]
    return [
        Drawing(
            figures.spectral_densities([_densities(m) for m in known], groups, names, "spectra"),
            f"Spectral density of the Hessian of {', '.join(groups)} under {', '.join(names)}.",
            "How many eigenvalues of the Hessian of a group's loss lie where, for pruned networks "
            "over the surviving weights: most lie near zero, those far out are few. Known from "
            "random directions; the ends stand in the table of eigenvalues.",
        )
    ]


def _densities(model: dict[str, Any]) -> dict[str, SpectralDensity]:
    arrays = ("nodes", "weights")
    return {
        group: SpectralDensity(**one | {key: np.array(one[key], dtype=float) for key in arrays})
        for group, one in model["spectra"].items()
    }
