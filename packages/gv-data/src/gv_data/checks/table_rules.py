"""Rules about training and validation images that their catalog alone can answer."""

import numpy as np
import shapely

from gv_data.catalog import Catalog
from gv_data.checks import label_rules
from gv_data.checks.values import Values, are_far, can_be, compare, factor
from gv_data.errors import CatalogError
from gv_data.findings import Findings, counted, some
from gv_data.vectors.geodesy import area_m2

GSD_WARNING = 2.05
"""Times coarser than wanted. Twice is usual: zooms of tiles are 2 apart."""

GSD_FAILURE = 4.0
"""Beyond this nothing looks as it should."""

SHARED_MAX = 0.01
"""Share of the validation ground that may be training ground: images cut side by side touch."""

_APART = "\"place = '...'\""


def look_for_labels(findings: Findings, train: Catalog, val: Catalog) -> None:
    """Both parts need labels, and training images without any should be meant so."""
    for view, rule, part, option in (
        (train, "training-labels", "training", "--train-where"),
        (val, "validation-labels", "validation", "--val-where"),
    ):
        findings.apply(rule)
        if not label_rules.is_labelled(view):
            findings.fail(
                rule,
                f"the {part} part has no labels: none on {counted(len(view), 'image')} "
                f"({view.said})",
                f"{option} with images that have labels, or gv-data index ... --labels FILE",
            )
    label_rules.look_for_unlabelled(
        findings, train, "training images", '--train-where "objects > 0" leaves them out'
    )


def compare_values(findings: Findings, train: Catalog, val: Catalog) -> None:
    """Values of both parts must have one scale, and their bands one meaning."""
    findings.apply("bands")
    try:
        names, others = train.bands, val.bands
        trained, here = (Values.of_statistics(view.statistics) for view in (train, val))
    except CatalogError as error:
        text, _, hint = str(error).partition("\n")
        findings.fail("bands", text, hint.strip().removeprefix("try: "))
        return
    flat = [name for name, std in zip(names, trained.std, strict=True) if not std > 0]
    if flat:
        findings.fail(
            "values",
            f"band {', '.join(flat)} of the training images has one value everywhere: an alpha or "
            "fill band that is not marked as such?",
            "gdal_translate -b ... with the bands that show something",
        )
        return
    if not can_be(others, names):
        findings.fail(
            "bands",
            f"training images have {', '.join(names)}, validation images {', '.join(others)}",
            "images of one kind in both parts",
        )
        return
    findings.apply("values")
    needed = factor(trained, here)
    if needed or are_far(trained, here):
        said = f" (x {needed:.3g} they would fit)" if needed else ""
        findings.warn(
            "values",
            f"values of validation images have another scale{said}: "
            + compare(names, trained, here, first="training", second="validation"),
            f"bring both to one scale: gdal_translate -a_scale {needed or 1:.3g} IN OUT"
            if needed
            else "look at one image of each part: are they of one kind?",
        )


def compare_gsds(findings: Findings, train: Catalog, val: Catalog, gsd_m: float) -> None:
    """No image should be much coarser than what is trained at; finer ones are read coarser."""
    findings.apply("gsd")
    rows = [
        row
        for view in (train, val)
        for row in view.sql("SELECT id, gsd_m FROM images WHERE gsd_m > 0").to_pylist()
    ]
    gsds: dict[str, float] = {row["id"]: row["gsd_m"] for row in rows}
    coarser = {name: gsd / gsd_m for name, gsd in gsds.items()}
    finer = {name: gsd_m / gsd for name, gsd in gsds.items()}
    for tell, times, least, most in (
        (findings.fail, coarser, GSD_FAILURE, np.inf),
        (findings.warn, coarser, GSD_WARNING, GSD_FAILURE),
        (findings.warn, finer, GSD_FAILURE, np.inf),
    ):
        off = sorted((name for name in times if least < times[name] <= most), key=times.__getitem__)
        if off:
            worst = off[-1]
            kept = "<" if times is coarser else ">"
            more = f", and {len(off) - 1:,} more are off" if len(off) > 1 else ""
            tell(
                "gsd",
                f"{worst} has {gsds[worst]:.3g} m a pixel on the ground, training is at "
                f"{gsd_m:.3g} m: {times[worst]:.1f} x{more}",
                f'--gsd-m nearer to {gsds[worst]:.2g}, or --train-where "gsd_m {kept} ..."',
                off,
            )


def measure_shared_ground(findings: Findings, train: Catalog, val: Catalog) -> None:
    """Ground seen in training says nothing in validation."""
    findings.apply("shared-ground")
    seen, asked = _boxes(train), _boxes(val)
    near = shapely.STRtree(seen["box"]).query(asked["box"], predicate="intersects").T
    if not len(near):
        return
    # bounds are wider than the ground where north is not up: only neighbours are drawn exactly
    ours = {n: _footprint(train, seen, n) for n in np.unique(near[:, 1]).tolist()}
    theirs = {n: _footprint(val, asked, n) for n in np.unique(near[:, 0]).tolist()}
    shared = shapely.intersection([theirs[n] for n in near[:, 0]], [ours[n] for n in near[:, 1]])
    ground, touched = (
        float(area_m2([shapely.union_all(shapes)], "OGC:CRS84")[0])
        for shapes in (shared, list(theirs.values()))
    )
    apart = np.delete(asked["ground_m2"], list(theirs)).sum()
    share = ground / (touched + apart)
    if share > SHARED_MAX:
        largest = near[np.argsort(-shapely.area(shared))].tolist()
        names = [f"{asked['id'][v]} + {seen['id'][t]}" for v, t in largest]
        findings.fail(
            "shared-ground",
            f"{ground:,.0f} m2 of the validation ground ({share:.0%}) are training ground too: "
            f"{some(names)}",
            f"split by place: --train-where {_APART} --val-where {_APART}; one image: --image "
            "cuts it into blocks",
            names,
        )


def _boxes(view: Catalog) -> dict[str, np.ndarray]:
    """Ids, bounds in degrees, positions in the view and areas of its georeferenced images."""
    table = view.sql(
        "SELECT id, bbox.xmin AS west, bbox.ymin AS south, bbox.xmax AS east, bbox.ymax AS north, "
        "height_px * width_px::DOUBLE * gsd_m * gsd_m AS ground_m2, "
        "row_number() OVER (ORDER BY id) - 1 AS position "
        "FROM images QUALIFY gsd_m > 0 ORDER BY id"
    )
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    sides = [columns.pop(name) for name in ("west", "south", "east", "north")]
    return columns | {"box": shapely.box(*sides)}


def _footprint(view: Catalog, boxes: dict[str, np.ndarray], row: int) -> shapely.Polygon:
    return view.images[boxes["position"][row]].grid.footprint()
