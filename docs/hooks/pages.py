"""Pages of the site that are made from the repository itself: nothing is told twice.

The command reference is what `audit COMMAND --help` prints, the reference of Python lists the
public names, and security and changes are the files beside this folder.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
AUDIT_PYTHON = os.environ.get("AUDIT_PYTHON", sys.executable)
"""The interpreter that has the toolkit; the one that builds the pages need not."""
MADE = ("commands.md", "reference.md", "security.md", "changelog.md")
REPOSITORY = "](repository:"
SHIM = "https://unpkg.com/iframe-worker/shim"
ITEM = re.compile(r"^(\S[^\n]{0,40}?) {2,}(\S.*)$")
"""A name, two blanks or more, and what it means."""
OUTSIDE = re.compile(r"\]\(\.\./([^)]+)\)")
"""Links out of docs/, to files of the repository that are no pages."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    pages = {
        "commands.md": commands_page(),
        "reference.md": reference_page(),
        "security.md": (ROOT / "SECURITY.md").read_text("utf-8"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text("utf-8"),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files that are no pages become their names; those that are made become pages."""
    made = {"SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}

    def link(found: re.Match[str]) -> str:
        path, _, anchor = found[1].partition("#")
        if path in made:
            return f"]({made[path]}{'#' + anchor if anchor else ''})"
        return f"{REPOSITORY}{path})"

    text = OUTSIDE.sub(link, markdown)
    # A file of the repository is named, and not linked to where the site cannot have it.
    return re.sub(
        rf"\[([^\]]+){re.escape(REPOSITORY)}([^)]+)\)", r"\1 (`\2` in the repository)", text
    )


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """The aligned lists of docstrings, a name and its meaning a line, as lists."""
    return (
        re.sub(r"<p>(.*?)</p>", _list, html, flags=re.DOTALL)
        if page.url == "reference.html"
        else html
    )


def _list(paragraph: re.Match[str]) -> str:
    items: list[tuple[str, list[str]]] = []
    for line in paragraph[1].split("\n"):
        if found := ITEM.match(line):
            items.append((found[1], [found[2]]))
        elif items:
            items[-1][1].append(line.strip())
        else:
            return paragraph[0]
    rows = (f"<dt><code>{name}</code></dt><dd>{' '.join(told)}</dd>" for name, told in items)
    return f"<dl>{''.join(rows)}</dl>"


def on_post_page(output: str, **_: Any) -> str:
    """The one script that the theme would load from elsewhere, from beside the page."""
    return output.replace(SHIM, "javascripts/iframe-worker.js")


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for pages that are of the theme alone."""
    return output_content.replace(SHIM, "javascripts/iframe-worker.js")


def commands_page() -> str:
    """Every command with its help, as it prints it."""
    parts = ["# Commands", "", "What `audit COMMAND --help` prints.", "", _help()]
    names = re.findall(r"^  ([a-z]+)  ", parts[-1].split("Commands:")[-1], re.MULTILINE)
    for name in names:
        parts += ["", f"## audit {name}", "", _help(name)]
    return "\n".join(parts) + "\n"


def _help(*command: str) -> str:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
    done = subprocess.run(
        [AUDIT_PYTHON, "-m", "audit", *command, "--help"],
        check=True, capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    return f"```text\n{done.stdout.strip()}\n```"


def reference_page() -> str:
    """Every public name, by the room that it is of."""
    text = (ROOT / "audit" / "__init__.py").read_text("utf-8")
    homes: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.AnnAssign | ast.Assign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id == "_HOMES":
                for name, home in ast.literal_eval(node.value or ast.Constant({})).items():
                    homes.setdefault(home, []).append(name)
    parts = [
        "# Python",
        "",
        "The names of `import audit`, each with its source. Shapes are in brackets, units in "
        "words; every error of the toolkit's own is an `AuditError` of one line. "
        "`audit.prune(...)` and `audit.mitigate(...)` take a module in memory "
        "([your own model](your-own-model.md)).",
    ]
    for home in sorted(homes):
        parts += ["", f"## {home}"]
        parts += ["", *(f"::: {home}.{name}\n" for name in homes[home])]
    parts += ["", "## audit.testing", "", "::: audit.testing.assert_fair"]
    return "\n".join(parts) + "\n"
