"""Is anybody said to pay who does not, and is who pays found? Simulated audits, judged by J1 to J4.

Groups of 30 to 3,000 samples under no harm and under a harm of 2, 5 and 10 points to one of them;
one run, three runs on one test set, runs whose groups fare differently by chance, and samples that
come in clusters of one person. Beside the rule stands the one that it replaces: each group's own
95 % interval.
Run: python benchmarks/judgement.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from common import hardware, store, versions

from audit.findings.decisions import Gap, gap_claims, gap_of, sums, told_apart
from audit.measure.uncertainty import combined_interval, drop_interval, gap_contrasts

GROUPS = (2, 5, 10, 20, 40)
SIZES = (30, 100, 300, 1000, 3000)
HARMS = (0.02, 0.05, 0.10)
LOST, WON = 0.05, 0.03
AGREEMENT = 0.6
"""The share of samples on which the runs of one study answer alike."""
CLUSTER = 4
"""Samples of one person, which answer alike for that share too."""
FEW_PEOPLE = (20, 60)
"""Samples of one person where groups are few persons, and of the group."""
SPREAD = 0.08
"""The standard deviation, in points, by which a group fares otherwise in another run."""
MOST_SAMPLES = 40_000
"""Larger audits are left out: their errors are those of the largest that are simulated."""
UNHARMED = 4
"""Times as many audits without harm: the share that must stay below 5 % is known best."""
ALPHA = 0.05


def answers(
    sizes: np.ndarray,
    harm: float,
    runs: int,
    cluster: int,
    generator: np.random.Generator,
    spread: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drops [S, n] in {−1, 0, 1}, groups [n] and people [n]; the first group is harmed.

    spread   by how much a group's drop differs from run to run; more is lost and won then, so that
             it can differ both ways
    """
    codes = np.repeat(np.arange(len(sizes)), sizes)
    people = np.arange(len(codes)) // cluster
    shared = generator.random(int(people.max()) + 1)[people]
    lost, won = np.where(codes == 0, LOST + harm, LOST) + spread, WON + spread
    found = []
    for _ in range(runs):
        own = generator.random(len(codes))
        chance = np.where(generator.random(len(codes)) < AGREEMENT, shared, own)
        shift = generator.normal(0, spread, len(sizes))[codes] / 2
        found.append((chance < lost + shift) - 1.0 * (chance > 1 - won + shift))
    return np.stack(found), codes, people


def old_rule(values: np.ndarray, codes: np.ndarray, groups: int) -> np.ndarray:
    """Who pays by each group's own interval, in more than half of the runs."""
    votes = np.zeros(groups)
    contrasts = gap_contrasts(np.bincount(codes, minlength=groups).astype(float))
    for run in values:
        parts = [run[codes == group] for group in range(groups)]
        means, own = np.array([p.mean() for p in parts]), [drop_interval(p) for p in parts]
        votes += [combined_interval(row, means, own).low > 0 for row in contrasts]
    return 2 * votes > len(values)


def scenarios() -> Iterator[tuple[int, int, int, int, float]]:
    for groups in GROUPS:
        for size in SIZES:
            if groups * size <= MOST_SAMPLES:
                yield from ((groups, size, runs, 1, 0.0) for runs in (1, 3))
    for groups in (5, 20):
        yield groups, 300, 1, CLUSTER, 0.0
        yield groups, FEW_PEOPLE[1], 1, FEW_PEOPLE[0], 0.0
    for groups in (2, 5, 20):
        yield from ((groups, 300, runs, 1, SPREAD) for runs in (2, 3, 5))


def audits(
    groups: int, size: int, runs: int, cluster: int, spread: float, number: int, seed: int
) -> dict[str, Any]:
    """How often somebody is wrongly said to pay, and how often the harmed group is found."""
    generator = np.random.default_rng(seed)
    judged, sizes = np.ones(groups, bool), np.full(groups, size)
    row: dict[str, Any] = {"groups": groups, "size": size, "runs": runs, "cluster": cluster}
    row |= {"spread": spread} if spread else {}
    for harm in (0.0, *HARMS):
        found = np.zeros((number * (1 if harm else UNHARMED), 2), bool)
        for audit in range(len(found)):
            values, codes, people = answers(sizes, harm, runs, cluster, generator, spread)
            known = sums(values, codes, groups, people if cluster > 1 else None)
            new = gap_claims(known, judged).low > 0
            old = old_rule(values, codes, groups)
            chosen = slice(None) if harm == 0 else slice(0, 1)
            found[audit] = new[chosen].any(), old[chosen].any()
        name = "false_claims" if harm == 0 else f"found_{round(100 * harm)}_points"
        row |= {name: float(found[:, 0].mean()), f"{name}_old": float(found[:, 1].mean())}
    return row


def beyond(rows: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The cases whose false claims are more than 5 % by over two standard errors."""
    most = ALPHA + 2 * (ALPHA * (1 - ALPHA) / number) ** 0.5
    kept = ("groups", "size", "runs", "cluster", "spread", "networks", "false_claims")
    return [
        {key: row[key] for key in kept if key in row} for row in rows if row["false_claims"] > most
    ]


def fairest(networks: int, number: int, seed: int) -> dict[str, Any]:
    """How often one of several equally fair networks is called the fairest (J4).

    All lose alike from five groups of 300, but some change many answers and some hardly any, whose
    largest gap is smaller by chance alone. The old rule took the smallest.
    """
    generator = np.random.default_rng(seed)
    sizes, wrong, covered = np.full(5, 300), 0, 0
    contrasts = gap_contrasts(sizes.astype(float))
    for _ in range(number):
        rows = []
        for place in range(networks):
            values, codes, _ = answers(sizes, 0.0, 1, 1, generator)
            kept = generator.random(len(codes)) < (0.05 if place % 2 else 1.0)
            rows.append(values[0] * kept)
        gap = Gap(np.stack(rows), codes, contrasts)
        best, p_values = told_apart(gap, [np.array([place]) for place in range(networks)])
        wrong += bool(np.nanmax(p_values) < 0.05)
        covered += gap_of(gap, np.array([best])) <= 0.02
    return {
        "networks": networks,
        "false_claims": wrong / number,
        "best_within_2_points": covered / number,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audits", type=int, default=120)
    options = parser.parse_args()
    rows = []
    for seed, scenario in enumerate(scenarios()):
        rows.append(audits(*scenario, options.audits, seed))
        print({key: value for key, value in rows[-1].items() if not key.startswith("found")})
    unharmed = UNHARMED * options.audits
    best = [fairest(number, unharmed, seed) for seed, number in enumerate((2, 5, 17))]
    print(*best, sep="\n")
    store("judgement", {
        "command": f"python benchmarks/judgement.py --audits {options.audits}",
        "audits": options.audits, "audits_without_harm": unharmed, "rows": rows, "fairest": best,
        "beyond_5_percent_by_two_errors": beyond([*rows, *best], unharmed),
        "highest_false_claims": max(row["false_claims"] for row in rows),
        "highest_false_claims_old": max(row["false_claims_old"] for row in rows),
        "versions": versions("scipy"), "hardware": hardware(),
    })  # fmt: skip


if __name__ == "__main__":
    main()
