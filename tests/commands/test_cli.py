"""The command line as its users meet it: the whole chain, and one clear line for bad input."""

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import audit
from audit.cli import main
from audit.columns import GROUP_COLUMNS, SAMPLE_COLUMNS
from audit.files import sha256
from audit.models import load_checkpoint

FAST = ["--epochs", "2", "--device", "cpu"]
METRICS = {
    "loss",
    "accuracy",
    "excess_risk",
    "excess_accuracy_gap",
    "gradient_norm",
    "hessian_max_eigenvalue",
    "hessian_min_eigenvalue",
    "boundary_closeness",
    "boundary_margin",
    "input_distance",
    "broken",
    "mended",
    "uncertainty_share",
    "expected_calibration_error",
    "taylor_slope",
    "taylor_curvature",
    "taylor_buffers",
    "taylor_remainder",
}

RATES_OF_TWO_CLASSES = {
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "false_negative_rate",
    "precision",
}


def call(monkeypatch, *arguments: object) -> int:
    """Run `audit` in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["audit", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def refused(monkeypatch, capsys, *arguments: object) -> str:
    """The one line that a refused command ends with; it exits with 2.

    `train` says first what it made of the data.
    """
    assert call(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert [line.startswith("audit: ") for line in lines].count(True) == 1, captured.err
    assert len(lines) == 1 or "train" in arguments, captured.err
    return lines[-1]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A dense network on the digits and two pruned ones, made by the commands."""
    folder = tmp_path_factory.mktemp("models")
    audit_command = [sys.executable, "-m", "audit.cli"]
    small = ["--model", "convnet", "--width", "8", *FAST]
    prune = ["--rate", "0.9", *FAST]
    for arguments in (
        ["train", "--data", "digits", *small, "--out", "dense.pt"],
        ["prune", "dense.pt", "--method", "magnitude", *prune, "--out", "pruned.pt"],
        ["mitigate", "dense.pt", "--constraint", "excess-accuracy", *prune, "--out", "fair.pt"],
    ):
        subprocess.run([*audit_command, *arguments], check=True, cwd=folder, capture_output=True)
    return folder


def test_help_answers_at_once():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "audit.cli", "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "mitigate" in done.stdout
    # What takes long to import; how long is the machine's.
    for package in ("torch", "pandas", "numpy", "scipy", "sklearn", "matplotlib", "pydantic"):
        assert package not in done.stderr


def test_compare_finds_everything_in_the_checkpoints(models, monkeypatch, capsys, tmp_path):
    out = tmp_path / "report"
    pair = (models / "pruned.pt", models / "fair.pt")
    command = ("compare", *pair, "--out", out, "--card", "--samples-per-group", 20)
    assert call(monkeypatch, *command) == 0
    said = capsys.readouterr().out
    assert said.startswith("Under pruned, group ")
    assert "pruned against fair" in said
    assert "What to do: Do not ship pruned as it is" in said
    groups = pd.read_parquet(out / "groups.parquet")
    samples = pd.read_parquet(out / "samples.parquet")
    record = json.loads((out / "results.json").read_text("utf-8"))
    assert set(GROUP_COLUMNS) <= set(groups)
    assert set(SAMPLE_COLUMNS) <= set(samples)
    assert set(groups["metric"]) == METRICS
    assert groups.groupby(["model", "metric"]).size().eq(10).all()
    assert [model["name"] for model in record["models"]] == ["dense", "pruned", "fair"]
    sparsity = [model["sparsity"] for model in record["models"]]
    assert sparsity == pytest.approx([0.0, 0.9, 0.9], abs=1e-3)
    assert record["tables"]["compared"] == ["pruned", "fair"]
    for table in ("boundary", "faithfulness"):
        rows = record["tables"][table]
        assert {row["model"] for row in rows} == {"pruned", "fair"}
        assert {row["group"] for row in rows} == set(map(str, range(10)))
    assert {row["cause"] for row in record["tables"]["causes"]} > {"group_size", "gradient_norm"}
    assert record["command"].startswith("audit compare ")
    assert record["command"].endswith("--samples-per-group 20")
    page = (out / "report.html").read_text("utf-8")
    assert sha256(models / "dense.pt") in page
    for model in record["models"][1:]:
        assert 0 < model["surviving_multiply_adds"] < 0.5 * model["multiply_adds"]
    assert len(record["tables"]["comparison"]) == 10 * len(METRICS)
    assert record["verdict"]["headline"] in page
    assert "\n# fair\n" in (out / "model_card.md").read_text("utf-8")
    assert page.count("<script") == 1
    # The one thing that the page tells the browser is what it may not do.
    assert re.findall(r'http-equiv="([^"]*)"', page) == ["Content-Security-Policy"]


