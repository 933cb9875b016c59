"""Any metric of the user's own, group by group: a function of labels and predictions, or scores."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning

from audit.columns import SCORE
from audit.errors import AuditError
from audit.findings.paired import units_of
from audit.findings.results import Results
from audit.imports import imported
from audit.measure.uncertainty import CONFIDENCE
from audit.names import hint

Array = NDArray[np.float64]
Metric = Callable[[Any, Any], float]

RESAMPLES = 500
STRATA = 100
"""A column of more values is none to compare groups within."""

OF_PROBABILITIES = ("log_loss",)
"""What scikit-learn's older versions say of them is y_pred."""
TAIL = (1 - CONFIDENCE) / 2


@dataclass(frozen=True)
class _Part:
    """The samples of one group in one stratum: what the metric is given, and their units."""

    label: NDArray[Any]
    given: NDArray[Any]
    unit: NDArray[np.int64]


def metric_by_group(
    samples: pd.DataFrame,
    metric: Metric | str,
    *,
    positive: object = None,
    scores: bool = False,
    reference: object = None,
    control: str | None = None,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per network × stratum × group of any metric: value, n, interval, difference.

    samples    of results: model, group, label, prediction
    metric     a function of (labels, predictions) that gives one number, such as most of fairlearn
               and scikit-learn, or 'package.module:function'
    positive   a class: labels and predictions are given as 1 where they are it, else 0
    scores     give the probability of the positive class in place of predictions; it must have been
               kept (MeasureSettings.scores)
    reference  a group: `difference` is a group's value less its, in the same stratum
    control    a column of samples: each of its values is a stratum, and groups are compared within
    groups     in their declared order, a row each even without a sample; else those that samples
               have, by their first one or, of a categorical column, in the order of its categories

    Columns: model, `control` (the stratum, empty without one), group, n, value, ci_low, ci_high,
    and with a reference difference, difference_ci_low, difference_ci_high. Intervals are 95 %
    percentiles of a bootstrap within each group and stratum, of whole units where samples have
    them; resamples in which the metric has no value are left out, and where those are more than one
    in twenty the interval is unknown. NaN where scikit-learn calls the metric undefined, where it
    is not finite, and where a stratum has no sample of a group. Raises AuditError where the metric
    fails or gives no number, or is of scores and is given none.

    >>> table = pd.DataFrame({"model": "m", "group": list("aabb"),
    ...                       "label": list("xyxy"), "prediction": list("xyxx")})
    >>> metric_by_group(table, "sklearn.metrics:accuracy_score")["value"].tolist()
    [1.0, 0.5]
    """
    function: Metric = imported(metric, "metric") if isinstance(metric, str) else metric
    of, against = (None if one is None else str(one) for one in (positive, reference))
    _check(samples, of, scores, against, control)
    _check_given(function, scores)
    ordered = _ordered(samples["group"], groups)
    rows = []
    for model, own in samples.groupby("model", sort=False, observed=True):
        for stratum, part in _strata(own, control):
            told = {"model": str(model), "control": stratum}
            parts = _parts(part, of, scores)
            known = {
                row["group"]: row for row in _group_rows(function, parts, against, resamples, seed)
            }
            rows += [told | known.get(group, {"group": group, "n": 0}) for group in ordered]
    return pd.DataFrame(rows)


def _ordered(column: pd.Series[Any], declared: Sequence[str] | None) -> list[str]:
    """Each group once; those that nobody declared come last."""
    present = dict.fromkeys(column.astype(str))
    if declared is None and isinstance(column.dtype, pd.CategoricalDtype):
        declared = [one for one in map(str, column.cat.categories) if one in present]
    return list(dict.fromkeys(map(str, declared or ())) | present)


def takes_scores(metric: Metric) -> bool | None:
    """Whether a metric is of scores, or of predicted labels, by the name of its second argument.

    As scikit-learn and fairlearn name them; None where the name says neither.

    >>> from sklearn.metrics import recall_score, roc_auc_score
    >>> takes_scores(roc_auc_score), takes_scores(recall_score), takes_scores(lambda a, b: 0.0)
    (True, False, None)
    """
    if getattr(metric, "__name__", "") in OF_PROBABILITIES:
        return True
    try:
        _, second, *_ = inspect.signature(metric).parameters
    except (TypeError, ValueError):
        return None
    for words, answer in ((("score", "prob", "decision"), True), (("pred", "label"), False)):
        if any(word in second.lower() for word in words):
            return answer
    return None


def with_own_metric(results: Results, metric: str, **settings: Any) -> Results:
    """The results with the table `own_metric` of `metric_by_group`, whose settings these are.

    Each row names the metric; a number that is not known is None, as in JSON.
    """
    declared = [str(one["group"]) for one in results.record["data"]["groups"]]
    found = metric_by_group(results.samples, metric, groups=declared, **settings)
    found.insert(1, "metric", metric)
    plain = found.astype(object).where(found.notna(), None).to_dict("records")
    tables = results.record["tables"] | {"own_metric": plain}
    return replace(results, record=results.record | {"tables": tables})


def _strata(own: pd.DataFrame, control: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    if control is None:
        yield "", own
        return
    for value, part in own.groupby(control, sort=True, observed=True, dropna=False):
        yield str(value), part


def _parts(own: pd.DataFrame, positive: str | None, scores: bool) -> dict[str, _Part]:
    """What the metric is given, group by group, in the order of the groups."""
    label, given = own["label"], own["prediction"]
    if positive is not None:
        label, given = ((column == positive).astype(int) for column in (label, given))
    if scores:
        given = own[f"{SCORE}{positive}"]
    units = units_of(own)
    unit = pd.Series(np.arange(len(own)) if units is None else units, own.index)
    return {
        str(group): _Part(
            label.loc[rows.index].to_numpy(),
            given.loc[rows.index].to_numpy(),
            pd.factorize(unit.loc[rows.index])[0],
        )
        for group, rows in own.groupby("group", sort=False, observed=True)
    }


def _group_rows(
    function: Metric,
    parts: dict[str, _Part],
    reference: str | None,
    resamples: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    values = {name: _value(function, part.label, part.given) for name, part in parts.items()}
    # A group's stream is its own, whatever other groups and networks there are.
    drawn = {
        name: _resampled(function, part, resamples, np.random.default_rng([seed, *name.encode()]))
        for name, part in parts.items()
    }
    for name, part in parts.items():
        low, high = _percentiles(drawn[name])
        row = {"group": name, "n": len(part.label), "value": values[name],
               "ci_low": low, "ci_high": high}  # fmt: skip
        if reference is not None:
            base = values.get(reference, np.nan)
            draws = drawn.get(reference, np.full(resamples, np.nan))
            low, high = (0.0, 0.0) if name == reference else _percentiles(drawn[name] - draws)
            row |= {"difference": values[name] - base,
                    "difference_ci_low": low, "difference_ci_high": high}  # fmt: skip
        yield row


def _resampled(
    function: Metric, part: _Part, resamples: int, generator: np.random.Generator
) -> Array:
    """The metric of resamples of the units [R]; NaN where it has no value."""
    number = int(part.unit.max()) + 1
    order = np.argsort(part.unit, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(part.unit))[:-1])
    alone = number == len(order)
    found = np.full(resamples, np.nan)
    for at in range(resamples if number > 1 else 0):
        drawn = generator.integers(number, size=number)
        rows = order[drawn] if alone else np.concatenate([members[one] for one in drawn])
        # A resample may lack a class that the metric cannot do without.
        with suppress(AuditError):
            found[at] = _value(function, part.label[rows], part.given[rows])
    return found


def _percentiles(draws: Array) -> tuple[float, float]:
    known = draws[np.isfinite(draws)]
    if len(known) < (1 - 2 * TAIL) * len(draws) or not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [TAIL, 1 - TAIL])
    return float(low), float(high)


def _value(function: Metric, label: NDArray[Any], given: NDArray[Any]) -> float:
    """The metric; NaN where it is not finite, or scikit-learn warns of a number in place of none.

    Else a group without positives would have a recall of 0, or of 1, as if it were measured.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UndefinedMetricWarning)
        try:
            # Copies, since what it writes on is measured again.
            found = float(function(label.copy(), given.copy()))
            return found if np.isfinite(found) else float("nan")
        except UndefinedMetricWarning:
            return float("nan")
        except (Exception, SystemExit) as error:
            name = getattr(function, "__name__", type(function).__name__)
            cause = " ".join(str(error).split()) or type(error).__name__
            raise AuditError(
                f"the metric '{name}' gave no number for {len(label)} samples: {cause}; expected a "
                "function of labels and predictions (with a positive class they are 1 and 0)"
            ) from error


