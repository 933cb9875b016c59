"""The verdict in words: it follows from the numbers and their intervals and goes no further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.findings.words import Row, label, percent
from audit.findings.words import group as _group
from audit.findings.words import listed as _list
from audit.findings.words import points as _points
from audit.findings.words import points_with_interval as points

ODDS = "equalized_odds_difference"
BEYOND_ROUNDING = 1e-9
"""An interval that starts closer to zero than this touches it: sums of floats are not exact."""


def study_verdict(
    groups: pd.DataFrame,
    overall: Sequence[Row],
    models: Sequence[Row],
    causes: Sequence[Row] = (),
    layers: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Headline and sentences of a study: who pays, from which rate on, and what mends it."""
    pruned = [model for model in models if model["method"] != "dense"]
    if not pruned:
        return _words("A dense network was measured; there is no pruning to judge.", [])
    baseline = label(pruned[0])
    rate = max(model["rate"] for model in pruned if label(model) == baseline)
    labels = list(dict.fromkeys(label(model) for model in pruned if model["rate"] == rate))
    table = overall_table(overall, models)
    at_rate = {name: table[(table["method"] == name) & (table["rate"] == rate)] for name in labels}
    told = _told(at_rate)
    described = [_method_sentence(at_rate[name], groups, name, rate) for name in told]
    sentences = [sentence for sentence in described if sentence]
    sentences += _untold(len(labels) - len(told))
    sentences += _onset(groups, baseline)
    sentences += _mended(table, told, rate)
    sentences += _odds_of_study(table, labels, rate)
    named = [str(m["name"]) for m in pruned if label(m) == baseline and m["rate"] == rate]
    because = _explained(groups, causes, layers, named, f"{baseline} at {percent(rate)}")
    because += _detectable(groups[groups["model"] == named[0]])
    sentences += because
    sentences += _left_out(groups)
    headline = _headline(
        at_rate[baseline], groups, baseline, rate, len({m["seed"] for m in pruned})
    )
    return _words(headline, sentences, because)


MOST_TOLD = 6
"""Of more methods, the verdict describes the first, the fairest and the most accurate."""


def _told(at_rate: Mapping[str, pd.DataFrame]) -> list[str]:
    """The methods that sentences are about, in their order."""
    if len(at_rate) <= MOST_TOLD:
        return list(at_rate)
    means = pd.DataFrame({n: own.groupby("metric")["value"].mean() for n, own in at_rate.items()}).T
    best = {next(iter(at_rate)), str(means["accuracy"].idxmax())}
    if "max_excess_accuracy_gap" in means:
        best.add(str(means["max_excess_accuracy_gap"].idxmin()))
    return [name for name in at_rate if name in best]


def _untold(number: int) -> list[str]:
    if number == 0:
        return []
    return [
        "Told are the first method, the one with the smallest gap and the most accurate; the "
        f"{number} others stand in the table of models."
    ]


