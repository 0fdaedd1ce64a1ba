"""Training the building model: data, checks, the run, the package and the verdict."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from gv_data.catalog import Catalog
from gv_data.checks.check import check_training
from gv_data.errors import CatalogError
from gv_data.intake.indexing import index
from gv_data.splitting.blocks import blocks
from gv_data.terminal.caller import next_command
from gv_data.terminal.console import Console, duration
from gv_data.windows.datamodule import DataModule
from gv_models import package, unet
from gv_models.networks import Segmenter
from gv_models.package import Band, Card
from gv_train import runs
from gv_train.hardware import device_of, precision, use_cpu
from gv_train.hparams import commit_of
from gv_train.launch import Launch
from gv_train.pictures import Pictures
from gv_train.runs import Run
from gv_train.segmentation import Segmentation
from gv_train.training import Fitted, StoppedError, fit
from urbanvision.buildings import Buildings
from urbanvision.evaluation import Verdict, judge
from urbanvision.synthetic import build_towns

HEADS = {"interior": 1.0, "edge": 0.5}
"""What is learnt, with the weight of each loss."""

DEFAULT_MINUTES = 2.2
"""For making the data and training, if nothing says how long: the whole command takes less than
three minutes on two cores, and the map is useful."""


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Attributes:
        train: View to learn from.
        val: View to validate on.
        said: What was chosen for the user.
        test: Images that neither learning nor the choice of weights sees, if there are any.
    """

    train: Catalog
    val: Catalog
    said: tuple[str, ...]
    test: Catalog | None = None


def learn(config: Buildings, launch: Launch) -> int:
    """Train a building model and write its package.

    Args:
        config: What was asked for.
        launch: How it was asked.

    Returns:
        Exit code.

    Raises:
        DataError, TrainError, ModelError: What the user can mend.
    """
    console = launch.console
    if config.resume is not None:
        run = runs.open(config.resume, project="buildings")
    else:
        run = runs.create("buildings", name=config.run)
    started = time.monotonic()
    with run:
        data = _data(config, run, console)
        gsd_m = config.gsd_m or float(data.train.images.grids.gsd_m.min())
        _introduce(config, data, gsd_m, run, console)
        run.start(launch.plain or config, seed=config.seed, argv=launch.command)
        minutes = config.minutes
        if (
            minutes is None
            and config.trainer.max_epochs is None
            and config.trainer.max_steps is None
        ):
            minutes = max(1.0, DEFAULT_MINUTES - (time.monotonic() - started) / 60)
        known = data.train.statistics
        module = DataModule(
            data.train,
            data.val,
            gsd_m=gsd_m,
            window_px=config.window_px,
            batch_size=config.trainer.batch_size,
            epoch_windows=config.trainer.epoch_windows,
            object_share=config.trainer.object_share,
            workers=_workers(config),
            seed=config.seed,
        )
        torch.manual_seed(config.seed)
        network = unet(
            bands=len(data.train.bands),
            heads=dict.fromkeys(HEADS, 1),
            encoder_weights="imagenet" if config.weights == "imagenet" else None,
        ).to(memory_format=torch.channels_last)
        task = Segmentation(
            network,
            weights=HEADS,
            mean=known.mean.tolist(),
            std=known.std.tolist(),
            lr=config.trainer.lr,
            encoder_lr=config.trainer.encoder_lr,
            weight_decay=config.trainer.weight_decay,
            overlooked=_overlooked(config),
        )
        try:
            fitted = fit(
                task,
                module,
                run,
                config.trainer,
                minutes=minutes,
                seed=config.seed,
                resume=config.resume is not None,
                callbacks=[Pictures(run, module, gsd_m=gsd_m)],
                console=console,
            )
        except StoppedError as stopped:
            again = next_command("train", "buildings", "--resume", run.name)
            run.finish("stopped", next_command=again)
            raise StoppedError(stopped.exit_code - 128, f"{stopped}\n  go on: {again}") from stopped
        card = _card(data, task, network, gsd_m, config, run, fitted)
        package.save(run.package, network, card, overwrite=config.resume is not None)
        model = package.load(run.package, device_of(config.trainer.device))
        verdict = judge(
            model, data.test or data.val, device=device_of(config.trainer.device), console=console
        )
        _conclude(data, run, fitted, verdict, console, time.monotonic() - started)
    return 0


