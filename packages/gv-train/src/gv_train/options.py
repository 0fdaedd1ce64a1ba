"""One frozen dataclass an experiment: its fields are the flags, the YAML keys and the defaults.

A flag wins over a file, a later file over an earlier one, a file over the default. The string under
a field is its help. A field may be a frozen dataclass itself: a section, one level deep, whose
flags read ``--trainer.max-epochs``.
"""

import argparse
import ast
import dataclasses
import functools
import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

from gv_data.terminal.options import Parser, nearest
from gv_train import config_file, value_types
from gv_train.errors import ConfigError


@dataclass(frozen=True)
class Option:
    """One value of a configuration."""

    key: str
    """Field name, such as ``"gsd_m"``; ``"trainer.max_epochs"`` in a section."""
    annotation: object
    """Its type."""
    default: object
    """Its default, or ``dataclasses.MISSING``."""
    help: str
    """The string under the field, on one line."""
    bare: object = None
    """What the flag means without a value; None: it needs one. Field metadata ``bare``."""

    @property
    def flag(self) -> str:
        """The flag as it is shown."""
        return f"--{self.key.replace('_', '-')}"

    @property
    def section(self) -> str:
        """The section it belongs to, or nothing."""
        return self.key.rpartition(".")[0]


@dataclass(frozen=True)
class Configured[C]:
    """A configuration and where its values came from."""

    value: C
    """The dataclass."""
    plain: dict[str, Any]
    """The same as nested dictionaries of what YAML and JSON know."""
    sources: dict[str, str]
    """What won, by key: ``"--gsd-m"``, ``"town.yaml:3"`` or ``"default"``."""

    def to_yaml(self, extent: Literal["changed", "full"] = "full") -> str:
        """Write it so that it can be fed back, each key with its help.

        Args:
            extent: ``"changed"`` writes only what differs from the defaults.
        """
        values = []
        for option in options_of(type(self.value)):
            holder = self.plain[option.section] if option.section else self.plain
            value = holder[option.key.rpartition(".")[2]]
            if extent == "full" or value != value_types.plain(option.default):
                values.append((option.key, value, option.help))
        return config_file.write(values) or "# nothing differs from the defaults"


def add_flags(parser: Parser, kind: type, *, title: str = "experiment") -> None:
    """Give a parser one flag a value.

    Args:
        parser: Parser of the command.
        kind: Frozen dataclass.
        title: What the values outside of sections are called in the help.

    Raises:
        TypeError: A field has a type that cannot be written down.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in options_of(kind):
        if option.section not in groups:
            groups[option.section] = parser.add_argument_group(option.section or title)
        _add_flag(groups[option.section], option)


def add_files(parser: Parser) -> None:
    """Give a parser the options for configuration files."""
    files = parser.add_argument_group("configuration")
    files.add_argument(
        "--config", action="append", type=Path, default=[], help="YAML file; a later one wins"
    )
    files.add_argument(
        "--print-config",
        nargs="?",
        const="changed",
        choices=("changed", "full"),
        metavar="full",
        help="print what differs from the defaults, or all, as YAML, and stop",
    )


def of_flags[C](kind: type[C], values: argparse.Namespace) -> C:
    """The dataclass of flags alone, without files.

    Args:
        kind: Frozen dataclass.
        values: What a parser with ``add_flags`` understood.

    Raises:
        ConfigError: The values contradict each other.
    """
    return _build(kind, _of_flags(options_of(kind), values))


def _of_flags(options: Iterable[Option], values: argparse.Namespace) -> dict[str, object]:
    """What was given by flags, by key."""
    given = {option.key: vars(values)[option.key] for option in options if option.key in values}
    return {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}


def configure[C](
    kind: type[C],
    values: argparse.Namespace,
    recorded: Mapping[str, Any] | None = None,
    place: str = "",
) -> Configured[C]:
    """Put flags, files and defaults together.

    Args:
        kind: Frozen dataclass.
        values: What a parser with ``add_flags`` understood.
        recorded: A configuration as a run wrote it down, which stands in for the defaults. What
            this version does not know any more is left out.
        place: Where it was recorded.

    Returns:
        The configuration.

    Raises:
        ConfigError: A file cannot be used, a key is unknown, a value is missing or wrong.
    """
    options = {option.key: option for option in options_of(kind)}
    sections = frozenset(option.section for option in options.values())
    given: dict[str, object] = {}
    sources = dict.fromkeys(options, "default")
    for key, value in _flat(recorded or {}):
        if key in options and value is not None:
            try:
                given[key] = value_types.from_yaml(options[key].annotation, value)
            except ValueError as error:
                raise ConfigError(f"{place}: {key}: {error}") from error
            sources[key] = place
    for file in values.config:
        for entry in config_file.read(file, sections):
            if entry.key not in options:
                known = [*options, *filter(None, sections)]
                raise ConfigError(f"{entry.place}: no key {entry.key}{nearest(entry.key, known)}")
            try:
                value = value_types.from_yaml(options[entry.key].annotation, entry.value)
            except ValueError as error:
                raise ConfigError(f"{entry.place}: {entry.key}: {error}") from error
            given[entry.key], sources[entry.key] = value, entry.place
    flags = _of_flags(options.values(), values)
    given |= flags
    sources |= {key: options[key].flag for key in flags}
    missing = [o.flag for o in options.values() if o.default is MISSING and o.key not in given]
    if missing:
        raise ConfigError(f"missing {', '.join(missing)}")
    value = _build(kind, given)
    return Configured(value, to_plain(value), sources)


def _flat(recorded: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values, those of sections with the section's name before them."""
    for key, value in recorded.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value


