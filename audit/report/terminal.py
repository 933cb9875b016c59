"""The finding in a few lines, for the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from audit.escaping import printable
from audit.findings.finding import Claimed, Finding, claimed, findings_of
from audit.findings.networks import network_notes
from audit.findings.results import Results
from audit.findings.words import interval, number
from audit.report.tables import Table as Contents
from audit.report.tables import model_table

WIDE = ("parameters left", "steps", "fairness violation ξ (nats)")
SIDES = ("baseline", "candidate")
LONGEST_HEAD = 12
"""A longer name of a network stands above the table only, and its role in the column."""
MOST_NOTES = 10
FEW_MODELS = 2
"""A network that is measured, and its dense parent."""
UNBROKEN = 10_000
"""Letters of a line of a name that is not broken."""
LEAST_ROOM = 5
PARTS = re.compile(r"[^\s_/.,:-]*[\s_/.,:-]*")
"""What a name is broken behind."""
UNMEASURED = " could not be measured: "
"""Notes with these words say what the rows of the report say too."""
LEGEND = (
    "Accuracy in %, its difference in points, with 95 % intervals, those of the groups' "
    "differences for all groups at once; who pays most stands first, the report keeps the "
    "declared order. "
    "[bold red]pays[/]: found to lose more accuracy than the average. [green]gains[/], "
    "[red]loses[/]: found to differ."
)
Row = Mapping[str, Any]


def print_findings(results: Results, console: Console) -> None:
    """The verdict, then one table: the models of a study, or the groups of a comparison."""
    record = results.record
    verdict = record["verdict"]
    later = verdict.get("because", [])
    console.print(f"[bold]{_plain(verdict['headline'])}[/bold]", highlight=False)
    _print_list([text for text in verdict["sentences"] if text not in later], console)
    compared = record["tables"].get("compared")
    if compared is None:
        models = _narrow(model_table(record["models"], record["overall"]))
        console.print(_fitting(lambda room: _rich(models, room), console, wraps=True))
    else:
        console.print(LEGEND, highlight=False)
        console.print()
    for candidate in (compared or [])[1:]:
        _print_groups(record, (compared[0], candidate), console)
    if later:
        console.print("[bold]Why, and how sure[/bold]")
        _print_list(later, console)
    if read := _read(record):
        console.print("[bold]What was read[/bold]")
        _print_list(read, console)
    if verdict.get("action"):
        console.print(f"[bold]What to do[/bold]: {_plain(verdict['action'])}", highlight=False)


def _read(record: Row) -> list[str]:
    """What must be known of the networks and data before a verdict on them is believed.

    Of a study that is of the data: every network of it has notes of its training.
    """
    models = record["models"]
    told = models if record["tables"].get("compared") or len(models) <= FEW_MODELS else []
    own = [note for note in network_notes(told) if UNMEASURED not in note]
    notes = [*own, *record["data"]["notes"]]
    left = len(notes) - MOST_NOTES
    return [*notes[:MOST_NOTES], *([f"{left} more notes: results.json"] if left > 0 else [])]


def _print_list(sentences: Sequence[str], console: Console) -> None:
    grid = Table.grid(padding=(0, 1))
    for sentence in sentences:
        grid.add_row("•", _plain(sentence))
    console.print(grid)
    console.print()


def _print_groups(record: Row, pair: tuple[str, str], console: Console) -> None:
    """Baseline | candidate | difference of every group; who pays most stands first."""
    rows = [row for row in record["tables"]["comparison"] if row["candidate_name"] == pair[1]]
    accuracy, gaps = (
        {row["group"]: row for row in rows if row["metric"] == metric}
        for metric in ("accuracy", "excess_accuracy_gap")
    )
    order = sorted(accuracy, key=lambda group: _place(gaps.get(group)))
    groups = [(accuracy[group], gaps.get(group)) for group in order]
    overall = {row["model"]: row for row in record["overall"] if row["metric"] == "accuracy"}
    whole = (overall[pair[0]], overall[pair[1]])
    heads, named = pair, pair
    if max(map(len, pair)) > LONGEST_HEAD:
        heads = SIDES
        named = (f"{pair[0]} (baseline)", f"{pair[1]} (candidate)")
    marks = _Marks(claimed(record, "pays"), claimed(record, "changes"), _of_all(record, pair), pair)
    table = _group_table(groups, whole, heads, marks, bare=False)
    if _measured(table, console).maximum > console.width:
        table = _fitting(
            lambda room: _group_table(groups, whole, heads, marks, bare=True, room=room),
            console,
            wraps=False,
        )
    console.print(f"[bold]{_plain(named[0])} against {_plain(named[1])}[/bold]", highlight=False)
    console.print()
    console.print(table)
    console.print()


def _group_table(
    groups: Sequence[tuple[Row, Row | None]], whole: tuple[Row, Row], heads: tuple[str, str],
    marks: _Marks, bare: bool, room: int = UNBROKEN,
) -> Table:  # fmt: skip
    """The table of a pair; `bare` accuracies, without intervals, fit a terminal of 80 columns.

    room   letters of a line of a group's name
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    flags = {id(own): f" ({own['flag']})" if own["flag"] else "" for own, _ in groups}
    names = {id(own): f"{own['group'] or '(empty)'}{flags[id(own)]}" for own, _ in groups}
    names = {key: _broken(_plain(name), room) for key, name in names.items()}
    table.add_column("group", overflow="fold", no_wrap=room != UNBROKEN)
    table.add_column("n", justify="right", no_wrap=True)
    for name in (*heads, "difference"):
        table.add_column(_plain(name), justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
    for accuracy, _ in groups:
        cells = [names[id(accuracy)], f"{accuracy['n']:,}"]
        for side, network in zip(SIDES, marks.pair, strict=True):
            cells += [_share(accuracy, side, bare), marks.pays_under(network, accuracy["group"])]
        changed = marks.changes.get((marks.pair[1], str(accuracy["group"])))
        table.add_row(*cells, _difference(accuracy, changed), _changed(changed))
    table.add_section()
    shares = [_share(row, "value", bare) for row in whole]
    change = number(whole[1]["value"] - whole[0]["value"], "accuracy", signed=True)
    found = marks.of_all
    if found is not None and found.low is not None:
        change += f" {interval(found.low, found.high, 'accuracy')}"
    cells = ["all", f"{whole[0]['n']:,}", shares[0], "", shares[1], "", change, _changed(found)]
    table.add_row(*cells)
    return table


def _of_all(record: Row, pair: tuple[str, str]) -> Finding | None:
    """What the candidate changes for all samples together."""
    own = (one for one in findings_of(record) if one.claim == "changes_overall")
    return next((one for one in own if one.label == pair[1]), None)


def _place(gap: Row | None) -> tuple[bool, float]:
    """Where a group stands: by the larger of its two gaps, those without a verdict last."""
    known = [gap[side] for side in SIDES if gap[side] is not None] if gap else []
    unsure = gap is None or gap["flag"] != "" or not known
    return unsure, -max(known, default=0.0)


def _share(row: Row, side: str, bare: bool) -> str:
    text = number(row[side], "accuracy").removesuffix(" %")
    prefix = "" if side == "value" else f"{side}_"
    between = interval(row[f"{prefix}ci_low"], row[f"{prefix}ci_high"], "accuracy")
    return text if bare else f"{text} {between}"


def _difference(row: Row, change: Finding | None) -> str:
    low, high = row["difference_ci_low"], row["difference_ci_high"]
    if change is not None and change.low is not None:
        low, high = change.low, change.high
    between = interval(low, high, "accuracy")
    return f"{number(row['difference'], 'accuracy', signed=True)} {between}"


@dataclass(frozen=True)
class _Marks:
    """The findings that the words beside the numbers stand for."""

    pays: Claimed
    changes: Claimed
    of_all: Finding | None
    pair: tuple[str, str]

    def pays_under(self, network: str, group: object) -> str:
        """A word where the group was found to pay under the network."""
        found = self.pays.get((network, str(group)))
        return "[bold red]pays[/]" if found is not None and found.decision else ""


def _changed(change: Finding | None) -> str:
    """A word where the candidate was found to be more or less accurate for the group."""
    if change is None or not change.decision:
        return ""
    return "[green]gains[/]" if (change.estimate or 0.0) > 0 else "[red]loses[/]"


def _plain(text: str) -> str:
    """Names as text: no markup, and nothing that a terminal or a log would obey."""
    return escape(printable(text))


def _narrow(contents: Contents) -> Contents:
    """A table without intervals and without what does not fit a terminal of 80 columns."""
    kept = [place for place, name in enumerate(contents.columns[1:]) if name not in WIDE]
    rows = [
        replace(row, cells=[replace(row.cells[place], interval="") for place in kept])
        for row in contents.rows
    ]
    columns = [contents.columns[0], *(contents.columns[1:][place] for place in kept)]
    return replace(contents, columns=columns, rows=rows)


def _measured(table: Table, console: Console) -> Measurement:
    """How wide a table would be with all the room that it wants."""
    return console.measure(table, options=console.options.update(max_width=10_000))


def _fitting(build: Callable[[int], Table], console: Console, wraps: bool) -> Table:
    """A table whose names are broken where their parts end, where it is too wide otherwise.

    build   the table with names in lines of so many letters
    wraps   whether its other columns may be broken between words
    """
    whole = build(UNBROKEN)
    wanted = _measured(whole, console)
    if wanted.maximum <= console.width:
        return whole
    names = [str(whole.columns[0].header), *map(str, whole.columns[0].cells)]
    words = [word for name in names for word in name.split()]
    # What rich measures as least is that of words, in columns that are not wrapped too.
    least, own = (wanted.minimum, words) if wraps else (wanted.maximum, names)
    return build(max(LEAST_ROOM, console.width - least + max(map(len, own))))


def _broken(name: str, room: int) -> str:
    r"""A name in lines of at most so many letters, broken after spaces and marks within it.

    A part that is longer is cut into several, which rich would crop.

    >>> _broken("bilevel-excess-accuracy-0.8", 16)
    'bilevel-excess-\naccuracy-0.8'
    """
    lines = [""]
    for part in (piece for whole in PARTS.findall(name) for piece in _pieces(whole, room)):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _pieces(part: str, room: int) -> list[str]:
    if len(part.rstrip()) <= room:
        return [part]
    return [part[start : start + room] for start in range(0, len(part), room)]


def _rich(contents: Contents, room: int = UNBROKEN) -> Table:
    table = Table(
        title=_plain(contents.title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
    )
    names = [_broken(_plain(row.name), room) for row in contents.rows]
    for position, column in enumerate(contents.columns):
        kind: dict[str, Any] = {"justify": "right"}
        if position == 0:
            # Of too wide a table rich shrinks the columns first that may be wrapped.
            kind = {"no_wrap": room != UNBROKEN}
        table.add_column(_plain(column), overflow="fold", **kind)
    for name, row in zip(names, contents.rows, strict=True):
        table.add_row(name, *(_plain(cell.value) for cell in row.cells))
    return table
