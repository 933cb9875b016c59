"""What the docs say of the house is true of it."""

import ast
import re
import runpy
from graphlib import TopologicalSorter
from pathlib import Path

from audit.metrics import DEFINITIONS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CITED = re.compile(r"\b([MJ]\d{1,2})\b")


def floors() -> dict[str, set[str]]:
    """What each room may import, as docs/architecture.md has it."""
    text = (DOCS / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .*\| ([\w, ]*)\|$", text, re.MULTILINE)
    return {room: set(allowed.replace(",", " ").split()) for room, allowed in rows}


def rooms(path: Path) -> set[str]:
    """The rooms that a file imports from, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "audit":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("audit."):
            found.add((node.module or "").split(".")[1])
    return found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "audit").parts[0].removesuffix(".py")


def ground() -> set[str]:
    """The files directly in audit/ that import nothing but one another."""
    upper = {*floors(), "__init__", "__main__"}
    files = {path.stem: rooms(path) for path in (ROOT / "audit").glob("*.py")}
    found = {name: used for name, used in files.items() if name not in upper}
    assert {"errors", "files", "metrics"} <= set(found)
    for name, used in found.items():
        assert used <= {*found, "__version__"}, f"{name} imports {used - set(found)}"
    return set(found)


def test_every_room_imports_only_what_the_architecture_allows():
    allowed, everybody = floors(), ground()
    checked = 0
    for path in sorted((ROOT / "audit").rglob("*.py")):
        room = room_of(path)
        if room in ("__init__", "__main__", "notebooks", *everybody):
            continue
        beyond = rooms(path) - allowed[room] - everybody - {room, "__version__"}
        assert beyond == set(), f"{path.relative_to(ROOT)} imports {beyond}"
        checked += 1
    assert checked > 100


def test_the_dictionary_of_metrics_imports_nothing():
    assert rooms(ROOT / "audit" / "metrics.py") == set()


def test_imports_go_one_way():
    order = list(TopologicalSorter(floors()).static_order())  # a cycle raises CycleError
    assert set(order) == set(floors())
    assert order.index("examine") < order.index("study") < order.index("commands")


def test_every_file_that_the_architecture_names_is_there():
    named = re.findall(r"`(audit/[\w/]+\.py)`", (DOCS / "architecture.md").read_text("utf-8"))
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_number_that_the_code_cites_is_defined():
    text = (DOCS / "definitions.md").read_text("utf-8")
    defined = set(re.findall(r"^\*\*([MJ]\d+) · ", text, re.MULTILINE))
    assert defined == {f"M{k}" for k in range(1, 17)} | {f"J{k}" for k in range(1, 10)}
    cited = set()
    for path in (ROOT / "audit").rglob("*.py"):
        cited |= set(CITED.findall(path.read_text("utf-8")))
    assert cited <= defined, cited - defined


def test_the_definitions_list_every_metric_as_the_dictionary_has_it():
    text = (DOCS / "definitions.md").read_text("utf-8")
    rows = runpy.run_path(str(DOCS / "metrics.py"))["rows"]()
    assert text.rstrip().endswith("\n".join(rows)), "run: python docs/metrics.py"


def test_a_definition_of_the_report_names_the_paper_of_its_number():
    text = (DOCS / "definitions.md").read_text("utf-8")
    paragraphs = {
        found[1]: found[0] for found in re.finditer(r"^\*\*([MJ]\d+) · .*$", text, re.MULTILINE)
    }
    for one in DEFINITIONS:
        if one.number:
            for part in re.findall(r"[A-Z][\w-]+(?= et al)", one.paper):
                assert part in paragraphs[one.number], (one.term, part)
