"""One check for all settings: each fault is one AuditError of one line, wherever it comes from."""

import dataclasses
import datetime
import pickle
import re

import numpy as np
import pytest
import torch

from audit import AuditError, BilevelSettings, MeasureSettings, Method, StudySettings
from audit import TrainingSettings as Training
from audit.data import SplitSettings
from audit.mitigate.stages import StageSettings
from audit.study.settings import parse_options, settings_from

NAN, DAY = float("nan"), datetime.date(2026, 1, 1)


@pytest.mark.parametrize(
    ("kind", "name", "value", "expected"),
    [
        (Training, "epochs", -1, "a whole number of 0 or more"),
        (Training, "batch_size", 0, "a whole number of 1 or more"),
        (Training, "batch_size", 10**30, "a whole number from 1 to 1,000,000,000"),
        (Training, "learning_rate", NAN, "a finite number of 0 or more"),
        (Training, "momentum", 1, "a number from 0 to below 1"),
        (Training, "seed", -1, "a whole number of 0 or more"),
        (Training, "seed", 2**32, "a whole number from 0 to below 4,294,967,296"),
        (Training, "epochs", DAY, "a whole number of 0 or more"),
        (Training, "temperature", 0, "a number above 0"),
        (Training, "distillation", 1.1, "a number from 0 to 1"),
        (MeasureSettings, "resamples", 0, "a whole number of 1 or more"),
        (MeasureSettings, "theory", 1, "true or false"),
        (MeasureSettings, "without", "taylor", "a list, each text"),
        (SplitSettings, "test", 1.1, "a number from 0 to 1"),
        (SplitSettings, "select", NAN, "a finite number from 0 to below 1"),
        (SplitSettings, "least_select", -1, "a whole number of 0 or more"),
        (BilevelSettings, "mask_share", "late", "a number from 0 to 1"),
        (BilevelSettings, "mask_share", 1.5, "a number from 0 to 1"),
        (BilevelSettings, "multiplier_share", -0.1, "a number from 0 to 1"),
        (BilevelSettings, "weight_steps", 1.5, "a whole number of 1 or more"),
        (BilevelSettings, "weight_steps", True, "a whole number of 1 or more"),
        (BilevelSettings, "fair_mask", 1, "true or false"),
        (BilevelSettings, "ridge", 0.0, "a number above 0"),
        (BilevelSettings, "multiplier_step", float("inf"), "a finite number of 0 or more"),
        (BilevelSettings, "training", {}, "TrainingSettings"),
        (StageSettings, "reading_interval", 0, "a whole number of 1 or more"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_what_can(kind, name, value, expected):
    with pytest.raises(AuditError) as told:
        kind(**{name: value})
    assert str(told.value) == f"found {name} = {value!r}; expected {expected}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Training(epoch=3), "found 'epoch'; .* did you mean 'epochs'"),  # type: ignore[call-arg]
        (lambda: MeasureSettings(curvature="lanzos"), "curvature 'lanzos'.*mean 'lanczos'"),
        (lambda: MeasureSettings(without=("tailor",)), "without 'tailor'.*mean 'taylor'"),
        (lambda: BilevelSettings(multiplier_split="test"), "expected one of select, train"),
        (lambda: BilevelSettings(structure="3:2"), "found structure '3:2'"),
        (lambda: Training(device="gpu"), "found device 'gpu'; expected cpu, cuda"),
        (lambda: Method("magnitud"), "did you mean 'magnitude'"),
        (lambda: Method("magnitude", title="x" * 300), "at most 100 bytes"),
        (lambda: Method("magnitude", rates=(0.5, 0.5)), "found a rate twice: '0.5'"),
        (lambda: Method("magnitude", options={"distilation": 1}), "did you mean 'distillation'"),
        (lambda: Method("bilevel", "worst-groop"), "did you mean 'worst-group'"),
        (lambda: Method("bilevel", options={"mask": 1}), "found 'mask' in the options of bilevel"),
        (lambda: Method("bilevel", tolerance=-1), "a number of 0 or more"),
        (lambda: StudySettings({}, "mlp", (), (0.5,)), "the study has no methods"),
        (lambda: StudySettings({}, "mlp", 5, (0.5,)), "methods = 5; expected a list, each Method"),  # type: ignore[arg-type]
        (lambda: study(rates=(0.9, 0.9)), "found a rate twice: '0.9'"),
        (lambda: study(rates=(0.9, 0.9000000001)), "found a rate twice: '0.9'"),
        (lambda: study(seeds=(1, 1)), "found a seed twice: '1'"),
        (lambda: study(methods=(Method("snip"), Method("snip"))), "found a method twice: 'snip'"),
        (lambda: study(methods=(Method("magnitude-2of4"),)), r"rate 0.9 for the pattern 2:4"),
        (lambda: study(methods=(Method("gradual"),), pruning=Training(epochs=0)), "0 epochs"),
        (lambda: study(training=Training(epochs=0)), "0 epochs; a dense network needs"),
    ],
)
def test_what_does_not_go_together_is_told_before_work(make, message):
    with pytest.raises(AuditError) as told:
        make()
    assert "\n" not in str(told.value)
    assert re.search(message, str(told.value))


def study(**changed) -> StudySettings:
    given = {"data": {}, "model": "mlp", "methods": (Method("magnitude"),), "rates": (0.9,)}
    return StudySettings(**{**given, **changed})


@pytest.mark.parametrize(
    ("table", "value", "message"),
    [
        ("data", 5, "found data = 5; expected a table"),
        ("training", [], r"found \[training\] = \[\]; expected a table"),
        ("training", {"batchsize": 3}, "did you mean 'batch_size'"),
        ("training", {"epochs": DAY}, r"\[training\]: found epochs = datetime.date"),
        ("studdy", {}, "did you mean 'study'"),
        ("study", {"methods": 5, "rates": [0.5]}, "found methods = 5; expected a list"),
        ("study", {"methods": [5], "rates": [0.5]}, "found an entry of methods = 5"),
        ("study", {"methods": [{"method": 5}], "rates": [0.5]}, "found method = 5"),
        ("study", {"methods": [{"constraint": "none"}], "rates": [0.5]}, "has no 'method'"),
        ("study", {"methods": ["magnitude"], "rates": 0.5}, "found rates = 0.5; expected a list"),
        ("study", {"methods": ["magnitude"], "rates": [DAY]}, r"found rates\[0\] = datetime"),
        ("model", {"name": 5}, r"found name = 5 in \[model\]; expected text"),
    ],
)
def test_a_file_is_held_to_the_same_rules(table, value, message):
    content = {
        "data": {"dataset": "digits"},
        "model": {"name": "mlp"},
        "study": {"methods": ["magnitude"], "rates": [0.5]},
    }
    settings_from(content)
    with pytest.raises(AuditError, match=message):
        settings_from({**content, table: value})


def test_plain_numbers_of_numpy_and_torch_are_numbers():
    settings = Training(np.int64(3), batch_size=torch.tensor(8), learning_rate=np.float32(0.5))  # type: ignore[arg-type]
    assert settings == Training(3, 8, 0.5)
    assert type(settings.epochs) is int
    assert study(rates=np.array([0.5, 0.25])).rates == (0.5, 0.25)
    assert study(seeds=[np.int32(4)]).seeds == (4,)
    with pytest.raises(AuditError, match="found theory"):
        MeasureSettings(theory=np.int64(1))  # type: ignore[arg-type]
    assert MeasureSettings(theory=np.bool_(True)).theory is True  # type: ignore[arg-type]


def test_both_spellings_of_english_are_one_name():
    method = Method("Lagrangian_Dual", "equalized_odds=0.05+Worst-Group")
    assert method == Method("lagrangian-dual", "equalised-odds=0.05+worst-group")


def test_settings_are_plain_frozen_dataclasses():
    settings = Training(epochs=3)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert dataclasses.replace(settings, epochs=4) == Training(4)
    assert dataclasses.asdict(settings)["epochs"] == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.epochs = 4  # type: ignore[misc]
    with pytest.raises(TypeError, match="once"):
        Training(3, epochs=4)  # type: ignore[misc]


def test_options_of_the_command_line_have_the_values_of_toml():
    assert parse_options(["mask_share=.5"]) == {"mask_share": 0.5}
    texts = ["mask_share=0.6", "weight_steps=2", "fair_mask=false", "multiplier_split=train"]
    assert parse_options(texts) == {
        "mask_share": 0.6,
        "weight_steps": 2,
        "fair_mask": False,
        "multiplier_split": "train",
    }
    with pytest.raises(AuditError, match="found option 'mask_share'; expected NAME=VALUE"):
        parse_options(["mask_share"])
    for hostile in ("[" * 5000, "9" * 5000, "2026-01-01", "{a = 1}", "\x00"):
        with pytest.raises(AuditError):
            Method("bilevel", options=parse_options([f"mask_share={hostile}"]))


def test_a_value_that_holds_itself_is_refused_in_one_line() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(AuditError, match="found a value for MeasureSettings that holds itself"):
        MeasureSettings(without=endless)
