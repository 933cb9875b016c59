"""Settings that are checked when they are made: by Python, a TOML file or the command line alike.

A class under `@checked` is a frozen dataclass whose annotations are the rule: type, range,
finiteness, known names. pydantic checks them; what it finds is one AuditError of one line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import (
    Annotated,
    Any,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from audit.errors import AuditError
from audit.names import hint, known_name, shown

Kind = TypeVar("Kind")

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=10**9)]
CountOrNone = Annotated[int, Field(ge=0, le=10**9)]
"""Of samples, steps or passes; the upper end is beyond every use, and within every library."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""numpy's global generator takes no larger one."""
Rates = Annotated[tuple[Rate, ...], Field(strict=False)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False)]

KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}
FAR = 10**6
"""An upper end from here on is told only to those who went beyond it."""


def settings_of(given: Any, usual: Kind) -> Kind:
    """The settings that are given, or the usual ones; AuditError where they are something else."""
    if given is None:
        return usual
    if not isinstance(given, type(usual)):
        expected = type(usual).__name__
        raise AuditError(f"found settings of type {type(given).__name__}; expected {expected}(…)")
    return given


def one_of(*names: str, what: str = "") -> AfterValidator:
    """The rule that a text is one of these names, in either spelling; `what` they are names of."""

    def check(name: str, where: ValidationInfo) -> str:
        return known_name(name, names, what or str(where.field_name))

    return AfterValidator(check)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def checked(cls: type[Kind]) -> type[Kind]:
    """A frozen dataclass that holds only what its annotations allow.

    Numbers of numpy and torch count as the plain numbers that they are, and lists as tuples.
    Raises AuditError, in one line, where a value or a name is wrong.
    """
    config = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")
    made = dataclass(frozen=True, config=config)(cls)
    init, names = cast(Callable[..., None], made.__init__), names_of(made)

    @wraps(init)
    def checked_init(self: object, *args: Any, **named: Any) -> None:
        given = {**dict(zip(names, args, strict=False)), **named}
        if len(given) < len(args) + len(named):
            raise TypeError(f"{cls.__name__} takes each of {', '.join(names)} once")
        try:
            init(self, **{name: plain(value) for name, value in given.items()})
        except ValidationError as error:
            raise AuditError(_line(error, made)) from None
        except RecursionError:
            raise AuditError(
                f"found a value for {cls.__name__} that holds itself, or tables a thousand deep; "
                "expected plain values"
            ) from None

    made.__init__ = checked_init  # type: ignore[method-assign]
    return cast("type[Kind]", made)


def names_of(cls: type) -> tuple[str, ...]:
    """The names of a settings class, in their order."""
    return tuple(entry.name for entry in dataclasses.fields(cls))


def checked_table(content: object, name: str, known: tuple[str, ...]) -> dict[str, Any]:
    """A table of a TOML file, its keys among the known ones.

    Raises AuditError where it is no table, or a key is unknown.
    """
    if not isinstance(content, Mapping):
        raise AuditError(f"found {name} = {shown(content)}; expected a table, [{name}]")
    for key in content:
        if key not in known:
            expected = f"expected {', '.join(known)}{hint(str(key), known)}"
            raise AuditError(f"found {shown(key)} in {name}; {expected}")
    return dict(content)


def plain(value: Any) -> Any:
    """A number of numpy or torch as Python's own, in lists and tables too; all else as it is."""
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {key: plain(entry) for key, entry in value.items()}
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return value.item()
    if getattr(value, "ndim", 0) == 1 and callable(getattr(value, "tolist", None)):
        return value.tolist()
    return value


def _line(error: ValidationError, cls: type) -> str:
    """What pydantic found first, in one line."""
    found = error.errors(include_url=False)[0]
    place, kind = found["loc"], found["type"]
    name = f"{place[0]}" + "".join(f"[{part}]" for part in place[1:])
    if kind == "unexpected_keyword_argument":
        names = names_of(cls)
        return f"found {shown(name)}; expected {', '.join(names)}{hint(name, names)}"
    if kind in ("missing", "missing_argument"):
        return f"{cls.__name__} needs '{name}'"
    rule = get_type_hints(cls, include_extras=True)[str(place[0])]
    expected = _expected(rule, kind, whole=len(place) == 1)
    return f"found {name} = {shown(found['input'])}; expected {expected}"


def _expected(rule: Any, kind: str, whole: bool) -> str:
    """What an annotation allows, in words: the whole value, or one inside it."""
    parts = list(_parts(rule))
    if whole and Mapping in parts:
        return "a table"
    leaves = [part for part in parts if isinstance(part, type) and part not in (tuple, Annotated)]
    one = next((words for base, words in KINDS.items() if base in leaves), leaves[0].__name__)
    if kind == "finite_number":
        one = "a finite number"
    words = f"{one} {_span(parts, beyond=kind.startswith('less_than'))}".strip()
    return f"a list, each {words}" if whole and tuple in parts else words


def _span(parts: list[Any], beyond: bool) -> str:
    """The range that an annotation allows; its upper end where it is near or was passed."""
    limits = [limit for part in parts if isinstance(part, FieldInfo) for limit in part.metadata]
    least, above, most, below = (
        next((getattr(limit, name) for limit in limits if hasattr(limit, name)), None)
        for name in ("ge", "gt", "le", "lt")
    )
    high = most if most is not None else below
    start = f"above {above:,}" if least is None and above is not None else ""
    if high is None or (high >= FAR and not beyond):
        return start if least is None else f"of {least:,} or more"
    start = start or f"from {least:,}"
    return f"{start} to {'' if most is not None else 'below '}{high:,}"


def _parts(rule: Any) -> Iterator[Any]:
    """An annotation and all that stands inside it."""
    yield get_origin(rule) or rule
    for part in get_args(rule):
        yield from _parts(part)