def test_the_numbers_of_the_tables_follow_from_the_samples(models, monkeypatch, tmp_path, capsys):
    out = tmp_path / "report"
    call(monkeypatch, "compare", models / "pruned.pt", models / "fair.pt", "--out", out,
         "--curvature", "none")  # fmt: skip
    capsys.readouterr()
    groups = pd.read_parquet(out / "groups.parquet")
    samples = pd.read_parquet(out / "samples.parquet")
    for metric, values in {
        "loss": samples["loss"],
        "accuracy": samples["label"] == samples["prediction"],
        "boundary_margin": samples["margin"],
    }.items():
        means = values.groupby([samples["model"], samples["group"]]).mean()
        rows = groups[groups["metric"] == metric]
        expected = [
            means[model, group] for model, group in zip(rows["model"], rows["group"], strict=True)
        ]
        np.testing.assert_allclose(rows["value"], expected)
        assert ((rows["ci_low"] <= rows["value"]) & (rows["value"] <= rows["ci_high"])).all()


def test_thresholds_decide_the_exit_code(models, monkeypatch, capsys, tmp_path):
    out, xml = tmp_path / "report", tmp_path / "thresholds.xml"
    command = ("measure", models / "pruned.pt", "--out", out, "--curvature", "none")
    assert call(monkeypatch, *command, "--fail-if", "overall accuracy < 0.05") == 0
    capsys.readouterr()
    failing = ("--fail-if", "overall accuracy < 0.999", "--junit", xml, "--github")
    assert call(monkeypatch, *command, *failing) == 1
    captured = capsys.readouterr()
    assert "failed: pruned: overall accuracy is 0." in captured.err
    assert "::error title=audit::pruned: overall accuracy" in captured.out
    assert 'failures="1"' in xml.read_text("utf-8")
    assert (out / "report.html").is_file()
    line = refused(monkeypatch, capsys, *command, "--fail-if", "max speed")
    assert "found threshold 'max speed'; expected such as" in line
    # A misspelt metric is told before anything is measured.
    absent = tmp_path / "absent"
    misspelt = ("--out", absent, "--fail-if", "max excess_acuracy_gap > 0.02")
    line = refused(monkeypatch, capsys, "measure", models / "pruned.pt", *misspelt)
    assert "'excess_acuracy_gap' is no metric; did you mean 'excess_accuracy_gap'?" in line
    assert not absent.exists()
    for alone in (("--fail-if-possible",), ("--junit", xml), ("--github",)):
        line = refused(monkeypatch, capsys, *command, *alone)
        assert f"found {alone[0]} without --fail-if, so that nothing would be judged" in line


def test_a_report_is_drawn_anew_without_the_model(models, monkeypatch, capsys, tmp_path):
    out = tmp_path / "report"
    pair = (models / "pruned.pt", models / "fair.pt")
    assert call(monkeypatch, "compare", *pair, "--out", out, "--curvature", "none") == 0
    page = (out / "report.html").read_text("utf-8")
    (out / "report.html").unlink()
    assert call(monkeypatch, "report", out) == 0
    assert (out / "report.html").read_text("utf-8") == page
    figures = tmp_path / "figures"
    assert call(monkeypatch, "report", out, "--figures", figures) == 0
    drawn = {path.stem: path for path in figures.glob("*.png")}
    assert set(drawn) == {path.stem for path in figures.glob("*.svg")}
    assert len(drawn) >= 3
    for path in drawn.values():
        with Image.open(path) as image:
            assert image.width > 600
        ElementTree.parse(path.with_suffix(".svg"))
    assert (out / "report.html").read_text("utf-8") == page
    capsys.readouterr()
    line = refused(monkeypatch, capsys, "report", tmp_path / "nowhere")
    assert "expected a folder of results" in line


