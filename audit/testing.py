"""Fairness as a test: `assert_fair(results, "any group pays")` in pytest, or anywhere."""

from __future__ import annotations

import warnings

from audit.errors import AuditError
from audit.escaping import printable
from audit.findings.results import Results
from audit.findings.thresholds import Threshold, judge


class NotExcluded(UserWarning):
    """That a threshold is broken was not found, and is not excluded either."""


def assert_fair(results: Results, *thresholds: str, if_possible: bool = False) -> None:
    """Raise AssertionError where a threshold fails, in a line for each and what was found.

    Thresholds are those of `--fail-if` (docs/pipelines.md), such as 'any group pays' or
    'max excess_accuracy_gap > 0.02'. With `if_possible`, what the intervals do not exclude fails
    too; without it, that is a warning (`NotExcluded`), for what is not known is no all-clear. It
    also fails where nothing at all could be judged. Raises AuditError where a threshold is
    misspelt, was not measured, or none is given.
    """
    __tracebackhide__ = True  # pytest then shows the line that called
    if not thresholds:
        raise AuditError("found no threshold; expected such as 'any group pays'")
    judged = judge(results, [Threshold.parse(text) for text in thresholds])
    failed = [one for one in judged if one.failed(if_possible)]
    known = [one for one in judged if one.certain or not one.possible or one.value == one.value]
    if not failed and known:
        for one in judged:
            if one.possible:
                warnings.warn(printable(one.sentence()), NotExcluded, stacklevel=2)
        return
    lines = [f"  {printable(one.sentence())}" for one in failed or judged]
    what = f"{len(failed)} of {len(judged)} judgements failed" if failed else "nothing is known"
    headline = printable(str(results.record["verdict"]["headline"]))
    raise AssertionError("\n".join([f"not fair: {what}", *lines, f"  found: {headline}"]))
