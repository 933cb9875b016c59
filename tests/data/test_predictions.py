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


def test_persons_with_several_samples_are_units() -> None:
    dense = many(SURE).assign(person=np.arange(40) // 4)
    data, _ = from_predictions({"dense": dense, "int8": dense.iloc[::-1]}, "sex", unit="person")
    assert data.units is not None
    assert data.units.tolist() == (np.arange(40) // 4).tolist()
    assert not [note for note in data.notes if "not independent" in note]
    # Of whom nobody knows is one person by itself.
    some, _ = from_predictions({"dense": dense.assign(person=[None] * 8 + ["a"] * 32)}, "sex", unit="person")  # fmt: skip
    assert some.units is not None
    assert len(some.units.unique()) == 9
    other = dense.assign(person=[9] + [0] * 39)
    with pytest.raises(AuditError, match="disagree about the person of"):
        from_predictions({"dense": dense, "int8": other}, "sex", unit="person")
    for nobody in ("sex", "label", "score"):
        with pytest.raises(AuditError, match=f"found unit '{nobody}', which is no person's"):
            from_predictions({"dense": dense}, "sex", unit=nobody)
    with pytest.raises(AuditError, match="has no column 'patient'"):
        from_predictions({"dense": dense}, "sex", unit="patient")


def test_columns_that_look_like_persons_and_were_not_declared_are_told() -> None:
    dense = many(SURE).assign(Patient_ID=np.arange(40) // 4, weight=1.5)
    data, said = from_predictions({"dense": dense}, "sex")
    assert data.notes[0].startswith("Several samples have the same 'Patient_ID'")
    assert "--unit Patient_ID" in data.notes[0]
    assert said["dense"].notes == ("columns of its table that were not read: Patient_ID, weight",)
    alone, _ = from_predictions({"dense": many(SURE).assign(person=range(40))}, "sex")
    students, _ = from_predictions({"dense": many(SURE).assign(student=[0, 1] * 20)}, "sex")
    for quiet in (alone, students):
        assert "not independent" not in " ".join(quiet.notes)


def test_equal_probabilities_are_told_as_the_first_class() -> None:
    half = many(np.where(np.arange(40) < 10, 0.5, SURE))
    _, said = from_predictions({"dense": half}, "sex")
    assert said["dense"].decisions[:10].tolist() == [0] * 10
    assert said["dense"].notes[0].startswith("for 10 of 40 samples two classes have the same")
    assert "'0', the first, counts as its decision" in said["dense"].notes[0]
    _, said = from_predictions({"dense": half.assign(prediction=1)}, "sex")
    assert "the same largest" not in " ".join(said["dense"].notes)
    three = pd.DataFrame({f"probability:{name}": [0.4, 0.2] for name in "ab"})
    three = three.assign(**{"probability:c": [0.2, 0.6]}, sample=[0, 1], label=["a", "c"], sex="f")
    _, said = from_predictions({"dense": three}, "sex")
    assert "for 1 of 2 samples" in said["dense"].notes[0]
    assert "the first of these counts" in said["dense"].notes[0]


def test_probabilities_of_zero_and_one_are_decisions() -> None:
    """Nobody is infinitely surprised: the loss of a wrong decision is no loss of a network."""
    _, said = from_predictions({"dense": many((SURE > 0.5).astype(float))}, "sex")
    assert said["dense"].probabilities is None
    assert said["dense"].decisions.tolist() == (SURE > 0.5).astype(int).tolist()
    assert said["dense"].notes == (
        "its probabilities are all 0 or 1: they were read as decisions alone",
    )


def test_softmax_taken_of_probabilities_is_remarked_on() -> None:
    one = np.stack([1 - SURE, SURE], 1)
    for given, doubted in ((one, False), (np.exp(one) / np.exp(one).sum(1, keepdims=True), True)):
        _, said = from_predictions({"dense": many(given[:, 1])}, "sex")
        assert ("softmax was taken twice" in " ".join(said["dense"].notes)) is doubted


def test_a_column_of_another_name_that_tells_of_train_samples_is_refused() -> None:
    parts = ["Train"] * 30 + ["Test"] * 10
    with pytest.raises(
        AuditError, match=r"has a column 'Set' that tells of train .*; call it 'split'"
    ):
        from_predictions({"dense": many(SURE).assign(Set=parts)}, "sex")
    # Not where it is the group, says something else too, or a split is told.
    from_predictions({"dense": many(SURE).assign(Set=parts)}, "Set")
    from_predictions({"dense": many(SURE).assign(travels=["train"] * 30 + ["bus"] * 10)}, "sex")
    data, _ = from_predictions({"dense": many(SURE).assign(Set=parts, split=parts)}, "sex")
    assert len(data) == 10


def of_classes(probabilities: np.ndarray) -> pd.DataFrame:
    """Predictions of as many classes as there are columns."""
    number, classes = probabilities.shape
    labels = np.arange(number) % classes
    named = {f"probability:{one}": probabilities[:, one] for one in range(classes)}
    return pd.DataFrame({"sample": range(number), "label": labels, "sex": "f"} | named)


@pytest.mark.parametrize("digits", [2, 3])
def test_probabilities_of_many_classes_may_be_rounded(digits: int) -> None:
    exact = np.random.default_rng(0).dirichlet(np.ones(20), 300)
    rounded = exact.round(digits)
    assert np.abs(rounded.sum(1) - 1).max() > 0.011 if digits == 2 else True
    _, said = from_predictions({"dense": of_classes(rounded)}, "sex")
    assert said["dense"].probabilities is not None
    with pytest.raises(AuditError, match=r"probabilities that sum to 0\.9"):
        from_predictions({"dense": of_classes(exact * 0.98)}, "sex")
    with pytest.raises(AuditError, match="probabilities that sum to"):
        from_predictions({"dense": of_classes((exact * 0.8).round(digits))}, "sex")


def test_sums_of_shares_may_end_beyond_one() -> None:
    """As the mean over the trees of a forest does: 1.0000000000000002."""
    shares = np.tile([[1 + 2.2e-16, -1e-9], [0.3, 0.7]], (20, 1))
    _, said = from_predictions({"dense": of_classes(shares)}, "sex")
    found = said["dense"].probabilities
    assert found is not None
    assert (found.min(), found.max()) == (0.0, 1.0)
    with pytest.raises(AuditError, match=r"has 1\.1 in"):
        from_predictions({"dense": of_classes(np.tile([[1.1, -0.1], [0.3, 0.7]], (20, 1)))}, "sex")


def test_classes_of_whole_numbers_are_named_in_either_form() -> None:
    table = of_classes(np.tile([[0.2, 0.8], [0.3, 0.7]], (20, 1)))
    floats = {"probability:0": "probability:0.0", "probability:1": "probability:1.0"}
    other = table.assign(label=table["label"].astype(float)).rename(columns=floats)
    data, said = from_predictions({"dense": table, "other": other}, "sex")
    assert data.classes == ("0", "1")
    one, two = (said[name].probabilities for name in ("dense", "other"))
    assert one is not None
    assert np.array_equal(one, two)


def test_an_empty_name_is_no_group() -> None:
    with pytest.raises(AuditError, match=r"found group 'sex,'; expected the columns"):
        from_predictions({"dense": of_classes(np.eye(2))}, "sex,")
