"""The options of a command: argparse with help that leads by example and errors one can act on.

Options are shown with dashes and accepted with underscores too. Nothing is abbreviated; a mistyped
name gets its nearest.
"""

import argparse
import difflib
import shutil
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, override

from gv_data.errors import DataError

EXIT_CODES = """exit codes:
  0  done, whole                     3  finished, some items failed and are recorded
  1  our fault or the unforeseen     4  a check or threshold you asked for did not hold
  2  wrong option or bad input       130, 143  stopped by Ctrl-C, by SIGTERM"""
NOUNS = {"int": "a whole number", "float": "a number", "Path": "a path"}
METAVARS = {"int": "N", "float": "X", "Path": "PATH"}


class UsageError(DataError):
    """The command line cannot be understood; nothing was started."""


class HelpAsked(Exception):  # noqa: N818  no error: the help is the answer
    """``--help`` was given; the text is the exception's argument."""


class Parser(argparse.ArgumentParser):
    """Options of one command.

    ``add_argument`` and ``add_argument_group`` are argparse's own. A help text is plain: a percent
    sign stands for itself and the default is added by itself.

    Args:
        prog: The command as typed, for example ``"gv-data index"``.
        summary: What it does, in one sentence.
        examples: Whole command lines, the usual one first.
    """

    def __init__(self, prog: str, summary: str, examples: Sequence[str] = ()) -> None:
        super().__init__(
            prog=prog,
            description=summary,
            allow_abbrev=False,
            add_help=False,
            argument_default=None,
            formatter_class=_Help,
        )
        self.examples = tuple(examples)

    def understand(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse a command line.

        Args:
            words: What follows the command's name.

        Returns:
            The values by name, those of the common options among them.

        Raises:
            UsageError: An option is unknown, missing or has a wrong value.
            HelpAsked: The user wants to read the help.
        """
        if "--help" not in self._option_string_actions:
            self._add_common()
        words = dashed(words)
        told = words[: words.index("--")] if "--" in words else words
        if "-h" in told or "--help" in told:
            raise HelpAsked(self.format_help())
        for word in told:
            name = word.partition("=")[0]
            # Before argparse complains of what is missing: the cause is the mistyped name.
            if name.startswith("--") and name not in self._option_string_actions:
                raise UsageError(
                    f"{self.prog}: no option {name}{nearest(name, self._option_string_actions)}"
                )
        values, surplus = self.parse_known_args(words)
        if surplus:
            raise UsageError(f"{self.prog}: unexpected {' '.join(surplus)} ({self.prog} --help)")
        return values

    @override
    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print with the whole usage above it."""
        message = message.removeprefix("argument ")
        message = message.replace("the following arguments are required:", "missing")
        raise UsageError(f"{self.prog}: {message}")

    @override
    def format_help(self) -> str:
        """Examples, summary, usage, options by purpose, exit codes."""
        wanted = [action for action in self._actions if action.required]
        formatter = self._get_formatter()
        formatter.add_usage(None, wanted, [], prefix="usage: ")
        usage = formatter.format_help().strip()
        formatter = self._get_formatter()
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        parts = [
            examples_text(self.examples),
            self.description,
            f"{usage} [options]",
            formatter.format_help().strip(),
            EXIT_CODES,
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    @override
    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        convert = action.type
        try:
            return convert(arg_string) if callable(convert) else arg_string
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(action, str(error)) from error
        except (TypeError, ValueError) as error:
            noun = NOUNS.get(getattr(convert, "__name__", ""), "a valid value")
            raise argparse.ArgumentError(action, f"{arg_string!r} is not {noun}") from error

    @override
    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, not_among(value, action.choices))

    def _add_common(self) -> None:
        common = self.add_argument_group("common options")
        for names, text in (
            (["-h", "--help"], "show this and stop"),
            (["--version"], "show the versions and stop"),
            (["-q", "--quiet"], "only errors and the answer"),
            (["-v", "--verbose"], "details too"),
            (["--debug"], "tracebacks too"),
            (["--json"], "the answer as one JSON document on standard output"),
            (["--no-progress"], "no bar and no progress lines"),
        ):
            if names[-1] not in self._option_string_actions:
                common.add_argument(*names, action="store_true", help=text)


def dashed(words: Sequence[str]) -> list[str]:
    """Write option names with dashes: ``--gsd_m=0.3`` becomes ``--gsd-m=0.3``.

    Args:
        words: A command line; what follows ``--`` stays as it is.

    Examples:
        >>> dashed(["a_b.tif", "--gsd_m=0.3", "--run_name", "my_run", "--", "--x_y"])
        ['a_b.tif', '--gsd-m=0.3', '--run-name', 'my_run', '--', '--x_y']
    """
    result: list[str] = []
    for word in words:
        if word.startswith("--") and "--" not in result:
            name, equals, value = word.partition("=")
            result.append(name.replace("_", "-") + equals + value)
        else:
            result.append(word)
    return result


def nearest(given: str, known: Iterable[str]) -> str:
    """Say which known name is nearest: ``; did you mean --gsd-m?``, or nothing.

    Args:
        given: What was typed.
        known: What exists.
    """
    found = difflib.get_close_matches(given, sorted(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def positive(text: str) -> int:
    """The type of an option that wants a whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def not_among(value: object, allowed: Iterable[object]) -> str:
    """Say that a value is not one of the allowed ones, and which is nearest."""
    names = [str(item) for item in allowed]
    return f"{str(value)!r} is not one of {', '.join(names)}{nearest(str(value), names)}"


def examples_text(examples: Sequence[str]) -> str:
    """The examples at the head of a help text."""
    return "\n".join(["examples:", *(f"  {example}" for example in examples)]) if examples else ""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Plain help texts; a default is added where it tells something."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, 110) - 2
        super().__init__(prog, max_help_position=30, width=width)

    @override
    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return METAVARS.get(getattr(action.type, "__name__", ""), "TEXT")

    @override
    def _expand_help(self, action: argparse.Action) -> str:
        text = action.help or ""
        told = isinstance(action.default, (str, int, float)) and not isinstance(
            action.default, bool
        )
        if told and action.default != "" and action.default != argparse.SUPPRESS:
            text = f"{text} (default: {action.default})".lstrip()
        return text
