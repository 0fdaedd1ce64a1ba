"""Rules about a scene and the model that is to map it."""

from collections.abc import Sequence

from gv_data.checks.glance import Glance
from gv_data.checks.table_rules import GSD_FAILURE, GSD_WARNING
from gv_data.checks.values import FACTORS, Values, are_far, better_order, can_be, compare, factor
from gv_data.errors import DataError
from gv_data.findings import Findings
from gv_data.rasters.raster import Scene


def check_place(findings: Findings, scene: Scene, gsd_m: float, *, georeference: bool) -> None:
    """A scene must lie somewhere, with pixels about as large as those of training."""
    if scene.grid.crs is None:
        if georeference:
            findings.fail(
                "georeference",
                f"{scene.path.name} has no CRS or transform, so nothing says where it lies",
                "--no-georeference maps its pixels as they are; gdal_edit -a_srs and -a_ullr "
                "place it",
            )
        return
    findings.apply("georeference")
    findings.apply("gsd")
    try:
        own_m = scene.grid.gsd_m
    except DataError as error:
        findings.fail("georeference", f"{scene.path.name}: {error}", "gdal_edit -a_srs EPSG:...")
        return
    times = max(own_m / gsd_m, gsd_m / own_m)
    if times > GSD_FAILURE or own_m > GSD_WARNING * gsd_m:  # finer scenes are read coarser
        tell = findings.fail if times > GSD_FAILURE else findings.warn
        tell(
            "gsd",
            f"{scene.path.name} has {own_m:.3g} m a pixel, the model was trained at {gsd_m:.3g} m: "
            f"{times:.1f} x, both in metres on the ground",
            f"a model trained at about {own_m:.2g} m, or a scene of about {gsd_m:.2g} m",
        )


def match_bands(findings: Findings, scene: Scene, bands: Sequence[str]) -> tuple[int, ...] | None:
    """Find the bands of the model: by name, or by position where names are missing.

    Returns:
        Their positions in the scene; None, with a failure, if they are not there.
    """
    findings.apply("bands")
    if set(bands) <= set(scene.bands):
        return tuple(scene.bands.index(name) for name in bands)
    if can_be(scene.bands[: len(bands)], bands):
        if len(scene.bands) > len(bands):
            findings.warn(
                "bands",
                f"{scene.path.name} has {_counted(scene.bands)}; the first {len(bands)} are taken "
                f"as {', '.join(bands)}",
                f"gdal_translate -b ... {scene.path.name} OUT, if they are others",
            )
        return tuple(range(len(bands)))
    findings.fail(
        "bands",
        f"{scene.path.name} has {_counted(scene.bands)}, the model wants {_counted(bands)}",
        f"gdal_translate -b ... {scene.path.name} OUT with the bands {', '.join(bands)} in this "
        "order",
    )
    return None


def compare_values(
    findings: Findings,
    scene: Scene,
    bands: Sequence[str],
    order: Sequence[int],
    trained: Values,
    seen: Glance,
) -> None:
    """Values must have the scale of training, and their bands the order."""
    pixels = seen.pixels
    if not pixels.shape[1]:
        return
    whole = Values.of(pixels)
    here = whole.of_bands(order)
    name = scene.path.name
    findings.apply("band-order")
    found = better_order(trained, whole, order)
    if found is not None:
        best, then, now = found
        fitting = whole.of_bands(best)
        cured = are_far(trained, here) and not are_far(trained, fitting)
        tell = findings.fail if cured else findings.warn
        picked = " ".join(f"-b {position + 1}" for position in best)
        tell(
            "band-order",
            f"bands of {name} fit far better in another order: bands "
            f"{_positions(order)} are taken as {', '.join(bands)}, but bands {_positions(best)} "
            f"look like them (misfit {then:.2f}, not {now:.2f})",
            f"gdal_translate {picked} {name} OUT, if that is so",
        )
        here = fitting
    findings.apply("values")
    needed = factor(trained, here)
    if needed or are_far(trained, here):
        looks = f", they look like {FACTORS[needed]}" if needed else ""
        findings.fail(
            "values",
            f"values of {name} are not in the scale of training{looks}: "
            + compare(bands, trained, here, first="trained", second="here"),
            f"gdal_translate -a_scale {needed:.4g} {name} OUT"
            if needed
            else "--no-check maps it all the same, if its values mean what those of training did",
        )


def _counted(bands: Sequence[str]) -> str:
    return f"{len(bands)} band{'s' if len(bands) != 1 else ''} ({', '.join(bands)})"


def _positions(order: Sequence[int]) -> str:
    return ", ".join(str(position + 1) for position in order)
