"""How objects show themselves in a notebook: small, escaped, in the colours of its own theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

BAR = 20  # characters
MOST_ROWS = 40
MOST_SENTENCES = 8


def panel(title: str, *parts: str) -> str:
    """A title over some parts, which are HTML already."""
    return f"<div><p><strong>{escape(title)}</strong></p>{''.join(parts)}</div>"


def paragraph(text: str) -> str:
    """A paragraph of plain text; nothing where there is none."""
    return f"<p>{escape(text)}</p>" if text else ""


def sentences(texts: Sequence[str]) -> str:
    """A list of sentences, of which many are folded; nothing where there are none."""
    items = [f"<li>{escape(text)}</li>" for text in texts]
    first, rest = items[:MOST_SENTENCES], items[MOST_SENTENCES:]
    shown = f"<ul>{''.join(first)}</ul>" if first else ""
    more = f"<details><summary>{len(rest)} more</summary><ul>{''.join(rest)}</ul></details>"
    return shown + more if rest else shown


def table(frame: pd.DataFrame) -> str:
    """A table as the notebook draws its own; the middle of a long one is left out."""
    # Texts such as '100.0 %' stay on one line.
    unbroken = frame.map(
        lambda cell: cell.replace(" ", "\u00a0") if isinstance(cell, str) else cell
    )
    with pd.option_context("display.max_colwidth", None):
        html: str = unbroken.to_html(escape=True, border=0, max_rows=MOST_ROWS)
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
