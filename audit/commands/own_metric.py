"""The user's own metric, on the commands that measure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from audit.commands.options import Control, Metric, OfScores, Positive, Reference
from audit.errors import AuditError

if TYPE_CHECKING:
    from audit.findings.results import Results


@dataclass(frozen=True)
class OwnMetric:
    """What was asked of a metric of the user's own; nothing where none is named."""

    metric: Metric = None
    positive: Positive = None
    scores: OfScores = False
    reference: Reference = None
    control: Control = None

    def check(self) -> None:
        """Raise AuditError where it cannot be, before anything is measured."""
        if self.metric is not None:
            from audit.imports import imported

            imported(self.metric, "metric")
            return
        for name in ("positive", "reference", "control"):
            if getattr(self, name) is not None:
                raise AuditError(f"found --{name} without --metric; name the metric that it is for")

    def added(self, results: Results) -> tuple[Results, AuditError | None]:
        """The results with its table; and why there is none, which must not cost the results."""
        if self.metric is None:
            return results, None
        from audit.findings.own_metric import with_own_metric

        settings = asdict(self) | {"scores": self.scores and self.positive is not None}
        try:
            return with_own_metric(results, **settings), None
        except AuditError as error:
            return results, error
