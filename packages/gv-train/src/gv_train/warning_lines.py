"""A line a warning, whole, from any number of processes; of repeats only the number.

::

    2026-11-27T09:30:01.250 WARNING 4123 UserWarning /home/ann/look.py:12: tile 7 is empty
    2026-11-27T09:30:09.004 COUNTED 4123 UserWarning /home/ann/look.py:12: 10 more: tile 8 is empty

Time in UTC, weight, process, kind (category or logger), place, message; further lines of the
message are indented.
"""

import logging
import os
import re
import threading
import weakref
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing import util
from pathlib import Path

from gv_train.redaction import redact
from gv_train.standard_error import append_to

WRITTEN = 10
"""Warnings of one kind, place and wording that a process writes; later ones it only counts."""
MOST_KINDS = 500
"""Wordings a process tells apart; one with a random word in it would fill the memory."""
MOST_BYTES = 16 * 2**20
"""Size of the file from which on warnings are only counted."""
MOST_CHARACTERS = 4000
"""Length of a message; a write stays small enough to be whole."""
_START = 120
"""Characters of a message that tell its wording."""
_VARYING = re.compile(
    r"'[^']*'|\"[^\"]*\"|(?<!\S)\S*/\S*|(?<![\w-])[\w-]+(?:\.[\w-]+)+|0x[0-9a-fA-F]+|\d+"
)
_LINE = re.compile(
    r"\S+ (WARNING|ERROR|CRITICAL|COUNTED) \d+ (\S+) (.*?:\d+): (?:(\d+) more: )?(.*)"
)


@dataclass(frozen=True)
class Noted:
    """Warnings that a line of the file tells of."""

    kind: str
    """Category of a warning or name of a logger."""
    place: str
    """``FILE:LINE`` that warned."""
    message: str
    """Its first line."""
    times: int = 1
    """How many."""


def parse(line: str) -> Noted | None:
    """Read a line of the file; None if it does not begin a warning.

    Args:
        line: Without its line break.

    Examples:
        >>> parse("2026-11-27T09:30:01.250 WARNING 4123 UserWarning /a/b.py:12: tile 7 is empty")
        Noted(kind='UserWarning', place='/a/b.py:12', message='tile 7 is empty', times=1)
    """
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    weight, kind, place, times, message = found.groups()
    if weight != "COUNTED":
        return Noted(kind, place, f"{times} more: {message}" if times else message)
    return Noted(kind, place, message, int(times or 1))


def wording(message: str) -> str:
    """What messages have in common that differ in a number, a path or a quoted name.

    Args:
        message: Of a warning.

    Examples:
        >>> wording("a.tif: tile 7 of 'x' is empty") == wording("b.tif: tile 12 of 'y' is empty")
        True
    """
    return _wording(message[:_START])


@lru_cache(maxsize=1024)
def _wording(start: str) -> str:
    return _VARYING.sub("#", start.partition("\n")[0])


class Lines:
    """The file of warnings, as one process writes it.

    A forked child goes on with what its parent knows and tells its own number. What could not be
    written is counted in ``lost``.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = append_to(path)
        self._lock = threading.RLock()
        self._seen: dict[tuple[str, str, str], _Seen] = {}
        self._torn = False
        self.lost = 0
        _open.add(self)
        util.register_after_fork(self, Lines._tell_at_exit)

    def add(self, level: int, kind: str, place: str, message: str) -> None:
        """Write a warning, or count it if many of its kind were written.

        Args:
            level: As of logging; below WARNING it is written but not counted.
            kind: Category or name of a logger.
            place: ``FILE:LINE``.
            message: May have several lines.
        """
        key = (kind, place, wording(message))
        with self._lock:
            if key not in self._seen and len(self._seen) >= MOST_KINDS:
                key = (kind, "", "")
            seen = self._seen.setdefault(key, _Seen(kind, place, message))
            seen.total += 1
            if seen.total <= WRITTEN and self._has_room():
                self._write(_weight(level), kind, place, message)
                return
            if level < logging.WARNING:
                return
            seen.untold += 1
            if seen.total >= seen.next_told:
                self._tell(seen)

    @property
    def closed(self) -> bool:
        """Whether nothing is written any more."""
        return self._descriptor < 0

    def tell(self) -> None:
        """Write the numbers of the repeats that were not told yet."""
        with self._lock:
            for seen in self._seen.values():
                self._tell(seen)

    def close(self) -> None:
        """Tell the last numbers and close the file."""
        self.tell()
        _open.discard(self)
        os.close(self._descriptor)
        self._descriptor = -1

    def _tell(self, seen: "_Seen") -> None:
        if seen.untold:
            start = seen.message.partition("\n")[0][:_START]
            self._write("COUNTED", seen.kind, seen.place, f"{seen.untold} more: {start}")
            seen.untold = 0
            seen.next_told = 2 * seen.total

    def _write(self, weight: str, kind: str, place: str, message: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        text = redact(message)
        if len(text) > MOST_CHARACTERS:
            text = f"{text[:MOST_CHARACTERS]} [{len(text) - MOST_CHARACTERS:,} more characters]"
        text = "\n    ".join(text.splitlines())
        kind = "_".join(kind.split())
        self.put(f"{now} {weight} {os.getpid()} {kind} {place}: {text}\n")

    def put(self, text: str) -> None:
        """Write lines as they are; a full disk is counted, not raised.

        Args:
            text: Whole lines. Those that are no warning begin with ``#``.
        """
        data = ("\n" * self._torn + text).encode(errors="backslashreplace")
        try:
            written = os.write(self._descriptor, data)
        except OSError:  # a full disk ends no training
            written = 0
        self.lost += written < len(data)
        self._torn = 0 < written < len(data) or (self._torn and not written)

    def _has_room(self) -> bool:
        return not self.closed and os.fstat(self._descriptor).st_size < MOST_BYTES

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self.lost = 0
        for seen in self._seen.values():
            seen.untold, seen.total = 0, min(seen.total, WRITTEN)
            seen.next_told = 2 * WRITTEN

    def _tell_at_exit(self) -> None:
        """Called in each child that multiprocessing starts."""
        util.Finalize(None, self.tell, exitpriority=0)


class _Seen:
    """The first warning of a wording, and how often it came in this process."""

    __slots__ = ("kind", "message", "next_told", "place", "total", "untold")

    def __init__(self, kind: str, place: str, message: str) -> None:
        self.kind, self.place, self.message = kind, place, message
        self.total, self.untold, self.next_told = 0, 0, 2 * WRITTEN


_open: weakref.WeakSet[Lines] = weakref.WeakSet()


def _after_fork() -> None:
    for lines in list(_open):
        lines._forked()


os.register_at_fork(after_in_child=_after_fork)


def _weight(level: int) -> str:
    if level >= logging.CRITICAL:
        return "CRITICAL"
    if level >= logging.ERROR:
        return "ERROR"
    return "WARNING" if level >= logging.WARNING else "INFO"
