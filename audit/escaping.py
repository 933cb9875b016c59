"""Text that came from a file, for the channel that it goes to.

Names of groups, classes and networks are anybody's: none may give orders to a terminal, to a
workflow's log, to a reader of JUnit, or turn a line of text around.
"""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Controls, marks that turn the direction of text, tags, and halves of characters."""

ORDERS = re.compile(r"::|##(?=\[)")
"""What a workflow's log reads as a command, at the start of a line or anywhere in it."""


def visible(text: str) -> str:
    r"""The text with what would be obeyed instead of shown written out.

    >>> visible("few\u202e\x1b[31m")
    'few(U+202E)(U+001B)[31m'
    """
    return UNSEEN.sub(lambda found: f"(U+{ord(found[0]):04X})", text)


def visible_lines(text: str) -> str:
    """`visible`, of a text of several lines."""
    return "\n".join(visible(line) for line in text.split("\n"))


def printable(text: str) -> str:
    r"""One line for a terminal or a log: nothing in it is an order to either.

    >>> printable("::error::all\nclear")
    ': :error: :all clear'
    """
    whole = " ".join(text.split())
    return visible(ORDERS.sub(lambda found: " ".join(found[0]), whole))


def workflow_message(text: str) -> str:
    r"""The message of a workflow command, as GitHub reads it: one line, whatever is in it.

    >>> workflow_message("100 %\n::error::")
    '100 %25 : :error: :'
    """
    return printable(text).replace("%", "%25")
