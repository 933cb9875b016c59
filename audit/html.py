"""How objects show themselves in a notebook: small, escaped, in the colours of its own theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

BAR = 20  # characters
MOST_ROWS = 40


def panel(title: str, *parts: str) -> str:
    """A title over some parts, which are HTML already."""
    return f"<div><p><strong>{escape(title)}</strong></p>{''.join(parts)}</div>"


def paragraph(text: str) -> str:
    """A paragraph of plain text; nothing where there is none."""
    return f"<p>{escape(text)}</p>" if text else ""


def sentences(texts: Sequence[str]) -> str:
    """A list of sentences; nothing where there are none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def table(frame: pd.DataFrame) -> str:
    """A table as the notebook draws its own; the middle of a long one is left out."""
    with pd.option_context("display.max_colwidth", None):
        html: str = frame.to_html(escape=True, border=0, max_rows=MOST_ROWS)
    return html


def facts(values: Mapping[str, str]) -> str:
    """Names and values below one another."""
    with pd.option_context("display.max_colwidth", None):
        html: str = pd.DataFrame({"": values}).to_html(escape=True, border=0, header=False)
    return html


def bar(share: float) -> str:
    """A share in [0, 1] as a bar of text, so that it needs neither colours nor a style sheet."""
    full = round(share * BAR)
    return "█" * full + "░" * (BAR - full)
