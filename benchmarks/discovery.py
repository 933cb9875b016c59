"""How often does discovery confirm a group that pays nothing, and how often one that does?

Simulated audits of people with four columns: sex, region (unequal sizes), age (a number), device
(tied to region). Under no harm every group loses as much as it gains, though some are ten times
as uncertain as others; then a planted crossing loses more. A confirmed group is false where its
true ψ, from the chances of its samples, is not above zero. Run: python benchmarks/discovery.py
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from common import hardware, store, versions

from audit.findings.discovery import DiscoverySettings, discover

SIZES = (600, 2000, 8000)
PLANTS = {
    "none": (),
    "one column": ("region",),
    "two crossed": ("region", "sex"),
    "three crossed": ("region", "sex", "device"),
}
POINTS = (0.05, 0.10, 0.20)


def people(n: int, generator: Any) -> pd.DataFrame:
    region = generator.choice(["north", "east", "south", "west"], n, p=[0.4, 0.3, 0.2, 0.1])
    phone = generator.random(n) < np.where(np.isin(region, ["south", "west"]), 0.8, 0.4)
    return pd.DataFrame(
        {
            "sex": generator.choice(["f", "m"], n),
            "region": region,
            "age": generator.gamma(6, 7, n),
            "device": np.where(phone, "phone", "desk"),
        }
    )


def planted(table: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray:
    """The members of the planted group: south, f, desk, as far as it is crossed."""
    values = {"region": "south", "sex": "f", "device": "desk"}
    return np.all([table[name] == values[name] for name in columns], axis=0)


def audit(
    n: int, columns: tuple[str, ...], points: float, units: int, seed: int
) -> tuple[bool, bool]:
    """Whether a false group was confirmed, and whether one inside or around the plant was."""
    generator = np.random.default_rng(seed)
    table = people(n // units, generator)
    unsure = np.where((table["sex"] == "f") & (table["age"] > 40), 0.10, 0.01)
    harm = points * planted(table, columns) if columns else np.zeros(len(table))
    table, unsure, harm = (
        table.loc[table.index.repeat(units)],
        *(np.repeat(column, units) for column in (unsure, harm)),
    )
    # All samples of a unit share one draw: as dependent as can be.
    draw = np.repeat(generator.random(n // units), units)
    drops = (draw < unsure + harm) - 1.0 * (draw > 1 - unsure)
    unit = np.repeat(np.arange(n // units), units) if units > 1 else None
    found = discover(table, drops, DiscoverySettings(seed=seed), unit).proposed
    names = found.loc[found["confirmed"], "group"]
    gaps = [true_gap(table, harm, name) for name in names]
    return any(gap <= 1e-12 for gap in gaps), any(gap > 1e-12 for gap in gaps)


def true_gap(table: pd.DataFrame, harm: np.ndarray, name: str) -> float:
    """ψ of a group by its name, from the chances: 'region south × age 20.1 to 31.2'."""
    member = np.full(len(table), True)
    for rule in name.split(" × "):
        column, value = rule.split(" ", 1)
        if column == "age":
            low, high = (float(edge) for edge in value.split(" to "))
            member &= ((table[column] > low) & (table[column] <= high)).to_numpy()
        else:
            member &= (table[column] == value).to_numpy()
    return float(harm[member].mean() - harm.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audits", type=int, default=50)
    options = parser.parse_args()
    scenarios = [(n, "none", 0.0, units) for n in SIZES for units in (1, 3)]
    scenarios += [(n, plant, p, 1) for n in SIZES[1:] for plant in list(PLANTS)[1:] for p in POINTS]
    rows = []
    for n, plant, points, units in scenarios:
        # Where nothing is planted the rate that must stay under 5 % is measured on more.
        number = options.audits * (1 if points else 6)
        outcomes = [audit(n, PLANTS[plant], points, units, seed) for seed in range(number)]
        false, found = np.mean(outcomes, axis=0)
        rows.append(
            {
                "n": n,
                "planted": plant,
                "points": points,
                "samples_a_unit": units,
                "audits": number,
                "false_discovery": float(false),
                "found": float(found),
            }
        )
        print(
            f"n {n:>5}  {plant:<14} {points:.2f}  units of {units}  "
            f"false {false:.3f}  found {found:.3f}"
        )
    command = f"python benchmarks/discovery.py --audits {options.audits}"
    record = {"command": command, "rows": rows}
    store("discovery", record | {"versions": versions("scipy", "pandas"), "hardware": hardware()})


if __name__ == "__main__":
    main()
