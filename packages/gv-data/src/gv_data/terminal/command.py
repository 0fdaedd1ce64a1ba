"""A command of the house: one parser, one way to fail, one table of exit codes.

A ``Command`` is what one verb does; a ``Family`` holds verbs that are loaded when they are chosen,
so that help and mistakes answer at once, without torch. Entry points call ``run``::

    FAMILY = Family("Catalogs of imagery.", ("gv-data index photos --out catalogs/town",), {
        "index": Verb("make a catalog of images and labels", lambda: INDEX),
    })

    def main() -> int:
        return run("gv-data", FAMILY)
"""

import argparse
import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from gv_data.terminal.console import Console, paint, write
from gv_data.terminal.options import (
    EXIT_CODES,
    HelpAsked,
    Parser,
    UsageError,
    dashed,
    examples_text,
    nearest,
)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Command:
    """What one verb does.

    ``work`` imports what is heavy itself, gives its answer through the console and returns an exit
    code, None meaning 0. An exception with an ``exit_code`` is a message to the user.
    """

    summary: str
    """One sentence."""
    examples: tuple[str, ...]
    """Whole command lines, the usual one first."""
    options: Callable[[Parser], None]
    """Adds the options to a parser."""
    work: Callable[[argparse.Namespace, Console], int | None]
    """Does it."""


@dataclass(frozen=True)
class Verb:
    """A word that chooses a command."""

    summary: str
    """A few words for the list of verbs."""
    load: Callable[[], "Command | Family"]
    """Imports what the verb needs, when it is chosen."""


@dataclass(frozen=True)
class Family:
    """Verbs under one name."""

    summary: str
    """One sentence."""
    examples: tuple[str, ...]
    """Whole command lines, the usual one first."""
    verbs: Mapping[str, Verb]
    """The verbs in the order of the help."""
    default: Callable[[], str] | None = None
    """Names the verb that is meant when none is given."""
    noun: str = "verb"
    """What the verbs are, in messages and help."""


class Terminated(SystemExit):
    """SIGTERM came: what is open is closed as on Ctrl-C, then the command ends with 143."""

    def __init__(self) -> None:
        super().__init__(143)


def run(prog: str, command: Command | Family, words: Sequence[str] | None = None) -> int:
    """Run a command from its words to its exit code; an entry point returns what this returns.

    While it works, whatever prints to standard output is sent to standard error: only
    ``console.answer`` reaches standard output.

    Args:
        prog: Name of the script, for example ``"gv-data"``.
        command: What it does.
        words: The command line without the script; None: that of this process.

    Returns:
        0, 1, 2, 3, 4, 130 or 143, as the house's table says.
    """
    words = dashed(sys.argv[1:] if words is None else words)
    told = words[: words.index("--")] if "--" in words else words
    # Before they are understood: a mistake in the options is told in the way the options ask for.
    console = Console(debug="--debug" in told, json="--json" in told, out=sys.stdout)
    try:
        with redirect_stdout(sys.stderr), _sigterm_raises():
            return _work(prog, command, words, console)
    except HelpAsked as asked:
        write(sys.stdout, str(asked))
        return 0
    except KeyboardInterrupt:
        return _fail(console, 130, "stopped")
    except Terminated:
        return _fail(console, 143, "stopped by SIGTERM")
    except Exception as error:  # every failure becomes one line and an exit code
        if console.debug:
            sys.excepthook(type(error), error, error.__traceback__)
        return _explain(prog, error, console)


def versions(prog: str) -> dict[str, str]:
    """Versions of what matters in a bug report, without importing any of it.

    Args:
        prog: The command asked, named first.
    """
    from importlib import metadata

    offering = metadata.entry_points(group="gv.apps")
    apps = {point.dist.name for point in offering if point.dist}
    ours = sorted(apps | {"gv-io", "gv-data", "gv-models", "gv-train", "gv-analysis"})
    ours.sort(key=lambda name: name != prog)
    found = {}
    for name in [*ours, "torch", "rasterio"]:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if name == "rasterio":
            libraries = (file.name for file in metadata.files(name) or [])
            gdal = next((file for file in libraries if file.startswith("libgdal")), "")
            if gdal:  # the wheel's library carries its version: libgdal-<hash>.so.38.3.12.2
                found["GDAL"] = gdal.partition(".so.")[2].partition(".")[2] or "unknown"
    found["Python"] = sys.version.partition(" ")[0]
    return found | _commit()


def cache_folder() -> Path:
    """Where things lie that can be made or fetched again.

    ``GEOVISION_CACHE``, else the user's cache folder of the system.
    """
    if chosen := os.environ.get("GEOVISION_CACHE"):
        return Path(chosen)
    system = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(system) if system else Path.home() / ".cache") / "geovision"


