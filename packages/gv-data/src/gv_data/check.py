"""What silently ruins maps, found before work starts.

Rules that need only a catalog's tables come first and are complete. Those that need pixels look at
a seeded sample of images for as long as there is time; how many were looked at is part of the
outcome. A check changes nothing, and a file that cannot be read is a finding, not an error.
"""

from collections.abc import Sequence

import numpy as np

from gv_data import image_rules, scene_rules, table_rules
from gv_data.catalog import Catalog
from gv_data.findings import Checked, Finding, Findings
from gv_data.glance import glance, unmarked_void
from gv_data.raster import Scene
from gv_data.values import Values

__all__ = ["Checked", "Finding", "check_scene", "check_training"]


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
        ``nodata``, ``one-sided-labels``, ``shifted-labels``.
    """
    findings = Findings(seconds)
    images = [*train.images, *val.images]
    table_rules.look_for_labels(findings, train, val)
    table_rules.look_for_changes(findings, train, val)
    if len(train) and len(val):
        table_rules.compare_values(findings, train, val)
        table_rules.measure_shared_ground(findings, train, val)
    table_rules.compare_gsds(findings, train, val, gsd_m)
    return findings.close(image_rules.look_at_images(findings, images, gsd_m, seed))


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
