"""How results leave a command: every file first, then words, then the thresholds' verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from audit.commands.early import check_tracker
from audit.commands.exits import REFUSED, THRESHOLD_FAILED
from audit.errors import AuditError
from audit.escaping import printable
from audit.files import check_file, check_folder, remove, write_atomically

if TYPE_CHECKING:
    from audit.findings.redacting import Hidden
    from audit.findings.results import Results
    from audit.findings.thresholds import Judgement, Threshold

TABLES = ("results.json", "groups.parquet", "layers.parquet", "samples.parquet")
PAGE, PAPER = "report.html", ("report.pdf", "summary.pdf")


@dataclass(frozen=True)
class Delivery:
    """Where results go, and in which forms."""

    folder: Path
    json: bool = False
    gallery: bool = False
    pdf: bool = False
    card: bool = False
    log: str | None = None
    redact: int = 0

    def check(self) -> None:
        """Raise AuditError where one of its files cannot be written, before work starts."""
        names = (
            *TABLES,
            PAGE,
            *(("gallery.parquet",) if self.gallery else ()),
            *(PAPER if self.pdf else ()),
            *(("model_card.md",) if self.card else ()),
        )
        check_folder(self.folder, names)
        if self.log is not None:
            check_tracker(self.log)
            from audit.report.trackers import check_reachable

            check_reachable(self.log)
        if self.pdf:
            from audit.report.html import check_pdf

            check_pdf()


@dataclass(frozen=True)
class Checks:
    """The thresholds of a command, and how their outcome is told."""

    thresholds: Sequence[Threshold]
    if_possible: bool
    junit_file: Path | None
    github: bool

    def judge(self, results: Results, hidden: Hidden | None = None) -> list[Judgement]:
        """What became of every threshold; written as JUnit XML where that was asked for."""
        from audit.findings.thresholds import judge, junit

        judgements = judge(results, self.thresholds)
        if hidden is not None:
            from audit.findings.redacting import redacted_judgement

            judgements = [redacted_judgement(one, hidden) for one in judgements]
        if self.junit_file is not None:
            write_atomically(self.junit_file, junit(judgements, self.if_possible))
        return judgements

    def tell(self, judgements: Sequence[Judgement]) -> None:
        """Say it, and exit with 1 where one failed."""
        from audit.findings.thresholds import github

        for line in github(judgements, self.if_possible) if self.github else ():
            print(line)
        failed = [one.failed(self.if_possible) for one in judgements]
        for one, bad in zip(judgements, failed, strict=True):
            word = "failed" if bad else "not excluded" if one.possible else "passed"
            print(f"{word}: {printable(one.sentence())}", file=sys.stderr)
        if any(failed):
            raise typer.Exit(THRESHOLD_FAILED)


def make_checks(
    texts: Sequence[str] | None,
    if_possible: bool,
    junit: Path | None,
    github: bool,
    own: bool = False,
) -> Checks:
    """Read before anything is measured, so that a misspelt threshold costs no time.

    own   whether measures of the user's own may have further metrics
    """
    if junit is not None:
        check_file(junit)
    if not texts:
        if if_possible or junit is not None or github:
            option = "--fail-if-possible" if if_possible else "--junit" if junit else "--github"
            raise AuditError(
                f"found {option} without --fail-if, so that nothing would be judged; expected a "
                "threshold too, such as --fail-if 'any group pays'"
            )
        return Checks((), if_possible, junit, github)
    from audit.findings.thresholds import Threshold

    thresholds = [Threshold.parse(text) for text in texts]
    for one in [] if own else thresholds:
        one.check_known()
    return Checks(thresholds, if_possible, junit, github)


def deliver(results: Results, to: Delivery, checks: Checks | None = None) -> None:
    """Write every file, then say the finding or print the record, then judge the thresholds.

    Thresholds are judged on all groups, and what is written and said names those alone that are
    to be shown.
    """
    whole, hidden = results, None
    if to.redact:
        from audit.findings.redacting import hidden_groups, redacted

        hidden = hidden_groups(whole, to.redact)
        results = redacted(whole, to.redact)
    # Whatever ends this here or on the way: no page of other numbers lies beside these.
    for name in (PAGE, *PAPER):
        remove(to.folder / name)
    results.save(to.folder)
    reports = write_reports(results, to)
    unjudged: AuditError | None = None
    judgements: list[Judgement] = []
    try:
        judgements = [] if checks is None else checks.judge(whole, hidden)
    except AuditError as error:
        unjudged = error  # the finding is told all the same
    _say(results, to, reports)
    is_logged = to.log is None or _log(results, to.log)
    if unjudged is not None:
        raise unjudged
    if checks is not None:
        checks.tell(judgements)
    if not is_logged:
        raise typer.Exit(REFUSED)


def _log(results: Results, tracker: str) -> bool:
    """Log the results; where the tracker fails, say so, and let the thresholds be judged first."""
    try:
        print(f"logged: {results.log_to(tracker)}", file=sys.stderr)
    except AuditError as error:
        print(f"audit: not logged: {printable(str(error))}", file=sys.stderr)
        return False
    return True


def write_reports(results: Results, to: Delivery) -> list[Path]:
    """The card, the page and the PDF, those that were asked for; the paths written."""
    from audit.report import write_card, write_report
    from audit.report import write_reports as write_pages

    cards = [write_card(results, to.folder)] if to.card else []
    pages = write_pages(results, to.folder) if to.pdf else [write_report(results, to.folder)]
    return [*cards, *pages]


def _say(results: Results, to: Delivery, reports: Sequence[Path]) -> None:
    from rich.console import Console

    from audit.report import print_findings
    from audit.report.gallery import whose

    if not results.gallery.empty:
        found = whose(results.record["data"], len(results.gallery))
        print(" ".join(found), file=sys.stderr)
    if to.json:
        # Escaped, so that every alphabet of a terminal or a pipe can hold it.
        print(json.dumps(results.record, indent=1))
        return
    print_findings(results, Console())
    print(f"numbers: {to.folder / 'results.json'} and the tables beside it")
    for path in reports:
        print(f"report: {path}")
