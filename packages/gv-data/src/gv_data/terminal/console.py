"""What a command says while it works: narration, warnings, progress and the one answer.

The answer goes to standard output, everything else to standard error, so that a pipe carries data
only. On a terminal progress is one bar; in a log it is a whole line now and then.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TextIO, cast

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

type Colour = Literal["red", "green", "yellow", "dim"]

SGR: dict[Colour, str] = {"red": "31", "green": "32", "yellow": "33", "dim": "2"}
BEAT_S = 60.0
"""Longest silence of a log while work goes on."""
SHARE_GAP_S = 8.0
"""Shortest time between two lines of a log: 60 s hold at most 8 lines, under 1 KB."""
WARNINGS_SHOWN = 3
"""Warnings of a kind that are printed: a thousand tiles have a thousand times the same."""
_aside: list[TextIO] = []
"""Streams that stand for standard error, the present one last; the process has one such state."""


@dataclass(frozen=True)
class Console:
    """How loud a command is, and what it has said so far.

    Library functions take one as an argument; ``Console()`` is the ordinary voice and
    ``Console(quiet=True)`` says nothing but errors and the answer.
    """

    quiet: bool = False
    """Only errors and the answer."""
    verbose: bool = False
    """Details too."""
    debug: bool = False
    """Tracebacks too."""
    json: bool = False
    """The answer is one JSON document."""
    progress: bool = True
    """Whether work shows how far it is."""
    out: TextIO | None = None
    """Where the answer goes; None: standard output."""
    warnings: Counter[str] = field(default_factory=Counter)
    """How often each kind of warning came up."""
    answers: list[bool] = field(default_factory=list)
    """One entry an answer given, so that a failure adds no second document."""

    @property
    def live(self) -> bool:
        """Whether a bar may be drawn: a capable terminal and nobody asked for silence."""
        return self.progress and not self.quiet and is_terminal(standard_error())

    def say(self, text: str = "") -> None:
        """Narrate on standard error, unless quiet."""
        if not self.quiet:
            write(standard_error(), f"{text}\n")

    def warn(self, kind: str, text: str) -> None:
        """Warn in plain words; the first of a kind are printed, all are counted.

        Args:
            kind: Short name under which like warnings are counted, for example ``"crs"``.
            text: File, values that disagree, way out.
        """
        self.warnings[kind] += 1
        if self.warnings[kind] <= WARNINGS_SHOWN or self.verbose:
            self.say(f"{paint('warning:', 'yellow', standard_error())} {text}")
        elif self.warnings[kind] == WARNINGS_SHOWN + 1:
            self.say(f"more warnings of the kind {kind} are not shown (--verbose shows all)")

    def answer(self, value: object, text: str) -> None:
        """Give the answer on standard output: the value as JSON with ``--json``, else the text.

        Args:
            value: What scripts read; anything ``json`` can write, paths included.
            text: The same for people.
        """
        self.answers.append(True)
        out = self.out or sys.stdout
        write(out, f"{_document(value) if self.json else text}\n")

    def track[T](
        self, items: Iterable[T], description: str, *, total: int | None = None, unit: str = ""
    ) -> Iterator[T]:
        """Pass the items through and show how far they are.

        Args:
            items: What is worked through.
            description: What is done, for example ``"reading"``.
            total: How many there will be, if ``items`` does not know.
            unit: What they are, for example ``"images"``.

        Yields:
            The items.

        Examples:
            >>> sum(Console(progress=False).track([1, 2, 3], "adding"))
            6
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        with self.working(description, total=total, unit=unit) as meter:
            for item in items:
                yield item
                meter.advance()

    @contextmanager
    def working(
        self, description: str, *, total: int | None = None, unit: str = ""
    ) -> Iterator["Meter"]:
        """Show how far a piece of work is; the block calls ``advance`` on what it is given.

        Args:
            description: What is done.
            total: Number of steps, if known.
            unit: What a step is.

        Yields:
            A meter: a bar on a terminal, lines in a log, nothing when not wanted.
        """
        if self.quiet or not self.progress:
            yield Silent()
        elif self.live:
            with _bar(unit) as bar, _said_above(bar):
                yield Bar(bar, bar.add_task(description, total=total, text=""))
        else:
            yield Heartbeat(self, description, total, unit)


