"""The PDF as its readers meet it: its text against the results, its tags, links and pages."""

import builtins
import io
import os
import re
import sys
from base64 import b64decode
from collections.abc import Iterator

import numpy as np
import pypdfium2
import pytest
from pypdf import PdfReader

from audit.errors import AuditError
from audit.findings.networks import judged_models
from audit.findings.words import interval, number
from audit.metrics import shown
from audit.report import write_pdf, write_reports, write_summary
from audit.report.html import check_pdf, render
from audit.report.tables import READABLE
from tests.fakes import bounds

HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'x'",
    r"$\alpha_{x$",
    "עברית",
    "",
    "x" * 300,
    "two\nlines",
    "{{ 7 * 7 }}",
)
COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")
PAPER_WIDTH = 72 / 25.4 * (210 - 2 * 13)
"""Of an A4 page between its margins, in points."""
SHOWN = ("accuracy", "excess_accuracy_gap", "excess_risk", "gradient_norm", "boundary_closeness")


@pytest.fixture(scope="module", autouse=True)
def _pango() -> None:
    """Skip, and say what is missing, where this machine cannot draw a PDF."""
    try:
        check_pdf()
    except AuditError as error:
        if os.environ.get("AUDIT_REQUIRE_PDF"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def study(fake, tmp_path_factory):
    """A study, its PDF, and the PDF's text without white space, which line breaks change."""
    results = fake(rates=(0.9, 0.98), small=("9",))
    path = write_pdf(results, tmp_path_factory.mktemp("pdf"))
    reader = PdfReader(path)
    return results, path, reader, _text(reader)


def _text(reader: PdfReader) -> str:
    return "".join("".join(page.extract_text().split()) for page in reader.pages)


def _close(*texts: str) -> str:
    return "".join("".join(texts).split())


def test_every_group_number_is_that_of_the_results(study):
    results, _, _, text = study
    rows = results.groups[(results.groups["rate"] == 0.98) & (results.groups["n"] > 0)]
    rows = rows[rows["metric"].isin(SHOWN)]
    assert len(rows) == 2 * 10 * len(SHOWN)
    for row in rows.to_dict("records"):
        metric = row["metric"]
        low, high = bounds(results, "pays", row["model"], row)
        assert _close(number(row["value"], metric), interval(low, high, metric)) in text


def test_every_overall_number_and_gap_is_that_of_the_record(study):
    results, _, _, text = study
    judged = judged_models(results.record["models"])
    for row in results.record["overall"]:
        metric = row["metric"]
        # Gaps of the other networks are in the HTML, with all else that folds.
        if metric != "accuracy" and row["model"] not in judged:
            continue
        if metric in ("accuracy", "fairness_violation", "max_excess_accuracy_gap"):
            between = interval(row["ci_low"], row["ci_high"], metric)
            assert _close(number(row["value"], metric), between) in text


def test_every_largest_eigenvalue_layer_and_hash_is_there(study):
    results, _, _, text = study
    eigenvalues = results.groups[results.groups["metric"] == "hessian_max_eigenvalue"]
    judged = eigenvalues[eigenvalues["rate"].isin([0.0, 0.98])]
    for row in judged.to_dict("records"):
        assert _close(number(row["value"], "")) in text
    # The rest is in the HTML, and the PDF says so.
    kept = f"Printed are {len(judged):,} of {len(eigenvalues):,} rows"
    assert len(eigenvalues) > len(judged) > 0
    assert _close(kept) in text
    assert _close("In report.html alone: Measured sparsity of every layer;") in text
    assert _close("The same rates as ratios between groups") in text
    names = judged_models(results.record["models"])
    for model in results.record["models"]:
        assert model["sha256"] in text
        for share in model["layer_sparsity"].values():
            assert model["name"] not in names or f"{share:.1%}" in text


def test_the_verdict_is_on_the_first_page_word_for_word(study):
    results, _, reader, _ = study
    first = _close(reader.pages[0].extract_text())
    verdict = results.record["verdict"]
    for sentence in (verdict["headline"], *verdict["sentences"]):
        assert _close(sentence) in first


def _check_comparison(results, text):
    """Every difference that paper shows stands there with its interval."""
    for row in results.record["tables"]["comparison"]:
        if row["metric"] in shown("compared on paper"):
            low, high = bounds(results, "changes", row["candidate_name"], row, "difference_")
            wanted = number(row["difference"], row["metric"], signed=True)
            assert _close(wanted, interval(low, high, row["metric"])) in text


def test_comparison_numbers_are_those_of_the_record(fake, tmp_path):
    results = fake(rates=(0.98,), compared=COMPARED)
    text = _text(PdfReader(write_pdf(results, tmp_path)))
    _check_comparison(results, text)
    assert _close("In report.html alone: Gradient norm;") in text


@pytest.mark.parametrize("choice", [{}, {"compared": COMPARED}])
def test_no_letter_of_a_table_or_a_figure_is_too_small_to_read(fake, choice):
    page = render(fake(rates=(0.98,), **choice), printed=True)
    tables = [float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)pt", page)]
    assert min(tables) >= READABLE - 0.01
    figures = re.findall(r'<figure style="width: ([\d.]+)%">\n<img[^>]*base64,([^"]+)"', page)
    assert figures
    for share, encoded in figures:
        svg = b64decode(encoded).decode()
        assert "<path" in svg  # its marks
        assert "tips" not in svg  # circles to point at, which a page of paper only draws in vain
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
        letters = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)]
        on_paper = float(share) / 100 * PAPER_WIDTH / width
        assert min(letters) * on_paper >= READABLE


