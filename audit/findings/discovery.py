"""Groups that nobody named: found in one half of the samples, confirmed in the other (M16)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import AuditError
from audit.findings.paired import beside_dense, units_of
from audit.findings.words import CROSSED, MISSING
from audit.measure.distributions import t_quantile, t_tail

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

DEPTH = 3
BINS = 4
MOST_PROPOSED = 20
FALSE_DISCOVERIES = 0.05
FEW_VALUES = 10
"""Numbers of more different values than this are binned."""
COLUMNS = (
    "group",
    "n",
    "gap",
    "ci_low",
    "ci_high",
    "p_value",
    "p_adjusted",
    "confirmed",
    "proposed_n",
    "proposed_gap",
)


@dataclass(frozen=True)
class DiscoverySettings:
    """How groups are sought.

    depth          at most so many columns are crossed
    bins           of a column of numbers, by quantiles
    minimum_size   of a candidate, and of the samples outside it, in each half
    most           proposed by the first half, and tested in the second
    seed           of the halves
    """

    depth: int = DEPTH
    bins: int = BINS
    minimum_size: int = 30
    most: int = MOST_PROPOSED
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("depth", "minimum_size", "most"):
            if getattr(self, name) < 1:
                raise AuditError(f"found {name} {getattr(self, name)}; expected at least 1")
        if self.bins < 2:
            raise AuditError(f"found bins {self.bins}; expected at least 2")


@dataclass(frozen=True)
class Discovery:
    """What the search found.

    candidates   how many crossings were large enough to be looked at
    proposed     one row per candidate that the first half proposed, the surest first: group, then
                 of the second half n, gap (ψ), its interval, p_value (one-sided), p_adjusted (Holm)
                 and confirmed; proposed_n and proposed_gap are of the first half, whose gap is too
                 large, since it was chosen for it. The interval has the level of the test that
                 Holm's step asks for: its lower end is above zero where the group is confirmed
    """

    candidates: int
    proposed: pd.DataFrame


def discover(
    columns: pd.DataFrame,
    drops: Array,
    settings: DiscoverySettings | None = None,
    unit: Codes | None = None,
) -> Discovery:
    """Seek groups that pay more than the average among crossings of some columns (M16).

    columns   one row a sample: text, or numbers, which are binned if they have many values
    drops     float [n] in {−1, 0, 1}: right before less right after
    unit      int64 [n]: the samples of one unit stay in one half, and vary together

    One half of the samples, by lot, proposes the candidates with the largest studentised ψ; the
    other tests these alone, one-sided and Holm-adjusted, so that a false discovery of any kind has
    a chance of at most 5 %, however many were searched (benchmarks/discovery.py). Raises AuditError
    where the columns and drops do not fit together.

    >>> ages = np.tile(["old", "young"], 400)
    >>> lost = (ages == "old") * (np.arange(800) % 5 == 0) * 1.0
    >>> discover(pd.DataFrame({"age": ages}), lost).proposed[["group", "confirmed"]].values.tolist()
    [['age old', True]]
    """
    settings = settings or DiscoverySettings()
    _check(columns, drops)
    who = np.arange(len(drops)) if unit is None else np.unique(unit, return_inverse=True)[1]
    second = confirming_half(len(drops), settings.seed, unit)
    coded = {str(name): _coded(columns[name], settings.bins) for name in columns}
    found = list(_candidates(coded, drops, second, settings))
    chosen = sorted((one for one in found if one.score > 0), key=lambda one: -one.score)
    rows = [_tested(one, coded, drops, second, who) for one in chosen[: settings.most]]
    return Discovery(len(found), _adjusted(rows))


def confirming_half(n: int, seed: int, unit: Codes | None = None) -> NDArray[np.bool_]:
    """Which samples confirm, bool [n], by lot; those of one unit stay together."""
    who = np.arange(n) if unit is None else np.unique(unit, return_inverse=True)[1]
    number = int(who.max()) + 1
    return np.asarray((np.random.default_rng(seed).permutation(number) < number // 2)[who])


def members(columns: pd.DataFrame, group: str, bins: int = BINS) -> NDArray[np.bool_]:
    """Which samples a group that was discovered among these columns has: bool [n]."""
    coded = {str(name): _coded(columns[name], bins) for name in columns}
    values = {f"{name} {value}": (name, code) for name, own in coded.items()
              for code, value in enumerate(own.values)}  # fmt: skip
    found = np.full(len(columns), True)
    for rule in _rules(group, values):
        name, code = values[rule]
        found &= coded[name].codes == code
    return found


def _rules(group: str, known: Collection[str]) -> list[str]:
    """The parts of a crossing; a value may hold the sign of crossing itself."""
    found: list[str] = []
    rest = group.split(CROSSED)
    while rest:
        for end in range(len(rest), 0, -1):
            part = CROSSED.join(rest[:end])
            if part in known:
                found.append(part)
                rest = rest[end:]
                break
        else:
            raise AuditError(f"found group '{group}'; expected a crossing of these columns")
    return found


def drops_of(own: pd.DataFrame) -> Array:
    """Right before less right after, of samples beside their dense network: float [n]."""
    was, stays = (own[one] == own["label"] for one in ("dense_prediction", "prediction"))
    return np.asarray(was.to_numpy(dtype=float) - stays.to_numpy(dtype=float))


def discovery_table(
    samples: pd.DataFrame,
    groups: pd.DataFrame,
    columns: pd.DataFrame,
    settings: DiscoverySettings | None = None,
) -> pd.DataFrame:
    """What every pruned network's search found: model, candidates, then as `discover` gives it.

    columns   indexed by the samples' ids, a column for each that is crossed

    The halves are the same for all networks; false discoveries are held to 5 % network by network.
    """
    parts = []
    for model, own in beside_dense(samples, groups):
        known = columns.reindex(own["sample"])
        found = discover(known, drops_of(own), settings, units_of(own))
        table = found.proposed
        table.insert(0, "model", model)
        table.insert(1, "candidates", found.candidates)
        parts.append(table)
    empty = pd.DataFrame(columns=["model", "candidates", *COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else empty


@dataclass(frozen=True)
class _Coded:
    """A column as positions [n] among its values."""

    codes: Codes
    values: tuple[str, ...]


def _coded(column: pd.Series, bins: int) -> _Coded:
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > FEW_VALUES:
        cut = pd.qcut(column.astype(float), bins, duplicates="drop")
        names = [f"{_shown(one.left)} to {_shown(one.right)}" for one in cut.cat.categories]
        codes = cut.cat.codes.to_numpy(dtype=np.int64)
    else:
        codes, found = pd.factorize(column, sort=True)
        names = [str(value) for value in found]
    return _Coded(np.where(codes < 0, len(names), codes).astype(np.int64), (*names, MISSING))


def _shown(edge: float) -> str:
    return f"{edge:.4g}"


@dataclass(frozen=True)
class _Candidate:
    """A crossing: column → position of its value; ψ of the first half, over its standard error."""

    rules: Mapping[str, int]
    n: int
    gap: float
    score: float


def _candidates(
    coded: Mapping[str, _Coded],
    drops: Array,
    second: NDArray[np.bool_],
    settings: DiscoverySettings,
) -> Iterator[_Candidate]:
    """Crossings of enough samples in both halves, but for those with all samples of a shorter."""
    sizes: dict[frozenset[tuple[str, int]], int] = {}
    total = np.bincount(second, minlength=2)
    for depth in range(1, min(settings.depth, len(coded)) + 1):
        for names in combinations(coded, depth):
            shape = [len(coded[name].values) for name in names]
            cells = np.ravel_multi_index([coded[name].codes for name in names], shape)
            kinds, cells = np.unique(cells, return_inverse=True)
            counts = np.bincount(2 * cells + second, minlength=2 * len(kinds)).reshape(-1, 2)
            large = (np.minimum(counts, total - counts) >= settings.minimum_size).all(1)
            gap, score = _scores(cells[~second], drops[~second], len(kinds))
            for at in np.flatnonzero(large):
                places = np.unravel_index(kinds[at], shape)
                rules = dict(zip(names, map(int, places), strict=True))
                key, size = frozenset(rules.items()), int(counts[at].sum())
                sizes[key] = size
                if all(sizes.get(key - {rule}) != size for rule in key):
                    yield _Candidate(rules, int(counts[at, 0]), float(gap[at]), float(score[at]))


def _scores(cells: Codes, drops: Array, number: int) -> tuple[Array, Array]:
    """ψ of every cell, and how far it is above zero in standard errors (`_standing`)."""
    n, lost, square = (np.bincount(cells, w, number) for w in (None, drops, drops**2))
    others, rest, rest_square = n.sum() - n, lost.sum() - lost, square.sum() - square
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = lost / (n + 2), rest / (others + 2)
        variance = (square + 2 - lost * first) / (n + 2) ** 2
        variance = variance + (rest_square + 2 - rest * second) / (others + 2) ** 2
        return lost / n - lost.sum() / n.sum(), (first - second) / np.sqrt(variance)


def _tested(
    candidate: _Candidate,
    coded: Mapping[str, _Coded],
    drops: Array,
    second: NDArray[np.bool_],
    who: Codes,
) -> dict[str, Any]:
    """The candidate in the second half: ψ with its standard error and degrees of freedom."""
    member = np.all([coded[name].codes == code for name, code in candidate.rules.items()], axis=0)
    told = [f"{name} {coded[name].values[code]}" for name, code in candidate.rules.items()]
    inside, lost, unit = member[second], drops[second], who[second]
    difference, error = _standing(inside, lost, unit)
    share = 1 - inside.mean()
    freedom = len(np.unique(unit[inside])) - 1
    return {
        "group": CROSSED.join(told),
        "n": int(inside.sum()),
        "gap": float(lost[inside].mean() - lost.mean()),
        "centre": share * difference,
        "error": share * error,
        "freedom": freedom,
        "p_value": float(t_tail(difference / error, freedom)),
        "proposed_n": candidate.n,
        "proposed_gap": candidate.gap,
    }


def _standing(inside: NDArray[np.bool_], drops: Array, unit: Codes) -> tuple[float, float]:
    """The mean drop inside less that outside, and its standard error over units.

    A unit that loses and one that gains are added on each side (Bonett and Price 2012), so that a
    side that shows no event does not look certain.
    """
    influence = np.zeros(len(drops))
    means, variance = [], 0.0
    for side, sign in ((inside, 1.0), (~inside, -1.0)):
        size = side.sum() / len(np.unique(unit[side]))
        count = side.sum() + 2 * size
        means.append(drops[side].sum() / count)
        influence[side] = sign * (drops[side] - means[-1]) / count
        variance += 2 * (size / count) ** 2
    variance += float((np.bincount(unit, influence) ** 2).sum())
    return float(means[0] - means[1]), float(np.sqrt(variance))


def _adjusted(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows by p-value, with Holm's decisions, and intervals at the levels of his steps."""
    rows = sorted(rows, key=lambda row: float(row["p_value"]))
    adjusted, failed = 0.0, None
    found = []
    for step, row in enumerate(rows):
        left = len(rows) - (step if failed is None else failed)
        adjusted = min(1.0, max(adjusted, row["p_value"] * (len(rows) - step)))
        if failed is None and adjusted > FALSE_DISCOVERIES:
            failed = step
        reach = -t_quantile(FALSE_DISCOVERIES / left, row["freedom"]) * row["error"]
        found.append(
            row
            | {"p_adjusted": adjusted, "confirmed": failed is None,
               "ci_low": row["centre"] - reach, "ci_high": row["centre"] + reach}
        )  # fmt: skip
    return pd.DataFrame(found, columns=list(COLUMNS))


def _check(columns: pd.DataFrame, drops: Array) -> None:
    if len(columns) != len(drops) or not len(drops) or columns.columns.empty:
        raise AuditError(
            f"found {len(columns.columns)} columns of {len(columns)} samples and {len(drops)} "
            "drops; expected at least one column, and a row and a drop for every sample"
        )
    if not columns.columns.is_unique:
        raise AuditError("found two columns of one name; each may be crossed once")
    if not np.isin(drops, (-1.0, 0.0, 1.0)).all():
        raise AuditError("found drops other than −1, 0 and 1: right before less right after")
