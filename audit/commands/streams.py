"""Standard output and error that any reader and any alphabet can take.

A reader that goes away (`audit measure … | head -1`) ends no command, and a terminal of ASCII or
cp1252 gets the nearest signs that it has.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Callable

NEAREST = {
    "−": "-", "–": "-", "—": "-", "‑": "-", "•": "*", "·": "*", "…": "...", "≤": "<=", "≥": ">=",
    "≈": "~", "×": "x", "→": "->", "←": "<-", "±": "+-", "‖": "||", "⊙": "*", "∞": "inf",
    "λ": "lambda", "ξ": "xi", "γ": "gamma", "θ": "theta", "μ": "mu", "∇": "grad", "“": '"',
    "”": '"', "‘": "'", "’": "'", "█": "#", "▏": "#", "○": "o", "●": "*", "✓": "yes", "✗": "no",
}  # fmt: skip


def prepare_streams() -> None:
    """Replace the process's streams by such; what others put in their place is left alone."""
    codecs.register_error("audit.nearest", nearest_signs)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before the process began
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif type(stream) is io.TextIOWrapper:
            setattr(sys, name, PatientStream(stream))


class PatientStream(io.TextIOWrapper):
    """A text stream that goes on in silence when its reader has gone."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        encoding, lines, at_once = stream.encoding, stream.line_buffering, stream.write_through
        super().__init__(stream.detach(), encoding, "audit.nearest", None, lines, at_once)

    def write(self, text: str) -> int:
        """Write, or pretend to where nobody reads."""
        self._or_silence(lambda: super(PatientStream, self).write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, or pretend to where nobody reads."""
        self._or_silence(super().flush)

    def _or_silence(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def nearest_signs(error: UnicodeError) -> tuple[str, int]:
    """The error handler of codecs: signs that an encoding lacks become the nearest of ASCII.

    >>> nearest_signs(UnicodeEncodeError("ascii", "λ ≤ é", 0, 5, "missing"))
    ('lambda <= e', 5)
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(map(_nearest, missing)), error.end


def _nearest(sign: str) -> str:
    if sign.isascii():
        return sign
    plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return NEAREST.get(sign) or plain or "?"
