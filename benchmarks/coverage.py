"""Do the 95 % intervals contain the truth? 1,000 simulated audits of every kind.

An audit is two models on groups of 30 to 3,000 samples: losses that change by normal, by skewed, or
by seldom large amounts, and right answers that are lost and won. Audits of one scenario share their
resamples, as columns do, which changes no interval. Run: python benchmarks/coverage.py
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import hardware, store, versions

from audit.measure.uncertainty import (
    Interval,
    combined_interval,
    drop_interval,
    gap_contrasts,
    maximum_interval,
    mean_intervals,
    range_interval,
)

SIZES = {
    "two groups": (300, 3000),
    "five groups": (3000, 1000, 300, 100, 30),
    "nine groups": (3000, 2000, 1000, 600, 300, 200, 100, 60, 30),
}
AT_ONCE = 50
RESAMPLES = 2000


@dataclass(frozen=True)
class Scenario:
    """Shares of answers lost and won, and the mean excess risk, group by group."""

    name: str
    sizes: tuple[int, ...]
    lost: np.ndarray
    won: np.ndarray
    risk: np.ndarray
    losses: str


def scenarios() -> list[Scenario]:
    found = []
    for name, sizes in SIZES.items():
        number = len(sizes)
        equal, harmed = np.full(number, 0.05), np.full(number, 0.05)
        harmed[-1] = 0.25
        graded = np.linspace(0.02, 0.15, number)
        rare = np.full(number, 0.01)
        won = np.full(number, 0.03)
        for kind, lost in (("equal", equal), ("one harmed", harmed), ("graded", graded),
                           ("rare", rare)):  # fmt: skip
            for losses in ("normal", "skewed", "seldom large"):
                gain = won if kind != "rare" else rare / 2
                found.append(Scenario(f"{name}, {kind}, {losses}", sizes, lost, gain, lost, losses))
    return found


def excess(kind: str, mean: float, shape: tuple[int, int], generator: Any) -> np.ndarray:
    """Changes of the loss with that mean: normal or gamma of deviation 1, or lognormal for 5 %."""
    if kind == "normal":
        return generator.normal(mean, 1.0, shape)
    if kind == "skewed":
        return (generator.gamma(0.5, 1.0, shape) - 0.5) * 2**0.5 + mean
    large = generator.random(shape) < 0.05
    changes = np.where(large, generator.lognormal(size=shape), generator.normal(0.0, 0.1, shape))
    return changes - 0.05 * np.exp(0.5) + mean


def audits(scenario: Scenario, number: int, seed: int) -> dict[str, list[float]]:
    """Shares of intervals below and above the truth, by what they are of."""
    generator = np.random.default_rng(seed)
    misses: dict[str, list[list[bool]]] = {}
    for start in range(0, number, AT_ONCE):
        size = min(AT_ONCE, number - start)
        drops = [
            lost_and_won(size, count, lost, won, generator)
            for count, lost, won in zip(scenario.sizes, scenario.lost, scenario.won, strict=True)
        ]
        risks = [
            excess(scenario.losses, mean, (count, size), generator)
            for count, mean in zip(scenario.sizes, scenario.risk, strict=True)
        ]
        found = [mean_intervals(own, RESAMPLES, generator) for own in risks]
        for audit in range(size):
            means = np.array([own[:, audit].mean() for own in risks])
            one = note_risks(scenario, means, [own[audit] for own in found])
            one |= note_drops(scenario, [own[audit] for own in drops])
            for what, missed in one.items():
                misses.setdefault(what, []).append(missed)
    return {what: np.mean(found, axis=0).tolist() for what, found in misses.items()}


def lost_and_won(audits: int, count: int, lost: float, won: float, generator: Any) -> np.ndarray:
    chance = generator.random((audits, count))
    return (chance < lost) - 1.0 * (chance > 1 - won)


def note_risks(
    scenario: Scenario, means: np.ndarray, intervals: list[Interval]
) -> dict[str, list[bool]]:
    found = {
        f"excess risk, n = {size}": missed(interval, truth)
        for size, interval, truth in zip(scenario.sizes, intervals, scenario.risk, strict=True)
    }
    violation = range_interval(means, intervals)
    return found | {"fairness violation": missed(violation, float(np.ptp(scenario.risk)))}


def note_drops(scenario: Scenario, drops: list[np.ndarray]) -> dict[str, list[bool]]:
    counts = np.array(scenario.sizes, dtype=float)
    contrasts, truth = gap_contrasts(counts), scenario.lost - scenario.won
    means, own = np.array([d.mean() for d in drops]), [drop_interval(d) for d in drops]
    found = {}
    for group, size in enumerate(scenario.sizes):
        gap = combined_interval(contrasts[group], means, own)
        found[f"accuracy drop, n = {size}"] = missed(own[group], truth[group])
        found[f"excess accuracy gap, n = {size}"] = missed(gap, contrasts[group] @ truth)
    largest = maximum_interval(contrasts, means, own)
    return found | {"largest excess accuracy gap": missed(largest, (contrasts @ truth).max())}


def missed(interval: Interval, truth: float) -> list[bool]:
    return [interval.high < truth, interval.low > truth]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audits", type=int, default=1000)
    options = parser.parse_args()
    rows = []
    for seed, scenario in enumerate(scenarios()):
        for what, (too_low, too_high) in audits(scenario, options.audits, seed).items():
            row = {"scenario": scenario.name, "interval": what,
                   "coverage": round(1 - too_low - too_high, 4),
                   "entirely_below": too_low, "entirely_above": too_high}  # fmt: skip
            rows.append(row)
            if not 0.93 <= row["coverage"] <= 0.97:
                print(f"{row['coverage']:.3f}  {what:<36} {scenario.name}")
    good = [0.93 <= row["coverage"] <= 0.97 for row in rows]
    print(f"{sum(good)} of {len(rows)} within 93 to 97 %")
    store("coverage", {"command": "python benchmarks/coverage.py", "audits": options.audits,
                       "within_93_to_97": sum(good), "rows": rows,
                       "versions": versions("scipy"), "hardware": hardware()})  # fmt: skip


if __name__ == "__main__":
    main()
