"""How the rate rises while a network is pruned little by little."""

from __future__ import annotations

from audit.prune.mask import check_rate


def cubic_rate(rate: float, progress: float, ramp: float = 1.0) -> float:
    """The rate at a share of the way: rate·(1 − (1 − progress/ramp)³), then the rate (M §3).

    Zhu and Gupta, *To prune, or not to prune*, 2017: fast while much can go, slow near the end.

    >>> [round(cubic_rate(0.8, progress), 3) for progress in (0.0, 0.5, 1.0)]
    [0.0, 0.7, 0.8]
    """
    if progress >= ramp:
        return rate
    return rate * (1.0 - (1.0 - progress / ramp) ** 3)


def ladder(rate: float, factor: float = 0.8) -> tuple[float, ...]:
    """The rates 1 − factor^j below the rate, j = 1, 2, …, and the rate itself last (M §3).

    Frankle and Carbin, *The lottery ticket hypothesis*, 2019: a fifth of what is left goes at a
    time.

    >>> [round(rung, 3) for rung in ladder(0.5)]
    [0.2, 0.36, 0.488, 0.5]
    """
    check_rate(rate)
    rungs, left = [], factor
    while 1.0 - left < rate - 1e-9:
        rungs.append(1.0 - left)
        left *= factor
    return (*rungs, rate)
