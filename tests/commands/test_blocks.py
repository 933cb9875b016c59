"""Blocks of options: a command that asks for one has every option of it, and gets it whole."""

from dataclasses import dataclass, fields
from typing import Annotated

import typer
from typer.testing import CliRunner

from audit.cli import app
from audit.commands.blocks import Forms, Measuring, Thresholds, with_blocks
from audit.commands.options import Curvature
from audit.commands.own_metric import OwnMetric
from audit.examine.settings import MeasureSettings


@dataclass(frozen=True)
class Paint:
    colour: Annotated[str, typer.Option(help="Which.")] = "red"
    coats: Annotated[int, typer.Option("--coats", "-n", min=1)] = 1


def painted(*words: str) -> tuple[int, list[object]]:
    got: list[object] = []
    one = typer.Typer()

    @one.command()
    @with_blocks
    def paint(door: str, *, paint: Paint, dry: bool = False) -> None:
        """Paint a door."""
        got.extend([door, paint, dry])

    return CliRunner().invoke(one, list(words)).exit_code, got


def test_a_block_comes_whole_with_what_was_given_and_its_defaults():
    assert painted("front") == (0, ["front", Paint(), False])
    assert painted("back", "--colour", "blue", "-n", "3", "--dry") == (
        0,
        ["back", Paint("blue", 3), True],
    )


def test_what_is_no_option_or_out_of_range_is_refused():
    assert painted("front", "--coats", "0") == (2, [])
    assert painted("front", "--paint", "x") == (2, [])
    assert painted() == (2, [])


def test_the_commands_that_measure_have_every_option_of_every_block():
    commands = typer.main.get_group(app).commands
    wanted = {field.name for kind in (Measuring, OwnMetric, Thresholds, Forms)
              for field in fields(kind)}  # fmt: skip
    for name in ("measure", "compare"):
        assert {one.name for one in commands[name].params} >= wanted


def test_options_are_settings_of_the_same_names():
    assert Measuring().settings(scores=False) == MeasureSettings()
    asked = Measuring(Curvature.none, top_eigenvalues=3, discover='age,"a,b"', without=["taylor"])
    assert asked.settings(scores=True) == MeasureSettings(
        curvature="none",
        top_eigenvalues=3,
        discover=("age", "a,b"),
        scores=True,
        without=("taylor",),
    )
