"""Settings mutated at random, through TOML, Python and --option: only AuditError comes out.

AUDIT_FUZZ=100000 makes more of them (`make fuzz`).
"""

import copy
import datetime
import os
import random
import tomllib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from audit import AuditError, BilevelSettings, MeasureSettings, Method, StudySettings
from audit import TrainingSettings as Training
from audit.checked import names_of
from audit.data import SplitSettings
from audit.mitigate.stages import StageSettings
from audit.study.settings import METHODS, parse_options, settings_from

MUTATIONS = int(os.environ.get("AUDIT_FUZZ", "2000"))
EXAMPLE = tomllib.loads(files("audit.study").joinpath("example.toml").read_text("utf-8"))
VALUES: list[Any] = [
    0, 1, -1, 2, 30, 2**31, 2**63, 2**64, 10**40, 10**400, True, False, 0.0, -0.0, 0.5, 0.9, 1.0, 1.5,
    -0.5, 1e-300, 1e300, float("nan"), float("inf"), float("-inf"), "", " ", "none", "train", "select",
    "weight", "2:4", "0:0", "9" * 5000 + ":1", "magnitude", "bilevel", "gradual", "excess-accuracy=0.1",
    "excess-accuracy=", "=", "+", "++", "a:b", ":", "..:x", "os:path", "nan", "x" * 300, "é" * 120, "a/b",
    "../x", "\x00", "\n", "{}", "%s", "😀", "cpu", "cuda:99", "meta", [], [[]], [0.5], [0.5, 0.5], [1],
    ["magnitude"], [None], {}, {"a": 1}, {"method": "magnitude"}, {"name": "x"}, {"seed": 1}, None,
    datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1), datetime.time(1), b"bytes", {1, 2}, (0.5,),
    np.float32(0.5), np.int64(3), np.array([0.5]), np.array([[1.0]]), np.array(3), object(), int, 1j,
]  # fmt: skip
KINDS: list[type] = [
    Training, SplitSettings, MeasureSettings, BilevelSettings, StageSettings, Method, StudySettings,
]  # fmt: skip


def a_value(chance: random.Random) -> Any:
    """One of the values, and not the list itself: a mutation may put a table into another."""
    return copy.deepcopy(chance.choice(VALUES))


def tables(content: Any) -> list[Any]:
    """Every table and list inside a configuration, itself included."""
    inside = content.values() if isinstance(content, dict) else content
    return [content, *(t for one in inside if isinstance(one, dict | list) for t in tables(one))]


def mutated_file(chance: random.Random) -> Mapping[str, Any]:
    """The example, with a few places of it replaced, removed or renamed."""
    content = copy.deepcopy(EXAMPLE)
    for _ in range(chance.randint(1, 3)):
        table = chance.choice(tables(content))
        if isinstance(table, list):
            table.insert(chance.randint(0, len(table)), a_value(chance))
            continue
        key = chance.choice([*table, "unknown"])
        value = table.pop(key, None)
        change = chance.choice(["replace", "replace", "replace", "remove", "rename"])
        if change != "remove":
            new = chance.choice(["epoch", key[:-1], key.upper()]) if change == "rename" else key
            table[new] = value if change == "rename" else a_value(chance)
    return content


def by_file(chance: random.Random) -> object:
    return settings_from(mutated_file(chance))


def by_python(chance: random.Random) -> object:
    kind = chance.choice(KINDS)
    names = chance.sample(names_of(kind), chance.randint(1, 3))
    given = {name: a_value(chance) for name in names}
    if kind is Method:
        given = {"name": chance.choice(METHODS), **given}
    if kind is StudySettings:
        whole = {"data": {}, "model": "mlp", "methods": (Method("magnitude"),), "rates": (0.5,)}
        given = {**whole, **given}
    return kind(**given)


def by_option(chance: random.Random) -> object:
    kind = chance.choice([BilevelSettings, StageSettings])
    name = chance.choice([*names_of(kind), "distillation", "unknown", "", "a b"])
    value = a_value(chance)
    text = (
        (repr(value) if chance.random() < 0.5 else str(value))
        if not isinstance(value, int) or abs(value) < 2**70
        else "1"
    )
    options = parse_options([f"{name}{chance.choice(['=', '=', '=', '', '=='])}{text}"])
    return Method(chance.choice(METHODS), options=options)


@pytest.mark.parametrize("make", [by_file, by_python, by_option])
def test_no_setting_ends_in_a_traceback(make: Callable[[random.Random], object]) -> None:
    chance = random.Random(0)
    told = []
    for number in range(MUTATIONS):
        state = chance.getstate()
        try:
            make(chance)
        except AuditError as error:
            told.append(str(error))
        except Exception as error:
            chance.setstate(state)
            pytest.fail(f"mutation {number} of {make.__name__} raised {error!r}")
    # Both ends happen: a check that refuses all, or nothing, would pass otherwise.
    assert 0.2 * MUTATIONS < len(told) < 0.999 * MUTATIONS
    assert max(map(len, told)) < 1000, max(told, key=len)[:300]
    assert not [line for line in told if "\n" in line]
