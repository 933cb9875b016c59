"""Pure functions of tensors: every number of the audit (M1-M15).

The names that are used from outside load on first use: rooms that know no torch read from here too.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "gradient_norm": "audit.measure.gradient",
    "hessian_extremes": "audit.measure.curvature",
    "input_distance": "audit.measure.boundary",
    "mean_gradient": "audit.measure.gradient",
    "predict": "audit.measure.predictions",
    "taylor_attribution": "audit.measure.attribution",
    "top_eigenvalues": "audit.measure.curvature",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'audit.measure' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
