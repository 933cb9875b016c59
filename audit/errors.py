"""The one error that the toolkit raises for a person to read."""


class AuditError(Exception):
    """Something the user gave cannot be used: what was found, what was expected, what to do.

    The command line prints the message in one line and exits with code 2.
    """


class ToldElsewhere(AuditError):
    """What another process of the same measurement tells already: this one ends without a word."""