def test_a_gallery_is_there_only_where_it_was_asked_for(models, monkeypatch, capsys, tmp_path):
    out = tmp_path / "report"
    command = ("measure", models / "pruned.pt", "--out", out, "--curvature", "none")
    assert call(monkeypatch, *command, "--gallery", "--json") == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    assert "images are samples of digits" in captured.err
    pictures = pd.read_parquet(out / "gallery.parquet")
    assert (pictures["dense_prediction"] == pictures["label"]).all()
    assert (pictures["prediction"] != pictures["label"]).all()
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/png") == len(pictures) > 0
    assert call(monkeypatch, "report", out) == 0
    assert (out / "report.html").read_text("utf-8") == page
    (out / "report.pdf").write_text("of other numbers")
    assert call(monkeypatch, *command) == 0
    assert not (out / "gallery.parquet").exists()
    assert not (out / "report.pdf").exists()
    assert "data:image/png" not in (out / "report.html").read_text("utf-8")


def test_settings_of_the_solver_come_from_the_command_line(models, monkeypatch, capsys, tmp_path):
    out = tmp_path / "fair.pt"
    command = ["mitigate", models / "dense.pt", "--rate", 0.5, *FAST, "--out", out]
    assert call(monkeypatch, *command, "--option", "mask_share=0.6", "--structure", "2:4") == 0
    settings = load_checkpoint(out).provenance.settings
    assert settings["mask_share"] == 0.6
    assert settings["structure"] == "2:4"
    (used,) = settings["constraints"]
    assert used["constraint"].endswith(":ExcessAccuracy")
    assert used["multiplier_gain"] == 0.0
    capsys.readouterr()
    line = refused(monkeypatch, capsys, *command, "--option", "mask_share=2")
    assert "found mask_share = 2; expected a number from 0 to 1" in line
    assert "found 'mask' in the options of bilevel" in refused(
        monkeypatch, capsys, *command, "--option", "mask=1"
    )


def test_terms_of_training_have_one_name_in_every_command(models, monkeypatch, capsys, tmp_path):
    out = tmp_path / "terms.pt"
    terms = ["--distillation", 0.5, "--temperature", 3, "--augmentation", "crop"]
    wanted = {"distillation": 0.5, "temperature": 3.0, "augmentation": "crop"}
    for command in ("prune", "mitigate"):
        given = (command, models / "dense.pt", "--rate", 0.5, *FAST, "--out", out)
        assert call(monkeypatch, *given, *terms) == 0
        settings = load_checkpoint(out).provenance.settings
        assert {name: settings[name] for name in wanted} == wanted
        capsys.readouterr()
        line = refused(monkeypatch, capsys, *given, "--temperature", 3)
        assert "found a temperature without distillation" in line
    line = refused(monkeypatch, capsys, "prune", models / "dense.pt", "--rate", 0.5, "--epochs", 0,
                   "--augmentation", "flip", "--out", out)  # fmt: skip
    assert "found 0 epochs beside distillation or augmentation" in line


def test_no_epochs_prune_in_one_shot(models, monkeypatch, capsys, tmp_path):
    made = tmp_path / "one-shot.pt"
    command = ("prune", models / "dense.pt", "--method", "magnitude", "--rate", "0.5")
    assert call(monkeypatch, *command, "--epochs", 0, "--out", made) == 0
    assert load_checkpoint(made).provenance.steps == 0
    capsys.readouterr()
    line = refused(monkeypatch, capsys, "prune", models / "dense.pt", "--method", "gradual",
                   "--rate", "0.5", "--epochs", 0, "--out", tmp_path / "g.pt")  # fmt: skip
    assert "found 0 epochs" in line


def test_measure_prints_its_record_as_json(models, monkeypatch, capsys, tmp_path):
    code = call(monkeypatch, "measure", models / "pruned.pt", "--out", tmp_path, "--json",
                "--curvature", "pyhessian", "--samples-per-group", 10)  # fmt: skip
    record = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [model["name"] for model in record["models"]] == ["dense", "pruned"]
    assert record["models"][1]["parent"] == record["models"][0]["sha256"]


