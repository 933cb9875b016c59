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
            self.of_scores()
            return
        for name in ("positive", "reference", "control"):
            if getattr(self, name) is not None:
                raise AuditError(f"found --{name} without --metric; name the metric that it is for")

    def of_scores(self) -> bool:
        """Whether the metric is given the scores of the positive class, or predicted labels.

        Raises AuditError where it cannot be told, or scores are wanted and not to be had.
        """
        from audit.findings.own_metric import takes_scores
        from audit.imports import imported

        assert self.metric is not None
        takes = takes_scores(imported(self.metric, "metric"))
        having = self.scores and self.positive is not None
        if takes and not having:
            raise AuditError(
                f"the metric {self.metric} is of scores, which need --scores and --positive CLASS"
            )
        if takes is None and having:
            raise AuditError(
                f"found no sign whether the metric {self.metric} is of scores or of labels; name "
                "its second argument y_score or y_pred"
            )
        return bool(takes)

    def added(self, results: Results) -> tuple[Results, AuditError | None]:
        """The results with its table; and why there is none, which must not cost the results."""
        if self.metric is None:
            return results, None
        from audit.findings.own_metric import with_own_metric

        try:
            settings = asdict(self) | {"scores": self.of_scores()}
            return with_own_metric(results, **settings), None
        except AuditError as error:
            return results, error
