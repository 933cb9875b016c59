"""Reports: figures, tables and words from tidy results, without a model."""

from audit.report.card import write_card
from audit.report.export import write_figures
from audit.report.html import render, write_pdf, write_report, write_reports, write_summary
from audit.report.terminal import print_findings

__all__ = [
    "print_findings",
    "render",
    "write_card",
    "write_figures",
    "write_pdf",
    "write_report",
    "write_reports",
    "write_summary",
]