class Meter(Protocol):
    """Counts the steps of a piece of work."""

    def advance(self, steps: int = 1, text: str = "") -> None:
        """Count steps done; ``text`` is the number that matters, such as ``loss 0.241``."""


class Silent:
    """Shows nothing."""

    def advance(self, steps: int = 1, text: str = "") -> None:
        """Count nothing."""


class Bar:
    """One line on a terminal that fills."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1, text: str = "") -> None:
        """Move on and show the text at the end of the line."""
        self._progress.update(self._task, advance=steps, text=text)


class Heartbeat:
    """Whole lines in a log: at the start, at the end, and each minute or 10 % between."""

    def __init__(self, console: Console, description: str, total: int | None, unit: str) -> None:
        self._console, self._description, self._total, self._unit = (
            console,
            description,
            total,
            unit,
        )
        self._done = 0
        self._start = self._said = time.monotonic()
        self._share = 0
        amount = "" if total is None else f" {total:,} {unit}".rstrip()
        console.say(f"{time.strftime('%H:%M:%S')} {description}{amount}")

    def advance(self, steps: int = 1, text: str = "") -> None:
        """Count steps and say so when it is time."""
        self._done += steps
        now = time.monotonic()
        share = 10 * self._done // self._total if self._total else 0
        silence_s = now - self._said
        if silence_s >= BEAT_S or (share > self._share and silence_s >= SHARE_GAP_S):
            self._said, self._share = now, share
            self._console.say(f"{time.strftime('%H:%M:%S')} {self._line(now, text)}")

    def _line(self, now: float, text: str) -> str:
        spent_s = now - self._start
        if not self._total:
            return f"{self._description} {self._done:,} {self._unit} {text}".rstrip()
        left_s = spent_s * max(self._total - self._done, 0) / max(self._done, 1)
        parts = [self._description, f"{self._done:,}/{self._total:,}", self._unit, text]
        return " ".join(part for part in [*parts, f"eta {duration(left_s)}"] if part)


def duration(seconds: float) -> str:
    """Write a time span as people say it.

    Args:
        seconds: Its length.

    Examples:
        >>> duration(42), duration(482), duration(7300)
        ('42 s', '8 min 02 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def paint(text: str, colour: Colour, stream: TextIO) -> str:
    """Colour a text if the stream shows colours.

    ``NO_COLOR`` wins over ``FORCE_COLOR``, which wins over what the stream is.

    Args:
        text: What is said; it must be clear without its colour.
        colour: One of the few we use.
        stream: Where it will be written.
    """
    if os.environ.get("NO_COLOR"):
        return text
    if os.environ.get("FORCE_COLOR") or is_terminal(stream):
        return f"\033[{SGR[colour]}m{text}\033[0m"
    return text


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that understands more than plain text."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def standard_error() -> TextIO:
    """Where people read narration, also while the descriptor 2 is written to a file."""
    return _aside[-1] if _aside else sys.stderr


@contextmanager
def narrating_to(stream: TextIO) -> Iterator[None]:
    """All consoles of the process narrate to a stream, whatever becomes of standard error.

    Args:
        stream: What the user sees.
    """
    _aside.append(stream)
    try:
        yield
    finally:
        _aside.remove(stream)


def write(stream: TextIO, text: str) -> None:
    """Write at once; when nobody reads any more (``| head``), end the program quietly."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # What is still buffered would complain again at exit: let it go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(0) from None


def _bar(unit: str) -> "Progress":
    from rich.console import Console as Terminal
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=Terminal(file=standard_error()),
        redirect_stdout=not _aside,  # else prints go where standard error was sent
        redirect_stderr=not _aside,
    )


@contextmanager
def _said_above(bar: "Progress") -> Iterator[None]:
    """What is narrated while a bar is drawn stands above it; rich sees to ``sys.stderr`` only."""
    if not _aside:
        yield
        return
    from rich.file_proxy import FileProxy

    with narrating_to(cast("TextIO", FileProxy(bar.console, _aside[-1]))):
        yield


def _document(value: object) -> str:
    """JSON, in which a number that is none is null."""
    plain = json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)
    return json.dumps(plain, indent=2, allow_nan=False)