def options_of(kind: type) -> tuple[Option, ...]:
    """List the values of a configuration.

    Args:
        kind: Frozen dataclass.

    Raises:
        TypeError: It is no frozen dataclass, or a field has a type that cannot be written down.
    """
    return tuple(_options(kind, ""))


def to_plain(config: object) -> dict[str, Any]:
    """Turn a configuration into nested dictionaries of what YAML and JSON know."""
    fields = dataclasses.fields(typing.cast("Any", config))
    values = {field.name: getattr(config, field.name) for field in fields}
    return {
        name: to_plain(value) if dataclasses.is_dataclass(value) else value_types.plain(value)
        for name, value in values.items()
    }


def _options(kind: type, prefix: str) -> Iterator[Option]:
    if not dataclasses.is_dataclass(kind) or not vars(kind)["__dataclass_params__"].frozen:
        raise TypeError(f"{kind.__name__} must be a frozen dataclass")
    annotations = typing.get_type_hints(kind)
    texts = _docstrings(kind)
    for field in dataclasses.fields(kind):
        annotation, default = annotations[field.name], _default(field)
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and not prefix:
            for option in _options(annotation, f"{field.name}."):
                name = option.key.rpartition(".")[2]
                own = option.default if default is MISSING else getattr(default, name)
                yield dataclasses.replace(option, default=own)
        else:
            value_types.check(annotation, f"{kind.__name__}.{field.name}")
            text, bare = texts.get(field.name, ""), field.metadata.get("bare")
            yield Option(prefix + field.name, annotation, default, text, bare)


def _default(field: "dataclasses.Field[Any]") -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


@functools.cache
def _docstrings(kind: type) -> dict[str, str]:
    """The strings under the fields; Python does not keep them, so they are read from the source."""
    try:
        tree = ast.parse(inspect.getsource(inspect.getmodule(kind) or kind))
    except (OSError, TypeError):
        return {}
    texts = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
            for field, text in zip(node.body, node.body[1:], strict=False):
                match field, text:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(words))),
                    ):
                        texts[name] = " ".join(words.split())
    return texts


def _add_flag(group: "argparse._ArgumentGroup", option: Option) -> None:
    text = option.help
    shown = value_types.plain(option.default)
    if shown is MISSING:
        text = f"{text} (required)"
    elif shown not in (None, False, "", []):
        words = map(str, shown) if isinstance(shown, list) else [str(shown)]
        text = f"{text} (default: {'yes' if shown is True else ' '.join(words)})"
    told: dict[str, Any] = {"dest": option.key, "default": argparse.SUPPRESS, "help": text.strip()}
    members = value_types.members(option.annotation)
    if bool in members:
        group.add_argument(option.flag, action=argparse.BooleanOptionalAction, **told)
        return
    annotation = option.annotation
    for inner in filter(None, map(value_types.element, members)):
        annotation, told["nargs"] = inner, "+"
    if option.bare is not None:
        told |= {"nargs": "?", "const": option.bare}

    def convert(text: str) -> object:
        try:
            return value_types.from_text(annotation, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    told["metavar"] = value_types.metavar(annotation)
    group.add_argument(option.flag, type=convert, **told)


def _build[C](kind: type[C], given: Mapping[str, object]) -> C:
    """Make the dataclass; what its ``__post_init__`` refuses is the user's to mend."""
    values: dict[str, object] = {key: value for key, value in given.items() if "." not in key}
    try:
        for field in dataclasses.fields(typing.cast("Any", kind)):
            within = f"{field.name}."
            changes = {
                key.removeprefix(within): given[key] for key in given if key.startswith(within)
            }
            if changes and (default := _default(field)) is MISSING:
                values[field.name] = typing.get_type_hints(kind)[field.name](**changes)
            elif changes:
                values[field.name] = dataclasses.replace(typing.cast("Any", default), **changes)
        return kind(**values)
    except ValueError as error:
        if hasattr(error, "exit_code"):
            raise
        raise ConfigError(str(error)) from error
