"""The command line: every command by its name, and what the process ends with.

Torch and the rest are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import typer

from audit.commands.compare import compare
from audit.commands.data import data
from audit.commands.demo import demo
from audit.commands.doctor import doctor
from audit.commands.exits import exit_code, stop_in_order
from audit.commands.importing import import_
from audit.commands.init import init
from audit.commands.measure import measure
from audit.commands.mitigate import mitigate
from audit.commands.notebook import notebook
from audit.commands.prune import prune
from audit.commands.report import report
from audit.commands.run import run
from audit.commands.show import show
from audit.commands.shrink import shrink
from audit.commands.status import status
from audit.commands.streams import prepare_streams
from audit.commands.train import train
from audit.durations import STEPS
from audit.limits import LARGEST, largest_bytes
from audit.processes import check_divisible

COMMANDS = (
    data,
    demo,
    run,
    status,
    init,
    notebook,
    train,
    import_,
    prune,
    mitigate,
    shrink,
    measure,
    compare,
    report,
    show,
    doctor,
)

app = typer.Typer(
    help="Did pruning this network hurt some group, why, and how to prune it without that?",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command(command.__name__.rstrip("_"))(command)


@app.callback(invoke_without_command=True)
def _whole(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Neither bars nor lines of progress.")
    ] = False,
    largest_gib: Annotated[
        float | None,
        typer.Option(
            metavar="GIB",
            help="Most memory that a file may ask for. [default: 4]",
            show_default=False,
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Say on stderr how long each step took; and whole tracebacks."
        ),
    ] = False,
) -> None:
    if quiet or not sys.stderr.isatty():
        # Read when tqdm is imported, here and in the processes of a study.
        os.environ.setdefault("TQDM_DISABLE", "1")
    if quiet:
        os.environ["AUDIT_QUIET"] = "1"
    if largest_gib is not None:
        # By the environment, so that the processes of a study know it too.
        os.environ[LARGEST] = f"{largest_gib:g}"
        largest_bytes()
    STEPS.setLevel(logging.INFO if verbose else logging.WARNING)
    if verbose and not STEPS.handlers:
        STEPS.addHandler(_on_stderr())
    if version:
        from importlib.metadata import version as installed

        print(f"audit {installed('pruning-audit')}")
        raise typer.Exit
    check_divisible(context.invoked_subcommand)
    if context.invoked_subcommand is None:
        print(context.get_help())


def _on_stderr() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("audit: %(message)s"))
    return handler


def main() -> None:
    """Run the command line and end the process: 0, 1, 2, 3 or 130 (see audit.commands.exits)."""
    # Fewer searches for cycles, which free little while libraries load and pages are drawn.
    gc.set_threshold(10_000)
    prepare_streams()
    stop_in_order()
    words = whole_first(sys.argv[1:])
    sys.exit(exit_code(lambda: app(words, prog_name="audit", standalone_mode=False)))


def whole_first(words: Sequence[str]) -> list[str]:
    """The words with the options of the whole program first, where the parser looks for them.

    >>> whole_first(["measure", "a.pt", "-v", "--largest-gib", "16"])
    ['-v', '--largest-gib', '16', 'measure', 'a.pt']
    """
    first, rest = [], []
    left = iter(words)
    for word in left:
        if word == "--":
            rest += [word, *left]
        elif word in ("-v", "--verbose", "-q", "--quiet") or word.startswith("--largest-gib="):
            first.append(word)
        elif word == "--largest-gib":
            first += [word, *islice(left, 1)]
        else:
            rest.append(word)
    return [*first, *rest]


if __name__ == "__main__":
    main()