def test_a_study_goes_on_where_it_was(monkeypatch, capsys, tmp_path):
    config = tmp_path / "study.toml"
    assert call(monkeypatch, "init", config) == 0
    text = (
        config.read_text().replace("[0, 1, 2]", "[0, 1]").replace("[0.8, 0.9, 0.95, 0.98]", "[0.9]")
    )
    text = text.replace("epochs = 30", "epochs = 1").replace("epochs = 20", "epochs = 1")
    text = text.replace("width = 32", "width = 4").replace('"lanczos"', '"none"')
    config.write_text(text)
    out = tmp_path / "out"
    run = ("run", config, "--out", out, "--device", "cpu", "--workers", 1)
    assert call(monkeypatch, *run) == 0
    assert "2 runs" in capsys.readouterr().out
    first = pd.read_parquet(out / "groups.parquet")
    made = {path: path.stat().st_mtime_ns for path in (out / "models").iterdir()}
    assert len(made) == 2 * (1 + 3)
    assert call(monkeypatch, *run) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "models").iterdir()} == made
    pd.testing.assert_frame_equal(pd.read_parquet(out / "groups.parquet"), first)
    config.write_text(text.replace("learning_rate = 0.05", "learning_rate = 0.04"))
    assert call(monkeypatch, *run) == 0
    assert all(path.stat().st_mtime_ns > before for path, before in made.items())


def test_the_chain_on_2000_real_faces(monkeypatch, capsys, tmp_path):
    packed = Path(__file__).parents[2].parent / "shared/data/utkface/utkface_rgb64_jpeg.npz"
    if not packed.is_file():
        pytest.skip("UTKFace is not here (utkface_rgb64_jpeg.npz)")
    tool = packed.parents[2] / "tools" / "unpack_faces"
    faces = tmp_path / "faces"
    command = [sys.executable, tool, packed, faces, "--most", "2000"]
    subprocess.run(command, check=True, capture_output=True)
    config = tmp_path / "faces.toml"
    config.write_text(
        f'[data]\ndataset = "utkface"\nfolder = "{faces}"\nsize = 16\n'
        '[model]\nname = "resnet10"\nwidth = 4\n'
        '[study]\nmethods = ["magnitude", {method = "bilevel", constraint = "group-loss"}]\n'
        "rates = [0.9]\n[training]\nepochs = 2\n[pruning]\nepochs = 1\n"
        "[measure]\nsamples_per_group = 20\n"
    )
    code = call(
        monkeypatch, "run", config, "--out", tmp_path / "out", "--workers", 1, "--device", "cpu"
    )
    assert code == 0
    groups = audit.load_results(tmp_path / "out").groups
    assert list(groups["group"].cat.categories) == ["White", "Black", "Asian", "Indian", "Others"]
    accuracy = groups[(groups["metric"] == "accuracy") & (groups["method"] == "dense")]
    assert accuracy["n"].sum() == pytest.approx(400, abs=5)
    assert (tmp_path / "out" / "report.html").stat().st_size < 2_000_000


@pytest.mark.parametrize("rate", ["1", "1.5", "-0.1"])
def test_a_rate_out_of_range(models, monkeypatch, capsys, tmp_path, rate):
    out = tmp_path / "out.pt"
    line = refused(monkeypatch, capsys, "prune", models / "dense.pt", "--rate", rate, "--out", out)
    assert "0 ≤ rate < 1" in line
    assert not list(tmp_path.iterdir())


def test_rate_zero_keeps_every_weight(models, monkeypatch, capsys):
    out = models / "zero.pt"
    arguments = ("prune", models / "dense.pt", "--rate", 0, "--out", out, *FAST)
    assert call(monkeypatch, *arguments) == 0
    assert "0.00%" in capsys.readouterr().out


