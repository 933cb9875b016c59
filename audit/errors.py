"""The one error that the toolkit raises for a person to read."""


class AuditError(Exception):
    """Something the user gave cannot be used: what was found, what was expected, what to do.

    The command line prints the message in one line and exits with code 2.
    """


class ProcessesParted(Exception):
    """The processes of one measurement no longer do the same, or one of them is gone.

    No AuditError, since those of a single measure become a row that says why: here nothing that
    follows could be trusted, and all of it ends. Exit code 2.
    """
