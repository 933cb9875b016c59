"""Names as people write them: both spellings of English, and a hint where one is nearly right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from audit.errors import AuditError


def known_name(name: str, known: Iterable[str], what: str, otherwise: str = "") -> str:
    """The known name that a text means: case, '_' for '-', and 'z' for 's' do not matter.

    `otherwise` tells what else may stand there. Raises AuditError with the nearest name.

    >>> known_name("Equalized_Odds", ["equalised-odds", "worst-group"], "constraint")
    'equalised-odds'
    """
    names = [str(one) for one in known]  # plain text, also where they are members of an Enum
    by_spelling = {spelling(one): one for one in names}
    found = by_spelling.get(spelling(name))
    if found is not None:
        return found
    also = f", or {otherwise}" if otherwise else ""
    raise AuditError(
        f"found {what} {shown(name)}; expected one of {', '.join(names)}{also}{hint(name, names)}"
    )


def spelling(name: str) -> str:
    """What two spellings of a name share.

    >>> spelling("equalized_odds") == spelling("equalised-odds")
    True
    """
    plain = name.strip().lower().replace("_", "-")
    return plain.replace("iz", "is").replace("yz", "ys").replace("our", "or")


def hint(name: str, known: Iterable[str]) -> str:
    """Words that suggest the nearest name, or none where nothing is near.

    >>> hint("magnitud", ["magnitude", "random"])
    "; did you mean 'magnitude'?"
    """
    by_spelling = {spelling(one): one for one in known}
    near = get_close_matches(spelling(name), by_spelling, n=1, cutoff=0.6)
    return f"; did you mean '{by_spelling[near[0]]}'?" if near else ""


def shown(value: object, longest: int = 60) -> str:
    """A value as an error shows it: in quotes where it is text, and never longer than a line.

    >>> shown("x" * 100, 10)
    "'xxxxxxxx…"
    """
    try:
        text = repr(value)
    except Exception:  # an object of the user's that cannot show itself
        text = f"a {type(value).__name__}"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
