"""What a run writes down to be repeatable: configuration, seed, versions, commit, command line."""

import dataclasses
import importlib.metadata
import platform
import socket
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from gv_train.errors import RunError
from gv_train.redaction import names_secret, redact, redact_arguments

_PACKAGES = (
    "gv-data",
    "gv-models",
    "gv-train",
    "urbanvision",
    "lightning",
    "numpy",
    "rasterio",
    "segmentation-models-pytorch",
    "timm",
    "torch",
    "torchgeo",
    "torchmetrics",
)


def read_config(file: Path) -> dict[str, Any]:
    """The configuration that a run was started with.

    Raises:
        RunError: If it never was, or the file cannot be understood.
    """
    try:
        record = yaml.safe_load(file.read_text(encoding="utf-8"))
        return dict(record["config"])
    except FileNotFoundError:
        raise RunError(f"{file.parent} was never started: there is nothing to go on with") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{file} does not hold a configuration any more: {error}") from error


def to_yaml(config: object, *, seed: int | None, argv: Sequence[str], attempt: int) -> str:
    """Write one attempt's record.

    Args:
        config: The whole resolved configuration: a dataclass or a mapping, nested as it likes.
        seed: Seed of the training.
        argv: Command line.
        attempt: Number of the attempt, from 1.

    Returns:
        YAML that ``yaml.safe_load`` reads, without secrets.

    Examples:
        >>> config = {"data": Path("maps"), "token": "abc"}
        >>> yaml.safe_load(to_yaml(config, seed=1, argv=["train"], attempt=1))["config"]
        {'data': 'maps', 'token': '***'}
    """
    record = {
        "config": _plain(config),
        "seed": seed,
        "argv": redact_arguments(argv),
        "attempt": attempt,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": commit_of(Path.cwd()),
    }
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True)


def _plain(value: object) -> object:
    """Turn a configuration into what YAML can say; a built object becomes its type's name."""
    match value:
        case None | bool() | int() | float():
            return value
        case str() | Path():
            return redact(str(value))
        case Mapping():
            return {str(k): "***" if names_secret(str(k)) else _plain(v) for k, v in value.items()}
        case Sequence() | set() | frozenset():
            return [_plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
        case _:
            return f"{type(value).__module__}.{type(value).__qualname__}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit_of(folder: Path) -> str | None:
    """Commit of the working directory, ``+changes`` if files differ from it; None outside git."""
    try:
        head, changes = (
            subprocess.run(
                ["git", *command],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for command in (
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if changes else "")
