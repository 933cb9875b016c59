import base64
import re
from dataclasses import replace
from html import unescape

import pandas as pd
import pytest

from audit.findings.answers import Answers
from audit.findings.results import load_results
from audit.report import render, write_report
from audit.report.gallery import whose

MODEL = "magnitude-0.98-seed0"
PNG = b"\x89PNG \xff the bytes of a picture"
HOSTILE = '"><script>alert(1)</script>'


def with_gallery(results, name="8"):
    """Three pictures of a group's broken samples; the fake results have no dense predictions."""
    samples = results.samples.assign(dense_prediction=results.samples["label"])
    own = samples[(samples["model"] == MODEL) & (samples["group"] == name)]
    rows = own[own["prediction"] != own["label"]].head(3)
    gallery = rows[["model", "group", "sample", "label", "dense_prediction", "prediction"]]
    gallery = gallery.assign(dense_confidence=0.912, confidence=0.871, png=[PNG] * 3)
    return replace(results, answers=Answers.of(samples), gallery=gallery), len(own), own


@pytest.fixture(scope="module")
def drawn(fake):
    results, count, own = with_gallery(fake(rates=(0.98,), groups=("8", "9", "3")))
    return results, count, own, render(results)


def test_a_page_shows_every_picture_with_both_predictions_in_words(drawn):
    _, count, own, html = drawn
    lost = int((own["prediction"] != own["label"]).sum())
    assert f"Group 8 under {MODEL}: {lost} of {count} samples broken, the 3 most" in html
    address = f'src="data:image/png;base64,{base64.b64encode(PNG).decode()}"'
    assert html.count(address) == 3
    alts = [unescape(alt) for alt in re.findall(r'<img alt="([^"]*)"', html)]
    assert len(alts) == 3
    assert "labelled a: the dense network says a with confidence 91.2\N{NO-BREAK SPACE}%" in alts[0]
    assert f"{MODEL} says b with confidence 87.1\N{NO-BREAK SPACE}%" in alts[0]


def test_the_page_says_that_it_holds_the_images(drawn):
    html = unescape(drawn[3])
    assert "The 3 images are samples of digits, at most 48 pixels a side." in html
    assert "private" not in html


def test_it_is_drawn_anew_without_the_data_and_gone_with_the_next_run(drawn, fake, tmp_path):
    results, _, _, html = drawn
    results.save(tmp_path)
    assert render(load_results(tmp_path)) == html
    replace(results, gallery=pd.DataFrame()).save(tmp_path)
    assert not (tmp_path / "gallery.parquet").exists()
    assert "data:image/png" not in write_report(load_results(tmp_path), tmp_path).read_text("utf-8")


def test_hostile_names_are_shown_as_they_are(fake):
    results, _, _ = with_gallery(
        fake(rates=(0.98,), groups=(HOSTILE, "9"), harmed=(HOSTILE,)), HOSTILE
    )
    html = render(results)
    assert html.count("<script") == 1
    assert f"Group {HOSTILE} under" in unescape(html)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [("utkface", "They show people: keep"), ("fairface", "They show people: keep"),
     ("images", "If they show people, keep"), (None, "If they show people, keep")],
)  # fmt: skip
def test_pictures_of_people_are_to_be_kept_private(dataset, words):
    said = " ".join(whose({"name": "faces", "spec": {"dataset": dataset} if dataset else {}}, 5))
    assert words in said
    assert "private" in said
