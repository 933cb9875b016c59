"""A model card in Markdown with the metadata that Hugging Face reads, from stored results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from audit.errors import AuditError
from audit.escaping import visible
from audit.files import write_atomically
from audit.findings.causes import dense_of
from audit.findings.finding import Finding, claimed, findings_of
from audit.findings.losses import fell
from audit.findings.results import Results
from audit.findings.words import interval, label, listed, named, percent, points, were
from audit.metrics import metric
from audit.report.evidence import gap_table
from audit.report.tables import Table, TableRow, group_table

SHOWN = ("accuracy", "excess_accuracy_gap", "excess_risk")
TASKS = {3: "image-classification", 1: "tabular-classification"}
"""Hugging Face's name of the task, by the number of dimensions of one sample."""


BEYOND = "(beyond the 95th percentile)"


class Ready(str):
    """Text that goes into the card as it stands."""


def write_card(results: Results, folder: Path | str, model: str | None = None) -> Path:
    """Write model_card.md for one network, the last of the results unless named; return its path.

    Raises AuditError where there is no network of that name.
    """
    path = Path(folder) / "model_card.md"
    write_atomically(path, render_card(results, model))
    return path


def render_card(results: Results, model: str | None = None) -> str:
    """The card as Markdown text: YAML metadata, then what the network is and whom it harms."""
    record = results.record
    one = _chosen(record, model)
    groups = results.groups[results.groups["model"] == one["name"]]
    overall = [row for row in record["overall"] if row["model"] == one["name"]]
    shown = groups[groups["metric"].isin(SHOWN)]
    environment = Environment(
        loader=PackageLoader("audit.report", "."),
        finalize=_finished,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"yaml": _yaml, "code": _code, "table": _table}
    return environment.get_template("card.md.j2").render(
        metadata=_metadata(record, one, groups.to_dict("records"), overall),
        record=record,
        model=one,
        method=label(one),
        rate=percent(one["rate"]),
        settings=_settings(one),
        loaded=f"model = audit.load_checkpoint({one['file'] or 'checkpoint.pt'!r}).model()",
        samples=max(row["n"] for row in overall),
        split=overall[0]["split"],
        finding=_finding(record, one),
        groups=group_table(shown, "Every group", pays=claimed(record, "pays")),
        gaps=_of_one(gap_table(overall)),
        notes=[*record["data"]["notes"], *one["notes"], *_of_its_dense(record, one)],
        flagged={
            flag: list(dict.fromkeys(own["group"].astype(str)))
            for flag, own in groups[groups["flag"] != ""].groupby("flag")
        },
    )