def _check(
    samples: pd.DataFrame,
    positive: str | None,
    scores: bool,
    reference: str | None,
    control: str | None,
) -> None:
    def listed(column: str) -> str:
        return ", ".join(sorted(map(str, samples[column].unique())))

    if positive is not None and positive not in set(samples["label"]) | set(samples["prediction"]):
        raise AuditError(f"found positive class '{positive}'; expected one of {listed('label')}")
    if scores and positive is None:
        raise AuditError("a metric of scores needs the positive class whose scores it is given")
    if scores and f"{SCORE}{positive}" not in samples:
        raise AuditError(
            f"the samples hold no scores of '{positive}'; measure with MeasureSettings(scores=True)"
        )
    unknown = samples["model"][samples[f"{SCORE}{positive}"].isna()].tolist() if scores else []
    if unknown:
        raise AuditError(
            f"of '{unknown[0]}' only decisions are known; a metric of scores needs the "
            "probability of every sample"
        )
    if reference is not None and reference not in set(samples["group"]):
        raise AuditError(f"found reference group '{reference}'; expected one of {listed('group')}")
    if control is not None and control not in samples:
        known: Sequence[str] = [str(name) for name in samples]
        raise AuditError(
            f"found control column '{control}'; expected one of {', '.join(known)}"
            f"{hint(control, known)}"
        )
    strata = 1 if control is None else samples[control].nunique(dropna=False)
    if strata > STRATA:
        raise AuditError(
            f"found {strata:,} values in the control column '{control}'; expected at most {STRATA}"
            ", each a stratum in which groups are compared"
        )


def _check_given(function: Metric, scores: bool) -> None:
    """Raise AuditError where a metric, by its own signature, is of what it is not given."""
    if not callable(function):
        raise AuditError(
            f"found {function!r} as a metric; expected a function of labels and predictions"
        )
    if takes_scores(function) not in (None, scores):
        name = getattr(function, "__name__", type(function).__name__)
        raise AuditError(
            f"the metric '{name}' is of predicted labels; expected it without scores=True"
            if scores
            else f"the metric '{name}' is of scores; expected scores=True and the positive class"
        )