@pytest.mark.parametrize(
    "groups", [("a", "b"), HOSTILE, tuple(f"group {n} of many" for n in range(60))]
)
def test_the_summary_is_one_page_with_the_verdict_and_lines_to_sign(fake, tmp_path, groups):
    results = fake(groups=groups, harmed=groups[:1], rates=(0.98,), small=groups[2:])
    (page,) = PdfReader(write_summary(results, tmp_path)).pages
    text = _close(page.extract_text())
    assert "Dateandsignature" in text
    assert "Whatitcannotshow" in text
    if groups == ("a", "b"):
        assert _close(results.record["verdict"]["headline"]) in text


def test_it_is_tagged_titled_and_in_a_language(study):
    _, _, reader, _ = study
    catalogue = reader.trailer["/Root"]
    assert catalogue["/MarkInfo"]["/Marked"]
    assert catalogue["/Lang"] == "en"
    assert reader.metadata.title == "digits, groups by class"
    kinds = _tags(catalogue["/StructTreeRoot"])
    assert {"/H1", "/H2", "/Table", "/TH", "/TD", "/Figure", "/L"} <= set(kinds)
    assert kinds.count("/Figure") >= 8


def _tags(node) -> list[str]:
    found, todo = [], [node]
    while todo:
        own = todo.pop()
        own = own.get_object() if hasattr(own, "get_object") else own
        if isinstance(own, list):
            todo += own
        elif isinstance(own, dict):
            found += [own["/S"]] if "/S" in own else []
            if own.get("/S") == "/Figure":
                assert own["/Alt"]
            todo += [own["/K"]] if "/K" in own else []
    return found


def test_pages_are_numbered_and_the_contents_lead_to_them(study):
    _, path, reader, _ = study
    for place, page in enumerate(reader.pages, start=1):
        assert f"{place} / {len(reader.pages)}" in page.extract_text()
    first = pypdfium2.PdfDocument(path)[0].get_textpage()
    told: dict[str, str] = {}
    # A link of several pieces of text has several notes.
    for note in (one.get_object() for one in reader.pages[0]["/Annots"]):
        part = first.get_text_bounded(*note["/Rect"])
        told[note["/Dest"]] = f"{told.get(note['/Dest'], '')}\n{part}"
    pages = [
        1 + reader.get_destination_page_number(reader.named_destinations[name]) for name in told
    ]
    alone = re.compile(r"(?<!\S)\d+(?!\S)")
    assert [int(alone.findall(text)[-1]) for text in told.values()] == pages
    assert len(told) >= 8
    assert pages == sorted(pages)


