"""What ``train`` does with an experiment: learn, validate, test or predict, in the folder of a run.

An app says what its experiment consists of (`Plan`); everything that all experiments share is here:
runs that are new, go on or are deleted first, checks of the options, several processes, the lines
at the start and at the end.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gv_data.terminal.caller import next_command
from gv_data.terminal.console import Console, duration
from gv_train import runs
from gv_train.checkpoints import BEST, LAST, AtomicCheckpointIO
from gv_train.distributed import RUN_VARIABLE, started_outside, told_by_first, world
from gv_train.errors import RunError
from gv_train.hardware import strategy
from gv_train.launch import Launch
from gv_train.plan import Answer, Asked, Plan, device_line, with_batch
from gv_train.rehearsal import rehearse
from gv_train.runs import Run
from gv_train.settings import Trainer as Settings
from gv_train.stopping import StoppedError
from gv_train.training import Fitted, fit, lightning_trainer, load_weights
from gv_train.warning_log import warnings_to


def conduct(
    name: str,
    launch: Launch,
    settings: Settings,
    *,
    seed: int,
    plan: Callable[[Path], Plan],
) -> int:
    """Do what the session asks for.

    Args:
        name: Of the experiment, which is that of the folder of its runs.
        launch: How it was asked.
        settings: How to train.
        seed: Of weights, windows and changes.
        plan: Makes the plan; gets the folder that data may be made in.

    Returns:
        Exit code.

    Raises:
        DataError, TrainError, ModelError: What the user can mend.
    """
    asked = Asked(name, launch, settings, seed, plan)
    session = launch.session
    if not world().first:
        return _follow(asked)
    if session.mode in ("train", "fit"):
        if session.dry_run or session.find_lr:
            return rehearse(asked)
        return _train(asked)
    return _use(asked)


def _train(asked: Asked) -> int:
    session = asked.session
    started = time.monotonic()
    strategy(asked.settings, world())
    if session.checkpoint is not None and session.resume is None:
        _existing(Path(session.checkpoint))
    if session.resume is not None:
        run = runs.open(session.resume, project=asked.name)
    else:
        if session.reset and session.run is not None:
            runs.delete_if_there(asked.name, session.run)
        run = runs.create(asked.name, name=session.run)
    with run:
        with warnings_to(run.logs):
            plan = asked.plan(run.folder / "data")
            asked = with_batch(asked, plan)
        _introduce(asked, plan, run)
        run.start(asked.launch.plain, seed=asked.seed, argv=asked.launch.command)
        if started_outside():
            told_by_first(run.folder)
        else:
            os.environ[RUN_VARIABLE] = str(run.folder)
        try:
            fitted = _fit(asked, plan, run)
        except StoppedError as stopped:
            again = next_command("train", asked.name, "--resume", run.name)
            run.finish("stopped", next_command=again)
            raise StoppedError(stopped.exit_code - 128, f"{stopped}\n  go on: {again}") from stopped
        finally:
            os.environ.pop(RUN_VARIABLE, None)
        plan.package(run, fitted.metrics)
        answer = plan.test(fitted.metrics) if session.mode == "train" else _fitted(asked, run)
        _conclude(asked, run, fitted, answer, time.monotonic() - started)
    return 0


def _follow(asked: Asked) -> int:
    """Train in a process that is not the first: nothing is said, written or judged."""
    folder = told_by_first(None) if started_outside() else Path(os.environ[RUN_VARIABLE])
    run = Run(folder)
    quiet = replace(asked, launch=replace(asked.launch, console=Console(quiet=True)))
    with warnings_to(run.logs):
        plan = asked.plan(folder / "data")
        quiet = with_batch(quiet, plan)
    _fit(quiet, plan, run)
    return 0


def _fit(asked: Asked, plan: Plan, run: Run) -> Fitted:
    session = asked.session
    start = None
    if session.checkpoint is not None:
        start = _file(run, session.checkpoint)
        if session.resume is None:
            load_weights(plan.task, start)
    return fit(
        plan.task,
        plan.data,
        run,
        asked.settings,
        minutes=plan.minutes,
        seed=asked.seed,
        schedule=plan.schedule,
        average=plan.average,
        monitor=plan.monitor,
        resume=session.resume is not None,
        checkpoint=start if session.resume is not None else None,
        profile=session.profiler,
        callbacks=plan.callbacks(run) if world().first else (),
        console=asked.console,
    )


def _use(asked: Asked) -> int:
    """Validate, test or predict with the weights of a run."""
    session, console = asked.session, asked.console
    run = runs.open(session.run or "latest", project=asked.name)
    file = _file(run, session.checkpoint or "best")
    with warnings_to(run.logs):
        plan = asked.plan(run.folder / "data")
        load_weights(plan.task, file)
        metrics = metrics_of(file)
        console.say(f"{session.mode:10} {asked.name}/{run.name} with {file}")
        match session.mode:
            case "validate":
                answer = _validate(asked, plan)
            case "test":
                answer = plan.test(metrics)
            case _:
                answer = plan.predict(metrics, session.out or run.folder / "predictions")
    value = {"run": str(run.folder), "checkpoint": str(file), **answer.metrics}
    console.answer(value, "\n".join(answer.lines))
    return 0


def _validate(asked: Asked, plan: Plan) -> Answer:
    trainer = lightning_trainer(asked.settings, logger=False, enable_checkpointing=False)
    with asked.console.working("validating"):
        trainer.validate(plan.task, datamodule=plan.data, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return Answer(metrics, tuple(f"{name:16} {value:.4f}" for name, value in metrics.items()))


def metrics_of(file: Path) -> dict[str, float]:
    """The validation values that the weights of a checkpoint had.

    Raises:
        RunError: If it is none of a training of ours.
    """
    callbacks = AtomicCheckpointIO().load_checkpoint(file).get("callbacks", {})
    for name, state in callbacks.items():
        if name.startswith("Pulse"):
            return dict(state["metrics"])
    raise RunError(f"{file} does not say how good its weights were: it is none of our checkpoints")


def _file(run: Run, checkpoint: str) -> Path:
    """The file that ``--checkpoint`` means.

    Raises:
        RunError: If it is not there.
    """
    known = {"best": run.checkpoints / BEST, "last": run.checkpoints / LAST}
    return _existing(known.get(checkpoint, Path(checkpoint)))


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise RunError(f"{file} is not there: --checkpoint takes best, last or a file")
    return file


def _introduce(asked: Asked, plan: Plan, run: Run) -> None:
    """The start lines."""
    say = asked.console.say
    for line in plan.said:
        say(line)
    say(device_line(asked))
    say(f"writes     {run.folder}   ({run.folder.parent / 'latest'} points to it)")
    say(f"watch      {run.figures}       stop with Ctrl-C: nothing is lost")


def _fitted(asked: Asked, run: Run) -> Answer:
    following = ("train", asked.name, "--mode", "test", "--run", run.name)
    return Answer({}, (), following)


def _conclude(asked: Asked, run: Run, fitted: Fitted, answer: Answer, seconds: float) -> None:
    """The end lines and the run's last record."""
    following = next_command(*answer.next) if answer.next else ""
    run.finish("finished", {**fitted.metrics, **answer.metrics}, next_command=following)
    package = run.folder.parent / "latest" / "package"
    size = sum(file.stat().st_size for file in run.package.iterdir()) / 1e6
    odd = [f"odd        {fitted.warnings} ({run.logs})"] * bool(fitted.warnings)
    odd += [f"odd        {fitted.skipped} steps skipped: no finite loss"] * bool(fitted.skipped)
    lines = [
        *answer.lines,
        f"took       {duration(seconds)}, {fitted.step:,} steps, best at {fitted.best_step:,}, "
        f"{fitted.waiting:.0%} of the time waiting for data",
        *odd,
        f"pictures   {run.figures}",
        f"package    {package}   {size:.1f} MB",
        *([f"next       {following}"] if following else []),
    ]
    value = {"run": str(run.folder), **answer.metrics, "next": following}
    asked.console.answer(value, "\n".join(lines))
