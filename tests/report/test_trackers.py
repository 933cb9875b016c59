"""Results in a tracker: what goes there, what stays, and real trackers where they are installed."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import typer

from audit.commands.compare import _delivered as delivered
from audit.commands.delivery import Checks, Delivery, deliver, make_checks
from audit.commands.options import Tracker
from audit.errors import AuditError
from audit.report import trackers
from audit.report.trackers import TRACKERS, check_reachable, check_tracker, key_of, numbers


@pytest.fixture(scope="module")
def results(fake):
    return fake(groups=("a", "b/c", "R&D"), harmed=("a",), rates=(0.98,))


def test_numbers_are_those_of_the_results_and_all_finite(results):
    found = numbers(results)
    for row in results.record["overall"]:
        if row["value"] is not None:
            assert found[key_of(row["model"], row["metric"])] == row["value"]
    rows = results.groups[results.groups["metric"] == "accuracy"]
    for row in rows.to_dict("records"):
        assert found[key_of(row["model"], "accuracy", row["group"])] == row["value"]
    assert not any(map(math.isnan, found.values()))


def test_keys_are_taken_by_trackers_and_do_not_clash():
    assert key_of("m", "accuracy", "b/c") == "m/accuracy/b_2f_c"
    assert key_of("m", "accuracy", "") == "m/accuracy/_empty_"
    long = [key_of("m", "accuracy", "x" * 300 + end) for end in "ab"]
    assert long[0] != long[1]
    assert max(map(len, long)) <= 250


def test_no_sample_and_no_picture_leaves(results):
    with trackers._files(results) as folder:
        names = {path.name for path in folder.iterdir()}
        assert {
            "results.json",
            "groups.parquet",
            "findings.json",
            "report.html",
            "model_card.md",
        } <= names
        assert not names & {"samples.parquet", "gallery.parquet"}
        assert json.loads((folder / "findings.json").read_text()) == results.record["findings"]
    assert not folder.exists()


def test_the_gallery_is_taken_out_first(results, monkeypatch):
    seen = []

    def log(found, name: str) -> str:
        seen.append((found.gallery, name))
        return "x"

    monkeypatch.setitem(TRACKERS, "mlflow", log)
    monkeypatch.setattr(trackers, "check_extra", lambda *_: None)
    pictured = replace(results, gallery=pd.DataFrame({"image": [b"x"]}))
    assert pictured.log_to("MLflow") == "x"
    ((gallery, name),) = seen
    assert gallery.empty
    assert name.startswith("audit of ")


def test_an_unknown_or_missing_tracker_is_told_with_what_brings_it(monkeypatch):
    assert list(Tracker) == list(TRACKERS)
    with pytest.raises(AuditError, match="did you mean 'mlflow'"):
        check_tracker("mlfow")
    monkeypatch.setattr("audit.extras.find_spec", lambda _: None)
    with pytest.raises(AuditError, match=r"pip install 'pruning-audit\[wandb\]'"):
        check_tracker("wandb")


def test_nothing_imports_a_tracker_unasked():
    code = (
        "import sys, audit.report.trackers; print('mlflow' in sys.modules, 'wandb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.filterwarnings("ignore")  # the trackers' own
def test_a_real_mlflow_gets_it_all(results, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is missing: make test-extras has it")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    check_reachable("mlflow")
    mlflow.set_experiment("fairness")
    told = results.log_to("mlflow", "first")
    client = mlflow.MlflowClient()
    (experiment,) = [e for e in client.search_experiments() if e.name == "fairness"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id in told
    assert run.info.run_name == "first"
    assert run.data.metrics == pytest.approx(numbers(results))
    assert run.data.tags["audit.headline"] == results.record["verdict"]["headline"]
    logged = {one.path for one in client.list_artifacts(run.info.run_id, "audit")}
    assert {"audit/report.html", "audit/results.json", "audit/findings.json"} <= logged
    assert "audit/samples.parquet" not in logged
    with mlflow.start_run() as outer:
        results.log_to("mlflow")
        assert mlflow.active_run().info.run_id == outer.info.run_id


@pytest.mark.filterwarnings("ignore")
def test_a_real_wandb_gets_it_all_without_network(results, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="Weights & Biases is missing: make test-extras has it")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert results.log_to("wandb", "first").startswith("Weights & Biases run ")
    (file,) = tmp_path.rglob("run-*.wandb")
    assert b"max_excess_accuracy_gap" in file.read_bytes()
    assert results.record["verdict"]["headline"].encode()[:40] in file.read_bytes()


class NoStore:
    """An MLflow whose store refuses everything."""

    @staticmethod
    def get_tracking_uri() -> str:
        return "https://me:secret@tracker.example/api"

    class MlflowClient:
        def search_experiments(self, max_results: int) -> None:
            raise ValueError("no answer\nfrom https://me:secret@tracker.example")


def test_a_store_that_cannot_be_used_is_told_before_work_and_without_its_password(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", NoStore)
    monkeypatch.setattr(trackers, "check_extra", lambda *_: None)
    with pytest.raises(AuditError) as told:
        check_reachable("mlflow")
    assert str(told.value) == (
        "MLflow cannot use its store https://tracker.example/api (no answer from "
        "https://tracker.example); name another by MLFLOW_TRACKING_URI, or leave out --log"
    )
    check_reachable("wandb")


def test_results_that_cannot_be_logged_are_judged_all_the_same(
    results, tmp_path, monkeypatch, capsys
):
    def refuse(*_: object) -> str:
        raise AuditError("the store is full")

    monkeypatch.setitem(TRACKERS, "mlflow", refuse)
    monkeypatch.setattr(trackers, "check_extra", lambda *_: None)
    with pytest.raises(typer.Exit) as ended:
        deliver(results, Delivery(tmp_path / "kept", log="mlflow"), thresholds("accuracy < 0"))
    assert ended.value.exit_code == 2
    with pytest.raises(typer.Exit) as ended:
        deliver(results, Delivery(tmp_path / "fails", log="mlflow"), thresholds("accuracy < 1"))
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err.count("audit: not logged: the store is full") == 2
    # A comparison of several attributes goes on, and does not take it for a threshold.
    assert (
        delivered(results, Delivery(tmp_path / "more", log="mlflow"), thresholds("loss < 0")) == 2
    )


def thresholds(text: str) -> Checks:
    return make_checks([f"overall {text}"], False, None, False)
