"""Options that go together, told once: a command that asks for a block has all of its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from audit.commands.delivery import Checks, Delivery, make_checks
from audit.commands.early import check_device
from audit.commands.options import (
    Card,
    Curvature,
    CurvatureBy,
    CurvatureSamples,
    DeepFool,
    Density,
    Discover,
    FailIf,
    FailIfPossible,
    Gallery,
    GitHub,
    Json,
    JUnit,
    Layers,
    Log,
    Measures,
    MeasuringDevice,
    Pdf,
    Products,
    Redact,
    Samples,
    Smallest,
    Theory,
    Top,
    Without,
)

if TYPE_CHECKING:
    from audit.examine.settings import MeasureSettings


@dataclass(frozen=True)
class Measuring:
    """What is measured of every group, and how."""

    curvature: CurvatureBy = Curvature.lanczos
    samples_per_group: Samples = 500
    curvature_samples: CurvatureSamples = None
    max_products: Products = 60
    device: MeasuringDevice = "cpu"
    top_eigenvalues: Top = 1
    smallest_eigenvalue: Smallest = False
    layer_curvature: Layers = False
    spectral_density: Density = False
    theory: Theory = False
    deepfool: DeepFool = False
    without: Without = None
    measures: Measures = None
    discover: Discover = None

    def check(self) -> None:
        """Raise AuditError where it cannot be, before anything is read."""
        check_device(self.device)

    def settings(self, scores: bool) -> MeasureSettings:
        """The same as settings of a study; with every class's probability where asked for."""
        from audit.data.asked import listed
        from audit.examine.settings import MeasureSettings

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given |= {
            "curvature": self.curvature.value,
            "without": tuple(self.without or ()),
            "measures": tuple(self.measures or ()),
            "discover": tuple(listed(self.discover or "")),
        }
        return MeasureSettings(**given, scores=scores)


@dataclass(frozen=True)
class Thresholds:
    """What the command fails for, and how that is told."""

    fail_if: FailIf = None
    fail_if_possible: FailIfPossible = False
    junit: JUnit = None
    github: GitHub = False

    def checks(self, measuring: Measuring) -> Checks:
        """The thresholds, read before anything is measured."""
        own = bool(measuring.measures)
        return make_checks(self.fail_if, self.fail_if_possible, self.junit, self.github, own)


@dataclass(frozen=True)
class Forms:
    """The forms in which results are written and said."""

    gallery: Gallery = False
    json: Json = False
    pdf: Pdf = False
    card: Card = False
    log: Log = None
    redact: Redact = 0

    def to(self, folder: Path) -> Delivery:
        """The delivery in a folder, checked before work starts."""
        made = Delivery(folder, self.json, self.gallery, self.pdf, self.card, self.log, self.redact)
        made.check()
        return made


def with_blocks(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of each block in the place of the parameter that holds it.

    A block is a frozen dataclass whose fields are annotated as options are.
    """
    told: list[inspect.Parameter] = []
    blocks: dict[str, tuple[type, list[str]]] = {}
    hints = get_type_hints(command, include_extras=True)
    for name, one in inspect.signature(command).parameters.items():
        if not is_dataclass(hints[name]):
            told.append(one.replace(annotation=hints[name], kind=one.KEYWORD_ONLY))
            continue
        own = _options(hints[name])
        blocks[name] = (hints[name], [option.name for option in own])
        told += own

    def called(**given: Any) -> None:
        made = {
            name: kind(**{option: given.pop(option) for option in options})
            for name, (kind, options) in blocks.items()
        }
        command(**given, **made)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {one.name: one.annotation for one in told}
    called.__signature__ = inspect.Signature(told)  # type: ignore[attr-defined]
    return called


def _options(block: type) -> list[inspect.Parameter]:
    hints = get_type_hints(block, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(block)
    ]
