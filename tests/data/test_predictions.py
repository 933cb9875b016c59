"""Stored predictions are matched by their ids, and refused in one line where they are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit.data.predictions import from_predictions
from audit.errors import AuditError


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample": ["a", "b", "c", "d"],
            "label": ["no", "yes", "no", "yes"],
            "sex": ["f", "m", "m", "f"],
            "race": ["x", "x", "y", "y"],
        }
    )


PROBABLE = {"probability:no": [0.9, 0.2, 0.6, 0.5], "probability:yes": [0.1, 0.8, 0.4, 0.5]}


def test_rows_are_matched_by_their_ids_and_never_by_their_order() -> None:
    dense = table().assign(**PROBABLE)
    other = table().assign(prediction=["no", "no", "yes", "yes"]).iloc[[3, 1, 0, 2]]
    data, said = from_predictions({"dense": dense, "int8": other}, "sex,race")
    assert data.samples.tolist() == ["a", "b", "c", "d"]
    assert data.attribute == "sex × race"
    assert data.group_names == ("f × x", "f × y", "m × x", "m × y")
    assert said["int8"].decisions.tolist() == [0, 0, 1, 1]
    assert said["int8"].probabilities is None
    assert said["dense"].decisions.tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(said["dense"].probabilities, np.array(list(PROBABLE.values())).T)
    assert data.sizes()["test"].sum() == 4


def test_the_same_in_files_of_two_kinds(tmp_path: Path) -> None:
    """In CSV all is text, and codes stay what they are: 01 is not 1."""
    dense = table().assign(
        sample=["01", "1", "2", "3"], label=[0, 1, 0, 1], score=PROBABLE["probability:yes"]
    )
    dense.to_parquet(tmp_path / "dense.parquet")
    dense.iloc[::-1].assign(label=[1.0, 0.0, 1.0, 0.0]).to_csv(
        tmp_path / "int8.csv", sep=";", decimal=",", index=False
    )
    data, said = from_predictions(
        {"dense": tmp_path / "dense.parquet", "int8": tmp_path / "int8.csv"}, ["sex"]
    )
    assert data.samples.tolist() == ["01", "1", "2", "3"]
    assert data.classes == ("0", "1")
    np.testing.assert_allclose(said["int8"].probabilities, said["dense"].probabilities)


def test_a_prediction_beside_probabilities_is_the_decision() -> None:
    decided = table().assign(**PROBABLE, prediction=["no", "yes", "yes", "yes"])
    _, said = from_predictions({"tuned": decided}, "sex")
    assert said["tuned"].decisions.tolist() == [0, 1, 1, 1]
    assert "for 2 of 4 samples its prediction is not the class" in said["tuned"].notes[0]


def test_classes_are_declared_where_more_are_predicted_than_occur() -> None:
    strange = table().assign(prediction=["no", "yes", "perhaps", "yes"])
    with pytest.raises(
        AuditError, match="the prediction 'perhaps', which is none of the classes no, yes"
    ):
        from_predictions({"dense": strange}, "sex")
    data, said = from_predictions({"dense": strange}, "sex", classes=["yes", "perhaps", "no"])
    assert data.classes == ("yes", "perhaps", "no")
    assert said["dense"].decisions.tolist() == [2, 0, 1, 0]


Change = Callable[[pd.DataFrame], pd.DataFrame]
REFUSED: list[tuple[Change, str]] = [
    (lambda t: t.drop(columns="sample"), "'int8' has no column 'sample'; expected sample, label, sex"),
    (lambda t: t.drop(columns="sex"), "'int8' has no column 'sex'"),
    (lambda t: t.iloc[:0], "'int8' has no rows"),
    (lambda t: t.iloc[[0, 1, 2, 3, 3]], "the sample 'd' in more than one row"),
    (lambda t: t.iloc[:3], r"it lacks 1 samples \(for instance 'd'\)"),
    (lambda t: pd.concat([t, t.iloc[:1].assign(sample="e")]), r"has, and 'dense' has not, 1 samples \(for instance 'e'\)"),
    (lambda t: t.assign(sample=["a", "b", "c", "e"]), "lacks 1 samples .* and has, and 'dense' has not, 1 samples"),
    (lambda t: t.assign(sample=["a", "b", "c", " "]), "has no sample in 1 rows"),
    (lambda t: t.assign(label=["no", "yes", "no", "no"]), "disagree about the label of 1 samples: of 'd' it is 'no' in one and 'yes' in the other"),
    (lambda t: t.assign(label=["no", "yes", "no", ""]), "has no label in 1 rows"),
    (lambda t: t.assign(sex=["m", "m", "m", "f"]), "disagree about the sex of 1 samples"),
    (lambda t: t.drop(columns=list(PROBABLE)), "says nothing of what was predicted"),
    (lambda t: t.drop(columns="probability:no"), "has probabilities of yes; expected one column for each of no, yes"),
    (lambda t: t.rename(columns={"probability:no": "probability:maybe"}), "has probabilities of maybe, yes; expected"),
    (lambda t: t.assign(score=0.5), "has a score and probabilities too"),
    (lambda t: t.assign(**{"probability:no": [2.3, 0, 0, 0]}), r"has 2.3 in 'probability:no' for the sample 'a'; .* \(if they are logits"),
    (lambda t: t.assign(**{"probability:no": [0.9, 0.9, 0.6, 0.5]}), r"sum to 1.7 for the sample 'b'; expected 1 \(if they are logits"),
    (lambda t: t.assign(**{"probability:no": [np.nan, 0.9, 0.6, 0.5]}), r"no number in 'probability:no' for 1 samples \(for instance 'a'\)"),
    (lambda t: t.assign(**{"probability:no": ["x", "0.2", "0.6", "0.5"]}), "has text in 'probability:no'"),
    (lambda t: t.assign(prediction=["no", "", "no", "no"]), "has no prediction in 1 rows"),
    (lambda t: pd.concat([t, t[["sex"]]], axis=1), "has two columns named 'sex'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_what_is_no_table_of_predictions_is_refused(change: Change, said: str) -> None:
    dense = table().assign(**PROBABLE)
    with pytest.raises(AuditError, match=said) as caught:
        from_predictions({"dense": dense, "int8": change(dense)}, "sex")
    assert "\n" not in str(caught.value)


def test_a_score_speaks_of_two_classes() -> None:
    three = table().assign(label=["a", "b", "c", "a"], score=0.5)
    with pytest.raises(
        AuditError, match="has a score, which speaks of two classes, and there are 3"
    ):
        from_predictions({"dense": three}, "sex")


def many(score: np.ndarray) -> pd.DataFrame:
    labels = np.arange(40) % 2
    table = pd.DataFrame({"sample": np.arange(40), "label": labels, "sex": list("fm") * 20})
    return table.assign(score=score)


SURE = np.where(np.arange(40) % 2, 0.9, 0.2) + 0.002 * np.arange(40)


@pytest.mark.parametrize("score", [1 - SURE, np.linspace(0.6, 0.99, 40)])
def test_a_score_of_another_class_than_what_was_predicted_is_refused(score: np.ndarray) -> None:
    tables = {"dense": many(score).assign(prediction=(SURE > 0.5).astype(int))}
    said = "predictions that do not go with its probabilities|nowhere below one half"
    with pytest.raises(AuditError, match=said):
        from_predictions(tables, "sex")


@pytest.mark.parametrize("threshold", [0.25, 0.95, 2.0])
def test_a_prediction_by_any_threshold_goes_with_its_score(threshold: float) -> None:
    tables = {"dense": many(SURE).assign(prediction=(threshold < SURE).astype(int))}
    _, said = from_predictions(tables, "sex")
    assert said["dense"].decisions.tolist() == (threshold < SURE).astype(int).tolist()


def test_samples_that_networks_were_trained_on_are_left_out() -> None:
    dense = many(SURE).assign(split=["Train "] * 30 + ["val"] * 4 + ["test"] * 6)
    data, said = from_predictions({"dense": dense, "int8": dense.iloc[::-1]}, "sex")
    assert data.samples.tolist() == [str(one) for one in range(34, 40)]
    assert len(said["int8"].decisions) == 6
    assert data.notes[0].startswith("34 of 40 samples were left out, as the column split says")
    held_out, _ = from_predictions({"dense": dense.assign(split="val")}, "sex")
    assert len(held_out) == 40
    with pytest.raises(AuditError, match="'dense' has training samples alone"):
        from_predictions({"dense": dense.assign(split="train")}, "sex")
    with pytest.raises(AuditError, match="found a list as the predictions of 'dense'"):
        from_predictions({"dense": [0, 1]}, "sex")  # type: ignore[dict-item]


def test_groups_that_nobody_named_are_sought_in_further_columns() -> None:
    data, _ = from_predictions({"dense": many(SURE).assign(age=range(40), split="test")}, "sex")
    assert data.columns_of(["age"])["age"].tolist() == list(range(40))
    with pytest.raises(AuditError, match=r"found discover 'score'.*: sex, age"):
        data.columns_of(["score"])


def test_how_sure_a_network_was_of_what_it_said_is_no_score() -> None:
    """Where it is surer of one class than of the other, its predictions seem to go with it."""
    labels = np.arange(40) % 2
    sure = np.where(labels == 1, 0.8, 0.6) + np.linspace(-0.09, 0.19, 40)
    with pytest.raises(AuditError, match="nowhere below one half, and predicts both classes"):
        from_predictions({"dense": many(sure).assign(prediction=labels)}, "sex")
    _, said = from_predictions({"dense": many(sure)}, "sex")
    assert said["dense"].notes[0].startswith("its score is nowhere below one half, so that '1' is")
    by_threshold = many(sure).assign(prediction=(sure > 0.7).astype(int))
    _, said = from_predictions({"dense": by_threshold}, "sex")
    assert "was predicted counts as its decision" in said["dense"].notes[0]
