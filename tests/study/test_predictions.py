"""Networks of which only the predictions are left: all that outputs can carry, and why no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import audit
from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.findings.results import Results
from audit.report import write_card
from audit.study.predictions import compare_prediction_files

SETTINGS = MeasureSettings(resamples=50, minimum_group_size=5)


def stored(model: nn.Module, data: GroupedData, kind: str) -> pd.DataFrame:
    """What the network says of the test samples, as somebody would write it down."""
    rows = data.indices("test")
    batch = data.batch(rows)
    with torch.no_grad():
        p = model(batch.inputs).softmax(1).double().numpy()
    table = pd.DataFrame(
        {
            "sample": data.samples[rows.numpy()],
            "label": np.array(data.classes)[batch.labels.numpy()],
            "size": np.array(data.group_names)[batch.groups.numpy()],
        }
    )
    if kind == "probabilities":
        return table.assign(**{"probability:no": p[:, 0], "probability:yes": p[:, 1]})
    if kind == "score":
        return table.assign(score=p[:, 1])
    return table.assign(prediction=np.array(data.classes)[p.argmax(1)])


@pytest.fixture
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(1)
    dense = nn.Linear(4, 2)
    with torch.no_grad():
        dense.weight.copy_(torch.tensor([[-1.0, -1.0, 0.1, 0.2], [1.0, 1.0, 0.1, -0.2]]))
    pruned = nn.Linear(4, 2)
    pruned.load_state_dict(dense.state_dict())
    with torch.no_grad():
        pruned.weight[:, 1] = 0
    return {"dense": dense, "pruned": pruned}


def value(found: Results, model: str, metric: str) -> pd.Series:
    table = found.groups
    own = table[(table["model"] == model) & (table["metric"] == metric)]
    return own.set_index("group")["value"]


def test_stored_probabilities_give_the_numbers_of_the_networks(
    networks: dict[str, nn.Module], two_groups: GroupedData
) -> None:
    live = audit.compare(networks, two_groups, SETTINGS)
    tables = {
        "dense": stored(networks["dense"], two_groups, "probabilities"),
        "pruned": stored(networks["pruned"], two_groups, "score").sample(frac=1, random_state=0),
    }
    found = audit.compare_predictions(tables, "size", SETTINGS)
    outputs = ("accuracy", "loss", "excess_risk", "excess_accuracy_gap", "boundary_closeness",
               "expected_calibration_error", "true_positive_rate")  # fmt: skip
    for metric in outputs:
        for model in networks:
            one, other = value(found, model, metric), value(live, model, metric)
            assert len(one) == 2
            np.testing.assert_allclose(one.to_numpy(float), other.to_numpy(float), rtol=1e-4, atol=1e-6, err_msg=metric)  # fmt: skip
    for table in ("boundary", "faithfulness"):
        given, made = (pd.DataFrame(r.record["tables"][table]) for r in (found, live))
        numbers = given.select_dtypes("number").columns
        np.testing.assert_allclose(given[numbers], made[numbers], rtol=1e-3, atol=1e-5)
    assert {f["claim"] for f in found.record["findings"]} >= {"pays", "faithful"}


def test_what_only_a_network_tells_is_a_row_that_says_why(
    networks: dict[str, nn.Module], two_groups: GroupedData
) -> None:
    tables = {name: stored(one, two_groups, "score") for name, one in networks.items()}
    found = audit.compare_predictions(tables, "size", SETTINGS)
    for metric in ("gradient_norm", "hessian_max_eigenvalue", "input_distance"):
        rows = found.groups[found.groups["metric"] == metric]
        assert len(rows) == 4
        assert rows["value"].isna().all()
        assert rows["note"].str.contains("only its predictions were given").all()
    for entry in found.record["models"]:
        assert entry["sparsity"] is None
        assert entry["parameters"] is None
        assert entry["architecture"] == "stored predictions"
        assert not entry["one_shot"]
        assert "its sparsity is not known" in " ".join(entry["notes"])


@pytest.mark.parametrize("kinds", [("decisions", "decisions"), ("score", "decisions"), ("decisions", "score")])  # fmt: skip
def test_of_decisions_alone_no_probability_is_made_up(
    kinds: tuple[str, str], networks: dict[str, nn.Module], two_groups: GroupedData, tmp_path: Path
) -> None:
    live = audit.compare(networks, two_groups, SETTINGS)
    tables = {
        name: stored(one, two_groups, kind)
        for (name, one), kind in zip(networks.items(), kinds, strict=True)
    }
    found = audit.compare_predictions(tables, "size", SETTINGS)
    for metric in ("accuracy", "excess_accuracy_gap", "true_positive_rate", "broken"):
        one, other = value(found, "pruned", metric), value(live, "pruned", metric)
        np.testing.assert_allclose(one.to_numpy(float), other.to_numpy(float))
    rows = found.groups[
        (found.groups["model"] == "pruned") & (found.groups["metric"] == "excess_risk")
    ]
    assert rows["value"].isna().all()
    assert rows["note"].str.contains("probabilities are not known").all()
    metrics = {(row["model"], row["metric"]) for row in found.record["overall"]}
    assert ("pruned", "max_excess_accuracy_gap") in metrics
    assert ("pruned", "fairness_violation") not in metrics
    for name, kind in zip(networks, kinds, strict=True):
        known = value(found, name, "loss").notna().all()
        assert known == (kind == "score")
        assert value(found, name, "expected_calibration_error").notna().all() == known
    pays = [f for f in found.record["findings"] if f["claim"] == "pays"]
    same = [f for f in live.record["findings"] if f["claim"] == "pays"]
    assert [(f["group"], f["decision"]) for f in pays] == [
        (f["group"], f["decision"]) for f in same
    ]
    agreement = [
        [row["agreement"] for row in r.record["tables"]["faithfulness"]] for r in (found, live)
    ]
    assert agreement[0] == agreement[1]
    # Who is near the boundary is told where the dense network says how sure it was.
    assert bool(found.record["tables"]["boundary"]) == (kinds[0] == "score")
    found.save(tmp_path)
    audit.write_report(found, tmp_path)
    write_card(found, tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "every network: its sparsity is not known: only its predictions were given" in page
    assert ">nan<" not in page


def test_files_are_named_after_themselves_and_the_first_is_dense(
    networks: dict[str, nn.Module], two_groups: GroupedData, tmp_path: Path
) -> None:
    for name, one in networks.items():
        stored(one, two_groups, "score").to_csv(tmp_path / f"{name}.csv", index=False)
    files = [tmp_path / "dense.csv", tmp_path / "pruned.csv"]
    found = compare_prediction_files(files, "size", SETTINGS)
    assert found.record["tables"]["compared"] == ["dense", "pruned"]
    assert [one["file"] for one in found.record["models"]] == ["dense.csv", "pruned.csv"]
    files.reverse()
    with pytest.raises(AuditError, match="is called dense and is not the first file"):
        compare_prediction_files(files, "size", SETTINGS)
    found = compare_prediction_files(files, "size", SETTINGS, dense=files[1])
    assert found.record["tables"]["compared"] == ["dense", "pruned"]
    assert found.record["models"][0]["method"] == "dense"


def test_the_dense_networks_predictions_under_another_name_are_remarked_on() -> None:
    table = pd.DataFrame(
        {"sample": range(80), "label": [0, 1] * 40, "sex": ["f"] * 40 + ["m"] * 40}
    )
    table["score"] = np.where(table["label"] == 1, 0.8, 0.3)
    moved = table.assign(score=table["score"] + 0.01)
    tables = {"dense": table, "copy": table.sample(frac=1, random_state=0), "int8": moved}
    results = audit.compare_predictions(tables, "sex", settings=SETTINGS)
    notes = {one["name"]: " ".join(one["notes"]) for one in results.record["models"]}
    told = "says of every sample what 'dense' says"
    assert {name: told in text for name, text in notes.items()} == {
        "dense": False,
        "copy": True,
        "int8": False,
    }


def test_the_dense_networks_decisions_differ_from_themselves_nowhere() -> None:
    """By definition and not by chance: of another network that answers alike it is by chance."""
    table = pd.DataFrame(
        {"sample": range(80), "label": [0, 1] * 40, "sex": ["f", "f", "m", "m"] * 20}
    )
    said = {"dense": table.assign(prediction=table.label),
            "alike": table.assign(prediction=table.label)}  # fmt: skip
    groups = audit.compare_predictions(said, "sex").groups
    gaps = groups[groups["metric"] == "excess_accuracy_gap"]
    dense, alike = (gaps[gaps["model"] == name] for name in said)
    assert (dense[["ci_low", "ci_high"]] == 0).all(axis=None)
    assert (alike.ci_low < 0).all()
    assert (alike.ci_high > 0).all()


PERSONS = 300


def of_persons(copies: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Decisions of two networks on persons who stand `copies` times each."""
    generator = np.random.default_rng(seed)
    labels, sex = generator.integers(0, 2, PERSONS), generator.choice(["f", "m"], PERSONS)
    dense = np.where(generator.random(PERSONS) < 0.9, labels, 1 - labels)
    lost = (sex == "f") & (generator.random(PERSONS) < 0.2)
    own = pd.DataFrame({"person": range(PERSONS), "label": labels, "sex": sex})
    tables = {"dense": own.assign(prediction=dense)}
    tables["int8"] = own.assign(prediction=np.where(lost, 1 - labels, dense))
    rows = np.repeat(np.arange(PERSONS), copies)
    return {name: one.iloc[rows].assign(sample=range(len(rows))) for name, one in tables.items()}


