"""What a study is: data × model × methods × rates × seeds, read from a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

from audit.checked import (
    NotNegative,
    Rates,
    Seeds,
    checked,
    checked_table,
    names_of,
)
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.imports import is_imported
from audit.mitigate.constraints import constraint_names, make_constraints
from audit.mitigate.methods import MITIGATION_METHODS
from audit.models.training import TERMS, TrainingSettings
from audit.names import known_name, shown
from audit.prune.methods import PRUNING_METHODS, TRAINED, pruning_method
from audit.prune.projection import check_pattern_rate

METHODS = (*PRUNING_METHODS, *MITIGATION_METHODS)
TITLE = re.compile(r"[\w ,.+-]*")
"""What may stand in the name of a file everywhere."""
LONGEST_TITLE = 100
"""In bytes: the name of a file has 255 in all, and the constraints, rate and seed follow."""
Settings = TypeVar("Settings")


def known_method(name: str) -> str:
    """The method that a name means, or the `package.module:function` of a criterion of your own.

    Raises AuditError where it is neither.

    >>> known_method("Lottery_Ticket")
    'lottery-ticket'
    """
    if not is_imported(name):
        return known_name(name, METHODS, "method", "package.module:function")
    pruning_method(name)
    return name


@checked
class Method:
    """A way to prune: its name, and the fairness constraints where it can hold some.

    constraint  a name, or several, such as 'excess-accuracy=0.01+equalised-odds=0.05'
    tolerance   of the constraints that name none
    options     terms of training that differ from the study's (TERMS), and further settings of a
                mitigation method (BilevelSettings, StageSettings)
    title       what the results call the method, where its name does not tell two entries apart
    rates       at which it prunes; those of the study where there are none

    Raises AuditError where a name is unknown, a value is of another type or out of its range, or
    the method cannot have what is asked of it.
    """

    name: Annotated[str, AfterValidator(known_method)]
    constraint: Annotated[str, AfterValidator(constraint_names)] = "none"
    tolerance: NotNegative = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    rates: Rates = ()

    def __post_init__(self) -> None:
        constraints = make_constraints(self.constraint, self.tolerance)
        _check_options(self)
        if self.tolerance > 0 and constraints == make_constraints(self.constraint):
            raise AuditError(
                f"found tolerance {self.tolerance:g}, which nothing in constraint "
                f"{shown(self.constraint)} takes; give it as NAME=TOLERANCE, or leave it out"
            )
        if not TITLE.fullmatch(self.title):
            raise AuditError(
                f"found title {shown(self.title)}; expected letters, digits, spaces and any of "
                ", . + - _"
            )
        for name, most in (("title", LONGEST_TITLE), ("label", 2 * LONGEST_TITLE)):
            text = getattr(self, name)
            if len(text.encode()) > most:
                raise AuditError(
                    f"found {name} {shown(text)}; expected at most {most} bytes, because files are "
                    "named by it"
                )
        _check_once([f"{rate:g}" for rate in self.rates], "rate")

    def check_rates(self, rates: Sequence[float], training: TrainingSettings) -> None:
        """Raise AuditError where the method cannot prune to a rate, or needs to train."""
        patterns = {"magnitude-2of4": "2:4"}
        structure = str(self.options.get("structure", patterns.get(self.name, "weight")))
        for rate in rates:
            check_pattern_rate(structure, rate)
        if self.name in (*MITIGATION_METHODS, *TRAINED):
            training.check_trains(f"method '{self.name}'")

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
        # Files are named by it, and no file everywhere may have a colon in its name.
        title = self.shown.replace(":", "-")
        return title if self.constraint == "none" else f"{title}-{self.constraint}"


@checked
class StudySettings:
    """A grid of cells; `training` is for the dense networks, `pruning` for all that follows.

    dense   the checkpoint of a dense network that all methods prune, where none is to be trained

    Raises AuditError where a value is of another type or out of its range, an entry stands twice,
    or a method cannot have a rate.
    """

    data: Mapping[str, Any]
    model: str
    methods: Annotated[tuple[Method, ...], Field(strict=False)]
    rates: Rates
    seeds: Seeds = (0,)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    pruning: TrainingSettings = field(default_factory=lambda: TrainingSettings(epochs=20))
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    dense: str = ""

    def __post_init__(self) -> None:
        for name in ("methods", "rates", "seeds"):
            if not getattr(self, name):
                raise AuditError(f"the study has no {name}; give at least one")
        # Files are named by them, and some disks hold no two names that differ in case alone.
        _check_once([method.label.casefold() for method in self.methods], "method", " or a title")
        _check_once([f"{rate:g}" for rate in self.rates], "rate")
        _check_once([str(seed) for seed in self.seeds], "seed")
        if self.dense and len(self.seeds) > 1:
            raise AuditError(
                f"found {len(self.seeds)} seeds beside dense; expected one: networks of one dense "
                "network are no runs of their own, and differ by less"
            )
        self.training.check_trains("a dense network")
        for method in self.methods:
            method.check_rates(method.rates or self.rates, self.pruning)


def load_settings(path: Path | str) -> StudySettings:
    """Read a study from a TOML file; AuditError names what is unknown, missing or wrong."""
    path = Path(path)
    if not path.is_file():
        raise AuditError(f"there is no file '{path}'; 'audit init' writes an example")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AuditError(f"cannot read '{path}': {error.strerror or error}") from error
    except (
        ValueError,
        RecursionError,
    ) as error:
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
    content = checked_table(content, "the file", tables)
    for name in ("data", "model", "study"):
        if name not in content:
            raise AuditError(f"the table [{name}] is missing; 'audit init' writes an example")
    data, model = (_any_table(content[name], name) for name in ("data", "model"))
    study = checked_table(content["study"], "study", ("methods", "rates", "seeds", "dense"))
    methods = study.get("methods", [])
    if not isinstance(methods, list):
        raise AuditError(f"found methods = {shown(methods)}; expected a list of names or tables")
    return StudySettings(
        data=data,
        model=_take(model, "name", "[model]"),
        arguments=model,
        methods=tuple(map(_method, methods)),
        rates=study.get("rates", ()),
        seeds=study.get("seeds", (0,)),
        dense=study.get("dense", ""),
        training=_settings(TrainingSettings, content.get("training", {}), "training"),
        pruning=_settings(TrainingSettings, content.get("pruning", {}), "pruning", epochs=20),
        measure=_settings(MeasureSettings, content.get("measure", {}), "measure"),
    )


def _method(entry: Any) -> Method:
    if isinstance(entry, str):
        return Method(entry)
    options = _any_table(entry, "an entry of methods")
    name = _take(options, "method", "an entry of methods")
    own = {key: options.pop(key) for key in names_of(Method) if key in options}
    for unknown in {"name", "options"} & set(own):
        raise AuditError(f"found '{unknown}' in an entry of methods; expected 'method' and its own")
    return Method(name, **own, options=options)


def _settings(kind: type[Settings], content: Any, name: str, **defaults: Any) -> Settings:
    table = checked_table(content, f"[{name}]", names_of(kind))
    try:
        return kind(**{**defaults, **table})
    except AuditError as error:
        raise AuditError(f"[{name}]: {error}") from error


def _any_table(content: Any, name: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise AuditError(f"found {name} = {shown(content)}; expected a table")
    return dict(content)


def _check_options(method: Method) -> None:
    """Raise AuditError where the method does not know an option, or its value cannot be."""
    if method.name in MITIGATION_METHODS:
        chosen = MITIGATION_METHODS[method.name]
        checked_table(method.options, f"the options of {method.name}", chosen.options)
        chosen.configured(TrainingSettings(), method.options)
        return
    if method.constraint != "none":
        raise AuditError(
            f"method '{method.name}' takes no constraint; {', '.join(MITIGATION_METHODS)} do"
        )
    checked_table(method.options, f"the options of {method.name}", TERMS)
    replace(TrainingSettings(), **method.options)


def _check_once(names: Sequence[str], what: str, otherwise: str = "") -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise AuditError(f"found a {what} twice: {shown(twice[0])}; give each once{otherwise}")


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Settings of a method from texts such as 'mask_share=0.6', with values as TOML has them.

    What is no value of TOML is text. Raises AuditError where a text has no '=', or a name stands
    twice.

    >>> parse_options(["mask_share=0.6", "fair_mask=false", "multiplier_split=train"])
    {'mask_share': 0.6, 'fair_mask': False, 'multiplier_split': 'train'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise AuditError(
                f"found option {shown(text)}; expected NAME=VALUE, such as mask_share=0.6"
            )
        name = name.strip()
        if name in found:
            raise AuditError(f"found option {shown(name)} twice; give it once")
        try:
            found[name] = tomllib.loads(f"value = {value}")["value"]
        except (ValueError, RecursionError):
            found[name] = _number_or_text(value.strip())
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
    value = table.pop(key)
    if not isinstance(value, str):
        raise AuditError(f"found {key} = {shown(value)} in {where}; expected text")
    return value
