"""The types a configuration may hold, and how their values are read from flags and from YAML.

The list is closed, so that every value can be written down and read back: str, int, float, bool,
Path, Literal, ``tuple[X, ...]`` and unions of these, with or without None.
"""

import types
import typing
from collections.abc import Callable
from pathlib import Path

from gv_data.terminal.options import not_among

NOUNS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    bool: "true or false",
}
METAVARS: dict[object, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def check(annotation: object, where: str) -> None:
    """Refuse a type that is not in the list.

    Args:
        annotation: The type.
        where: The field that has it, for the message.

    Raises:
        TypeError: It cannot be written on a command line or in YAML.
    """
    for one in members(annotation):
        if (inner := element(one)) is not None:
            check(inner, where)
        elif one not in NOUNS and one is not types.NoneType and not literals(one):
            raise TypeError(f"{where}: {annotation} cannot be written as a flag or in YAML")


def members(annotation: object) -> tuple[object, ...]:
    """The types of a union, literals first: ``auto`` is no number gone wrong."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return tuple(sorted(typing.get_args(annotation), key=lambda one: not literals(one)))
    return (annotation,)


def element(annotation: object) -> object | None:
    """X of ``tuple[X, ...]``, else None."""
    inner = typing.get_args(annotation)
    whole = typing.get_origin(annotation) is tuple and len(inner) == 2 and inner[1] is Ellipsis
    return inner[0] if whole else None


def literals(annotation: object) -> tuple[object, ...]:
    """The values of a ``Literal``, else nothing."""
    is_literal = typing.get_origin(annotation) is typing.Literal
    return typing.get_args(annotation) if is_literal else ()


def metavar(annotation: object) -> str:
    """How a value is shown in the help: ``N``, ``PATH``, ``auto|N``."""
    words = (METAVARS.get(one) or "|".join(map(str, literals(one))) for one in members(annotation))
    return "|".join(word for word in words if word)


def from_text(annotation: object, text: str) -> object:
    """Read the value of a flag.

    Args:
        annotation: Its type; not a tuple, whose elements are read one by one.
        text: What was typed.

    Raises:
        ValueError: It is none of what is allowed.

    Examples:
        >>> from_text(int | None, "3"), from_text(int | None, "none")
        (3, None)
    """
    for one in members(annotation):
        if chosen := [value for value in literals(one) if str(value) == text]:
            return chosen[0]
        if one is types.NoneType and text.lower() in ("none", "null"):
            return None
    for one in members(annotation):
        if one in METAVARS:
            convert = typing.cast("Callable[[str], object]", one)
            try:
                return convert(text)
            except ValueError:
                continue
    raise ValueError(_refusal(annotation, text))


def from_yaml(annotation: object, value: object) -> object:
    """Check a value of a file; nothing is bent into shape but whole numbers into numbers.

    Args:
        annotation: Its type.
        value: What YAML holds.

    Raises:
        ValueError: It is none of what is allowed.
    """
    for one in members(annotation):
        if any(type(value) is type(allowed) and value == allowed for allowed in literals(one)):
            return value
        if (inner := element(one)) is not None and isinstance(value, list):
            return tuple(from_yaml(inner, item) for item in value)
        if type(value) is one:
            return value
        if one is Path and isinstance(value, str):
            return Path(value)
        if one is float and type(value) in (int, str):
            try:
                return float(typing.cast("int | str", value))  # YAML takes 1e-3 for text
            except ValueError:
                continue
    raise ValueError(_refusal(annotation, value))


def plain(value: object) -> object:
    """Turn a value into what YAML and JSON know."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _refusal(annotation: object, value: object) -> str:
    """Say what a value is not."""
    named = [value for one in members(annotation) for value in literals(one)]
    nouns = [noun for kind, noun in NOUNS.items() if kind in members(annotation)]
    nouns += ["a list" for one in members(annotation) if element(one) is not None]
    if not nouns:
        return not_among(value, named)
    wants_text = str in members(annotation) or any(isinstance(name, str) for name in named)
    quotes = "; put it in quotes" if wants_text and not isinstance(value, str | list) else ""
    return f"{value!r} is not {' or '.join([*map(str, named), *nouns])}{quotes}"
