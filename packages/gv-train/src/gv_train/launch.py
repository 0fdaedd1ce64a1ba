"""The ``train`` command: finds the experiment that was asked for, configures it and runs it.

Apps share one environment, where two scripts of the same name would overwrite each other silently.
So ``train`` exists once, here, and each app offers its experiments by entry points: group
``gv.experiments`` names them, group ``gv.apps`` names the app's default, the same value once more.
An experiment is imported when it is chosen, torch when it runs.
"""

import argparse
import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points
from typing import Any

from gv_data.terminal.caller import caller
from gv_data.terminal.command import Command, Family, Verb, run
from gv_data.terminal.console import Console
from gv_data.terminal.options import Parser
from gv_train.errors import LaunchError
from gv_train.heap import keep_freed_memory
from gv_train.options import add_files, add_flags, configure, of_flags
from gv_train.session import Session

EXAMPLES = (
    "train                                 the app's default experiment, nothing to download",
    "train list                            what is installed",
    "train buildings --help                the options of one experiment",
    "train buildings --config town.yaml --print-config > mine.yaml",
)


@dataclass(frozen=True)
class Launch:
    """What an experiment is told beside its configuration."""

    console: Console = field(default_factory=Console)
    """How loud it should be."""
    plain: dict[str, Any] = field(default_factory=dict)
    """The configuration as nested dictionaries, to be written into the run."""
    sources: dict[str, str] = field(default_factory=dict)
    """What won, by key: a flag, ``FILE:LINE`` or ``"default"``."""
    command: tuple[str, ...] = ()
    """Script, verb and experiment as called: ``("train", "buildings")``."""
    session: Session = field(default_factory=Session)
    """What to do with the experiment this time."""


@dataclass(frozen=True)
class Experiment[C]:
    """What an app offers to train. Its module must not import torch."""

    name: str
    """As on the command line."""
    summary: str
    """One sentence."""
    config: type[C]
    """Frozen dataclass: flags, YAML keys and defaults."""
    train: Callable[[C, Launch], int | None]
    """Trains; imports what is heavy itself; returns an exit code, None meaning 0."""
    examples: tuple[str, ...] = ()
    """Whole command lines, the usual one first."""


def main(words: Sequence[str] | None = None, *, app: str | None = None) -> int:
    """Run ``train``.

    Args:
        words: The command line without the script; None: that of this process.
        app: The app whose default is meant when no experiment is named; None: found out.

    Returns:
        Exit code.
    """
    return run("train", family(app), words)


def family(app: str | None = None) -> Family:
    """Describe ``train``: one word an installed experiment, and ``list``.

    Args:
        app: The app whose experiments come first; None: found out when it matters.
    """
    prog = f"{app} train" if app else "train"
    offers: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group="gv.experiments"), key=lambda point: point.name):
        offers.setdefault(point.name, []).append(point)
    verbs = {
        name: Verb(
            f"offered by {' and '.join(map(_package, points))}",
            lambda points=points: _command(prog, _only(points, app)),
        )
        for name, points in offers.items()
    }
    verbs["list"] = Verb("what is installed, with a summary each", lambda: LIST)
    return Family(
        "Trains an experiment and evaluates it; without a name the app's default one.",
        EXAMPLES,
        verbs,
        default=lambda: default_experiment(_apps(), app, offers),
        noun="experiment",
    )


def default_experiment(
    apps: Mapping[str, EntryPoint],
    app: str | None,
    offers: Mapping[str, Sequence[EntryPoint]],
) -> str:
    """Name the experiment that is meant when none is named.

    Args:
        apps: Default of each app, by the normal form of its package's name.
        app: The app if it is known; None: the one that ``uv run --package`` asks for.
        offers: The experiments by name.

    Returns:
        Name of an experiment.

    Raises:
        LaunchError: Nothing is installed, or it is not clear which app is meant.
    """
    asked = app or caller().package
    if asked and _normal(asked) in apps:
        point = apps[_normal(asked)]
    elif asked and not _installed(asked):
        raise LaunchError(f"{asked} is not installed in this environment: uv sync --all-packages")
    elif len(apps) == 1:
        point = next(iter(apps.values()))
    elif not apps:
        raise LaunchError("no app is installed; for example: uv add urbanvision")
    else:
        names = ", ".join(sorted(apps))
        raise LaunchError(
            f"which app is meant? installed: {names}; experiments: {', '.join(sorted(offers))}; "
            f"name an experiment, or: uv run --package {min(apps)} train"
        )
    for name, points in offers.items():
        if any(offer.value == point.value for offer in points):
            return name
    raise LaunchError(f"{_package(point)}: its default {point.value} is none of its experiments")


