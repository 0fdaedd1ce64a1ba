"""What a check says: findings for people, in the order in which they came up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from gv_data.errors import DataError


@dataclass(frozen=True)
class Finding:
    """Something that would ruin a map.

    Attributes:
        level: A warning may be wrong or harmless; a failure should stop the work.
        rule: Short name of the rule.
        text: One line: the facts, with the values that disagree.
        hint: The way out, as a command or an option.
    """

    level: Literal["warning", "failure"]
    rule: str
    text: str
    hint: str


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
        self._applied: dict[str, None] = {}

    def apply(self, rule: str) -> None:
        """Note that a rule was applied; it has passed if nothing is found."""
        self._applied[rule] = None

    def warn(self, rule: str, text: str, hint: str) -> None:
        """Note what may be wrong."""
        self._found.append(Finding("warning", rule, text, hint))

    def fail(self, rule: str, text: str, hint: str) -> None:
        """Note what is wrong."""
        self._found.append(Finding("failure", rule, text, hint))

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Measure a step, and turn a file that cannot be read into a finding."""
        self.apply("readable")
        started = time.monotonic()
        try:
            yield
        except (DataError, OSError) as error:
            text, _, hint = str(error).partition("\n")
            self.fail("readable", text, hint.strip() or "fetch the file again, or leave it out")
        self._longest_s = max(self._longest_s, time.monotonic() - started)

    @property
    def in_time(self) -> bool:
        """Whether another step as long as the longest so far ends in time."""
        return time.monotonic() + self._longest_s < self._end

    def close(self, images: int) -> Checked:
        """All that was found, failures first."""
        findings = sorted(self._found, key=lambda finding: finding.level)
        wrong = {finding.rule for finding in findings}
        passed = tuple(rule for rule in self._applied if rule not in wrong)
        return Checked(tuple(findings), passed, images)
