"""Configuration files: a plain subset of YAML, whose values know their lines.

Anchors, aliases, deep nesting and repeated keys are refused: a file says what it says, once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gv_train.errors import ConfigError

if TYPE_CHECKING:
    import yaml

LARGEST_BYTES = 1_000_000
"""A larger file is no configuration."""
DEEPEST = 3
"""The file, a section, a list."""


@dataclass(frozen=True)
class Entry:
    """One value of a file."""

    key: str
    """With underscores; ``section.name`` below a section."""
    value: object
    """As YAML understands it."""
    place: str
    """``FILE:LINE``."""


def read(file: Path, sections: frozenset[str]) -> list[Entry]:
    """Read a file.

    Args:
        file: YAML file of at most 1 MB.
        sections: The keys that hold keys.

    Raises:
        ConfigError: It is no such file, or repeats a key.
        OSError: It cannot be read.
    """
    import yaml

    with file.open("rb") as stream:
        content = stream.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise ConfigError(f"{file} is larger than 1 MB: that is no configuration")
    try:
        _check_plain(file, content)
        loader = yaml.SafeLoader(content)
        root = loader.get_single_node()
        if root is None:
            return []
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{file} must hold lines such as `key: value`")
        entries = list(_entries(file, loader, root, "", sections))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}:{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file} is not YAML that can be read") from error
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.key in seen:
            raise ConfigError(f"{entry.place}: {entry.key} stands already in {seen[entry.key]}")
        seen[entry.key] = entry.place
    return entries


def write(values: list[tuple[str, object, str]]) -> str:
    """Write values so that ``read`` reads them.

    Args:
        values: Key, value and help of each, those of a section together.

    Examples:
        >>> print(write([("gsd_m", 0.3, "metres"), ("trainer.epochs", 2, "")]))
        # metres
        gsd_m: 0.3
        trainer:
          epochs: 2
    """
    import yaml

    lines: list[str] = []
    section = ""
    for key, value, text in values:
        parent, _, name = key.rpartition(".")
        if parent not in ("", section):
            section = parent
            lines.append(f"{parent}:")
        dumped = yaml.safe_dump({name: value}, allow_unicode=True, width=10_000)
        if not dumped.replace("\n", "").isprintable():  # PyYAML reads U+0085 back as a space
            dumped = yaml.safe_dump({name: value}, width=10_000)
        indent = "  " if parent else ""
        comment = [f"# {text}"] if text else []
        lines += [indent + line for line in [*comment, *dumped.rstrip("\n").split("\n")]]
    return "\n".join(lines)


def _check_plain(file: Path, content: bytes) -> None:
    """Refuse what a configuration never needs, before anything is built from it."""
    import yaml

    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        place = f"{file}:{event.start_mark.line + 1}"
        if getattr(event, "anchor", None) is not None:
            raise ConfigError(f"{place}: anchors and aliases (& and *) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ConfigError(f"{place}: nested deeper than a section with a list")


def _entries(
    file: Path,
    loader: "yaml.SafeLoader",
    mapping: "yaml.MappingNode",
    prefix: str,
    sections: frozenset[str],
) -> Iterator[Entry]:
    import yaml

    for name, child in mapping.value:
        place = f"{file}:{name.start_mark.line + 1}"
        key = prefix + str(name.value).replace("-", "_")
        if key not in sections:
            yield Entry(key, loader.construct_object(child, deep=True), place)
        elif isinstance(child, yaml.MappingNode):
            yield from _entries(file, loader, child, f"{key}.", sections)
        else:
            raise ConfigError(f"{place}: {key} holds keys, not a value")
