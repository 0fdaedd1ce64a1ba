"""How many warnings of which kind a folder of logs holds, and where the first came from."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gv_train.redaction import redact
from gv_train.warning_lines import MOST_CHARACTERS, Noted, parse, wording

RAW = "stderr"
"""Kind of a line on standard error that has no form we know."""
_SHOWN = 4
"""Kinds that a summary of one line names."""
_MESSAGE = 100
"""Characters of a message in a summary."""
_MOST_KINDS = 2000
"""Kinds that are told apart; a library that prints random words has no end of them."""
_PYTHON = re.compile(r"(.+?:\d+): (\w*Warning): (.*)")
_GDAL = re.compile(r"(?:(Warning)|ERROR) \d+: (.*)")
_CPP = re.compile(r"\[?[WEF]\d{4,8} [\d:.]+ +(?:\d+ +)?([\w./+-]+:\d+)\] (.*)")
_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(r"([\w.]+)(?:: (.*))?")
_UNSEEN = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|[^ -~\u00a0-\uffff]")


@dataclass(frozen=True)
class Kind:
    """Warnings that say the same."""

    name: str
    """Category of a warning, name of a logger, or ``"stderr"``."""
    message: str
    """How the first begins."""
    count: int
    """How many."""
    place: str
    """``FILE:LINE`` of the first; of raw text its line in the log."""


@dataclass(frozen=True)
class Counted:
    """What was warned of, most frequent first.

    Examples:
        >>> counted = Counted((Kind("UserWarning", "tile 7 is empty", 1200, "look.py:12"),))
        >>> counted.total, counted.line
        (1200, '1,200 warnings: 1,200 UserWarning')
        >>> print(counted.table)
        1,200  UserWarning  look.py:12  tile 7 is empty
    """

    kinds: tuple[Kind, ...] = ()
    """One entry a kind and wording."""
    lost: int = 0
    """Lines that could not be written: the disk was full."""

    @property
    def total(self) -> int:
        """All warnings."""
        return sum(kind.count for kind in self.kinds)

    @property
    def line(self) -> str:
        """For the end of a command."""
        names: Counter[str] = Counter()
        for kind in self.kinds:
            names[kind.name] += kind.count
        parts = [f"{count:,} {name}" for name, count in names.most_common(_SHOWN)]
        if len(names) > _SHOWN:
            others = sum(count for _, count in names.most_common()[_SHOWN:])
            parts.append(f"{others:,} of other kinds")
        said = f"{self.total:,} warning{'' if self.total == 1 else 's'}"
        if parts:
            said += f": {', '.join(parts)}"
        return f"{said}; {self.lost:,} could not be written" if self.lost else said

    @property
    def table(self) -> str:
        """A row a kind: how many, which, where first, how it begins."""
        rows = [(f"{kind.count:,}", kind.name, kind.place) for kind in self.kinds]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        return "\n".join(
            f"{row[0]:>{widths[0]}}  {row[1]:{widths[1]}}  {row[2]:{widths[2]}}  {kind.message}"
            for row, kind in zip(rows, self.kinds, strict=True)
        )


def sizes(folder: Path) -> dict[Path, int]:
    """The logs of a folder and how long they are, in bytes.

    Args:
        folder: The ``logs`` folder of a run.
    """
    logs = [*folder.glob("warnings*.log"), *folder.glob("stderr*.log")]
    # records before raw text, the first process before the others, 2 before 10
    logs.sort(key=lambda path: (path.name.startswith("stderr"), len(path.name), path.name))
    return {path: path.stat().st_size for path in logs if path.is_file()}


def count(folder: Path, since: Mapping[Path, int] | None = None) -> Counted:
    """Count what the logs hold, at any time, also after a kill.

    Args:
        folder: The ``logs`` folder of a run.
        since: Bytes of each log that are not read, as of `sizes`; None: all is read.

    Returns:
        The kinds, most frequent first.
    """
    first: dict[tuple[str, str], Noted] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for path, size in sizes(folder).items():
        start = (since or {}).get(path, 0)
        read = _noted if path.name.startswith("warnings") else _raw
        for noted in read(path, start if start <= size else 0):
            key = (noted.kind, wording(noted.message))
            if key not in first and len(first) >= _MOST_KINDS:
                key = (noted.kind, "")
            first.setdefault(key, noted)
            counts[key] += noted.times
    return Counted(
        tuple(
            Kind(key[0], _plain(first[key].message), number, first[key].place)
            for key, number in counts.most_common()
        )
    )


def _noted(path: Path, start: int) -> Iterator[Noted]:
    for _, line in _lines(path, start):
        if (noted := parse(line)) is not None:
            yield noted


def _raw(path: Path, start: int) -> Iterator[Noted]:
    """Recognise what Python, GDAL and C++ libraries print by themselves."""
    traceback = False
    for number, line in _lines(path, start):
        place = f"{path.name}:{number}"
        if not line.strip() or line[0].isspace():  # belongs to the line before
            continue
        if line == _TRACEBACK:
            traceback = True
        elif traceback and (found := _RAISED.fullmatch(line)):
            traceback = False
            yield Noted(found[1], place, found[2] or "")
        elif found := _PYTHON.fullmatch(line):
            yield Noted(found[2], found[1], found[3])
        elif found := _GDAL.fullmatch(line):
            yield Noted("GDAL", place, found[2])
        elif found := _CPP.fullmatch(line):
            yield Noted("C++", found[1], found[2])
        else:
            yield Noted(RAW, place, line)


def _lines(path: Path, start: int) -> Iterator[tuple[int, str]]:
    """The lines from a byte on, with their numbers in the file."""
    with path.open("rb") as file:
        number = sum(1 for _ in _until(file, start))
        for line in file:
            number += 1
            yield number, line.decode(errors="replace").rstrip("\r\n")


def _until(file: BinaryIO, end: int) -> Iterator[bytes]:
    at = 0
    while at < end and (line := file.readline(end - at)):
        at += len(line)
        yield line


def _plain(message: str) -> str:
    """The start of a message as it may stand on a terminal."""
    return _UNSEEN.sub(" ", redact(message[:MOST_CHARACTERS]))[:_MESSAGE].strip()
