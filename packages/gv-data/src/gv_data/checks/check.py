"""What silently ruins maps, found before work starts.

Rules that need only a catalog's tables come first and are complete. Those that need pixels look at
a seeded sample of images for as long as there is time; how many were looked at is part of the
outcome. A check changes no image and no label, and a file that cannot be read is a finding, not an
error.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from gv_data.catalog import Catalog
from gv_data.checks import (
    data_rules,
    file_rules,
    image_rules,
    kind_rules,
    label_rules,
    look_alikes,
    scene_rules,
    table_rules,
    value_rules,
)
from gv_data.checks.file_rules import Track, untracked
from gv_data.checks.glance import glance, unmarked_void
from gv_data.checks.hashes import HASHES
from gv_data.checks.look_alikes import LookAlikes
from gv_data.checks.values import Values
from gv_data.findings import Checked, Finding, Findings
from gv_data.locations import is_remote
from gv_data.measure.upkeep import Outcome, bring_up_to_date
from gv_data.pictures.thumbnails import LabelFiles
from gv_data.rasters.raster import Scene
from gv_data.splitting.shared_ground import find_shared_ground, finding

__all__ = ["CatalogChecked", "Checked", "Finding", "check_catalog", "check_scene", "check_training"]

SAMPLE = 200
"""Images of a catalog that are looked at."""


@dataclass(frozen=True)
class CatalogChecked:
    """The outcome of the check of a catalog.

    Attributes:
        checked: Findings, rules that passed, and how many images were looked at.
        files: Number of different files that the catalog names.
        read_data: Whether all pixels were read.
        hashes: What was done for ``hashes.parquet``; None where nothing can be written.
        alike: Images that look the same.
    """

    checked: Checked
    files: int
    read_data: bool
    hashes: Outcome | None
    alike: LookAlikes


def check_catalog(
    view: Catalog,
    *,
    read_data: bool = False,
    sample: int = SAMPLE,
    column: str = "split",
    turns: bool = False,
    seed: int = 0,
    workers: int | None = None,
    track: Track = untracked,
) -> CatalogChecked:
    """Look for all that would ruin work with a catalog, or make its figures worthless.

    The perceptual hash of each image is made once and kept in ``hashes.parquet`` where the folder
    can be written to; no other file is touched.

    Args:
        view: What to check.
        read_data: Whether to read all pixels again, and compare them with what was measured.
        sample: How many images to look at.
        column: Names the part of each image; parts should share no ground and no image.
        turns: Whether images that are turned or mirrored count as the same.
        seed: Chooses the images that are looked at.
        workers: Files at once; None: as many as this process has cores.
        track: Wraps what is worked on, with a word for it and its number, to show progress.

    Raises:
        CatalogError: If the catalog cannot be read, or there is no such column.
    """
    workers = workers or len(os.sched_getaffinity(0))
    findings, files = Findings(math.inf), LabelFiles()
    missing = file_rules.look_for_missing(findings, view)
    changed = file_rules.look_for_changes(findings, view, times=True)
    file_rules.look_for_refused(findings, view)
    there, whole = _without(view, missing.images), _without(view, missing.images | missing.others)
    file_rules.open_files(findings, whole, set(changed), workers=workers, track=track)
    if read_data:
        data_rules.read_data(findings, whole, workers=workers, track=track)
    value_rules.look_for_unmeasured(findings, view)
    value_rules.look_at_values(findings, view)
    for look in (
        kind_rules.compare_bands,
        kind_rules.compare_types,
        kind_rules.compare_systems,
        kind_rules.compare_gsds,
        kind_rules.compare_dates,
        kind_rules.look_for_strays,
        label_rules.look_for_changed_labels,
        label_rules.look_at_classes,
    ):
        look(findings, view)
    label_rules.look_for_unlabelled(
        findings, view, "images", '--where "objects > 0" leaves them out, if they are not labelled'
    )
    label_rules.look_outside(findings, view, files)
    _compare_grounds(findings, view, column)
    hashes = _hashed(findings, there, workers, track)
    alike = look_alikes.look_alikes(there, column, turns=turns)
    look_alikes.report(findings, alike, view)
    looked = image_rules.look_at_images(
        findings,
        whole,
        gsd_m=None,
        seed=seed,
        count=sample,
        label_bytes_max=math.inf,
        files=files,
        track=track,
    )
    return CatalogChecked(findings.close(looked), missing.files, read_data, hashes, alike)


def _without(view: Catalog, ids: frozenset[str]) -> Catalog:
    """The images of a view that are not among some."""
    if not ids:
        return view
    gone = pa.table({"id": sorted(ids)})
    return view.where("id NOT IN (SELECT id FROM gv_missing)", gv_missing=gone)


def _compare_grounds(findings: Findings, view: Catalog, column: str) -> None:
    """Parts, where there are several, should share no ground."""
    (parts,) = view.sql(f"SELECT count(DISTINCT (\n{column}\n)) AS n FROM images")["n"].to_pylist()
    if parts < 2:
        return
    findings.apply("shared-ground")
    shared = find_shared_ground(view, column)
    said = finding(shared)
    if said is not None:
        findings.add(
            replace(
                said,
                hint=f"gv-data split {view.path} --by block --overwrite",
                examples=tuple(" + ".join(pair) for one in shared for pair in one.examples),
            )
        )


def _hashed(findings: Findings, view: Catalog, workers: int, track: Track) -> Outcome | None:
    """Hashes of all images, or of those that have one where nothing can be written."""
    if not is_remote(view.path) and not os.access(view.path, os.W_OK):
        return None
    outcome = bring_up_to_date(
        view,
        HASHES,
        engine="local",
        workers=workers,
        again=False,
        track=lambda ids, total: track(ids, "comparing", total),
    )
    for reason in outcome.failed.values():
        findings.unreadable(reason)
    return outcome


def check_training(
    train: Catalog, val: Catalog, *, gsd_m: float, seconds: float = 5.0, seed: int = 0
) -> Checked:
    """Look for what would ruin training, or make its figures worthless.

    Args:
        train: Images to train on.
        val: Images to validate on.
        gsd_m: Ground sampling distance of training.
        seconds: How long to look.
        seed: Chooses the images that are looked at.

    Returns:
        Findings, failures first. Rules: ``training-labels``, ``validation-labels``,
        ``unlabelled-images``, ``changed-images``, ``bands``, ``values``, ``gsd``,
        ``shared-ground``; and of the images looked at ``readable``,
        ``nodata``, ``one-sided-labels``, ``shifted-labels``, ``mask-values``.
    """
    findings = Findings(seconds)
    table_rules.look_for_labels(findings, train, val)
    file_rules.look_for_changes(findings, train, val)
    if len(train) and len(val):
        table_rules.compare_values(findings, train, val)
        table_rules.measure_shared_ground(findings, train, val)
    table_rules.compare_gsds(findings, train, val, gsd_m)
    looked = image_rules.look_at_images(findings, train, val, gsd_m=gsd_m, seed=seed)
    return findings.close(looked)


def check_scene(
    scene: Scene,
    *,
    bands: Sequence[str],
    gsd_m: float,
    mean: Sequence[float],
    std: Sequence[float],
    p01: Sequence[float],
    p99: Sequence[float],
    seconds: float = 5.0,
    georeference: bool = True,
) -> Checked:
    """Look for what would ruin the map of a scene.

    Args:
        scene: An open scene.
        bands: Names of the bands the model was trained on.
        gsd_m: Its ground sampling distance.
        mean: Mean of each band in training, in physical units.
        std: Standard deviation of each.
        p01: 1st percentile of each.
        p99: 99th percentile of each.
        seconds: How long to look.
        georeference: Whether the scene must lie somewhere; if not, one that does not is mapped in
            its own pixels.

    Returns:
        Findings, failures first. Rules: ``georeference``, ``gsd``, ``bands``, ``readable``,
        ``values``, ``band-order``, ``nodata``.
    """
    findings = Findings(seconds)
    scene_rules.check_place(findings, scene, gsd_m, georeference=georeference)
    order = scene_rules.match_bands(findings, scene, bands)
    if order is None:
        return findings.close(0)
    trained = Values(*(np.array(values, float) for values in (mean, std, p01, p99)))
    with findings.looking():
        seen = glance(scene, gsd_m, in_time=lambda: findings.in_time)
        scene_rules.compare_values(findings, scene, bands, order, trained, seen)
        void = unmarked_void(seen, scene.dtype)
        image_rules.report_voids(findings, {scene.path.name: void} if void else {})
        return findings.close(1)
    return findings.close(0)