def _of_its_dense(record: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """What must be known of the dense network that a network is held against, after its name."""
    name = dense_of(record["models"])[str(model["name"])]
    found = [one for one in record["models"] if one["name"] == name != model["name"]]
    return [f"{name}: {note}" for one in found for note in one["notes"]]


def _chosen(record: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    models = {str(model["name"]): model for model in record["models"]}
    name = name or list(models)[-1]
    if name not in models:
        raise AuditError(f"found no network '{name}'; expected one of {', '.join(models)}")
    found: dict[str, Any] = models[name]
    return found


def _finding(record: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """Who pays under the network, as the findings have it; first what is not shown of it."""
    redacted = record.get("redacted") or {}
    said = _of_those_shown(record, model)
    if not redacted.get("groups"):
        return said
    pays = model["name"] in redacted["networks"]
    known = "among them some were found to pay" if pays else "whether they pay is not said here"
    number = redacted["groups"]
    return f"{number} groups of few samples are not shown; {known}. Of the others: {said}"


def _of_those_shown(record: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """What all lost, where that is more than anybody pays beyond it; then who pays."""
    own = [o for o in findings_of(record) if o.claim == "loss" and model["name"] in o.networks]
    first = next((one for one in own if one.details["leads"]), None)
    lost = "" if first is None else f"Against the dense network, {fell(first)}. Beyond that: "
    return f"{lost}{_paying(record, model)}"


def _paying(record: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    own = [
        one
        for one in findings_of(record)
        if one.claim == "pays" and model["name"] in one.networks and one.decision is not None
    ]
    if not own:
        return (
            "Who paid for pruning is not known: there was no dense network to compare with, or "
            "fewer than two groups are large enough."
        )
    harmed = sorted(
        (one for one in own if one.decision), key=lambda one: one.estimate or 0.0, reverse=True
    )
    small = [
        one
        for one in findings_of(record)
        if one.claim == "suspected" and model["name"] in one.networks
    ]
    behind = _behind(small)
    if harmed:
        paid = [f"group {named(one.group)} {_amount(one)}" for one in harmed]
        return f"Found to pay, in accuracy beyond the average loss: {listed(paid)}.{behind}"
    most = max(own, key=lambda one: one.estimate or 0.0)
    text = (
        f"No group was found to pay more than the others; the largest gap is {_amount(most)}, that "
        f"of group {named(most.group)}."
    )
    single = [one for one in own if one.runs > 1 and one.details.get("runs_paying")]
    if single:
        names = [f"group {named(one.group)}" for one in single]
        text += f" In single runs {listed(names)} {were(names)} found to pay."
    text += behind
    seen = {one.group for one in small}
    left = [o for o in findings_of(record) if o.claim == "left_out" and o.group not in seen]
    names = [f"group {named(o.group)}" for o in left]
    return f"{text} Nothing is known of {listed(names)}." if left else text


def _behind(small: Sequence[Finding]) -> str:
    """The groups too small for a verdict that fell behind the average all the same."""
    few = [f"group {named(one.group)} by {_amount(one)}" for one in small]
    return f" Too small for a verdict, but behind the average: {listed(few)}." if few else ""


def _amount(one: Finding) -> str:
    between = interval(one.low, one.high, "excess_accuracy_gap")
    runs = f", the mean over {one.runs} runs" if one.runs > 1 else ""
    return f"{points(one.estimate or 0.0)} points {between}".strip() + runs


def _of_one(gaps: Table) -> Table:
    """The gaps of one network, without its name in every row; words instead of a colour."""
    rows = [
        TableRow(
            row.cells[0].value,
            [
                replace(c, interval=BEYOND if c.style == "worse" else c.interval)
                for c in row.cells[1:]
            ],
        )
        for row in gaps.rows
    ]
    return replace(gaps, columns=gaps.columns[1:], rows=rows)


def _metadata(
    record: Mapping[str, Any],
    model: Mapping[str, Any],
    groups: list[dict[Any, Any]],
    overall: list[dict[str, Any]],
) -> dict[str, Any]:
    """All but the licence, which the results do not know."""
    data = record["data"]
    dataset = str(data["spec"].get("dataset", data["name"]))
    task = TASKS.get(len(model.get("input_shape", ())))
    metrics = [_metric(row, metric(row["metric"]).title) for row in overall]
    metrics += [
        _metric(row, f"accuracy of group {named(row['group'])} ({row['n']} samples)")
        for row in groups
        if row["metric"] == "accuracy" and row["n"] > 0
    ]
    result = {
        "task": {"type": task or "other"},
        "dataset": {"type": dataset, "name": data["name"], "split": overall[0]["split"]},
        "metrics": [metric for metric in metrics if metric["value"] is not None],
    }
    tags = ["pruning", "fairness", model["method"]]
    tags += [] if model["sparsity"] is None else [f"sparsity-{model['sparsity']:.2f}"]
    return {
        "library_name": "pytorch",
        **({"pipeline_tag": task} if task else {}),
        "tags": tags + ([] if model["constraint"] == "none" else [model["constraint"]]),
        "datasets": [dataset],
        "metrics": ["accuracy"],
        "model-index": [{"name": model["name"], "results": [result]}],
    }


def _metric(row: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """Shares and points as fractions, whatever the tables write."""
    value = row["value"]
    known = value is not None and value == value
    return {
        "type": row["metric"],
        "name": name,
        "value": round(float(value), 4) if known else None,
    }


def _settings(model: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What shaped its training, without what was recorded on the way."""
    left_out = ("seed", "cell", "passes", "readings", "device")
    found = {
        name.replace("_", " "): value
        for name, value in model["settings"].items()
        if name not in left_out and isinstance(value, str | int | float)
    }
    words = {True: "yes", False: "no"}
    return [(k, words[v] if isinstance(v, bool) else v) for k, v in found.items()]


def _yaml(value: Any, indent: str = "  ") -> Ready:
    """What follows a key in YAML: mappings and lists as blocks, all else as JSON writes it."""
    if isinstance(value, dict):
        return Ready("".join(f"\n{indent}{k}:{_yaml(v, indent + '  ')}" for k, v in value.items()))
    if isinstance(value, list):
        items = (_yaml(item, indent + "  ").lstrip() for item in value)
        return Ready("".join(f"\n{indent}- {item}" for item in items))
    text = json.dumps(value, ensure_ascii=False)
    # JSON is YAML, but for characters that YAML wants written as escapes.
    return Ready(" " + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text))


def _code(text: str) -> Ready:
    """One line of an indented code block, in which nothing is markup."""
    return Ready("    " + " ".join(text.split()))


def _table(table: Table) -> Ready:
    """A table as GitHub and Hugging Face read it: the interval after the value."""
    lines = [table.columns]
    for row in table.rows:
        flag = f" ({row.flag})" if row.flag else ""
        lines.append(
            [f"{row.name}{flag}", *(f"{cell.value} {cell.interval}".strip() for cell in row.cells)]
        )
    head, *body = [f"| {' | '.join(map(markdown, line))} |" for line in lines]
    rule = "| --- |" + " ---: |" * (len(table.columns) - 1)
    return Ready("\n".join([head, rule, *body]))


def _finished(value: Any) -> str:
    """Every value that the template shows: escaped, unless it is ready."""
    return value if isinstance(value, Ready) else markdown(str(value))


def markdown(text: str) -> str:
    r"""Plain text as one line of Markdown that shows it and nothing else.

    >>> print(markdown("a|b <i>*x*</i>"))
    a\|b &lt;i&gt;\*x\*&lt;/i&gt;
    """
    text = escape(visible(" ".join(text.split())), quote=False)
    text = re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", text)
    text = re.sub(r"^(\d*)([-+=.)])(?=[\s=-]|$)", r"\1\\\2", text)  # a list, a rule, a title
    # Nor does an address become a link by itself.
    return text.replace("://", ":&#47;&#47;").replace("www.", "www&#46;").replace("@", "&#64;")
