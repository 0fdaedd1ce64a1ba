"""What the building experiment consists of: data, checks, the task, the package and the verdict."""

import copy
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from gv_data.checks.check import check_training
from gv_data.errors import CatalogError
from gv_data.terminal.console import Console
from gv_data.windows.datamodule import DataModule
from gv_models import package, unet
from gv_models.networks import Segmenter
from gv_models.package import Band, Card, Package
from gv_train import runs
from gv_train.hardware import device_of
from gv_train.hparams import commit_of
from gv_train.inference import Windows
from gv_train.pictures import Pictures
from gv_train.plan import Answer, Plan, workers
from gv_train.runs import Run
from gv_train.segmentation import Segmentation
from urbanvision import map_files
from urbanvision.buildings import Buildings
from urbanvision.evaluation import judge
from urbanvision.learning_data import Data, amount, find_data
from urbanvision.mapping import map_scene

HEADS = {"interior": 1.0, "edge": 0.5}
"""What is learnt, with the weight of each loss."""

DEFAULT_MINUTES = 2.2
"""For making the data and training, if nothing says how long: the whole command takes less than
three minutes on two cores, and the map is useful."""


def plan(config: Buildings, folder: Path, console: Console) -> Plan:
    """The experiment with its data.

    Args:
        config: What was asked for.
        folder: Where synthetic towns or a catalog of bare files are made.
        console: Shows the progress.

    Raises:
        DataError: If the data cannot be used, or a check failed.
    """
    started = time.monotonic()
    data = find_data(config, folder, console)
    gsd_m = config.gsd_m or float(data.train.images.grids.gsd_m.min())
    said = _said(config, data, gsd_m)
    if config.check:
        said = (*said, _checked(data, gsd_m, console))
    known = data.train.statistics
    trainer = config.trainer
    module = DataModule(
        data.train,
        data.val,
        gsd_m=gsd_m,
        window_px=config.window_px,
        batch_size=1 if trainer.batch_size == "auto" else trainer.batch_size,
        epoch_windows=trainer.epoch_windows,
        object_share=trainer.object_share,
        workers=workers(trainer),
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
        lr=trainer.lr,
        encoder_lr=trainer.encoder_lr,
        weight_decay=trainer.weight_decay,
        overlooked=_overlooked(config),
    )
    made = _Made(config, data, gsd_m, network, task, console)
    return Plan(
        task=task,
        data=module,
        monitor="val_iou",
        schedule=config.schedule,
        average=config.average,
        minutes=_minutes(config, time.monotonic() - started),
        said=said,
        callbacks=lambda run: [Pictures(run, module, gsd_m=gsd_m)],
        package=made.package,
        test=made.test,
        predict=made.predict,
    )


def _minutes(config: Buildings, spent_s: float) -> float | None:
    """How long to train: what was asked for, or what making the data has left of a first look."""
    bounded = config.trainer.max_epochs is not None or config.trainer.max_steps is not None
    if config.minutes is not None or bounded:
        return config.minutes
    return max(1.0, DEFAULT_MINUTES - spent_s / 60)


def _said(config: Buildings, data: Data, gsd_m: float) -> tuple[str, ...]:
    """What runs, on which data."""
    source = config.data or (f"{len(config.image)} images" if config.image else "synthetic towns")
    return (
        f"buildings  on {source}   (unet, tu-tf_efficientnet_lite0, {_weights_note(config)})",
        f"data       train {amount(data.train)} | val {amount(data.val)} | "
        f"windows of {config.window_px} px at {gsd_m:.3g} m",
        *(f"           {line}" for line in data.said),
    )


def _checked(data: Data, gsd_m: float, console: Console) -> str:
    """What the checks found, in a line.

    Raises:
        CatalogError: If one failed.
    """
    checked = check_training(data.train, data.val, gsd_m=gsd_m)
    failures = [finding for finding in checked.findings if finding.level == "failure"]
    rest = [finding for finding in checked.findings if finding.level == "warning"]
    for finding in rest:
        console.warn(finding.rule, f"{finding.text}\n  {finding.hint}")
    if failures:
        lines = "\n".join(f"{finding.text}\n  {finding.hint}" for finding in failures)
        raise CatalogError(f"{lines}\n  --no-check trains all the same")
    return f"checks     {len(checked.passed)} passed, {len(rest)} warnings, 0 failures"


def _weights_note(config: Buildings) -> str:
    return "ImageNet weights: Apache-2.0" if config.weights == "imagenet" else "no prior weights"