def _work(prog: str, command: Command | Family, words: list[str], console: Console) -> int:
    """Find the verb, understand the options, do it."""
    told = words[: words.index("--")] if "--" in words else words
    if "--version" in told:
        found = versions(prog.partition(" ")[0])
        lines = "\n".join(f"{name} {version}" for name, version in found.items())
        console.answer(found, lines)
        return 0
    if isinstance(command, Family):
        if told[:1] in (["-h"], ["--help"]):
            raise HelpAsked(_family_help(prog, command))
        verb, rest = _choose(prog, command, words)
        return _work(f"{prog} {verb}", command.verbs[verb].load(), rest, console)
    parser = Parser(prog, command.summary, command.examples)
    command.options(parser)
    values = parser.understand(words)
    # A command may give --json its own meaning, such as a file to write to.
    heard = replace(
        console,
        quiet=values.quiet,
        verbose=values.verbose,
        debug=values.debug,
        json=values.json is True,
        progress=not values.no_progress,
    )
    return command.work(values, heard) or 0


def _choose(prog: str, family: Family, words: list[str]) -> tuple[str, list[str]]:
    if words and not words[0].startswith("-"):
        if words[0] in family.verbs:
            return words[0], words[1:]
        known = ", ".join(family.verbs) or "none"
        raise UsageError(
            f"{prog}: no {family.noun} {words[0]!r}{nearest(words[0], family.verbs)} "
            f"(there are: {known})"
        )
    if family.default is None:
        raise UsageError(f"{prog}: which {family.noun}? {', '.join(family.verbs)} ({prog} --help)")
    return family.default(), words


def _family_help(prog: str, family: Family) -> str:
    width = max(map(len, family.verbs), default=0)
    verbs = [f"  {name:{width}}  {verb.summary}" for name, verb in family.verbs.items()]
    name = family.noun.upper()
    parts = [
        examples_text(family.examples),
        family.summary,
        f"usage: {prog} {name} ... ({prog} {name} --help shows its options)",
        "\n".join([f"{family.noun}s:", *verbs]),
        "common options: --help --version --quiet --verbose --debug --json --no-progress",
        EXIT_CODES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _explain(prog: str, error: Exception, console: Console) -> int:
    """Turn an exception into a message and an exit code."""
    hint = getattr(error, "hint", None)
    if isinstance(code := getattr(error, "exit_code", None), int):
        return _fail(console, code, str(error), getattr(error, "file", None), hint)
    match error:
        case OSError(errno=number, filename=file) if number in NO_SPACE:
            where = f" to write {file}" if file else ""
            message = f"no space left{where}: free the disk and run again"
            return _fail(console, 2, message, file)
        case FileNotFoundError(filename=file) if file:
            return _fail(console, 2, f"{file}: no such file or folder", file)
        case PermissionError(filename=file) if file:
            return _fail(console, 2, f"{file}: not permitted", file)
        case FileExistsError() | IsADirectoryError() | NotADirectoryError():
            file = error.filename
            reason = f"{file}: {(error.strerror or '').lower()}" if file else str(error)
            return _fail(console, 2, reason, file)
    log = _log(prog, error)
    name = type(error).__name__
    first = str(error).strip().partition("\n")[0]
    message = f"{prog} failed: {name}: {first}" if first else f"{prog} failed: {name}"
    return _fail(console, 1, message, None, hint or f"the whole story: {log}")


def _fail(
    console: Console, code: int, message: str, file: object = None, hint: str | None = None
) -> int:
    write(sys.stderr, f"{paint('error:', 'red', sys.stderr)} {message}\n")
    if hint:
        write(sys.stderr, f"  {hint}\n")
    if console.json and not console.answers:
        place = None if file is None else str(file)
        told = {"code": code, "message": message, "file": place, "hint": hint}
        write(sys.stdout, json.dumps({"error": told}, indent=2) + "\n")
    return code


def _log(prog: str, error: Exception) -> Path:
    """Write the traceback where the user can find it."""
    import tempfile
    import traceback

    name = f"{prog.replace(' ', '-')}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    text = "".join(traceback.format_exception(error))
    for folder in (cache_folder() / "logs", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        except OSError:
            continue
        return folder / name
    return Path("not written, no folder can be written to")


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """While the block runs, SIGTERM raises ``Terminated`` in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        if os.getpid() != owner:  # a forked worker only ends
            os._exit(143)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _commit() -> dict[str, str]:
    """The commit, if gv-data is installed from a checkout; a wheel belongs to none."""
    import subprocess
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    try:
        record = metadata.distribution("gv-data").read_text("direct_url.json") or "{}"
        origin = json.loads(record)
        if not origin.get("dir_info", {}).get("editable"):
            return {}
        folder = unquote(urlsplit(origin["url"]).path)
        words = ["git", "-C", folder, "describe", "--always", "--dirty", "--exclude", "*"]
        told = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError, metadata.PackageNotFoundError):
        return {}
    return {"commit": told.stdout.strip()}
