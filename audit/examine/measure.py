"""What a measure is, the toolkit's own or one from elsewhere (docs/extending.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audit.errors import AuditError
from audit.examine.found import Found
from audit.examine.subject import Part, Subject
from audit.imports import imported
from audit.metrics import METRICS, Metric


@dataclass(frozen=True)
class Measure:
    """One measure of the whole network on the samples of one group.

    find      gives its rows
    metrics   of the rows that every group has of it
    wanted    whether the settings ask for it, and the subject has what it needs
    told      the metrics that audit/metrics.py does not tell, since they come from elsewhere
    """

    find: Callable[[Subject, Part], Found]
    metrics: Callable[[Subject], Sequence[str]]
    wanted: Callable[[Subject], bool] = lambda _: True
    told: tuple[Metric, ...] = ()


def own_measure(find: Callable[[Subject, Part], Found], *told: Metric) -> Measure:
    """A measure of your own that finds these metrics, in every group, of every network.

    Raises AuditError where none is told, or one has the name of a metric of the toolkit.
    """
    names = [one.name for one in told]
    if not names or not METRICS.keys().isdisjoint(names):
        raise AuditError(
            f"found a measure of {', '.join(names) or 'nothing'}; expected metrics with names "
            "of their own"
        )
    return Measure(find, lambda _: names, told=told)


def imported_measure(name: str) -> Measure:
    """The measure under `package.module:name`.

    Raises AuditError where it cannot be imported, or is no Measure.
    """
    found = imported(name, "measure")
    if not isinstance(found, Measure):
        raise AuditError(f"'{name}' is no measure; expected what audit.examine's own_measure gives")
    return found


def own_measures(names: Sequence[str]) -> dict[str, Measure]:
    """The measures under these names, in their order."""
    return {name: imported_measure(name) for name in names}