@pytest.mark.parametrize("probable", [False, True])
def test_every_interval_of_persons_is_that_of_the_persons(probable: bool) -> None:
    def audited(copies: int, unit: str) -> Results:
        tables = of_persons(copies)
        if probable:
            sure = np.repeat(np.random.default_rng(3).uniform(0.6, 0.99, PERSONS), copies)
            tables = {
                name: one.assign(score=np.where(one["prediction"] == 1, sure, 1 - sure))
                for name, one in tables.items()
            }
        return audit.compare_predictions(tables, "sex", unit=unit)

    alone, declared, undeclared = audited(1, ""), audited(4, "person"), audited(4, "")

    def widths(found: Results) -> pd.Series:
        rows = found.groups.assign(width=found.groups["ci_high"] - found.groups["ci_low"])
        findings = [
            f for f in found.record["findings"] if f["claim"] in ("pays", "changes", "loss")
        ]
        rows = pd.concat([rows, pd.DataFrame(findings).assign(
            model=lambda t: t["claim"], width=lambda t: t["high"] - t["low"])])  # fmt: skip
        wide = rows.set_index(["model", "group", "metric"])["width"].dropna()
        return wide[wide > 0]

    one, same, narrow = (widths(found) for found in (alone, declared, undeclared))
    assert len(one) > 20
    assert (same / one).between(0.75, 1.3).all()
    assert 0.4 < (narrow / one).median() < 0.6
    assert declared.samples["unit"].nunique() == PERSONS


