"""The notebooks run from start to end on small settings, on the public API; outputs are there."""

import ast
import html
import re
from importlib import import_module

import nbformat
import pytest
from nbclient import NotebookClient

import audit
from audit.notebook import PARAMETERS, notebook_files, study_code

NOTEBOOKS = notebook_files()
PATHS = re.compile(r"(/(home|root|tmp|work|usr|opt|Users|private|var)/|site-packages|[A-Z]:\\\\)")
SAID = ("step ", "balanced accuracy", "collapse: ", "audit: ")
FAST = audit.TrainingSettings(epochs=2)
SMALL = audit.StudySettings(
    data={"dataset": "digits", "test": 0.3},
    model="mlp",
    arguments={"width": 16},
    methods=(audit.Method("magnitude"), audit.Method("bilevel", "excess-accuracy+worst-group")),
    rates=(0.9,),
    training=FAST,
    pruning=FAST,
    measure=audit.MeasureSettings(curvature="none", samples_per_group=5, resamples=50),
)

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook):
    """Everything that the outputs say in words."""
    found = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            found += [output.get("text", ""), *(data[k] for k in data if k.startswith("text/"))]
    return found


@each
def test_a_notebook_runs_on_a_small_study(path, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.delenv("AUDIT_UTKFACE", raising=False)
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [c for c in notebook.cells if PARAMETERS in c.metadata.get("tags", ())]
    parameters.source = study_code(SMALL)
    headline = 'print(results.record["verdict"]["headline"])'
    notebook.cells.append(nbformat.v4.new_code_cell(headline))
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(
        notebook, timeout=900, startup_timeout=900, kernel_name="python3", resources=resources
    ).execute()
    *before, last = code_cells(notebook)
    verdict = last.outputs[0].text.strip()
    assert re.search(r"points|no group|harms|not known", verdict)
    streams = [o for cell in before for o in cell.outputs if o.output_type == "stream"]
    # Training says where it levels down or collapses, and a study how far it is; nothing else.
    told = [line for s in streams if s.name != "stdout" for line in s.text.splitlines()]
    assert not [line for line in told if not line.startswith(SAID)]
    if path.stem != "02_why":  # which shows its own chain instead
        assert any(html.escape(verdict) in text for text in texts(notebook))
    assert not list(tmp_path.iterdir()), "a notebook writes to temporary folders only"


@each
def test_a_notebook_uses_the_public_names_alone(path):
    notebook = nbformat.read(path, as_version=4)
    used = set()
    for node in ast.walk(ast.parse("\n".join(cell.source for cell in code_cells(notebook)))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "audit":
            used |= {(node.module, name.name) for name in node.names}
        elif isinstance(node, ast.Import):
            assert not [n.name for n in node.names if n.name.startswith("audit.")]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "audit":
            used.add(("audit", node.attr))
    assert used
    for module, name in used:
        assert name in import_module(module).__all__, f"{module}.{name} is not public"


@each
def test_what_is_committed_is_the_output_of_one_clean_run(path):
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {
        "execute_result",
        "display_data",
        "stream",
    }
    assert {output.name for output in outputs if output.output_type == "stream"} <= {"stdout"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    for text in [*texts(notebook), str(notebook.metadata)]:
        assert not PATHS.search(text), text
    assert not any("execution" in cell.metadata for cell in cells)
    assert path.stat().st_size < 500_000


def test_no_face_was_shown():
    notebook = nbformat.read(next(p for p in NOTEBOOKS if p.stem == "02_why"), as_version=4)
    faces = next(cell for cell in code_cells(notebook) if "AUDIT_UTKFACE" in cell.source)
    assert [output.output_type for output in faces.outputs] == ["stream"]
