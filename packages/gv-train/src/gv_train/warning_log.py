"""Warnings go to files of the run, all of them; the console stays readable and tells their number.

``logs/warnings.log`` holds what Python, torch, Lightning, GDAL and any logger warn of;
``logs/stderr.log`` what C libraries and child processes print by themselves. Each process of a
distributed training has its own pair, since files on a network lose lines of several writers.
"""

import faulthandler
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing import process
from pathlib import Path
from typing import override

from gv_train.standard_error import hide_secrets, point_to, trim, unfailing, written_to
from gv_train.warning_counts import Counted, Kind, count, sizes
from gv_train.warning_lines import Lines
from gv_train.warning_sources import (
    ToLines,
    telling_dead_threads,
    write_warnings,
    writing_records,
)

TEND_S = 10.0
"""Shortest time between two looks at the size of the raw text."""
_KEY = "gv_train.warning_log"


class WarningLog:
    """What a block writes of warnings, counted in its files: those of its children too.

    Attributes:
        files: ``warnings.log`` and ``stderr.log`` of this process.
    """

    def __init__(self, folder: Path, files: tuple[Path, Path]) -> None:
        self.files = files
        self._folder = folder
        self._since = sizes(folder)
        self._ended: Counted | None = None
        self._tended = 0.0

    @property
    def counted(self) -> Counted:
        """How many of which kind until now; when the block has ended, until then."""
        return self._ended or count(self._folder, self._since)

    @property
    def total(self) -> int:
        """Number of warnings."""
        return self.counted.total

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds, most frequent first."""
        return self.counted.kinds

    def tend(self) -> None:
        """Keep the raw text short; to be called now and then, does nothing most times."""
        now = time.monotonic()
        if now - self._tended >= TEND_S:
            self._tended = now
            trim(self.files[1])

    def _end(self, lines: Lines) -> None:
        raw = self.files[1]
        trim(raw)
        start = self._since.get(raw, 0)
        hide_secrets(raw, start if raw.is_file() and start <= raw.stat().st_size else 0)
        lines.tell()
        counted = count(self._folder, self._since)
        self._ended = Counted(counted.kinds, lines.lost)
        if counted.total:
            text = f"{self._ended.line}\n{counted.table}"
            lines.put("".join(f"# {line}\n" for line in text.splitlines()))


@contextmanager
def warnings_to(folder: Path, *, rank: str | None = None) -> Iterator[WarningLog]:
    """Write all warnings of a block, and all of standard error, to files in a folder.

    Counted are Python's warnings, records of loggers from WARNING on, and lines on standard error.
    Up to ten warnings of one kind, place and wording are written by a process, then only their
    number. Worker processes of any start method take part. Consoles go on writing to the terminal;
    progress bars must begin inside. Filters of warnings keep their word: what they ignore is not
    written, what they raise is raised, what they say nothing of is written each time.

    May be nested (the inner one gets all) and used again; two threads may not use it at once. A
    fork server that starts inside keeps writing to the log afterwards.

    Args:
        folder: The ``logs`` folder of a run.
        rank: Name of this process among those of a training, empty for the first; None: as the
            launcher's environment says.

    Yields:
        The log with its counts.

    Raises:
        RunError: If the files cannot be written, for any reason but a full disk.
    """
    owner = os.getpid()
    name = rank_name(os.environ) if rank is None else rank
    end = f"-{name}.log" if name else ".log"
    files = folder / f"warnings{end}", folder / f"stderr{end}"
    trim(files[1])
    hide_secrets(files[1])  # of an attempt that was killed
    log = WarningLog(folder, files)
    lines = Lines(files[0])
    try:
        with ExitStack() as undo:
            undo.enter_context(writing_records(ToLines(lines)))
            undo.enter_context(written_to(files[1]))
            undo.enter_context(telling_dead_threads())
            undo.enter_context(_children_join(_Membership(files)))
            undo.enter_context(warnings.catch_warnings())
            write_warnings(lines)
            if not faulthandler.is_enabled():
                faulthandler.enable(2)
                undo.callback(faulthandler.disable)
            yield log
    finally:
        if os.getpid() == owner:  # not in a forked child that leaves
            log._end(lines)
        lines.close()


def rank_name(environment: Mapping[str, str]) -> str:
    """Tell the processes of a training apart by what their launcher says.

    Args:
        environment: With variables of torchrun, SLURM or Lightning.

    Returns:
        Empty for the first process and outside of launchers.

    Examples:
        >>> rank_name({"RANK": "3", "LOCAL_RANK": "1"}), rank_name({"LOCAL_RANK": "1"})
        ('rank3', 'rank1')
        >>> rank_name({"NODE_RANK": "1", "LOCAL_RANK": "0"}), rank_name({})
        ('node1-rank0', '')
    """
    number = environment.get("RANK", environment.get("SLURM_PROCID"))
    node = environment.get("NODE_RANK", environment.get("GROUP_RANK", "0"))
    if number is None and node != "0":
        return f"node{node}-rank{environment.get('LOCAL_RANK', '0')}"
    number = number or environment.get("LOCAL_RANK", "0")
    return "" if number == "0" else f"rank{number}"


class _Membership:
    """Travels with each process that multiprocessing starts anew; arriving, it joins the log."""

    def __init__(self, files: tuple[Path, Path]) -> None:
        self._files = files

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return _join, self._files


def _join(warnings_file: Path, raw_file: Path) -> _Membership:
    point_to(raw_file)  # a fork server may have another one
    sys.stderr = unfailing()
    lines = Lines(warnings_file)
    logging.root.addHandler(ToLines(lines))
    write_warnings(lines)
    if not faulthandler.is_enabled():
        faulthandler.enable(2)
    return _Membership((warnings_file, raw_file))


@contextmanager
def _children_join(membership: _Membership) -> Iterator[None]:
    """Let processes of the start methods spawn and forkserver join; forked ones are members.

    What a process object carries to its child is multiprocessing's ``_config``, which holds the
    authentication key; there is no public place. An initialiser of workers would be one, but
    Lightning seeds workers only where it is free.
    """
    carried: dict[str, object] = process.current_process()._config  # pyrefly: ignore
    before = carried.get(_KEY)
    carried[_KEY] = membership
    try:
        yield
    finally:
        del carried[_KEY]
        if before is not None:
            carried[_KEY] = before