def notes_of(tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    found = audit.compare_predictions(tables, "sex", SETTINGS).record["models"]
    return {one["name"]: " ".join(one["notes"]) for one in found}


def test_rows_out_of_order_are_asked_about() -> None:
    """Within a label and a group nothing but the errors tells: those of other samples."""
    tables = of_persons(2)
    assert "dealt out by lot" not in notes_of(tables)["int8"]
    shuffled = tables["int8"].copy()
    places = shuffled.groupby(["label", "sex"])["sample"].sample(frac=1, random_state=0)
    order = shuffled.sort_values(["label", "sex"], kind="stable")["sample"]
    answers = shuffled.set_index("sample")["prediction"]
    shuffled = shuffled.set_index("sample")
    shuffled.loc[order.to_numpy(), "prediction"] = answers[places.to_numpy()].to_numpy()
    found = notes_of(tables | {"int8": shuffled.reset_index()})
    assert "errs on other samples than 'dense' does" in found["int8"]
    # A network that says one thing of all errs where it must.
    assert (
        "dealt out" not in notes_of(tables | {"int8": tables["int8"].assign(prediction=0)})["int8"]
    )


def test_answers_that_are_the_labels_are_asked_about() -> None:
    tables = of_persons(1)
    labels = {name: one.assign(prediction=one["label"]) for name, one in tables.items()}
    for name, text in notes_of(labels).items():
        assert "right on every one of 300 samples: are these its answers?" in text, name
    assert "right on every one" not in notes_of(tables)["int8"]


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    for name in ("dense", "int8"):
        of_persons(1)["dense"].to_csv(tmp_path / f"{name}.csv", index=False)
    files = [tmp_path / "dense.csv", tmp_path / "int8.csv"]
    with pytest.raises(AuditError, match=r"int8.csv' holds the very bytes of '.*dense.csv'"):
        compare_prediction_files(files, "sex", SETTINGS)
    with pytest.raises(AuditError, match="very bytes"):
        compare_prediction_files([files[1], files[1]], "sex", SETTINGS)