def _data(config: Buildings, run: Run, console: Console) -> Data:
    """The training and validation views: a catalog's, bare files' or synthetic towns'."""
    folder = run.folder / "data"
    if config.data is not None:
        return _from_catalog(config, config.data)
    if config.image and config.labels:
        return _from_files(config, config.labels, folder / "catalog", console)
    towns = build_towns(folder, console)
    train, val, test = (towns.where(f"place = '{place}'") for place in ("train", "val", "test"))
    return Data(train, val, ("no --data or --image: synthetic towns",), test)


def _from_catalog(config: Buildings, path: Path) -> Data:
    catalog = Catalog.open(path)
    tables = dict(pair.split("=", 1) for pair in config.table)
    train = catalog.where(config.train_where or "split = 'train'", **tables)
    val = catalog.where(config.val_where or "split = 'val'", **tables)
    for view, option in ((train, "--train-where"), (val, "--val-where")):
        if not len(view):
            raise CatalogError(
                f"no image of {catalog.path} fits {view.conditions[-1]}\n"
                f"  try: {option} with a condition such as \"place = '...'\""
            )
    train, said = _without_empty(train, config)
    return Data(train, val, said)


def _without_empty(train: Catalog, config: Buildings) -> tuple[Catalog, tuple[str, ...]]:
    """Leave images without any label out, unless they are to be learnt from as empty ground."""
    empty = sum(image.objects == 0 for image in train.images)
    if not empty or config.empty_images == "learn" or empty == len(train):
        return train, ()
    said = f"{empty} images without a label left out (--empty-images learn takes them as empty)"
    return train.where("objects > 0"), (said,)


def _from_files(config: Buildings, labels: Path, out: Path, console: Console) -> Data:
    said: list[str] = []
    if not (out / "images.parquet").exists():
        found = index(
            config.image,
            out,
            labels=labels,
            labelled_area=config.labelled_area,
            labels_crs=config.labels_crs,
            swap_xy=config.swap_xy,
            parts=blocks,
            track=lambda found, total: console.track(found, "indexing", total=total, unit="images"),
        )
        for path, reason in found.refused:
            console.warn("refused", f"{path.name} left out: {reason}")
        said.append(f"labels: {found.labels_said}")
    catalog = Catalog.open(out)
    train, val = catalog.where("split = 'train'"), catalog.where("split = 'val'")
    train, left_out = _without_empty(train, config)
    share = _ground_m2(val) / (_ground_m2(train) + _ground_m2(val))
    said.append(f"split into blocks: {share:.0%} of the ground for validation, 10 m apart")
    return Data(train, val, (*said, *left_out))


def _ground_m2(view: Catalog) -> float:
    """Ground area of the images of a view; shared ground counts as often as it is there."""
    grids = view.images.grids
    return float((grids.shapes_hw.prod(axis=1) * grids.gsd_m**2).sum())


def _introduce(config: Buildings, data: Data, gsd_m: float, run: Run, console: Console) -> None:
    """The start lines, with what the checks found.

    Raises:
        CatalogError: If a check failed.
    """
    train, val = data.train, data.val
    say = console.say
    source = config.data or (f"{len(config.image)} images" if config.image else "synthetic towns")
    say(f"buildings  on {source}   (unet, tu-tf_efficientnet_lite0, {_weights_note(config)})")
    say(
        f"data       train {_amount(train)} | val {_amount(val)} | "
        f"windows of {config.window_px} px at {gsd_m:.3g} m"
    )
    for line in data.said:
        say(f"           {line}")
    if config.check:
        _report_checks(data, gsd_m, console)
    device = device_of(config.trainer.device)
    threads = use_cpu(config.trainer.threads)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{threads} threads"
    say(
        f"device     {device.type}, {name}, {precision(config.trainer)}, "
        f"batch {config.trainer.batch_size}, {_workers(config)} workers"
    )
    say(f"writes     {run.folder}   ({run.folder.parent / 'latest'} points to it)")
    say(f"watch      {run.folder / 'figures'}       stop with Ctrl-C: nothing is lost")


def _report_checks(data: Data, gsd_m: float, console: Console) -> None:
    checked = check_training(data.train, data.val, gsd_m=gsd_m)
    failures = [finding for finding in checked.findings if finding.level == "failure"]
    rest = [finding for finding in checked.findings if finding.level == "warning"]
    console.say(
        f"checks     {len(checked.passed)} passed, {len(rest)} warnings, {len(failures)} failures"
    )
    for finding in rest:
        console.warn(finding.rule, f"{finding.text}\n  {finding.hint}")
    if failures:
        lines = "\n".join(f"{finding.text}\n  {finding.hint}" for finding in failures)
        raise CatalogError(f"{lines}\n  --no-check trains all the same")