def load(point: EntryPoint) -> Experiment[Any]:
    """Import an experiment.

    Args:
        point: Entry point of the group ``gv.experiments``.

    Raises:
        LaunchError: What it names is not an experiment, or does not exist.
    """
    where = f"experiment {point.name} of {_package(point)}"
    try:
        experiment = point.load()
    except (ImportError, AttributeError) as error:
        raise LaunchError(f"{where}: {point.value} cannot be loaded: {error}") from error
    if not isinstance(experiment, Experiment):
        raise LaunchError(f"{where}: {point.value} is a {type(experiment).__name__}")
    return experiment


def _command(prog: str, point: EntryPoint) -> Command:
    """The command that trains one experiment."""
    experiment = load(point)

    def work(values: argparse.Namespace, console: Console) -> int | None:
        session = of_flags(Session, values)
        recorded, place = _recorded(experiment, session)
        configured = configure(experiment.config, values, recorded, place)
        if values.print_config:
            console.answer(configured.plain, configured.to_yaml(values.print_config))
            return 0
        words = (*prog.split(), experiment.name)
        launch = Launch(console, configured.plain, configured.sources, words, session)
        keep_freed_memory()
        return experiment.train(configured.value, launch)

    return Command(
        experiment.summary,
        experiment.examples or (f"{prog} {experiment.name}",),
        lambda parser: _add_options(parser, experiment),
        work,
    )


def _add_options(parser: Parser, experiment: Experiment[Any]) -> None:
    add_flags(parser, Session, title="this time")
    add_flags(parser, experiment.config)
    add_files(parser)


def _recorded(experiment: Experiment[Any], session: Session) -> tuple[dict[str, Any], str]:
    """The configuration of the run to go on or to work with, so that it need not be repeated."""
    reference = session.resume
    if session.mode not in ("train", "fit"):
        reference = session.run or "latest"
    if reference is None:
        return {}, ""
    from gv_train import hparams, runs

    file = runs.open(reference, project=experiment.name).folder / "hparams.yaml"
    return hparams.read_config(file), str(file)


def _only(points: Sequence[EntryPoint], app: str | None) -> EntryPoint:
    """Choose between apps that offer an experiment of the same name."""
    if len(points) == 1:
        return points[0]
    asked = app or caller().package
    for point in points:
        if asked and _normal(_package(point)) == _normal(asked):
            return point
    apps = sorted(map(_package, points))
    raise LaunchError(
        f"{points[0].name} is offered by {' and '.join(apps)}: {apps[0]} train {points[0].name}"
    )


def _list(values: argparse.Namespace, console: Console) -> int:
    """Tell what is installed; an experiment that cannot be loaded is told too."""
    del values
    defaults = {(_package(point), point.value) for point in _apps().values()}
    rows: list[dict[str, object]] = []
    lines: list[str] = []
    code = 0
    points = sorted(entry_points(group="gv.experiments"), key=lambda point: point.name)
    width = max((len(f"{point.name}  {_package(point)}") for point in points), default=0)
    for point in points:
        name, app = point.name, _package(point)
        default = (app, point.value) in defaults
        try:
            summary = load(point).summary
        except LaunchError as error:
            console.warn(name, str(error))
            summary, code = "cannot be loaded", 3
        rows.append({"name": name, "app": app, "default": default, "summary": summary})
        lines.append(f"{f'{name}  {app}':{width}}  {summary}{' (default)' * default}")
    console.answer(rows, "\n".join(lines) or "no experiment is installed")
    return code


def _no_options(parser: Parser) -> None:
    del parser


LIST = Command(
    "Lists the installed experiments.", ("train list", "train list --json"), _no_options, _list
)


def _apps() -> dict[str, EntryPoint]:
    return {_normal(_package(point)): point for point in entry_points(group="gv.apps")}


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module.partition(".")[0]


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except PackageNotFoundError:
        return False
    return True


def _normal(package: str) -> str:
    """Package names are equal up to case, dashes, dots and underscores."""
    return re.sub(r"[-_.]+", "-", package).lower()
