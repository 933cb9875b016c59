"""What a training step costs with the channels last, against the ordinary layout, on the CPU.

Run: python benchmarks/training_layout.py (half a minute)
"""

from __future__ import annotations

import statistics
import time

import torch
from common import hardware, store, versions
from torch.nn import functional

from audit.models.zoo import Architecture, build_model

BATCH, TRIALS, STEPS = 128, 5, 6
LAYOUTS = {"ordinary": torch.contiguous_format, "channels last": torch.channels_last}


def milliseconds(layout: torch.memory_format) -> float:
    """Processor time of a step, the median of some, the first left out."""
    model = build_model(Architecture("resnet10", (3, 32, 32), 5, {"width": 8}), 0).train()
    model.to(memory_format=layout)
    inputs = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=layout)
    labels = torch.arange(BATCH) % 5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    times = []
    for _ in range(STEPS + 1):
        started = time.process_time()
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        times.append(1e3 * (time.process_time() - started))
    return statistics.median(times[1:])


def main() -> None:
    torch.set_num_threads(1)
    trials = [{name: milliseconds(one) for name, one in LAYOUTS.items()} for _ in range(TRIALS)]
    ratios = [trial["channels last"] / trial["ordinary"] for trial in trials]
    ratio = statistics.median(ratios)
    record = {
        "command": "python benchmarks/training_layout.py",
        "setting": f"resnet10 of width 8 on 3×32×32 inputs, batches of {BATCH}, one thread",
        "milliseconds": trials,
        "ratio": ratio,
        "versions": versions(),
        "hardware": hardware(),
    }
    store("training_layout", record)
    print(f"channels last: {ratio:.2f} of the ordinary step ({min(ratios):.2f}–{max(ratios):.2f})")


if __name__ == "__main__":
    main()