def _overlooked(config: Buildings) -> float:
    """Labels that are exact, or said to be complete, are believed; others miss buildings."""
    if config.trainer.overlooked is not None:
        return config.trainer.overlooked
    synthetic = not config.data and not config.image
    complete = synthetic or config.labelled_area or config.empty_images == "learn"
    return 1.0 if complete else 0.9


@dataclass(frozen=True)
class _Made:
    """What comes of a trained task: its package, its verdict, its maps."""

    config: Buildings
    data: Data
    gsd_m: float
    network: Segmenter
    task: Segmentation
    console: Console

    def package(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Write the package of a run; that of an earlier attempt is replaced."""
        card = dataclasses.replace(self._card(metrics), run=f"buildings/{run.name}")
        package.save(run.package, self.network, card, overwrite=True)

    def test(self, metrics: Mapping[str, float]) -> Answer:
        """Map the test images, or those of validation if there are none, and compare."""
        view, kind = (self.data.test, "test") if self.data.test else (self.data.val, "val")
        verdict = judge(self._model(metrics), view, device=self._device, console=self.console)
        scores = verdict.scores
        figures = {
            "iou": scores.iou,
            "precision": scores.precision,
            "recall": scores.recall,
            "object_f1": scores.object_f1,
        }
        where = "unseen towns" if self.data.test else "validation images"
        line = (
            f"IoU {scores.iou:.3f}   precision {scores.precision:.2f}   "
            f"recall {scores.recall:.2f}   F1 at IoU 0.5 {scores.object_f1:.3f}   "
            f"({verdict.images} of {verdict.of} {where}, threshold {metrics['val_threshold']:g} "
            "chosen on validation images)"
        )
        scene = view.images[0].path
        if scene.is_relative_to(Path.cwd()):
            scene = scene.relative_to(Path.cwd())
        latest = str(runs.default_root() / "buildings" / "latest" / "package")
        following = ("urbanvision", "predict", latest, str(scene), "--out", "maps")
        return Answer({f"{kind}_{name}": v for name, v in figures.items()}, (line,), following)

    def predict(self, metrics: Mapping[str, float], out: Path) -> Answer:
        """Map the test images, or those of validation, into a folder."""
        view = self.data.test or self.data.val
        model, lines, buildings = self._model(metrics), [], 0
        files = list(dict.fromkeys(image.path for image in view.images))
        map_files.wanted(files, out, overwrite=False)
        windows = Windows(model.card.window_px, model.card.overlap_px)
        for file in self.console.track(files, "mapping", unit="images"):
            found = map_scene(
                model, file, out, windows=windows, device=self._device, console=self.console
            )
            lines.append(f"{found.parquet}   {found.buildings:,} buildings")
            buildings += found.buildings
        return Answer({"buildings": float(buildings)}, tuple(lines))

    @property
    def _device(self) -> torch.device:
        return device_of(self.config.trainer.device)

    def _model(self, metrics: Mapping[str, float]) -> Package:
        """The task's weights as they are now, ready to predict."""
        network = copy.deepcopy(self.network).to(self._device).eval()
        return Package(network, self._card(metrics))

    def _card(self, metrics: Mapping[str, float]) -> Card:
        config, known = self.config, self.data.train.statistics
        bands = tuple(
            Band(name, _WAVELENGTHS_NM.get(name), mean, std, p01, p99)
            for name, mean, std, p01, p99 in zip(
                self.data.train.bands,
                self.task.mean.flatten().tolist(),
                self.task.std.flatten().tolist(),
                known.percentile(1).tolist(),
                known.percentile(99).tolist(),
                strict=True,
            )
        )
        return Card(
            constructor="unet",
            arguments=self.network.arguments,
            bands=bands,
            heads={head: (head,) for head in HEADS},
            gsd_m=self.gsd_m,
            window_px=512,
            overlap_px=128,
            threshold=round(metrics["val_threshold"], 3),
            licence="MIT",
            pretrained=_weights_note(config) if config.weights == "imagenet" else None,
            bbox=self.data.train.bounds if config.data or config.image else None,
            commit=commit_of(Path.cwd()) or "",
            metrics=dict(metrics),
        )


_WAVELENGTHS_NM = {"blue": 490.0, "green": 560.0, "red": 665.0, "nir": 842.0}
"""Where nothing else is known: centres of Sentinel-2's bands of these names."""
