"""Settings of the mitigation methods that cannot be are refused where they are made."""

import pytest

from audit.errors import AuditError
from audit.mitigate.bilevel import BilevelSettings
from audit.mitigate.stages import StageSettings
from audit.study.settings import Method, parse_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_share": "late"}, "found mask_share = 'late'; expected a number$"),
        ({"mask_share": 1.5}, r"found mask_share = 1\.5; expected a number from 0 to 1"),
        ({"multiplier_share": -0.1}, "expected a number from 0 to 1"),
        ({"weight_steps": 0}, "found weight_steps = 0; expected a number of 1 or more"),
        ({"weight_steps": 1.5}, "expected a whole number"),
        ({"weight_steps": True}, "expected a whole number"),
        ({"fair_mask": 1}, "found fair_mask = 1; expected true or false"),
        ({"mask_step": float("nan")}, "found mask_step = nan"),
        ({"ridge": 0.0}, "found ridge = 0"),
        ({"multiplier_split": "test"}, "found multiplier_split = 'test'; expected select or train"),
        ({"multiplier_step": float("inf")}, "found multiplier_step = inf"),
    ],
)
def test_options_out_of_range_or_of_another_type(options, message):
    with pytest.raises(AuditError, match=message):
        BilevelSettings(**options)
    with pytest.raises(AuditError, match=message):
        Method("bilevel", "excess-accuracy", options=options)


def test_options_that_can_be():
    assert BilevelSettings(mask_share=1, multiplier_step=None).mask_share == 1
    assert StageSettings(multiplier_gain=2).multiplier_gain == 2
    with pytest.raises(AuditError, match="found reading_interval = 0"):
        StageSettings(reading_interval=0)


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
