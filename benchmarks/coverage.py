"""Do the 95 % intervals contain the truth? 1,000 simulated audits of every kind.

An audit is two models on groups of 30 to 3,000 samples: losses that change by skewed amounts, and
right answers that are lost and won. Run: python benchmarks/coverage.py
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import hardware, store, versions

from audit.measure.uncertainty import (
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
            for losses in ("normal", "skewed"):
                gain = won if kind != "rare" else rare / 2
                found.append(Scenario(f"{name}, {kind}, {losses}", sizes, lost, gain, lost, losses))
    return found


def excess(kind: str, mean: float, count: int, generator: np.random.Generator) -> np.ndarray:
    """Changes of the loss with that mean and deviation 1; the skewed ones are gamma."""
    if kind == "normal":
        return generator.normal(mean, 1.0, count)
    return (generator.gamma(0.5, 1.0, count) - 0.5) * 2**0.5 + mean


def audits(scenario: Scenario, number: int, seed: int) -> dict[str, list[float]]:
    """Shares of intervals below and above the truth, by what they are of."""
    generator = np.random.default_rng(seed)
    counts = np.array(scenario.sizes, dtype=float)
    shares = counts / counts.sum()
    drop = scenario.lost - scenario.won
    gap = drop - shares @ drop
    risks = scenario.risk
    misses: dict[str, list[list[bool]]] = {}

    def note(what: str, truth: float, interval: Any) -> None:
        misses.setdefault(what, []).append([interval.high < truth, interval.low > truth])

    contrasts = gap_contrasts(counts)
    for _ in range(number):
        drops, lows, means, risks_found = [], [], [], []
        for group, size in enumerate(scenario.sizes):
            chance = generator.random(size)
            own = (chance < scenario.lost[group]) - 1.0 * (chance > 1 - scenario.won[group])
            drops.append(own.mean())
            lows.append(drop_interval(own))
            risk = excess(scenario.losses, risks[group], size, generator)
            means.append(risk.mean())
            risks_found += mean_intervals(risk[:, None], 1000, generator)
            note(f"excess risk, n = {size}", risks[group], risks_found[-1])
            note(f"accuracy drop, n = {size}", drop[group], lows[-1])
        for group, size in enumerate(scenario.sizes):
            one = combined_interval(contrasts[group], np.array(drops), lows)
            note(f"excess accuracy gap, n = {size}", gap[group], one)
        largest = maximum_interval(contrasts, np.array(drops), lows)
        note("largest excess accuracy gap", gap.max(), largest)
        violation = range_interval(np.array(means), risks_found)
        note("fairness violation", risks.max() - risks.min(), violation)
    return {what: np.mean(found, axis=0).tolist() for what, found in misses.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audits", type=int, default=1000)
    options = parser.parse_args()
    rows = []
    for scenario in scenarios():
        for what, (too_low, too_high) in audits(scenario, options.audits, seed=0).items():
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