def compare_verdict(
    table: pd.DataFrame,
    overall: Sequence[Row],
    compared: Sequence[str],
    causes: Sequence[Row] = (),
    layers: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Headline and sentences of a comparison: what every candidate changes, for whom."""
    baseline, *candidates = compared
    found = [
        _pair_verdict(table[table["candidate_name"] == one], overall, (baseline, one))
        for one in candidates
    ]
    words = found[0]
    if len(found) > 1:
        sentences = [text for own in found for text in (own["headline"], *own["sentences"])]
        words = _words(_fairest(overall, compared), list(dict.fromkeys(sentences)))
    rows = {row["model"]: row for row in overall if row["metric"] == ODDS}
    known = {name: rows[name] for name in compared if name in rows}
    odds = _odds({n: (r["value"], r["floor_p95"]) for n, r in known.items() if r["floor_p95"]})
    groups = _as_groups(table, compared)
    because = [
        text for name in compared for text in _explained(groups, causes, layers, [name], name)
    ]
    because += _detectable(groups[groups["model"] == candidates[-1]])
    return _words(words["headline"], words["sentences"] + odds + because, because)


def _as_groups(table: pd.DataFrame, compared: Sequence[str]) -> pd.DataFrame:
    """The rows of every network of a comparison: model, group, metric, n, flag, value, interval."""
    kept, parts = ["group", "metric", "n", "flag"], []
    for place, name in enumerate(compared):
        side = "candidate" if place else "baseline"
        own = table[table["candidate_name"] == (name if place else compared[1])]
        columns = {side: "value", f"{side}_ci_low": "ci_low", f"{side}_ci_high": "ci_high"}
        parts.append(own[[*kept, *columns]].rename(columns=columns).assign(model=name))
    return pd.concat(parts, ignore_index=True)


def _fairest(overall: Sequence[Row], compared: Sequence[str]) -> str:
    gaps = {name: gap for name in compared if (gap := _gap(overall, name)) is not None}
    if len(gaps) < 2:
        return "Too few groups are large enough to say who paid most."
    least = min(gaps, key=lambda name: float(gaps[name]["value"]))
    accuracy = {name: _overall(overall, name, "accuracy")["value"] for name in compared}
    best = max(accuracy, key=lambda name: float(accuracy[name]))
    headline = (
        f"Of {len(compared)} networks, {least} has the smallest largest excess accuracy gap: "
        f"{points(gaps[least])} ({_group(gaps[least]['group'])}), at an accuracy of "
        f"{accuracy[least]:.1%}"
    )
    if best == least:
        return f"{headline}, the highest of all."
    if best not in gaps:
        return f"{headline}; {best} is the most accurate: {accuracy[best]:.1%}."
    return (
        f"{headline}; {best} is the most accurate: {accuracy[best]:.1%}, with a largest gap of "
        f"{_points(gaps[best]['value'])} points."
    )


def _pair_verdict(
    table: pd.DataFrame, overall: Sequence[Row], compared: tuple[str, str]
) -> dict[str, Any]:
    baseline, candidate = compared
    one, other = (_gap(overall, name) for name in compared)
    accuracy = {name: _overall(overall, name, "accuracy") for name in compared}
    change = accuracy[candidate]["value"] - accuracy[baseline]["value"]
    helped, harmed = _changed(table, 1), _changed(table, -1)
    if one is not None and other is not None:
        headline = (
            f"The largest excess accuracy gap is {points(one)} under {baseline} "
            f"({_group(one['group'])}) and {points(other)} under {candidate} "
            f"({_group(other['group'])})."
        )
    else:
        headline = "Too few groups are large enough to say who paid most."
    sentences = [
        f"Overall accuracy: {accuracy[baseline]['value']:.1%} under {baseline}, "
        f"{accuracy[candidate]['value']:.1%} under {candidate} ({_points(change, '+')} points)."
    ]
    sentences += _paying(table, "baseline", baseline) + _paying(table, "candidate", candidate)
    for found, verb in ((helped, "more"), (harmed, "less")):
        if found:
            sentences.append(f"{candidate} is {verb} accurate than {baseline} for {_list(found)}.")
    if not helped and not harmed:
        sentences.append("No group's accuracy differs significantly between the two.")
    small = table.loc[table["flag"] != "", ["group", "flag"]].drop_duplicates()
    sentences += _flag_sentences(small)
    return _words(headline, sentences)


def overall_table(overall: Sequence[Row], models: Sequence[Row]) -> pd.DataFrame:
    """The overall numbers with what their model is: method (labelled), rate, seed."""
    table = pd.DataFrame(list(overall))
    known = {m["name"]: (label(m), m["rate"], m["seed"], m["sparsity"]) for m in models}
    for position, column in enumerate(("method", "rate", "seed", "sparsity")):
        table[column] = [known[name][position] for name in table["model"]]
    return table


def judged_models(models: Sequence[Row]) -> list[str]:
    """The networks at each method's highest rate, the dense ones among them."""
    highest: dict[str, float] = {}
    for model in models:
        highest[label(model)] = max(highest.get(label(model), 0.0), model["rate"])
    return [str(model["name"]) for model in models if model["rate"] == highest[label(model)]]


def shown_models(record: Mapping[str, Any]) -> list[str]:
    """The networks compared; of a study, those judged, of its first seed."""
    if record["tables"].get("compared"):
        return list(record["tables"]["compared"])
    first = record["models"][0]["seed"]
    return judged_models([model for model in record["models"] if model["seed"] == first])


def _words(headline: str, sentences: list[str], because: Sequence[str] = ()) -> dict[str, Any]:
    """`because`: those of the sentences that say why, and how sure the numbers are."""
    return {"headline": headline, "sentences": sentences, "because": list(because)}


def _headline(
    table: pd.DataFrame, groups: pd.DataFrame, method: str, rate: float, seeds: int
) -> str:
    gaps = table[table["metric"] == "max_excess_accuracy_gap"]
    if gaps.empty:
        return "Too few groups are large enough to say who paid most."
    worst = gaps["group"].mode()[0]
    harmed = harmed_groups(groups, method, rate)
    if not harmed:
        return (
            f"At {percent(rate)} pruning by {method}, no group's excess accuracy gap is "
            "significantly above zero."
        )
    value = gaps["value"].mean()
    over = f", the mean over {seeds} seeds" if seeds > 1 else ""
    most = f"{_group(worst)} {'pays most' if seeds == 1 else 'most often pays most'}"
    return (
        f"Pruning to {percent(rate)} by {method} hurts some groups more than others: {most}, with "
        f"an accuracy loss {100 * value:.1f} points above the average loss{over}."
    )


def _method_sentence(
    table: pd.DataFrame, groups: pd.DataFrame, method: str, rate: float
) -> str | None:
    gaps = table[table["metric"] == "max_excess_accuracy_gap"]
    accuracy = table[table["metric"] == "accuracy"]["value"]
    if gaps.empty:
        return None
    if len(gaps) > 1:
        spread = f"{100 * gaps['value'].mean():.1f} ± {100 * gaps['value'].std():.1f} points"
        who = f"over {len(gaps)} seeds (mean ± standard deviation)"
        return (
            f"{method} at {percent(rate)}: accuracy {accuracy.mean():.1%} ± "
            f"{100 * accuracy.std():.1f} points, largest excess accuracy gap {spread}, {who}."
        )
    worst = str(gaps["group"].iloc[0])
    gap, risk = (
        _cell(groups, method, rate, worst, m) for m in ("excess_accuracy_gap", "excess_risk")
    )
    value, low, high = (
        f"{risk[key]:.2f}".replace("-", "−") for key in ("value", "ci_low", "ci_high")
    )
    pays = (
        f"{_group(worst)} pays most"
        if gap["ci_low"] > BEYOND_ROUNDING
        else f"the largest gap, that of {_group(worst)}, is not significantly above zero"
    )
    return (
        f"{method} at {percent(rate)}: accuracy {accuracy.iloc[0]:.1%}; {pays}: {points(gap)} of "
        f"accuracy beyond the average, excess risk {value} nats [{low}, {high}], "
        f"{risk['n']} samples."
    )


def _cell(groups: pd.DataFrame, method: str, rate: float, group: str, metric: str) -> Row:
    rows = _of_method(groups, method)
    rows = rows[(rows["rate"] == rate) & (rows["group"] == group) & (rows["metric"] == metric)]
    return {str(key): value for key, value in rows.iloc[0].items()}


def _of_method(groups: pd.DataFrame, method: str) -> pd.DataFrame:
    labels = np.where(
        groups["constraint"] == "none",
        groups["method"],
        groups["method"] + " (" + groups["constraint"] + ")",
    )
    chosen: pd.DataFrame = groups.loc[labels == method]
    return chosen


def harmed_groups(groups: pd.DataFrame, method: str, rate: float) -> list[str]:
    """Groups whose ψ is significantly above zero in more than half of the seeds."""
    rows = _of_method(groups, method)
    rows = rows[
        (rows["rate"] == rate) & (rows["metric"] == "excess_accuracy_gap") & (rows["flag"] == "")
    ]
    share = (rows["ci_low"] > BEYOND_ROUNDING).groupby(rows["group"], observed=True).mean()
    return [str(group) for group in share.index[share > 0.5]]


def _onset(groups: pd.DataFrame, method: str) -> list[str]:
    """From which rate on some group's gap is significantly above zero, in words."""
    found = onset(groups, method)
    if found is None:
        return [f"Under {method}, no rate shows a gap whose 95 % interval lies above zero."]
    rate, harmed = found
    return [
        f"Under {method}, the lowest rate at which a group's gap lies significantly above zero is "
        f"{percent(rate)} ({_list([_group(g) for g in harmed])}; intervals of 95 % a "
        "group, not adjusted for the number of groups)."
    ]


def onset(groups: pd.DataFrame, method: str) -> tuple[float, list[str]] | None:
    """The lowest rate at which some group's gap is significantly above zero, and whose are."""
    for rate in sorted(_of_method(groups, method)["rate"].unique()):
        harmed = harmed_groups(groups, method, rate)
        if harmed:
            return float(rate), harmed
    return None


def _mended(table: pd.DataFrame, labels: Sequence[str], rate: float) -> list[str]:
    """What the constrained methods make of the first method's largest gap, and at what price."""
    means = (
        table[table["rate"] == rate].groupby(["method", "metric"])["value"].mean().unstack("metric")
    )
    if "max_excess_accuracy_gap" not in means or len(labels) < 2:
        return []
    change = means - means.loc[labels[0]]
    found = []
    for name in labels[1:]:
        own = change.loc[name].to_dict()
        gap, accuracy = (_points(own[m], "+") for m in ("max_excess_accuracy_gap", "accuracy"))
        found.append(
            f"Against {labels[0]} at {percent(rate)}, {name} changes the largest gap by {gap} "
            f"points and overall accuracy by {accuracy} points."
        )
    return found


def beyond_chance(table: pd.DataFrame) -> bool:
    """Whether some method's equalised odds difference, its mean over seeds, is beyond chance."""
    rows = table[table["metric"] == ODDS].astype({"value": float, "floor_p95": float})
    means = rows.groupby(["method", "rate"])[["value", "floor_p95"]].mean()
    return bool((means["value"] > means["floor_p95"]).any())


def _odds_of_study(table: pd.DataFrame, labels: Sequence[str], rate: float) -> list[str]:
    """The equalised odds of the dense network, the first method and the best of the others."""
    judged = (table["rate"] == rate) | (table["method"] == "dense")
    rows = table[(table["metric"] == ODDS) & judged]
    rows = rows.astype({"value": float, "floor_p95": float}).dropna(subset=["value", "floor_p95"])
    means = {
        str(method): (float(own["value"].mean()), float(own["floor_p95"].mean()))
        for method, own in rows.groupby("method")
    }
    others = {name: means[name][0] for name in labels[1:] if name in means}
    best = [min(others, key=others.__getitem__)] if others else []
    chosen = [name for name in ("dense", labels[0], *best) if name in means]
    return _odds({name: means[name] for name in chosen}, f" at {percent(rate)}")


def _odds(found: Mapping[str, tuple[float, float]], where: str = "") -> list[str]:
    """What is known of equalised odds (M4), where some network's is beyond chance.

    found  by name the difference, and the 95th percentile of what equal groups would show
    """
    if not any(value > most for value, most in found.values()):
        return []
    parts = [
        f"{_points(value)} points under {name}{'' if value > most else ' (within chance)'}"
        for name, (value, most) in found.items()
    ]
    floors = [_points(most) for _, most in found.values()]
    low, high = min(floors, key=float), max(floors, key=float)
    chance = high if low == high else f"{low} to {high}"
    return [
        f"Equalised odds, the largest difference between groups' true or false positive "
        f"rates{where}: {_list(parts)}; equal groups of these sizes show at most {chance} points "
        "by chance, 19 times in 20."
    ]


CAUSE_NAMES = {
    "group_size": "the size of the group",
    "gradient_norm": "the gradient norm of the dense network",
    "hessian_max_eigenvalue": "the largest Hessian eigenvalue of the dense network",
    "boundary_closeness": "closeness to the dense network's decision boundary",
}


def _explained(
    groups: pd.DataFrame,
    causes: Sequence[Row],
    layers: pd.DataFrame | None,
    models: Sequence[str],
    title: str,
) -> list[str]:
    """What goes with the harm over the groups, and the layer that it comes from, where known."""
    own = [row for row in causes if row["model"] in models and row["rho"] is not None]
    known: dict[str, list[Row]] = {}
    for row in own:
        if row["cause"] in CAUSE_NAMES and row["ci_low"] is not None:
            known.setdefault(row["cause"], []).append(row)
    if not known:
        return []
    beyond = [rows for rows in known.values() if _mostly_beyond(rows)]
    number = own[0]["n"]
    if beyond:
        parts = [f"{CAUSE_NAMES[rows[0]['cause']]} ({_rho(rows)})" for rows in beyond]
        found = [
            f"Over the {number} groups, excess risk under {title} goes with {_list(parts)}; "
            "intervals of 95 %, not adjusted for several causes."
        ]
    else:
        most = max(known.values(), key=lambda rows: abs(_mean_rho(rows)))
        found = [
            f"Over the {number} groups, no measured cause goes with excess risk under {title} "
            f"beyond chance; most does {CAUSE_NAMES[most[0]['cause']]} ({_rho(most)})."
        ]
    shares = {
        cause: float(np.mean([r["share"] for r in own if r["cause"] == cause]))
        for cause in {r["cause"] for r in own if r["share"] is not None}
    }
    if "taylor_remainder" in shares:
        explained = shares.get("taylor_slope", 0.0) + shares.get("taylor_curvature", 0.0)
        if abs(shares["taylor_remainder"]) <= MOST_REMAINDER:
            found.append(
                f"Slope and curvature make {100 * explained:.0f} % of the differences of excess "
                f"risk between groups under {title}."
            )
            found += _worst_layer(groups, layers, models, title)
        else:
            found.append(
                f"Slope and curvature at the dense network do not explain the differences under "
                f"{title}: the remainder of the Taylor series outweighs them, as after long "
                "fine-tuning."
            )
    return found


MOST_REMAINDER = 0.5
"""Above this share of the remainder, the Taylor terms say nothing of who was harmed."""


def _mostly_beyond(rows: Sequence[Row]) -> bool:
    """Whether the interval leaves out zero, on the same side, in more than half of the seeds."""
    above = sum(row["ci_low"] > 0 for row in rows)
    below = sum(row["ci_high"] < 0 for row in rows)
    return bool(2 * max(above, below) > len(rows))


def _mean_rho(rows: Sequence[Row]) -> float:
    return float(np.mean([row["rho"] for row in rows]))


def _rho(rows: Sequence[Row]) -> str:
    text = f"ρ = {_mean_rho(rows):+.2f}"
    if len(rows) == 1:
        text += f" [{rows[0]['ci_low']:+.2f}, {rows[0]['ci_high']:+.2f}]"
    else:
        text += f", the mean over {len(rows)} seeds"
    return text.replace("-", "−")


def _worst_layer(
    groups: pd.DataFrame, layers: pd.DataFrame | None, models: Sequence[str], title: str
) -> list[str]:
    risk = groups[
        groups["model"].isin(models) & (groups["metric"] == "excess_risk") & (groups["flag"] == "")
    ]
    if layers is None or layers.empty or risk.empty:
        return []
    worst = str(risk.sort_values("value")["group"].iloc[-1])
    terms = layers[
        layers["model"].isin(models)
        & (layers["group"] == worst)
        & layers["metric"].isin(["taylor_slope", "taylor_curvature"])
    ]
    total = terms.groupby("layer")["value"].sum()
    if total.empty or total.max() <= 0:
        return []
    return [
        f"Of the layers, the change of {total.idxmax()} cost {_group(worst)} most under {title}: "
        f"{total.max():.2f} nats by slope and curvature."
    ]


def _detectable(rows: pd.DataFrame) -> list[str]:
    """The smallest gap that this many samples would have shown, for the group known least."""
    rows = rows[(rows["metric"] == "excess_accuracy_gap") & (rows["flag"] == "")]
    rows = rows[np.isfinite(rows["ci_low"].astype(float))]
    if rows.empty:
        return []
    # Half an interval is 1.96 standard errors; 80 % power asks for 0.84 more.
    widths = (rows["ci_high"] - rows["ci_low"]).astype(float) / 2 * (1.96 + 0.84) / 1.96
    order = np.argsort(widths.to_numpy())
    least, most = (
        f"{100 * widths.iloc[place]:.1f} points for {_group(rows['group'].iloc[place])} "
        f"({rows['n'].iloc[place]:,} samples)"
        for place in (order[0], order[-1])
    )
    return [
        f"This many samples show, four times in five, an excess accuracy gap of {least} up to "
        f"{most}; smaller harm may go unseen."
    ]


def _left_out(groups: pd.DataFrame) -> list[str]:
    return _flag_sentences(groups.loc[groups["flag"] != "", ["group", "flag"]].drop_duplicates())


def _flag_sentences(flags: pd.DataFrame) -> list[str]:
    texts = {
        "small": "too small for a verdict and kept out of every maximum and minimum",
        "absent": "absent from the measured split",
    }
    found = []
    for flag, text in texts.items():
        names = [str(name) for name in flags.loc[flags["flag"] == flag, "group"]]
        if names:
            found.append(f"{_list([_group(name) for name in names])}: {text}.")
    return found


def _overall(overall: Sequence[Row], model: str, metric: str) -> Row:
    return next(row for row in overall if row["model"] == model and row["metric"] == metric)


def _gap(overall: Sequence[Row], model: str) -> Row | None:
    wanted = ("max_excess_accuracy_gap", model)
    return next((row for row in overall if (row["metric"], row["model"]) == wanted), None)


def _changed(table: pd.DataFrame, sign: int) -> list[str]:
    """Groups whose accuracy changed significantly in the direction of the sign."""
    rows = table[(table["metric"] == "accuracy") & (table["flag"] == "")]
    low = (sign * rows[["difference_ci_low", "difference_ci_high"]]).min(axis=1)
    rows = rows[low > BEYOND_ROUNDING]
    return [
        f"{_group(group)} ({_points(change, '+')} points)"
        for group, change in zip(rows["group"], rows["difference"], strict=True)
    ]


def _paying(table: pd.DataFrame, side: str, name: str) -> list[str]:
    rows = table[(table["metric"] == "excess_accuracy_gap") & (table["flag"] == "")]
    rows = rows[rows[f"{side}_ci_low"] > BEYOND_ROUNDING]
    if rows.empty:
        return [f"{name}: no group lost significantly more accuracy than the average."]
    groups = [
        f"{_group(g)} ({100 * v:.1f} points)"
        for g, v in zip(rows["group"], rows[side], strict=True)
    ]
    return [f"{name} harms {_list(groups)} significantly more than the average."]
