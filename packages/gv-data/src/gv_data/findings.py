"""What a check says: findings for people, in the order in which they came up."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from gv_data.errors import DataError

type Level = Literal["failure", "warning", "note"]

LEVELS: tuple[Level, ...] = get_args(Level.__value__)
"""The worst first."""

SHOWN = 3
"""Examples that are named in a line."""


@dataclass(frozen=True)
class Finding:
    """Something that would ruin a map.

    Attributes:
        level: A failure should stop the work; a warning may be wrong or harmless; a note is a fact
            that is harmless here and surprises elsewhere.
        rule: Short name of the rule.
        text: One line: the facts, with the values that disagree.
        hint: The way out, as a command or an option; empty where none is needed.
        examples: All images or files that it is about, where it is about some.
    """

    level: Level
    rule: str
    text: str
    hint: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """The outcome of a check.

    Attributes:
        findings: What was found.
        passed: Rules that were applied and found nothing.
        images: Number of images that were looked at.
    """

    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    images: int


class Findings:
    """Findings as they come up, the rules that were applied, and the time that is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._longest_s = 0.0
        self._found: list[Finding] = []
        self._unreadable: dict[str, str] = {}
        self._applied: dict[str, None] = {}

    def apply(self, rule: str) -> None:
        """Note that a rule was applied; it has passed if nothing is found."""
        self._applied[rule] = None

    def add(self, finding: Finding | None) -> None:
        """Note what another rule says, if it says something."""
        if finding is not None:
            self._found.append(finding)

    def note(self, rule: str, text: str, hint: str = "", examples: Sequence[str] = ()) -> None:
        """Note what is harmless, but good to know."""
        self.add(Finding("note", rule, text, hint, tuple(examples)))

    def warn(self, rule: str, text: str, hint: str, examples: Sequence[str] = ()) -> None:
        """Note what may be wrong."""
        self.add(Finding("warning", rule, text, hint, tuple(examples)))

    def fail(self, rule: str, text: str, hint: str, examples: Sequence[str] = ()) -> None:
        """Note what is wrong."""
        self.add(Finding("failure", rule, text, hint, tuple(examples)))

    def unreadable(self, reason: str) -> None:
        """Note that a file cannot be read; files are told together, each once.

        Args:
            reason: Names the file; a second line is the way out.
        """
        text, _, hint = reason.partition("\n")
        self._unreadable[text] = hint.strip() or "fetch the file again, or leave it out"

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Measure a step, and turn a file that cannot be read into a finding."""
        self.apply("readable")
        started = time.monotonic()
        try:
            yield
        except (DataError, OSError) as error:
            self.unreadable(str(error))
        self._longest_s = max(self._longest_s, time.monotonic() - started)

    @property
    def in_time(self) -> bool:
        """Whether another step as long as the longest so far ends in time."""
        return time.monotonic() + self._longest_s < self._end

    def close(self, images: int) -> Checked:
        """All that was found, failures first."""
        if self._unreadable:
            (text, hint), *others = self._unreadable.items()
            said = f"{len(others) + 1:,} files cannot be read: {text}" if others else text
            self.fail("readable", said, hint, tuple(self._unreadable))
        findings = sorted(self._found, key=lambda finding: LEVELS.index(finding.level))
        wrong = {finding.rule for finding in findings}
        passed = tuple(rule for rule in self._applied if rule not in wrong)
        return Checked(tuple(findings), passed, images)


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are.

    Examples:
        >>> some(["a", "b", "c", "d"])
        'a, b, c and 1 more'
    """
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number of things.

    Examples:
        >>> counted(1, "image"), counted(1200, "image"), counted(2, "class", "classes")
        ('1 image', '1,200 images', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
