"""What a norm and inner products of many float32 numbers lose, PyTorch's own and the toolkit's.

Two vectors of 86 million coordinates, as many as ViT-B/16 has weights; the relative error of each
against sums in float64. It is what the search for eigenvalues of a large network rests on.
Run: python benchmarks/sums.py
"""

from __future__ import annotations

import torch
from common import hardware, store, versions

from audit.measure.lanczos import dot, dots, length

COORDINATES = 85_802_501


def main() -> None:
    torch.set_num_threads(1)
    one = torch.randn(COORDINATES, generator=torch.Generator().manual_seed(0))
    rows = torch.stack([one, one.roll(1) + one])
    norm, inner = float(one.double().norm()), float(one.double() @ rows[1].double())
    found = {
        "norm": (float(one.norm()), length(one), norm),
        "inner product": (float(one @ rows[1]), dot(one, rows[1]), inner),
        "matrix by vector": (float((rows @ one)[1]), float(dots(rows, one)[1]), inner),
    }
    rows_found = [
        {"of": name, "torch": abs(own / exact - 1), "audit": abs(ours / exact - 1)}
        for name, (own, ours, exact) in found.items()
    ]
    store(
        "sums",
        {
            "command": "python benchmarks/sums.py",
            "coordinates": COORDINATES,
            "hardware": hardware(),
            "versions": versions(),
            "relative_errors": rows_found,
        },
    )
    for row in rows_found:
        print(f"{row['of']}: torch {row['torch']:.2e}, audit {row['audit']:.1e}")


if __name__ == "__main__":
    main()
