"""What a study is: data × model × methods × rates × seeds, read from a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.mitigate.constraints import make_constraints
from audit.mitigate.methods import MITIGATION_METHODS
from audit.models.training import TERMS, TrainingSettings
from audit.prune.mask import check_rate
from audit.prune.methods import PRUNING_METHODS

METHODS = (*PRUNING_METHODS, *MITIGATION_METHODS)
TITLE = re.compile(r"[\w ,.+-]*")
"""What may stand in the name of a file everywhere."""
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Method:
    """A way to prune: its name, and the fairness constraints where it can hold some.

    constraint  a name, or several, such as 'excess-accuracy=0.01+equalised-odds=0.05'
    tolerance   of the constraints that name none
    options     terms of training that differ from the study's (TERMS), and further settings of a
                mitigation method (BilevelSettings, StageSettings)
    title       what the results call the method, where its name does not tell two entries apart
    rates       at which it prunes; those of the study where there are none
    """

    name: str
    constraint: str = "none"
    tolerance: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise AuditError(f"found method '{self.name}'; expected one of {', '.join(METHODS)}")
        make_constraints(self.constraint, self.tolerance)
        if self.name in MITIGATION_METHODS:
            chosen = MITIGATION_METHODS[self.name]
            _check_keys(self.options, chosen.options, f"{self.name} option")
            chosen.configured(TrainingSettings(), self.options)
        elif self.constraint != "none":
            raise AuditError(
                f"method '{self.name}' takes no constraint; {', '.join(MITIGATION_METHODS)} do"
            )
        else:
            _check_keys(self.options, TERMS, f"{self.name} option")
            replace(TrainingSettings(), **self.options)
        if not TITLE.fullmatch(self.title):
            raise AuditError(
                f"found title {self.title!r}; expected letters, digits, spaces and any of , . + - _"
            )
        for rate in self.rates:
            check_rate(rate)

    @property
    def shown(self) -> str:
        """What the results call the method; a title that names another one stands beside its own.

        >>> Method("magnitude", title="dense").shown
        'dense (magnitude)'
        """
        if self.title in ("dense", *METHODS) and self.title != self.name:
            return f"{self.title} ({self.name})"
        return self.title or self.name

    @property
    def label(self) -> str:
        """The name that tells this method from the others of a study."""
        title = self.shown
        return title if self.constraint == "none" else f"{title}-{self.constraint}"


@dataclass(frozen=True)
class StudySettings:
    """A grid of cells; `training` is for the dense networks, `pruning` for all that follows."""

    data: Mapping[str, Any]
    model: str
    methods: tuple[Method, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...] = (0,)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    pruning: TrainingSettings = field(default_factory=lambda: TrainingSettings(epochs=20))
    measure: MeasureSettings = field(default_factory=MeasureSettings)

    def __post_init__(self) -> None:
        for rate in self.rates:
            check_rate(rate)
        labels = [method.label for method in self.methods]
        if len(set(labels)) != len(labels):
            raise AuditError(
                f"found a method twice: {', '.join(labels)}; each may stand once, or with a title"
            )
        for name in ("methods", "rates", "seeds"):
            if not getattr(self, name):
                raise AuditError(f"the study has no {name}; give at least one")


def load_settings(path: Path | str) -> StudySettings:
    """Read a study from a TOML file; AuditError names what is unknown, missing or wrong."""
    path = Path(path)
    if not path.is_file():
        raise AuditError(f"there is no file '{path}'; 'audit init' writes an example")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AuditError(f"'{path}' is not TOML: {error}") from error
    try:
        return settings_from(content)
    except AuditError as error:
        raise AuditError(f"'{path}': {error}") from error


def on_device(settings: StudySettings, device: str) -> StudySettings:
    """The same study, its networks trained on that device."""
    return replace(
        settings,
        training=replace(settings.training, device=device),
        pruning=replace(settings.pruning, device=device),
    )


def settings_from(content: Mapping[str, Any]) -> StudySettings:
    """A study from the tables of its TOML file: data, model, study, training, pruning, measure."""
    tables = ("data", "model", "study", "training", "pruning", "measure")
    _check_keys(content, tables, "table")
    for name in ("data", "model", "study"):
        if name not in content:
            raise AuditError(f"the table [{name}] is missing; 'audit init' writes an example")
    model = dict(content["model"])
    study = content["study"]
    _check_keys(study, ("methods", "rates", "seeds"), "key of [study]")
    return StudySettings(
        data=dict(content["data"]),
        model=_take(model, "name", "[model]"),
        arguments=model,
        methods=tuple(_method(entry) for entry in study.get("methods", ())),
        rates=_numbers(study.get("rates", ()), "rates", float),
        seeds=_numbers(study.get("seeds", (0,)), "seeds", int),
        training=_table(TrainingSettings, content.get("training", {}), "training"),
        pruning=_table(TrainingSettings, {"epochs": 20} | content.get("pruning", {}), "pruning"),
        measure=_table(MeasureSettings, content.get("measure", {}), "measure"),
    )


def _method(entry: Any) -> Method:
    if isinstance(entry, str):
        return Method(entry)
    options = dict(entry)
    return Method(
        _take(options, "method", "an entry of methods"),
        options.pop("constraint", "none"),
        float(options.pop("tolerance", 0.0)),
        title=str(options.pop("title", "")),
        rates=_numbers(options.pop("rates", ()), "rates", float),
        options=options,
    )


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Settings of a method from texts such as 'mask_share=0.6', with values as TOML has them.

    What is no value of TOML is text. Raises AuditError where a text has no '='.

    >>> parse_options(["mask_share=0.6", "fair_mask=false", "multiplier_split=train"])
    {'mask_share': 0.6, 'fair_mask': False, 'multiplier_split': 'train'}
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise AuditError(f"found option '{text}'; expected NAME=VALUE, such as mask_share=0.6")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = _number_or_text(value.strip())
    return found


def _number_or_text(value: str) -> float | str:
    """A number that TOML does not take for one, such as .5; or the text itself."""
    try:
        return float(value)
    except ValueError:
        return value


def _take(table: dict[str, Any], key: str, where: str) -> str:
    if key not in table:
        raise AuditError(f"{where} has no '{key}'")
    return str(table.pop(key))


def _numbers(values: Any, name: str, kind: type) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    ):
        raise AuditError(f"found {name} = {values!r}; expected a list of numbers")
    return tuple(kind(value) for value in values)


def _table(kind: type[Settings], table: Mapping[str, Any], name: str) -> Settings:
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    _check_keys(table, tuple(known), f"key of [{name}]")
    # TOML has lists where settings hold tuples.
    table = {key: tuple(one) if isinstance(one, list) else one for key, one in table.items()}
    for key, value in table.items():
        expected = type(known[key].default)
        if not isinstance(value, expected) and not (expected is float and isinstance(value, int)):
            raise AuditError(f"[{name}] {key} = {value!r}: expected a {expected.__name__}")
    return kind(**table)


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    for key in table:
        if key not in known:
            raise AuditError(f"found {what} '{key}'; expected one of {', '.join(known)}")
