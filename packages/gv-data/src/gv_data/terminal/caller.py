"""How the user called us, so that the next command can be printed in the same form.

Neither ``uv run`` nor ``uvx`` tells its child how it was called; the command line of the parent
process does.
"""

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PARENTS = 6
"""How far up we look: uv, a shell, a script, a scheduler."""


@dataclass(frozen=True)
class Caller:
    """The words before our own name."""

    prefix: tuple[str, ...] = ()
    """``("uv", "run")``, ``("uvx", "--from", "urbanvision")``, or nothing."""
    package: str | None = None
    """What ``uv run --package`` asked for, here or in a parent."""
    script: str = ""
    """Our own script as it was started."""

    def command(self, *words: str) -> str:
        """Write a command as this user would type it.

        Args:
            words: Script, verb, arguments.

        Returns:
            One line for a POSIX shell, quoted where needed.

        Examples:
            >>> Caller(("uv", "run")).command("urbanvision", "predict", "my scene.tif")
            "uv run urbanvision predict 'my scene.tif'"
        """
        script, *rest = words
        prefix = self.prefix
        if prefix[:1] == ("uvx",) and "--from" not in prefix and script != self.script:
            prefix = (*prefix, "--from", self.script)
        if not prefix:
            script = _reachable(script, self.script)
        return " ".join(map(_quoted, [*prefix, script, *rest]))


def _quoted(word: str) -> str:
    """A word for the shell; SQL, which is full of single quotes, in double ones."""
    plain = "'" in word and not any(character in word for character in '"$`\\!')
    return f'"{word}"' if plain else shlex.quote(word)


def next_command(*words: str) -> str:
    """Write a command in the form in which the user called us.

    Args:
        words: Script, verb, arguments, for example ``"urbanvision", "predict", "scene.tif"``.
    """
    return caller().command(*words)


def caller() -> Caller:
    """Find out how this process was called."""
    return read_caller(_ancestors(), sys.argv)


def read_caller(ancestors: Sequence[Sequence[str]], argv: Sequence[str]) -> Caller:
    """Read the form of a call from command lines.

    Args:
        ancestors: Command lines of the parent, its parent, and so on.
        argv: Our own, script first.

    Examples:
        >>> line = ["/usr/bin/uv", "run", "--no-sync", "--package", "urbanvision", "train", "list"]
        >>> read_caller([line], ["/x/.venv/bin/train", "list"])
        Caller(prefix=('uv', 'run', '--no-sync'), package='urbanvision', script='train')
    """
    script, rest = argv[0], list(argv[1:])
    name = _stem(script)
    packages = [package for line in ancestors if (package := _package(line, name, rest))]
    package = packages[0] if packages else None
    line = list(ancestors[0]) if ancestors else []
    words = _before(line, name, rest)
    if words is None or _stem(line[0]) not in ("uv", "uvx"):
        return Caller((), package, script)
    match words:
        case ["tool", "run" | "uvx", *options]:
            return Caller(("uvx", *_kept(options)), None, name)
        case [*options] if _stem(line[0]) == "uvx":
            return Caller(("uvx", *_kept(options)), None, name)
        case [*options] if "run" in options:
            options.remove("run")
            return Caller(("uv", "run", *_kept(_without_package(options))), package, name)
    return Caller((), package, script)


def _ancestors() -> list[list[str]]:
    import psutil

    lines = []
    for parent in psutil.Process().parents()[:PARENTS]:
        try:
            lines.append(parent.cmdline())
        except psutil.Error:
            break
    return lines


def _before(line: Sequence[str], name: str, rest: list[str]) -> list[str] | None:
    """What stands between ``uv`` and our script, or None if the line does not end with our call."""
    at = len(line) - len(rest) - 1
    if at < 1 or list(line[at + 1 :]) != rest or _stem(line[at]) != name:
        return None
    return list(line[1:at])


def _package(line: Sequence[str], name: str, rest: list[str]) -> str | None:
    """The package that a ``uv run`` asks for; our own arguments are not its options."""
    if not line or _stem(line[0]) != "uv":
        return None
    before = _before(line, name, rest)
    words = list(line[1:]) if before is None else before
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--package" and following:
            return following
        if word.startswith("--package="):
            return word.removeprefix("--package=")
    return None


def _without_package(options: list[str]) -> list[str]:
    """Drop ``--package``: the whole workspace has every script. Extras belong to the package."""
    if any(option.startswith(("--extra", "--all-extras")) for option in options):
        return options
    kept = [option for option in options if not option.startswith("--package=")]
    if "--package" in kept:
        at = kept.index("--package")
        del kept[at : at + 2]
    return kept


def _kept(options: list[str]) -> list[str]:
    """The options to repeat: an address is left out with its option, it may hold a password."""
    kept: list[str] = []
    for option in options:
        if "://" not in option:
            kept.append(option)
        elif not option.startswith("-") and kept and kept[-1].startswith("-"):
            kept.pop()
    return [option for option in kept if option != "--"]


def _reachable(script: str, ours: str) -> str:
    """Give a script's name if the shell finds it there, else its path beside our own."""
    beside = Path(ours).with_name(script)
    found = shutil.which(script)
    if found is None and "/" in ours and beside.is_file():
        return str(beside)
    return script


def _stem(path: str) -> str:
    return Path(path).name.removesuffix(".exe")
