"""Results in an experiment tracker: MLflow or Weights & Biases, imported only where asked for.

What goes there: the numbers of every network and group, the findings, the report, and the tables
of groups and layers. What stays: the samples and the gallery, which are of single persons; a
tracker is often another machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from audit.errors import AuditError
from audit.extras import check_extra
from audit.findings.results import Results
from audit.names import known_name
from audit.report.card import write_card
from audit.report.html import write_report

PERSONAL = ("samples.parquet", "gallery.parquet")
OF_GROUPS = ("accuracy", "excess_accuracy_gap", "excess_risk")
"""Metrics of single groups that a tracker shows as numbers; the table has all."""
FOREIGN = re.compile(r"[^\w\-. :/]")
"""What the key of a metric may not hold."""
LONGEST_KEY = 250


def log_results(results: Results, tracker: str, name: str | None = None) -> str:
    """Log results as one run of a tracker, 'mlflow' or 'wandb'; return where it can be seen.

    Where that is, and in which experiment or project, the tracker's own settings say, such as
    MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME, or WANDB_MODE and WANDB_PROJECT. Where a run is
    open already, MLflow gets a child of it, and W&B adds to it and leaves it open. Raises
    AuditError where the tracker is unknown, not installed, or cannot be written to.
    """
    log = TRACKERS[check_tracker(tracker)]
    return log(replace(results, gallery=pd.DataFrame()), name or _title(results))


def check_tracker(name: str) -> str:
    """The tracker that a name means; AuditError where it is unknown or not installed."""
    known = known_name(name, TRACKERS, "tracker")
    check_extra(known, f"logging to {known}")
    return known


def check_reachable(name: str) -> None:
    """Raise AuditError where a tracker cannot be written to, before the work; W&B tells later."""
    if check_tracker(name) == "mlflow":
        import mlflow

        with _impatient(), _explaining_mlflow():
            mlflow.MlflowClient().search_experiments(max_results=1)


@contextmanager
def _impatient() -> Iterator[None]:
    """MLflow asks a server that does not answer for minutes; here it asks twice, unless told."""
    own = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
    own = {name: value for name, value in own.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]


@contextmanager
def _explaining_mlflow() -> Iterator[None]:
    """Turns whatever MLflow raises into an AuditError that names its store."""
    try:
        yield
    except AuditError:
        raise
    except Exception as error:
        cause = _without_password(" ".join(str(error).split()))[:300]
        raise AuditError(
            f"MLflow cannot use its store {_store()} ({cause}); name another by "
            "MLFLOW_TRACKING_URI, or leave out --log"
        ) from error


def _store() -> str:
    """Where MLflow logs to, without the password that an address may hold."""
    import mlflow

    return _without_password(str(mlflow.get_tracking_uri()))


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


def numbers(results: Results) -> dict[str, float]:
    """Every overall number, and the groups' most important ones, by 'network/metric/group'."""
    found = {key_of(row["model"], row["metric"]): row["value"] for row in results.record["overall"]}
    own = results.groups[results.groups["metric"].isin(OF_GROUPS)]
    for row in own.to_dict("records"):
        found[key_of(row["model"], row["metric"], row["group"])] = row["value"]
    return {
        key: float(value) for key, value in found.items() if value is not None and pd.notna(value)
    }


def key_of(*parts: object) -> str:
    """The key of a number; signs that trackers refuse are written as their code.

    >>> key_of("pruned", "accuracy", "R&D")
    'pruned/accuracy/R_26_D'
    """
    plain = (str(part).replace("/", "_2f_") or "_empty_" for part in parts)
    key = "/".join(FOREIGN.sub(lambda sign: f"_{ord(sign[0]):x}_", part) for part in plain)
    if len(key) <= LONGEST_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    return f"{key[: LONGEST_KEY - 9]}_{digest}"


def facts(results: Results) -> dict[str, str]:
    """What the run is of, in short texts."""
    record = results.record
    return {
        "data": str(record["data"]["name"]),
        "groups": f"{len(record['data']['groups'])} by {record['data']['attribute']}",
        "networks": ", ".join(str(model["name"]) for model in record["models"]),
        "headline": str(record["verdict"]["headline"]),
        "command": str(record["command"]),
        "schema_version": str(record["schema_version"]),
    }


@contextmanager
def _files(results: Results) -> Iterator[Path]:
    """A folder of the files that are logged, which is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results.save(folder)
        for personal in PERSONAL:
            (folder / personal).unlink(missing_ok=True)
        findings = json.dumps(results.record.get("findings", []), indent=1, ensure_ascii=False)
        (folder / "findings.json").write_text(findings, "utf-8")
        write_report(results, folder)
        write_card(results, folder)
        yield folder


def _mlflow(results: Results, name: str) -> str:
    import mlflow

    inside = mlflow.active_run() is not None
    with (
        _files(results) as folder,
        _explaining_mlflow(),
        mlflow.start_run(run_name=name, nested=inside) as run,
    ):
        mlflow.set_tags({f"audit.{key}": value[:5000] for key, value in facts(results).items()})
        mlflow.log_metrics(numbers(results))
        mlflow.log_artifacts(str(folder), "audit")
    return f"MLflow run {run.info.run_id} in {_store()}"


def _wandb(results: Results, name: str) -> str:
    import wandb

    open_run = wandb.run
    run = open_run or wandb.init(name=name, job_type="audit")
    with _files(results) as folder:
        run.config.update({"audit": facts(results)}, allow_val_change=True)
        run.summary.update(numbers(results))
        artifact = wandb.Artifact(f"audit-{run.id}", type="audit")
        artifact.add_dir(str(folder))
        run.log_artifact(artifact)
        if open_run is None:
            run.finish()
    return f"Weights & Biases run {run.url or run.dir}"


TRACKERS: Mapping[str, Callable[[Results, str], str]] = {"mlflow": _mlflow, "wandb": _wandb}


def _title(results: Results) -> str:
    names: Any = results.record["tables"].get("compared") or [results.record["data"]["name"]]
    return f"audit of {', '.join(map(str, names))}"