def test_bad_checkpoints(models, monkeypatch, capsys, tmp_path):
    good = (models / "pruned.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(good[: len(good) // 2])
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    content = torch.load(models / "pruned.pt", weights_only=True)
    content["state"]["0.weight"][0] = float("nan")
    torch.save(content, tmp_path / "nan.pt")
    for name, message in {
        "none.pt": "there is no file",
        "cut.pt": "truncated or not a checkpoint",
        "module.pt": "pickled Python objects",
        "nan.pt": "weights that are not finite",
    }.items():
        out = tmp_path / "report"
        line = refused(monkeypatch, capsys, "measure", tmp_path / name, "--out", out)
        assert message in line
        assert not out.exists()


def test_two_models_that_do_not_go_together(models, monkeypatch, capsys, tmp_path):
    for name, arguments in {
        "wide": ["--data", "digits", "--width", "9"],
        "other": ["--data", "digits?seed=1", "--width", "8"],
    }.items():
        out = ("--out", tmp_path / f"{name}.pt")
        assert call(monkeypatch, "train", "--model", "convnet", *arguments, *FAST, *out) == 0
    capsys.readouterr()
    pruned = models / "pruned.pt"
    line = refused(monkeypatch, capsys, "compare", pruned, tmp_path / "wide.pt")
    assert "one architecture" in line
    line = refused(monkeypatch, capsys, "compare", pruned, tmp_path / "other.pt")
    assert "different data or splits" in line


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("utkface:nowhere", "there is no folder 'nowhere'"),
        ("adult:nowhere?group=height", "there is no folder 'nowhere'"),
        ("digits?group=class", "has no setting 'group'"),
    ],
)
def test_bad_data(monkeypatch, capsys, tmp_path, spec, message):
    out = tmp_path / "dense.pt"
    line = refused(monkeypatch, capsys, "train", "--data", spec, "--model", "mlp", "--out", out)
    assert message in line


def test_bad_words_on_the_command_line(models, monkeypatch, capsys, tmp_path):
    dense = models / "dense.pt"
    line = refused(monkeypatch, capsys, "prune", dense, "--rate", "0.5", "--method", "wish",
                   "--out", tmp_path / "x.pt")  # fmt: skip
    assert "wish" in line
    line = refused(monkeypatch, capsys, "train", "--data", "digits", "--model", "vgg",
                   "--out", tmp_path / "x.pt")  # fmt: skip
    assert "expected one of mlp" in line
    line = refused(monkeypatch, capsys, "prune", models / "pruned.pt", "--rate", "0.5",
                   "--out", tmp_path / "x.pt")  # fmt: skip
    assert "pruned already" in line
    assert not list(tmp_path.iterdir())


def test_a_bad_config(monkeypatch, capsys, tmp_path):
    config = tmp_path / "study.toml"
    for text, message in {
        "[data": "is not TOML",
        "[data]\ndataset = 'digits'": "the table [model] is missing",
        "[data]\ndataset='digits'\n[model]\nname='mlp'\n[study]\nmethods=['magic']": "method 'magic'",
        "[data]\ndataset='digits'\n[model]\nname='mlp'\n[study]\nmethods=['random']\nrates=[2]": (
            "found rate 2; expected a share of weights, 0 ≤ rate < 1"
        ),
        "[data]\ndataset='digits'\n[model]\nname='mlp'\n[study]\nrates=[0.5]": "no methods",
        "[data]\ndataset='digits'\n[model]\nname='mlp'\n[study]\n[measure]\nsplits=1": "'splits'",
    }.items():
        config.write_text(text)
        assert message in refused(monkeypatch, capsys, "run", config, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_group_of_one_sample_is_shown_and_flagged():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 4, generator=generator)
    groups = ["many"] * 199 + ["one"]
    splits = {"train": range(100), "select": range(100, 120), "test": range(120, 200)}
    data = audit.from_arrays(inputs, [0, 1] * 100, groups, group_names=["many", "one", "none"],
                             splits=splits)  # fmt: skip
    dense = audit.train_model(data, "mlp", audit.TrainingSettings(epochs=1))
    pruned = audit.mitigate_model(dense, data, 0.5, settings=audit.TrainingSettings(epochs=1))
    measures = audit.measure_model(pruned, dense, data)
    table = measures.groups.set_index(["metric", "group"])
    assert table.loc[("accuracy", "one"), "n"] == 1
    assert table.loc[("excess_risk", "one"), "flag"] == "small"
    assert table["ci_low"].isna()[("excess_risk", "one")]
    assert table.loc[("loss", "none"), "flag"] == "absent"
    assert set(measures.groups["metric"]) == METRICS | RATES_OF_TWO_CLASSES
    assert len(table) == 3 * len(METRICS | RATES_OF_TWO_CLASSES)
    assert "max_excess_accuracy_gap" not in {row["metric"] for row in measures.overall}