def test_of_many_groups_none_is_lost_where_tables_stand_beside_one_another(fake, tmp_path):
    groups = [f"group {place} whose name takes several lines" for place in range(40)]
    results = fake(groups=groups, harmed=groups[:1], rates=(0.98,), compared=COMPARED)
    text = _text(PdfReader(write_pdf(results, tmp_path)))
    _check_comparison(results, text)
    for row in results.record["data"]["groups"]:
        assert text.count(_close(row["group"])) >= 4


def test_figures_are_vectors(study):
    _, _, reader, _ = study
    for page in reader.pages:
        assert list(page.images) == []


@pytest.mark.parametrize(
    "choice",
    [
        {"rates": (0.9, 0.98), "small": ("9",)},
        {"rates": (0.98,), "groups": HOSTILE, "harmed": HOSTILE[:4]},
        {"rates": (0.98,), "compared": COMPARED, "groups": HOSTILE, "harmed": HOSTILE[:1]},
        {"rates": (0.5, 0.98), "groups": [f"group {i}" for i in range(30)], "seeds": 2},
    ],
)
def test_nothing_reaches_over_the_edge_of_a_page(fake, choice, tmp_path):
    document = pypdfium2.PdfDocument(write_pdf(fake(**choice), tmp_path))
    for page in document:
        width, height = page.get_size()
        text = page.get_textpage()
        for left, bottom, right, top in _boxes(text):
            assert left >= 36, text.get_text_bounded(left, bottom, right, top)
            assert right <= width - 36, text.get_text_bounded(left, bottom, right, top)
            assert bottom >= 20
            assert top <= height - 36


def _boxes(text) -> Iterator[tuple[float, float, float, float]]:
    for place in range(text.count_rects()):
        yield text.get_rect(place)


def test_no_page_is_almost_empty_and_no_heading_ends_one(study):
    _, path, reader, _ = study
    headings = {"Models", "Evidence", "The data", "Definitions", "Where weights were removed"}
    for place, page in enumerate(pypdfium2.PdfDocument(path)):
        ink = np.asarray(page.render(scale=0.5).to_pil().convert("L")) < 200
        height = ink.shape[0]
        rows = np.flatnonzero(ink[: int(0.92 * height)].any(1))
        last = place == len(reader.pages) - 1
        assert last or rows.max() > 0.4 * height, f"page {place + 1}"
        lines = [line.strip() for line in reader.pages[place].extract_text().splitlines()]
        body = [
            line
            for line in lines
            if line and " / " not in line and line != "digits, groups by class"
        ]
        assert body[-1] not in headings, f"page {place + 1}"


def test_without_the_extra_one_line_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(AuditError, match=r"pip install 'pruning-audit\[pdf\]'"):
        check_pdf()


def test_without_pango_one_line_says_so_and_the_page_is_written(fake, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "weasyprint":
            raise OSError("cannot load library 'libpango-1.0-0'\nand more lines")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AuditError, match="Pango, which was not found") as caught:
        list(write_reports(fake(rates=(0.98,)), tmp_path))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_hostile_names_are_text(fake, tmp_path):
    results = fake(groups=HOSTILE, harmed=HOSTILE[:2], rates=(0.98,))
    reader = PdfReader(io.BytesIO(write_pdf(results, tmp_path).read_bytes()))
    text = _text(reader)
    for name in (*HOSTILE[:3], HOSTILE[7]):
        assert _close(name) in text
    assert "x" * 300 in text
    assert "(empty)" in text
    assert "/JavaScript" not in reader.root_object.get("/Names", {})
