"""What the doctor says, and where it looks."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from gv_data.terminal.command import cache_folder
from gv_train.runs import default_root

Level = Literal["ok", "note", "warning", "failure"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""The best first."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: ``note`` is a fact that surprises some; ``warning`` makes work slow, fragile or
            wrong; ``failure`` keeps it from being done.
        subject: What was looked at, in a word or two.
        text: What was found, with the values that matter.
        fix: What to do about it; empty where there is nothing to do.
    """

    level: Level
    subject: str
    text: str
    fix: str = ""


def run_program(words: Sequence[str], limit_s: float) -> str:
    """Run a program and give what it says on standard output.

    Args:
        words: Program and arguments.
        limit_s: Seconds after which it is killed.

    Raises:
        FileNotFoundError: If there is no such program.
        subprocess.SubprocessError: If it fails or takes too long.
    """
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=limit_s, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


@dataclass(frozen=True)
class Place:
    """Where a probe looks; ``Place()`` is this process on this machine.

    Attributes:
        root: Root of the file system, in which ``proc``, ``sys`` and ``dev`` lie.
        env: Environment variables.
        home: Home of the user.
        prefix: The Python environment.
        site: Folders in which packages are installed.
        runs: Folder of projects.
        cache: What can be fetched again lies there.
        program: Runs a program within so many seconds and gives its output.
    """

    root: Path = Path("/")
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    home: Path = field(default_factory=Path.home)
    prefix: Path = Path(sys.prefix)
    site: tuple[str, ...] = tuple(sys.path)
    runs: Path = field(default_factory=default_root)
    cache: Path = field(default_factory=cache_folder)
    program: Callable[[Sequence[str], float], str] = run_program

    def read(self, name: str) -> str:
        """A small file of the system, such as ``proc/meminfo``; empty if it cannot be read."""
        try:
            return (self.root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


@dataclass(frozen=True)
class Probe:
    """Something to look at.

    Attributes:
        subject: What, in a word or two.
        look: Gives the findings.
        limit_s: Seconds after which it counts as hanging.
        when_it_hangs: What that means, and what to do.
    """

    subject: str
    look: Callable[[Place], Sequence[Finding]]
    limit_s: float = 10.0
    when_it_hangs: str = ""