def test_faces_of_an_unreadable_image(monkeypatch, capsys, tmp_path):
    faces = tmp_path / "faces"
    faces.mkdir()
    for k in range(40):
        Image.new("RGB", (8, 8), (k, k, k)).save(faces / f"{k}_{k % 2}_{k % 5}_{k}.jpg")
    (faces / "1_1_1_1.jpg").write_bytes(b"broken")
    line = refused(monkeypatch, capsys, "train", "--data", f"utkface:{faces}", "--model", "mlp",
                   "--out", tmp_path / "x.pt")  # fmt: skip
    assert "1_1_1_1.jpg' cannot be read" in line


STUDY_WITH_DISCOVERY = """
[data]
dataset = "table"
file = "people.csv"
target = "y"
group = "sex"
drop = "sex,age,region"
[model]
name = "mlp"
[study]
rates = [0.9]
seeds = [0]
methods = [{ method = "magnitude" }]
[training]
epochs = 2
[pruning]
epochs = 1
[measure]
curvature = "none"
resamples = 50
discover = ["age", "region"]
"""


def people(harmed: bool) -> pd.DataFrame:
    """People of whom a network knows all but, where `harmed`, half of the old in the south."""
    generator = np.random.default_rng(0)
    number = 1600
    inputs = pd.DataFrame(generator.normal(size=(number, 2)).round(4), columns=["a", "b"])
    age, region = generator.integers(20, 70, number), generator.choice(["north", "south"], number)
    label = (inputs["a"] > 0).astype(int)
    old = (age >= 45) & (region == "south") & (generator.random(number) < 0.5)
    return inputs.assign(
        y=label,
        sex=generator.choice(["f", "m"], number),
        age=age,
        region=region,
        prediction=np.where(old & harmed, 1 - label, label),
    )


def test_a_study_seeks_groups_that_nobody_named(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    people(harmed=False).drop(columns="prediction").to_csv("people.csv", index=False)
    Path("study.toml").write_text(STUDY_WITH_DISCOVERY)
    line = refused(monkeypatch, capsys, "run", "study.toml", "--out", "o", "--discover", "age,job")
    assert "found discover 'job'; expected one of the columns" in line
    assert call(monkeypatch, "run", "study.toml", "--out", "o", "--engine", "here") == 0
    record = json.loads(Path("o/results.json").read_text())
    assert [row["columns"] for row in record["tables"]["discovery"]] == [["age", "region"]]
    found = [one for one in record["findings"] if one["claim"] == "discovered"]
    assert [one["decision"] for one in found[:1]] == [False]
    assert "No crossing of age and region was confirmed" in capsys.readouterr().out


def test_stored_predictions_are_searched_for_groups_that_nobody_named(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    for name, harmed in {"dense": False, "pruned": True}.items():
        people(harmed).rename_axis("sample").rename(columns={"y": "label"}).to_csv(f"{name}.csv")
    files = ["dense.csv", "pruned.csv", "--group", "sex", "--discover", "age,region"]
    assert call(monkeypatch, "compare", "--predictions", *files, "--out", "o") == 0
    record = json.loads(Path("o/results.json").read_text())
    found = {one["group"] for one in record["findings"] if one["claim"] == "discovered"}
    assert any("region south" in str(group) for group in found)
    first_line = " ".join(capsys.readouterr().out.split("•")[0].split())
    assert "but group" in first_line
    assert "region south" in first_line


def test_a_unit_is_of_predictions_and_reaches_the_audit(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, harmed in {"dense": False, "pruned": True}.items():
        table = people(harmed).rename_axis("sample").rename(columns={"y": "label"})
        table.assign(person=table.index // 4).to_csv(f"{name}.csv")
    files = ["dense.csv", "pruned.csv", "--group", "sex", "--unit"]
    assert call(monkeypatch, "compare", "--predictions", *files, "person", "--out", "o") == 0
    assert pd.read_parquet("o/samples.parquet")["unit"].notna().all()
    capsys.readouterr()
    assert call(monkeypatch, "compare", "--predictions", *files, "who") == 2
    assert "has no column 'who'" in capsys.readouterr().err
    assert call(monkeypatch, "compare", *files, "person") == 2
    assert "found --unit without --predictions" in capsys.readouterr().err