def _weights_note(config: Buildings) -> str:
    return "ImageNet weights: Apache-2.0" if config.weights == "imagenet" else "no prior weights"


def _amount(view: Catalog) -> str:
    """How much there is in a view, in words."""
    objects = sum(image.objects or 0 for image in view.images)
    return f"{len(view)} images, {_ground_m2(view) / 1e6:.3g} km2, {objects:,} buildings"


def _overlooked(config: Buildings) -> float:
    """Labels that are exact, or said to be complete, are believed; others miss buildings."""
    if config.trainer.overlooked is not None:
        return config.trainer.overlooked
    synthetic = not config.data and not config.image
    complete = synthetic or config.labelled_area or config.empty_images == "learn"
    return 1.0 if complete else 0.9


def _workers(config: Buildings) -> int:
    """One process reads ahead on a CPU that trains; on a GPU there is work for several."""
    if config.trainer.workers is not None:
        return config.trainer.workers
    if device_of(config.trainer.device).type == "cpu":
        return 1
    return max(1, min(8, torch.get_num_threads() - 1))


def _card(
    data: Data,
    task: Segmentation,
    network: Segmenter,
    gsd_m: float,
    config: Buildings,
    run: Run,
    fitted: Fitted,
) -> Card:
    known = data.train.statistics
    names = data.train.bands
    bands = tuple(
        Band(name, _WAVELENGTHS_NM.get(name), mean, std, p01, p99)
        for name, mean, std, p01, p99 in zip(
            names,
            task.mean.flatten().tolist(),
            task.std.flatten().tolist(),
            known.percentile(1).tolist(),
            known.percentile(99).tolist(),
            strict=True,
        )
    )
    return Card(
        constructor="unet",
        arguments=network.arguments,
        bands=bands,
        heads={head: (head,) for head in HEADS},
        gsd_m=gsd_m,
        window_px=512,
        overlap_px=128,
        threshold=round(fitted.metrics["val_threshold"], 3),
        licence="MIT",
        pretrained=_weights_note(config) if config.weights == "imagenet" else None,
        bbox=data.train.bounds if config.data or config.image else None,
        commit=commit_of(Path.cwd()) or "",
        run=f"buildings/{run.name}",
        metrics={name: value for name, value in fitted.metrics.items() if value is not None},
    )


_WAVELENGTHS_NM = {"blue": 490.0, "green": 560.0, "red": 665.0, "nir": 842.0}
"""Where nothing else is known: centres of Sentinel-2's bands of these names."""


def _conclude(
    data: Data, run: Run, fitted: Fitted, verdict: Verdict, console: Console, seconds: float
) -> None:
    """The end lines and the run's last record."""
    scores = verdict.scores
    metrics = {
        "iou": scores.iou,
        "precision": scores.precision,
        "recall": scores.recall,
        "object_f1": scores.object_f1,
    }
    kind = "test" if data.test else "val"
    scene = (data.test or data.val).images[0].path
    if scene.is_relative_to(Path.cwd()):
        scene = scene.relative_to(Path.cwd())
    latest = run.folder.parent / "latest" / "package"
    command = next_command("urbanvision", "predict", str(latest), str(scene), "--out", "maps")
    run.finish(
        "finished",
        {**fitted.metrics, **{f"{kind}_{name}": value for name, value in metrics.items()}},
        next_command=command,
    )
    where = "unseen towns" if data.test else "validation images"
    size = sum(file.stat().st_size for file in run.package.iterdir()) / 1e6
    text = "\n".join(
        [
            f"IoU {scores.iou:.3f}   precision {scores.precision:.2f}   recall {scores.recall:.2f}"
            f"   F1 at IoU 0.5 {scores.object_f1:.3f}   ({verdict.images} of {verdict.of} {where})",
            f"took       {duration(seconds)}, {fitted.step:,} steps, best at {fitted.best_step:,}, "
            f"threshold {fitted.metrics['val_threshold']:g} chosen on validation images"
            + (
                f"   warnings {fitted.warnings} ({run.logs / 'warnings.log'})"
                * bool(fitted.warnings)
            ),
            f"pictures   {run.figures}",
            f"package    {latest}   {size:.1f} MB",
            f"next       {command}",
        ]
    )
    console.answer({"run": str(run.folder), **metrics, "next": command}, text)
